"""Memory of the stand-in: NumPy buffers with guarded ends, counted by pools as CuPy counts them."""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any

import numpy as np

from cupy._place import current_device

GUARD, ROUND, FILL = 64, 512, 0xA5
LIMIT = 8 << 30  # bytes of each device


class OutOfMemoryError(MemoryError):
    """As CuPy's, which derives from MemoryError."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")


class Memory:
    """A block: a pool's bytes between guards; it goes back to the pool when nobody points into it."""

    def __init__(self, size: int, device: int, pool: MemoryPool | None) -> None:
        self.size, self.device_id, self.pool = size, device, pool
        self.whole = np.full(size + 2 * GUARD + 64, FILL, dtype=np.uint8)
        first = self.whole.ctypes.data + GUARD
        self.start = GUARD + (-first) % 64
        self.ptr = self.whole.ctypes.data + self.start
        self.bytes = self.whole[self.start : self.start + size]
        self.bytes[...] = 0xFF  # nan for floats: memory comes with anything in it

    def intact(self) -> bool:
        """Whether nothing was written just before or behind the block."""
        ends = (self.whole[self.start - GUARD : self.start], self.whole[self.start + self.size :])
        return all(bool((end == FILL).all()) for end in ends)


class MemoryPointer:
    """A place in a block."""

    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self.offset = mem, offset
        self.ptr = mem.ptr + offset if mem.size else 0
        self.device_id = mem.device_id

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.offset + offset)


class MemoryPool:
    """Counts what is given out and what is kept, by device."""

    def __init__(self, allocator: Any = None) -> None:
        self._lock = threading.RLock()
        self._used: dict[int, int] = {}
        self._kept: dict[int, int] = {}
        self._limit: dict[int, int] = {}

    def malloc(self, size: int) -> MemoryPointer:
        device = current_device()
        rounded = -(-size // ROUND) * ROUND
        with self._lock:
            used, kept = self._used.get(device, 0), self._kept.get(device, 0)
            limit = self._limit.get(device, 0) or LIMIT
            if used + rounded > limit:
                raise OutOfMemoryError(rounded, used, limit)
            self._used[device] = used + rounded
            self._kept[device] = max(0, kept - rounded)
        memory = Memory(size, device, self)
        weakref.finalize(memory, self._back, device, rounded)
        return MemoryPointer(memory, 0)

    def _back(self, device: int, size: int) -> None:
        with self._lock:
            self._used[device] -= size
            self._kept[device] = self._kept.get(device, 0) + size

    def used_bytes(self) -> int:
        return self._used.get(current_device(), 0)

    def free_bytes(self) -> int:
        return self._kept.get(current_device(), 0)

    def total_bytes(self) -> int:
        return self.used_bytes() + self.free_bytes()

    def free_all_blocks(self, stream: Any = None) -> None:
        self._kept[current_device()] = 0

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        self._limit[current_device()] = size or 0

    def get_limit(self) -> int:
        return self._limit.get(current_device(), 0)


class PinnedMemoryPointer(bytearray):
    """Page-locked memory; it is a buffer, as CuPy's is."""

    @property
    def ptr(self) -> int:
        return ctypes.addressof((ctypes.c_char * len(self)).from_buffer(self))


class PinnedMemoryPool:
    def free_all_blocks(self) -> None:
        pass

    def n_free_blocks(self) -> int:
        return 0


_pool = MemoryPool()
_pinned = PinnedMemoryPool()
_local = threading.local()


def alloc(size: int) -> MemoryPointer:
    """From the allocator that `using_allocator` set, else from the default pool."""
    return (getattr(_local, "allocator", None) or _pool.malloc)(size)


class using_allocator:
    def __init__(self, allocator: Any = None) -> None:
        self.allocator = allocator

    def __enter__(self) -> None:
        self.before = getattr(_local, "allocator", None)
        _local.allocator = self.allocator

    def __exit__(self, *failure: Any) -> None:
        _local.allocator = self.before


def get_default_memory_pool() -> MemoryPool:
    return _pool


def get_default_pinned_memory_pool() -> PinnedMemoryPool:
    return _pinned


def alloc_pinned_memory(size: int) -> PinnedMemoryPointer:
    return PinnedMemoryPointer(size)
