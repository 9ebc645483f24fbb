"""Runs CUDA sources on the host: the same text, compiled by the host's C++ compiler against emulator.h."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
NAMES = re.compile(
    r"^(?:KERNEL(?:_OF\(\w+\))?|extern \"C\" __global__ void(?:\s+__launch_bounds__\s*\([^)]*\))?)\s+(\w+)\s*\(",
    re.MULTILINE,
)
WAITS = re.compile(r"__syncthreads\s*\(|SHUFFLE_XOR\s*\(|team_fold\s*\(")
_cache: Any = None


class EmulatorError(RuntimeError):
    """What a device would have refused, or left undefined."""


def compiler() -> list[str]:
    """The host's C++ compiler, as CXX says or by name; empty where there is none."""
    given = shlex.split(os.environ.get("CXX", ""))
    if given:
        return given
    found = shutil.which("g++") or shutil.which("clang++")
    return [found] if found else []


def cache() -> Path:
    """The folder of compiled modules: MLCORE_EMULATOR_CACHE, or one for this process."""
    global _cache
    given = os.environ.get("MLCORE_EMULATOR_CACHE")
    if given:
        Path(given).mkdir(parents=True, exist_ok=True)
        return Path(given)
    if _cache is None:
        _cache = tempfile.TemporaryDirectory(prefix="mlcore-emulator-")
    return Path(_cache.name)


def kernel_names(text: str) -> list[str]:
    """The kernels that a source defines."""
    return NAMES.findall(text)


def compile_text(text: str, flags: Sequence[str] = ()) -> Path:
    """The shared library of a source; raises EmulatorError with what the compiler says."""
    launchers = [
        f'extern "C" const char* launch_{name}(const long long* d, void** v, const long long* s, int n)'
        f" {{ return emulated::launch({name}, d, v, s, n); }}"
        for name in kernel_names(text)
    ]
    whole = "\n".join(["#define MLCORE_EMULATED 1", '#include "emulator.h"', text, *launchers, ""])
    digest = hashlib.sha256(
        (whole + (FOLDER / "emulator.h").read_text() + " ".join(flags)).encode()
    ).hexdigest()[:24]
    made = cache() / f"{digest}.so"
    if made.exists():
        return made
    source = cache() / f"{digest}.{os.getpid()}.cpp"
    source.write_text(whole)
    partly = source.with_suffix(".so")
    command = [*compiler(), "-std=c++17", "-O1", "-fno-strict-aliasing", "-ffp-contract=on", "-w", "-shared", "-fPIC",
               f"-I{FOLDER}", *flags, str(source), "-o", str(partly)]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise EmulatorError(run.stderr or f"{command[0]} ended with {run.returncode}")
    os.replace(partly, made)
    source.unlink()
    return made


class Kernel:
    """One kernel of a module. Calls are one at a time: shared memory is static here."""

    lock = threading.Lock()
    backwards = False  # threads of a block in reverse order

    def __init__(self, library: Any, name: str, waits: bool) -> None:
        self.name, self.waits = name, waits
        try:
            self.call = getattr(library, f"launch_{name}")
        except AttributeError:
            raise EmulatorError(f"the module has no kernel {name}") from None
        self.call.restype = ctypes.c_char_p

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], values: Sequence[np.ndarray], shared: int = 0
    ) -> None:
        """Launch; `values` are the parameters' bytes as 0-d arrays, pointers as uint64."""
        dims = [
            *((*tuple(grid), 1, 1))[:3],
            *((*tuple(block), 1, 1))[:3],
            shared,
            int(self.backwards),
            int(self.waits),
        ]
        n = len(values)
        places = (ctypes.c_void_p * n)(*[one.ctypes.data for one in values])
        sizes = (ctypes.c_longlong * n)(*[one.nbytes for one in values])
        with self.lock:
            said = self.call((ctypes.c_longlong * 9)(*dims), places, sizes, n)
        if said:
            raise EmulatorError(f"{self.name}: {said.decode()}")


class Module:
    """A compiled source."""

    def __init__(self, text: str, flags: Sequence[str] = (), library: Path | None = None) -> None:
        self.library = ctypes.PyDLL(str(library or compile_text(text, flags)))
        self.waits = bool(WAITS.search(text))

    def kernel(self, name: str) -> Kernel:
        return Kernel(self.library, name, self.waits)


_modules: dict[str, Module] = {}
_index: dict[str, str] | None = None


def digest_of(text: str) -> str:
    """The name of a source in the index of what was compiled ahead."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def found(text: str) -> Module:
    """The module of a source: from a library that was compiled ahead, or compiled now."""
    global _index
    module = _modules.get(text)
    if module is None:
        if _index is None:
            listed = cache() / "index.json"
            _index = json.loads(listed.read_text()) if listed.exists() else {}
        ready = _index.get(digest_of(text))
        module = _modules[text] = Module(text) if ready is None else Module(text, library=cache() / ready)
    return module


def compile_ahead(groups: Sequence[tuple[str, Sequence[str]]], workers: int = 2) -> int:
    """Compile sources that stand together in one text, in parallel, and note which library has which of them.

    Each group is (the text, the sources as they will be asked for). Returns how many sources there are.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        libraries = list(pool.map(lambda group: compile_text(group[0]), groups))
    index = {
        digest_of(one): made.name for made, (_, texts) in zip(libraries, groups, strict=True) for one in texts
    }
    (cache() / "index.json").write_text(json.dumps(index))
    return len(index)
