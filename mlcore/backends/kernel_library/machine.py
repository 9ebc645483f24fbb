"""The base of the backend: memory, transfers, compiled kernels, launches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcore.backends import failure
from mlcore.backends.device import Device
from mlcore.backends.kernel_library.arrays import KernelArray
from mlcore.backends.kernel_library.runtime import CompileError, Runtime
from mlcore.backends.protocol import MemoryStats
from mlcore.codegen import Dialect, KernelSource, copy
from mlcore.codegen.layout import launches
from mlcore.dtypes import DType, all_dtypes, from_numpy
from mlcore.errors import KernelError, MlcoreError
from mlcore.shapes import Shape

Key = tuple[Any, ...]
Compiled = tuple[KernelSource, Any]


class Machine:
    """A device's arrays and launches; what the operations do with them is in the modules beside this one."""

    def __init__(self, runtime: Runtime, dialect: Dialect, device: Device) -> None:
        self.runtime = runtime
        self.dialect = dialect
        self.device = device
        self.dtypes: frozenset[DType] = frozenset(d for d in all_dtypes if d.kind != "c" and dialect.has(d))
        self._compiled: dict[Key, Compiled | KernelError] = {}
        self._compiling = threading.RLock()

    # -- the protocol ------------------------------------------------------------------------------------------------

    def from_host(self, array: np.ndarray[Any, Any]) -> KernelArray:
        """A copy on the device, contiguous."""
        return self.constant(array)

    def constant(self, array: np.ndarray[Any, Any]) -> KernelArray:
        """What kernels of the backend itself need from the host, such as the value of `fill`."""
        dtype = from_numpy(array.dtype)
        data = np.asarray(array, dtype=dtype.numpy, order="C")
        made = self.empty(array.shape, dtype)
        if data.size:
            self.runtime.upload(made.buffer, data.reshape(-1).view(np.uint8))
        return made

    def to_host(self, array: KernelArray) -> np.ndarray[Any, Any]:
        """The values; what lies apart is brought together on the device first."""
        data = np.empty(array.shape, dtype=array.dtype.numpy)
        if data.size:
            x = self.contiguous(array)
            self.runtime.download(x.buffer, x.offset * x.dtype.itemsize, data.reshape(-1).view(np.uint8))
        return data

    def synchronize(self) -> None:
        """Wait for the queue."""
        self.runtime.synchronize()

    def memory_stats(self) -> MemoryStats:
        """What the runtime counts."""
        return self.runtime.memory_stats()

    def explain(self, error: Exception) -> MlcoreError | None:
        """The runtime's own `explain`, where it has one."""
        explain = getattr(self.runtime, "explain", None)
        return None if explain is None else explain(error)

    # -- arrays ------------------------------------------------------------------------------------------------------

    def empty(self, shape: Shape, dtype: DType) -> KernelArray:
        """A contiguous array with nothing in it yet."""
        made = KernelArray(None, tuple(shape), dtype)
        made.buffer = self.runtime.allocate(max(1, made.size * dtype.itemsize))
        return made

    def contiguous(self, x: KernelArray) -> KernelArray:
        """The same values, one behind the other."""
        if x.contiguous:
            return x
        made = self.empty(x.shape, x.dtype)
        self.copy(x, made)
        return made

    def copy(self, x: KernelArray, y: KernelArray) -> None:
        """Write the values of `x` (broadcast to its shape) into `y`, which may be any view that nobody reads yet."""
        size = x.dtype.itemsize
        self.walk(
            ("copy", size), lambda form: copy(self.dialect, x.dtype, form), [x.broadcast(y.shape), y], y.shape
        )

    # -- kernels -------------------------------------------------------------------------------------------------------

    def walk(
        self, key: Key, make: Callable[[str], KernelSource], arrays: Sequence[KernelArray], shape: Shape
    ) -> None:
        """Launch an elementwise kernel on arrays of one shape, in the form that their strides allow."""
        if 0 in shape:
            return
        if all(x.contiguous for x in arrays):  # the frequent case, without looking at dimensions
            words = [arrays[0].size]
            for x in arrays:
                words += (x.offset, 1)
            self.run((*key, "flat"), lambda: make("flat"), arrays, words, words[0])
            return
        for form, words in launches(shape, [(x.offset, x.strides) for x in arrays]):
            # The default binds the loop's value.
            self.run((*key, form), lambda form=form: make(form), arrays, words, words[0])  # type: ignore[misc]

    def run(
        self,
        key: Key,
        make: Callable[[], KernelSource],
        arrays: Sequence[KernelArray],
        words: list[int],
        items: int,
    ) -> None:
        """Launch the kernel that `make` gives, compiled when `key` is met for the first time."""
        found = self._compiled.get(key)
        if found is None or isinstance(found, KernelError):
            found = self._compile(key, make)
        source, kernel = found
        self.runtime.launch(kernel, source, [x.buffer for x in arrays], words, items)

    def _compile(self, key: Key, make: Callable[[], KernelSource]) -> Compiled:
        with self._compiling:
            known = self._compiled.get(key)
            if isinstance(known, KernelError):
                raise known
            if known is None:
                source = make()
                try:
                    known = source, self.runtime.compile(source)
                except CompileError as error:
                    refused = failure.kernel_error(source.op, self.device, source.text, str(error))
                    self._compiled[key] = refused
                    raise refused from None
                self._compiled[key] = known
            return known

    # -- how work is divided: a runtime that knows better overrides these ----------------------------------------------

    def together(self, outs: int, count: int) -> bool:
        """Whether a group takes each of `outs` results of `count` elements together, not a work-item alone."""
        return count >= 2 * self.dialect.group and outs < 4096

    def parts(self, outs: int, count: int) -> int:
        """Into how many parts a fold of `count` elements is cut, where there are `outs` results."""
        if outs >= 64 or count < 64 * self.dialect.group:
            return 1
        return min(256, count // (16 * self.dialect.group))
