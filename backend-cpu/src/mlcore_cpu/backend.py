"""CpuBackend: NumPy arrays, our kernels where there is one, the core's compositions and NumPy where not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlcore.backends.protocol import Device, MemoryStats
from mlcore.backends.reference import ReferenceBackend, physical_memory
from mlcore.dtypes import DType, all_dtypes
from mlcore.errors import ArgumentError
from mlcore_cpu.catalog import CATALOG
from mlcore_cpu.loader import kernels

Array = np.ndarray[Any, Any]


class CpuBackend(ReferenceBackend):
    """One device: the processor. Memory comes from the caching allocator, work goes to the thread pool."""

    def __init__(self, device: Device, options: Mapping[str, str] | None = None) -> None:
        super().__init__(device)
        for name, value in (options or {}).items():
            if name != "threads" or not value.isdigit() or int(value) < 1:
                raise ArgumentError(f"device option {name}={value!r}", known="threads=N, N at least 1")
            kernels.set_num_threads(int(value))

    def from_host(self, array: Array) -> Array:
        """A copy in the array's own memory order."""
        if array.dtype.kind == "c" or not array.dtype.isnative:
            return super().from_host(array)
        return kernels.copy(array)  # type: ignore[no-any-return]

    def memory_stats(self) -> MemoryStats:
        """What the caching allocator holds (results of 64 KiB and more)."""
        stats = kernels.memory_stats()
        limit = stats["limit"] or physical_memory()
        return MemoryStats(stats["in_use"], stats["peak"], stats["reserved"], limit)

    def empty_cache(self) -> int:
        """Give what the caching allocator keeps for reuse back to the system; the bytes given back."""
        return int(kernels.trim_memory())

    def set_num_threads(self, count: int) -> None:
        """How many threads kernels use; the results do not depend on it."""
        kernels.set_num_threads(count)

    def get_num_threads(self) -> int:
        """Threads that kernels use, the calling one included."""
        return int(kernels.get_num_threads())

    def kernel(self, op: Any) -> Callable[..., Any] | None:
        """Ours for the dtypes it covers; else NumPy's reference, or None for a composition."""
        reference = super().kernel(op)
        make = CATALOG.get(op.name) or CATALOG.get(f"family:{op.family}") or CATALOG.get(f"group:{op.group}")
        if make is None:
            return reference
        made = make(op, reference)
        if made is None:
            return reference
        if reference is None and hasattr(made, "codes"):  # views have none: they take any dtype
            made.dtypes = frozenset(_dtype(code) for code in made.codes())
        return made  # type: ignore[no-any-return]


def _dtype(code: int) -> DType:
    return all_dtypes[code]
