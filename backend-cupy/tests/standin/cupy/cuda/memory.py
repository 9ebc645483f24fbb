from cupy._memory import Memory, MemoryPointer, MemoryPool, OutOfMemoryError, alloc

__all__ = ["Memory", "MemoryPointer", "MemoryPool", "OutOfMemoryError", "alloc"]
