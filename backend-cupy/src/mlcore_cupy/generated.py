"""Kernels that mlcore.codegen writes, on CuPy's memory: mlcore.backends.kernel_library with CuPy as its runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from mlcore.backends.kernel_library import KernelArray, KernelLibraryBackend
from mlcore.backends.protocol import MemoryStats
from mlcore.dtypes import from_numpy
from mlcore_cupy.catalog import Native
from mlcore_cupy.runtime import MOST_BLOCKS, THREADS, Runtime

LEFT_TO_CUPY: Final = frozenset(
    ("reshape", "permute_dims", "broadcast_to", "slice", "slice_update", "concat", "fill", "where_true")
)
"""What moves memory about, which CuPy does as well; and counting what is true, where it has a faster way."""


class Driver:
    """CuPy as the runtime of a kernel library: memory from its pool, kernels by RawModule, launches on our stream."""

    def __init__(self, rt: Runtime) -> None:
        self.rt = rt

    def allocate(self, size: int) -> Any:
        return self.rt.cupy.cuda.alloc(size)

    def upload(self, buffer: Any, data: Any) -> None:
        self._bytes(buffer, data.size).set(data, stream=self.rt.stream)

    def download(self, buffer: Any, start: int, data: Any) -> None:
        data[...] = self._bytes(buffer + start, data.size).get(stream=self.rt.stream)

    def _bytes(self, buffer: Any, size: int) -> Any:
        return self.rt.cupy.ndarray((size,), dtype=np.uint8, memptr=buffer)

    def compile(self, source: Any) -> Any:
        """A KernelError of our own says more than the library's would."""
        return self.rt.compiled(source.name, source.text, source.op)

    def launch(self, kernel: Any, source: Any, buffers: Sequence[Any], words: list[int], items: int) -> None:
        threads = source.group or THREADS
        groups = items if source.group else -(-items // threads)
        struct = np.array((words,), dtype=[("v", "<i8", (len(words),))])
        kernel((max(1, min(groups, MOST_BLOCKS)),), (threads,), (*buffers, struct))

    def synchronize(self) -> None:
        self.rt.synchronize()

    def memory_stats(self) -> MemoryStats:
        return MemoryStats()


class Generated(KernelLibraryBackend):
    """The kernel library, whose arrays are seen as CuPy's: the same memory, no copy either way."""

    def __init__(self, rt: Runtime, dialect: Any) -> None:
        super().__init__(Driver(rt), dialect, rt.owner)
        self.rt = rt

    def serve(self, op: Any, held: frozenset[Any]) -> Any:
        """The kernel of an operation on CuPy's arrays, for the dtypes that it has, or None."""
        if op.name in LEFT_TO_CUPY:
            return None
        made = self.kernel(op)
        if made is None:
            return None
        # Kernels of ours have dtypes.
        dtypes = (self.dtypes if made.dtypes is None else made.dtypes) & held  # type: ignore[attr-defined]
        return Native(self.rt, op.name, _on_cupy(self.rt, made, len(op.params)), dtypes)


def taken(x: Any) -> KernelArray:
    """A CuPy array as the kernel library sees it."""
    size = x.itemsize
    strides = None if x.flags.c_contiguous else [step // size for step in x.strides]
    return KernelArray(x.data, x.shape, from_numpy(x.dtype), strides)


def given(rt: Runtime, made: KernelArray, inputs: Sequence[Any]) -> Any:
    """A result as a CuPy array; one that is an input is that input itself, so that who owns memory stays known."""
    for one in inputs:
        if one.data is made.buffer and one.shape == made.shape:
            return one
    dtype = made.dtype.numpy
    memory = made.buffer + made.offset * dtype.itemsize if made.offset else made.buffer
    strides = None if made.contiguous else tuple(step * dtype.itemsize for step in made.strides)
    return rt.cupy.ndarray(made.shape, dtype=dtype, memptr=memory, strides=strides)


def _on_cupy(rt: Runtime, call: Callable[..., Any], params: int) -> Callable[..., Any]:
    def run(_: Runtime, *args: Any) -> Any:
        count = len(args) - params
        inputs = args[:count]
        made = call(*[taken(one) for one in inputs], *args[count:])
        if isinstance(made, tuple):
            return tuple([given(rt, one, inputs) for one in made])
        return given(rt, made, inputs)

    return run
