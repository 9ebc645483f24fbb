"""Arrays between host and device, large ones through page-locked memory, which the device reads by itself."""

from __future__ import annotations

import collections
import threading
from typing import Any

import numpy as np

from mlcore_cupy.runtime import Runtime

PINNED_FROM = 64 * 1024  # bytes: below, page-locked memory costs more than it saves
MOST_STAGED = 4  # uploads that may be under way


class Transfers:
    """Copies on a runtime's stream. An upload returns when the caller's array may change; the device may still copy."""

    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self._lock = threading.Lock()
        self._staged: collections.deque[tuple[Any, Any]] = collections.deque()

    def _pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """An array in page-locked memory, from CuPy's pool of it; the memory goes back when the array does."""
        count = int(np.prod(shape, dtype=np.int64))
        size = count * np.dtype(dtype).itemsize
        memory = self.rt.cupy.cuda.alloc_pinned_memory(size)
        return np.asarray(np.frombuffer(memory, dtype=np.uint8, count=size).view(dtype).reshape(shape))

    def up(self, array: np.ndarray[Any, Any]) -> Any:
        """A device array with these values."""
        cupy = self.rt.cupy
        dtype = array.dtype.newbyteorder("=")
        made = cupy.empty(array.shape, dtype=dtype)
        if not array.size:
            return made
        if array.nbytes < PINNED_FROM:
            made.set(np.array(array, dtype=dtype, order="C", copy=True, ndmin=0), stream=self.rt.stream)
            return made
        staged = self._pinned(array.shape, dtype)
        staged[...] = array
        made.set(staged, stream=self.rt.stream)
        self._keep(staged)
        return made

    def _keep(self, staged: np.ndarray[Any, Any]) -> None:
        """Hold what the device still reads until it has done so."""
        event = self.rt.cupy.cuda.Event(block=True, disable_timing=True)
        event.record(self.rt.stream)
        with self._lock:
            self._staged.append((event, staged))
            while self._staged and (self._staged[0][0].done or len(self._staged) > MOST_STAGED):
                first, _ = self._staged.popleft()
                first.synchronize()

    def down(self, array: Any) -> np.ndarray[Any, Any]:
        """The values on the host; returns when they are there."""
        if array.nbytes < PINNED_FROM:
            return np.asarray(array.get(stream=self.rt.stream, order="C"))
        staged = self._pinned(array.shape, array.dtype)
        array = self.rt.cupy.ascontiguousarray(array)
        array.get(stream=self.rt.stream, out=staged, blocking=True)
        return staged
