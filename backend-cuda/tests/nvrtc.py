"""Sources through NVRTC for a target, without a device."""

from __future__ import annotations

import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

TARGETS = (75, 80, 90, 120)


def missing() -> str:
    """Why nothing can be compiled here; empty when it can."""
    for name in ("cuda.bindings", "nvidia.cu13"):
        try:
            if importlib.util.find_spec(name) is None:
                return f"{name} is not installed"
        except ModuleNotFoundError:
            return f"{name} is not installed"
    return ""


def required() -> bool:
    """Whether this environment is the one that has to compile."""
    return os.environ.get("MLCORE_LEG") == "nvrtc"


@cache
def version() -> str:
    from cuda.bindings import nvrtc

    _, major, minor = nvrtc.nvrtcVersion()
    return f"{major}.{minor}"


def compile_for(text: str, target: int, optimized: bool = True) -> int:
    """Bytes of the cubin of a source; AssertionError with the compiler's log where it is refused.

    Not optimized it takes a sixth of the time, and every kernel still becomes machine code of the target.
    """
    from cuda.bindings import nvrtc

    ok: Any = nvrtc.nvrtcResult.NVRTC_SUCCESS
    error, program = nvrtc.nvrtcCreateProgram(text.encode(), b"kernel.cu", 0, [], [])
    assert error == ok
    options = [f"--gpu-architecture=sm_{target}".encode(), b"-std=c++17"]
    options += [] if optimized else [b"--device-debug"]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if error != ok:
        _, size = nvrtc.nvrtcGetProgramLogSize(program)
        log = b" " * size
        nvrtc.nvrtcGetProgramLog(program, log)
        raise AssertionError(f"sm_{target}: {log.decode(errors='replace')[:2000]}")
    _, size = nvrtc.nvrtcGetCUBINSize(program)
    nvrtc.nvrtcDestroyProgram(program)
    return int(size)


def compile_all(jobs: list[tuple[str, bool]], target: int) -> list[int]:
    """The sizes of the cubins of (text, whether optimized); two at a time: NVRTC works outside of Python's lock."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda job: compile_for(job[0], target, job[1]), jobs))
