"""Runtime: the little that a device's driver has to do for a backend of generated kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from mlcore.backends.protocol import MemoryStats
from mlcore.codegen.source import KernelSource

Buffer = Any
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class CompileError(Exception):
    """A source that the driver's compiler refused; the text is what the compiler said."""


class Runtime(Protocol):
    """Memory, a compiler and a queue. Work goes in order: a launch sees what those before it wrote.

    Failures are raised as the driver's own exceptions, or as MemoryError. A runtime with a method ``explain(error)``
    tells them apart, as a backend's does: a lost device, full memory.
    """

    def allocate(self, size: int) -> Buffer:
        """Memory of `size` bytes (at least 1), aligned for every dtype; given back when nobody holds it any more."""
        ...

    def upload(self, buffer: Buffer, data: Bytes) -> None:
        """Fill a buffer from its start. The caller may change `data` as soon as this returns."""
        ...

    def download(self, buffer: Buffer, start: int, data: Bytes) -> None:
        """Read ``data.size`` bytes from byte `start` on into `data`, after all work so far is done."""
        ...

    def compile(self, source: KernelSource) -> Any:
        """A kernel ready to launch; raises CompileError with the compiler's messages."""
        ...

    def launch(
        self, kernel: Any, source: KernelSource, buffers: Sequence[Buffer], words: list[int], items: int
    ) -> None:
        """Queue a kernel with its arrays and words.

        Where ``source.group`` is 0, `items` is how many elements there are to do, by any number of work-items; else how
        many groups of ``source.group`` work-items have something to do; fewer groups take turns.
        """
        ...

    def synchronize(self) -> None:
        """Wait until everything queued is done."""
        ...

    def memory_stats(self) -> MemoryStats:
        """Bytes in use, where the runtime counts them."""
        ...
