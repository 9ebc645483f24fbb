"""The memory pool: blocks of an OpenCL device, kept by size for the next array of that size.

A block that is let go is used again at once: commands run in the order in which they were queued, so whoever gets
it next writes after all that still read it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from mlcore.backends.protocol import MemoryStats

SMALLEST: Final = 256
KEPT: Final = 4  # what is kept for reuse is at most the device's memory divided by this


def size_class(size: int) -> int:
    """The size of the block for `size` bytes: a power of two or one of three (above 1 MiB seven) steps between.

    >>> [size_class(n) for n in (0, 256, 257, 1000, 2**20 + 1)]
    [256, 256, 320, 1024, 1179648]
    """
    if size <= SMALLEST:
        return SMALLEST
    shift = max(0, (size - 1).bit_length() - (4 if size > 1 << 20 else 3))
    return -(-size >> shift) << shift


class Block:
    """A piece of device memory; when nobody refers to it any more, its buffer goes back to the pool."""

    __slots__ = ("buffer", "returned", "size")

    def __init__(self, buffer: Any, size: int, returned: deque[tuple[int, Any]]) -> None:
        self.buffer = buffer
        self.size = size
        self.returned = returned

    def __del__(self) -> None:
        self.returned.append((self.size, self.buffer))  # no lock: this may run in the middle of anything


class Pool:
    """Blocks by size. `make(size)` allocates; it raises an error that `is_full` knows when there is no room.

    >>> pool = Pool(bytearray, lambda error: False, 1 << 20)
    >>> block = pool.take(1000)
    >>> pool.stats().in_use, pool.stats().reserved
    (1024, 1024)
    >>> del block
    >>> pool.stats().in_use, pool.stats().reserved, pool.release(), pool.stats().reserved
    (0, 1024, 1024, 0)
    """

    def __init__(
        self, make: Callable[[int], Any], is_full: Callable[[BaseException], bool], limit: int,
        largest: int | None = None,
    ) -> None:  # fmt: skip
        self.make, self.is_full = make, is_full
        self.limit = limit
        self.largest = largest or limit
        self.in_use = self.peak = self.kept = 0
        self.returned: deque[tuple[int, Any]] = deque()
        self.free: dict[int, list[Any]] = {}
        self.lock = threading.RLock()

    def take(self, size: int) -> Block:
        """A block of at least `size` bytes. Raises what `make` raised, or MemoryError beyond the limit."""
        if size <= SMALLEST:
            size = SMALLEST
        else:
            size = size_class(size)
        with self.lock:
            if self.returned:
                self._collect()
            found = self.free.get(size)
            if found:
                buffer = found.pop()
                self.kept -= size
            else:
                buffer = self._make(size)
            self.in_use += size
            if self.in_use > self.peak:
                self.peak = self.in_use
            return Block(buffer, size, self.returned)

    def _make(self, size: int) -> Any:
        if size > self.largest:
            raise MemoryError(f"the device's largest block is {self.largest:,} bytes")
        if self.in_use + size > self.limit:
            raise MemoryError(f"{self.in_use:,} of {self.limit:,} bytes are in use")
        if self.in_use + self.kept + size > self.limit:
            self.release()
        try:
            return self.make(size)
        except BaseException as error:
            if not self.is_full(error):
                raise
        self.release()
        return self.make(size)

    def _collect(self) -> None:
        """Take in the blocks that were let go."""
        returned, free = self.returned, self.free
        while returned:
            size, buffer = returned.popleft()
            self.in_use -= size
            self.kept += size
            free.setdefault(size, []).append(buffer)
        if self.kept > self.limit // KEPT:
            self._trim(self.limit // KEPT)

    def _trim(self, most: int) -> int:
        """Drop kept buffers, the largest first, until at most `most` bytes are kept; the bytes dropped."""
        before = self.kept
        for size in sorted(self.free, reverse=True):
            buffers = self.free[size]
            while buffers and self.kept > most:
                buffers.pop()
                self.kept -= size
        return before - self.kept

    def release(self) -> int:
        """Give what is kept for reuse back to the device; how many bytes that were."""
        with self.lock:
            self._collect()
            return self._trim(0)

    def stats(self) -> MemoryStats:
        """Bytes in arrays now, their peak, and with what is kept for reuse."""
        with self.lock:
            self._collect()
            return MemoryStats(self.in_use, self.peak, self.in_use + self.kept, self.limit)

    def text(self) -> str:
        """The same in words, for an error."""
        found = self.stats()
        return f"{found.in_use:,} bytes in use, {found.reserved:,} reserved, {found.limit:,} at most"
