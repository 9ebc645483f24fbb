"""OpenClRuntime: the queue as what mlcore's kernel library asks of a driver."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyopencl as cl

from mlcore.backends.kernel_library import CompileError
from mlcore.backends.protocol import MemoryStats
from mlcore.codegen import Dialect, KernelSource, combined
from mlcore.errors import MlcoreError
from mlcore_oneapi import errors
from mlcore_oneapi.dialect import GROUP
from mlcore_oneapi.families import family
from mlcore_oneapi.memory import Block
from mlcore_oneapi.queue import Launcher, Queue

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_WORDS: Final = [struct.Struct(f"<{n}q") for n in range(256)]
_PLACES: Final = [(0,)]


class OpenClRuntime:
    """One device's memory, compiler and queue."""

    def __init__(self, queue: Queue, dialect: Dialect) -> None:
        self.queue = queue
        processor = bool(queue.device.type & cl.device_type.CPU)
        units = max(1, int(queue.device.max_compute_units))
        self.most_groups = units * (32 if processor else 64)
        self.allocate = queue.take
        self.dialect = dialect
        self.together = "portable" in queue.device.platform.name.lower()
        self.made: dict[tuple[str, str], Launcher] = {}  # compiled with others and not asked for yet

    def upload(self, buffer: Block, data: Bytes) -> None:
        """Fill a block from its start."""
        self.queue.upload(buffer, data)

    def download(self, buffer: Block, start: int, data: Bytes) -> None:
        """Read bytes from `start` on, after all work so far."""
        self.queue.download(buffer, data, start)

    def compile(self, source: KernelSource) -> Launcher:
        """The kernel of a source."""
        made = self.made.pop((source.name, source.body), None)
        if made is not None:
            return made
        sources = family(self.dialect, source) if self.together else [source]
        names = [(one.name, (one.group or GROUP,)) for one in sources]
        try:
            kernels = self.queue.kernels(combined(sources), names)
        except CompileError:
            if len(sources) == 1:
                raise
            return self.queue.kernels(source.text, names[:1])[0]
        for one, kernel in zip(sources[1:], kernels[1:], strict=True):
            self.made[one.name, one.body] = kernel
        return kernels[0]

    def launch(
        self, kernel: Launcher, source: KernelSource, buffers: Sequence[Block], words: list[int], items: int
    ) -> None:
        """Queue a kernel: as many groups as there is work for, up to what keeps every unit busy."""
        group = source.group
        count = items if group else -(-items // GROUP)
        most = self.most_groups
        size = ((count if count < most else most) or 1) * (group or GROUP)
        given: list[Any] = []
        for i, block in enumerate(buffers):
            given.append(i)
            given.append(block.buffer)
        self.queue.launch(kernel, tuple(given), _WORDS[len(words)].pack(*words), (size,))

    def synchronize(self) -> None:
        """Wait until everything queued is done."""
        self.queue.synchronize()

    def memory_stats(self) -> MemoryStats:
        """What the pool counts."""
        return self.queue.pool.stats()

    def explain(self, error: Exception) -> MlcoreError | None:
        """What an exception of the driver means that came past the queue."""
        return errors.explained(self.queue.name, error)


__all__ = ["CompileError", "OpenClRuntime"]
