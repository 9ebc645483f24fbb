"""The reference backend: NumPy. It runs the declarations as they stand, and so is what the others are held against."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from mlcore.backends.protocol import Device, Kernel, MemoryStats
from mlcore.dtypes import DType, everything


class ReferenceBackend:
    """Arrays are `numpy.ndarray`; a kernel is an operation's `reference` with NumPy's warnings silenced.

    A backend whose arrays are NumPy arrays too can derive from this and end its `kernel` in ``super().kernel(op)``.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.dtypes: frozenset[DType] = everything

    def from_host(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A copy: the caller may change its array later."""
        return np.array(array, copy=True, order="K")

    def to_host(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The array itself."""
        return array

    def buffer(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """Memory for an array that the core fills and then takes for one of this device's: loaders make batches so."""
        return np.empty(shape, dtype)

    def synchronize(self) -> None:
        """Nothing to wait for: NumPy is synchronous."""

    def memory_stats(self) -> MemoryStats:
        """The machine's memory as the limit; NumPy does not count what it uses."""
        return MemoryStats(limit=physical_memory())

    def kernel(self, op: Any) -> Kernel | None:
        """The operation's own NumPy function."""
        if op.reference is None:
            return None
        return MovingKernel(op.reference) if op.group == "shape" else NumpyKernel(op.reference)


class NumpyKernel:
    """A reference function as a kernel: quiet about overflow, and always an array, of the declared kind."""

    __slots__ = ("call",)
    origin = "numpy"

    def __init__(self, call: Any) -> None:
        self.call = call

    def __call__(self, *args: Any) -> Any:
        with np.errstate(all="ignore"):
            found = self.call(*args)
        if isinstance(found, tuple):
            return tuple(np.asarray(one) for one in found)
        return found if isinstance(found, np.ndarray) else np.asarray(found)


class MovingKernel(NumpyKernel):
    """The same for what only moves values about: no arithmetic that could overflow, and nothing to pay for it."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        found = self.call(*args)
        return found if isinstance(found, np.ndarray) else np.asarray(found)


def physical_memory() -> int | None:
    """Bytes of memory the machine (or its container) has; None where the system does not say."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            total = min(total, int(file.read()))
    except (OSError, ValueError):
        pass
    return total
