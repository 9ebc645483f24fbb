"""Tools: what the tuned kernels are launched with. Kernels are compiled when they are first used, and kept."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import Any, Final

import pyopencl as cl

from mlcore.dtypes import DType, float32, float64
from mlcore_oneapi.products_source import NUMBERS
from mlcore_oneapi.queue import Launcher, Queue

FLOATS: Final = frozenset({float32, float64})
_NUMBERS: Final = struct.Struct(f"<{NUMBERS}q")
_PAD: Final = [(0,) * (NUMBERS - i) for i in range(NUMBERS + 1)]


def numbers(*values: int) -> bytes:
    """The words of a launch."""
    return _NUMBERS.pack(*values, *_PAD[len(values)])


def real(value: float, dtype: DType) -> int:
    """A float as the word that carries its bits."""
    if dtype is float64:
        return int.from_bytes(struct.pack("<d", value), "little", signed=True)
    return int.from_bytes(struct.pack("<f", value), "little")


class Tools:
    """The queue, and the kernels that have been asked for. `arrays` is the backend, which makes arrays."""

    def __init__(self, queue: Queue, arrays: Any) -> None:
        self.queue, self.arrays = queue, arrays
        device = queue.device
        self.units = max(1, int(device.max_compute_units))
        self.processor = bool(device.type & cl.device_type.CPU)
        self.lock = threading.Lock()
        self.made: dict[Any, Launcher] = {}

    def get(
        self,
        source: Callable[..., str],
        dtype: DType,
        *more: Any,
        local: tuple[int, ...] = (1, 1, 1),
        **how: Any,
    ) -> Launcher:
        """The kernel of a source function for float32 or float64."""
        key = (source, dtype, more, *how.values())
        found = self.made.get(key)
        if found is None:
            with self.lock:
                found = self.made.get(key)
                if found is None:
                    text = source(dtype is float64, *more, **how)
                    (found,) = self.queue.kernels(text, [(source.__name__, local)])
                    self.made[key] = found
        return found

    def run(self, kernel: Launcher, arrays: tuple[Any, ...], words: bytes, size: tuple[int, ...]) -> None:
        """Launch on arrays (their whole buffers; where a view begins is a word)."""
        buffers: list[Any] = []
        for i, one in enumerate(arrays):
            buffers += (i, one.buffer.buffer)
        self.queue.launch(kernel, tuple(buffers), words, size)

    def shares(self, count: int, work: int = 1, least: int = 4096) -> tuple[int, int]:
        """(work-items, how many of `count` each takes): few enough that each has something to do."""
        most = max(1, min(count, count * work // least, 8 * self.units))
        per = -(-count // most)
        return -(-count // per), per


def merged(shape: tuple[int, ...], strides: tuple[int, ...]) -> list[tuple[int, int]]:
    """(size, stride) with dimensions of size 1 left out and neighbours joined where that is one walk.

    >>> merged((2, 3, 1, 4), (12, 4, 9, 1))
    [(24, 1)]
    """
    found: list[tuple[int, int]] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return found


def is_contiguous(array: Any) -> bool:
    """Whether the elements lie in row-major order without gaps."""
    step = 1
    for size, stride in zip(reversed(array.shape), reversed(array.strides)):
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True
