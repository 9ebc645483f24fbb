"""Faults of a backend itself: memory, threads, dtypes, processes."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from faulty import (
    backend_fault,
)

from mlcore.backends.device import Device
from mlcore.backends.protocol import MemoryStats
from mlcore.backends.reference import ReferenceBackend
from mlcore.dtypes import float32, float64

# -- the backend itself --------------------------------------------------------------------------------------------


@backend_fault("from_host shares memory with the caller", "device/aliasing")
class _Sharing(ReferenceBackend):
    def from_host(self, array: Any) -> Any:
        return np.asarray(array)


@backend_fault("to_host gives the same buffer again", "device/aliasing")
class _Staging(ReferenceBackend):
    def to_host(self, array: Any) -> Any:
        buffers = self.__dict__.setdefault("buffers", {})
        buffer = buffers.setdefault((array.shape, array.dtype), np.empty(array.shape, array.dtype))
        buffer[...] = array
        return buffer


@backend_fault("from_host loses negative steps", "device/roundtrip/float32")
class _Forwards(ReferenceBackend):
    def from_host(self, array: Any) -> Any:
        if array.ndim and array.strides[0] < 0:
            array = array[::-1]
        return np.array(array)


@backend_fault("a buffer that all threads share", "device/threads")
class _Racy(ReferenceBackend):
    def kernel(self, op: Any) -> Any:
        right = super().kernel(op)
        if op.name != "tanh" or right is None:
            return right
        shared: dict[Any, Any] = {}

        def run(x: Any) -> Any:
            buffer = shared.setdefault((x.shape, x.dtype), np.empty_like(x))
            buffer[...] = x
            time.sleep(0.01)  # another thread's turn
            return right(buffer)

        return run


@backend_fault("a sum that depends on the number of threads", "reduce_sum")
class _Splitting(ReferenceBackend):
    threads = 1

    def set_num_threads(self, count: int) -> None:
        self.threads = count

    def get_num_threads(self) -> int:
        return self.threads

    def kernel(self, op: Any) -> Any:
        right = super().kernel(op)
        if op.name != "reduce_sum" or right is None:
            return right

        def run(x: Any, axis: Any, keepdims: bool) -> Any:
            if not x.ndim or 0 not in axis or x.shape[0] < 8 or x.dtype != np.float32:
                return right(x, axis, keepdims)
            parts = [right(part, axis, keepdims) for part in np.array_split(x, self.threads)]
            return np.asarray(sum(parts[1:], parts[0]))

        return run


@backend_fault("memory is never given back", "device/memory")
class _Leaking(ReferenceBackend):
    def from_host(self, array: Any) -> Any:
        made = super().from_host(array)
        self.__dict__.setdefault("kept", []).append(made)
        return made

    def memory_stats(self) -> MemoryStats:
        used = sum(one.nbytes for one in self.__dict__.get("kept", []))
        return MemoryStats(in_use=used, peak=used)


@backend_fault("statistics that say nothing grew", "device/memory")
class _Lying(ReferenceBackend):
    def memory_stats(self) -> MemoryStats:
        return MemoryStats(in_use=1000, peak=10)


@backend_fault("a forked child dies", "device/fork")
class _NotForkable(ReferenceBackend):
    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.owner = os.getpid()

    def from_host(self, array: Any) -> Any:
        if os.getpid() != self.owner:
            os._exit(3)
        return super().from_host(array)


@backend_fault("a dtype that is said to be held and is not", "device/roundtrip/float64")
class _Narrowing(ReferenceBackend):
    def from_host(self, array: Any) -> Any:
        with np.errstate(over="ignore"):
            return (
                np.array(array, dtype=np.float32) if array.dtype == np.float64 else super().from_host(array)
            )


@backend_fault("an operation that runs on the host and is not listed", "tan")
class _Missing(ReferenceBackend):
    def kernel(self, op: Any) -> Any:
        return None if op.name == "tan" else super().kernel(op)


def flushed(array: Any) -> Any:
    """Subnormal float32 numbers made 0, as many GPUs do it."""
    if getattr(array, "dtype", None) != np.float32:
        return array
    with np.errstate(all="ignore"):
        return np.where(np.abs(array) < np.finfo(np.float32).smallest_normal, np.float32(0) * array, array)


class Flushing(ReferenceBackend):
    """One of those, for formulas."""

    def kernel(self, op: Any) -> Any:
        right = super().kernel(op)
        if right is None or not op.elementwise:
            return right

        def run(*args: Any) -> Any:
            made = right(*map(flushed, args))
            return tuple(map(flushed, made)) if isinstance(made, tuple) else flushed(made)

        return run


class SaysSo(Flushing):
    """The same, and honest: no fault."""

    flushes = frozenset({float32})


backend_fault("subnormals are flushed and nobody says so", "device/subnormals/float32")(Flushing)


@backend_fault("subnormals are said to be flushed and are not", "device/subnormals/float64")
class _Boasting(Flushing):
    flushes = frozenset({float32, float64})
