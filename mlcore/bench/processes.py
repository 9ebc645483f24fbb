"""The processes of the libraries, seen from the run: start one, ask it something, end it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from mlcore.errors import MlcoreError

PACKAGE: Final = Path(__file__).resolve().parents[1]
MODULES: Final = {"torch.compile": "torch", "onednn": ""}
"""What has to be importable for a library whose name is not its module's."""

VARIABLES: Final = ("MLCORE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# In the process of a rival, an empty package stands in for mlcore, so that the bench is found and the core not loaded.
ALONE: Final = """
import sys, types
package = types.ModuleType("mlcore")
package.__path__ = [{package!r}]
sys.modules["mlcore"] = package
"""
# -P leaves the folder one stands in off the path: it may hold a source tree. Last on it is where this file is.
START: Final = """
import sys
sys.path.append({root!r})
from mlcore.bench.worker import main
main({name!r}, {threads})
"""


class WorkerError(MlcoreError, RuntimeError):
    """What went wrong in a library's process."""


def installed(library: str) -> bool:
    """Whether a library is there to be compared with.

    >>> installed("mlcore"), installed("no_such_library")
    (True, False)
    """
    if library == "onednn":
        return onednn() is not None
    return importlib.util.find_spec(MODULES.get(library, library)) is not None


def onednn() -> str | None:
    """The file of the oneDNN that mlcore's own kernels may use, to be timed by itself."""
    found = [path for folder in ("lib", "lib64") for path in (Path(sys.prefix) / folder).glob("libdnnl.so*")]
    for packages in dict.fromkeys(map(sysconfig.get_path, ("platlib", "purelib"))):
        found += Path(packages).glob("mlcore_*/**/libdnnl*.so*")  # where a wheel carries it along
    return str(min(found, key=lambda path: len(path.name))) if found else None


def environment(threads: int, device: str | None = None) -> dict[str, str]:
    """The environment of a process: the same number of threads for all libraries."""
    made = {**os.environ, **dict.fromkeys(VARIABLES, str(threads))}
    made.setdefault(
        "OPENBLAS_THREAD_TIMEOUT", "24"
    )  # 2^24 cycles of spinning after a call, not 2^28, for NumPy's sake
    if device:
        made["MLCORE_DEVICE"] = device
    return made


class Process:
    """A library in a process of its own."""

    def __init__(self, library: str, threads: int, device: str | None = None) -> None:
        self.library = library
        code = "" if library == "mlcore" else ALONE.format(package=str(PACKAGE))
        self.folder = tempfile.TemporaryDirectory(prefix="mlcore-bench-")
        self.log = Path(self.folder.name) / "stderr"
        code += START.format(root=str(PACKAGE.parent), name=library, threads=threads)
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, encoding="utf-8", env=environment(threads, device),
            )  # fmt: skip

    def ask(self, do: str, **what: Any) -> Any:
        """The answer of the worker's method `do`. Raises WorkerError with what it raised, or how it died."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        try:
            self.child.stdin.write(json.dumps({"do": do, **what}) + "\n")
            self.child.stdin.flush()
            line = self.child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise WorkerError(
                f"the process of {self.library} ended with status {self.child.wait()}"
                + (f": {said[-1]}" if said else "")
            )
        reply: Mapping[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply["result"]

    @property
    def alive(self) -> bool:
        return self.child.poll() is None

    def close(self) -> None:
        """End it: kindly, and by force where that does not help."""
        try:
            self.child.communicate(timeout=5)
        except (subprocess.TimeoutExpired, ValueError, OSError):
            self.child.kill()
            self.child.wait()
        self.folder.cleanup()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Pool:
    """One process a library, all with the same number of threads; started when first needed, again after a crash."""

    def __init__(self, threads: int, device: str | None = None) -> None:
        self.threads, self.device = threads, device
        self.open: dict[str, Process] = {}

    def __getitem__(self, library: str) -> Process:
        process = self.open.get(library)
        if process is None or not process.alive:
            self.end(library)
            process = self.open[library] = Process(library, self.threads, self.device)
        return process

    def end(self, *libraries: str) -> None:
        """End the processes of these libraries, or of all."""
        for name in libraries or tuple(self.open):
            if name in self.open:
                self.open.pop(name).close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
