"""cupy.cuda of the stand-in."""

from cupy._memory import (
    MemoryPointer,
    MemoryPool,
    PinnedMemoryPool,
    alloc,
    alloc_pinned_memory,
    using_allocator,
)
from cupy._place import Device, Event, Graph, Stream, get_current_stream
from cupy.cuda import compiler, memory, runtime


def is_available() -> bool:
    return True


__all__ = [
    "Device", "Event", "Graph", "MemoryPointer", "MemoryPool", "PinnedMemoryPool", "Stream", "alloc",
    "alloc_pinned_memory", "compiler", "get_current_stream", "is_available", "memory", "runtime", "using_allocator",
]  # fmt: skip
