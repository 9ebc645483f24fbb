"""RawModule and RawKernel: the source is compiled for the host and runs in the emulator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from cupy._array import ndarray, record
from cupy._memory import Memory, MemoryPointer
from cupy._place import CUDARuntimeError, current_device

sys.path.append(str(Path(__file__).resolve().parents[2]))

import emulator


class CompileException(Exception):
    """As cupy.cuda.compiler.CompileException."""

    def __init__(self, msg: str, source: str, name: str, options: Any, backend: str = "") -> None:
        super().__init__(msg)
        self._msg, self.source, self.name, self.options, self.backend = msg, source, name, options, backend

    def get_message(self) -> str:
        return self._msg


class RawModule:
    def __init__(
        self, code: str | None = None, *, path: str | None = None, options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False, enable_cooperative_groups: bool = False, name_expressions: Any = None,
        jitify: Any = None,
    ) -> None:  # fmt: skip
        if not isinstance(code, str) or not isinstance(options, tuple):
            raise TypeError("code is text and options a tuple")
        self.code, self.options, self.module = code, options, None

    def compile(self, log_stream: Any = None) -> None:
        if self.module is None:
            try:
                self.module = emulator.found(self.code)
            except emulator.EmulatorError as error:
                raise CompileException(str(error), self.code, "kernel.cu", self.options) from None

    def get_function(self, name: str) -> RawKernel:
        self.compile()
        return RawKernel(self.module.kernel(name))


class RawKernel:
    """A kernel; a call checks what a device would suffer from."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.name = kernel.name

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        if not all(isinstance(one, tuple) for one in (grid, block, args)):
            raise TypeError("grid, block and args are tuples")
        memories: list[Memory] = []
        values = [_value(one, memories) for one in args]

        def run() -> None:
            self.kernel(grid, block, values, shared_mem)
            for memory in memories:
                if not memory.intact():
                    raise CUDARuntimeError(
                        700, f"cudaErrorIllegalAddress: {self.name} wrote outside of an array"
                    )

        record(run)


def _value(one: Any, memories: list[Memory]) -> Any:
    """A parameter's bytes, by CuPy's rules."""
    if one is None:
        return np.array(0, dtype=np.uint64)
    if isinstance(one, ndarray):
        one = one.data
    if isinstance(one, MemoryPointer):
        if one.device_id != current_device() and one.mem.size:
            raise CUDARuntimeError(700, "cudaErrorIllegalAddress: an array of another device")
        memories.append(one.mem)
        return np.array(one.ptr, dtype=np.uint64)
    if isinstance(one, np.ndarray):
        if one.size != 1:
            raise TypeError(
                f"You are trying to pass a numpy.ndarray of shape {one.shape} as a kernel parameter."
            )
        return np.ascontiguousarray(one)
    if isinstance(one, (bool, int, float, np.generic)):
        return np.asarray(one)
    raise TypeError(f"Unsupported type {type(one)}")
