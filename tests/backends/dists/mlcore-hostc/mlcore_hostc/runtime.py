"""A runtime in host memory: buffers are NumPy's, a kernel is a function of a shared library that g++ made."""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlcore.backends.kernel_library import CompileError
from mlcore.backends.protocol import MemoryStats
from mlcore.codegen import KernelSource
from mlcore_cpu.dialect import FLAGS


class Memory:
    """A buffer that counts what it holds."""

    __slots__ = ("address", "bytes", "runtime", "size")

    def __init__(self, size: int, runtime: HostRuntime) -> None:
        self.size, self.runtime = size, runtime
        self.bytes = np.empty(size + 63, dtype=np.uint8)
        self.address = -(-self.bytes.ctypes.data // 64) * 64
        self.bytes = self.bytes[self.address - self.bytes.ctypes.data :][:size]
        runtime.count(size)

    def __del__(self) -> None:
        self.runtime.count(-self.size)


class HostRuntime:
    """Everything is done when a call returns, so there is no queue."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mlcore-hostc-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.in_use = self.peak = 0
        self.lock = threading.Lock()

    def count(self, size: int) -> None:
        """Note bytes that were taken, or given back."""
        with self.lock:
            self.in_use += size
            self.peak = max(self.peak, self.in_use)

    def allocate(self, size: int) -> Memory:
        return Memory(size, self)

    def upload(self, buffer: Memory, data: np.ndarray[Any, Any]) -> None:
        buffer.bytes[: data.size] = data

    def download(self, buffer: Memory, start: int, data: np.ndarray[Any, Any]) -> None:
        data[:] = buffer.bytes[start : start + data.size]

    def compile(self, source: KernelSource) -> Any:
        library = self.folder / f"{source.name}.so"
        command = ["g++", *FLAGS, "-x", "c++", "-", "-o", str(library)]
        made = subprocess.run(command, input=source.text, capture_output=True, text=True, check=False)
        if made.returncode:
            raise CompileError(made.stderr)
        function = ctypes.CDLL(os.fspath(library))[source.name]
        function.argtypes = [ctypes.c_void_p] * (len(source.arrays) + 1)
        function.restype = None
        return function

    def launch(
        self, kernel: Any, source: KernelSource, buffers: Sequence[Memory], words: list[int], items: int
    ) -> None:
        kernel(*(buffer.address for buffer in buffers), (ctypes.c_int64 * len(words))(*words))

    def synchronize(self) -> None:
        pass

    def memory_stats(self) -> MemoryStats:
        return MemoryStats(in_use=self.in_use, peak=self.peak)
