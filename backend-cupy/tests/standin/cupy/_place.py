"""Devices and streams of the stand-in: what is current in a thread, and what a stream captures."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

_local = threading.local()


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, name: str) -> None:
        super().__init__(name)
        self.status = status


def device_count() -> int:
    """Two devices unless STANDIN_DEVICES says otherwise."""
    return int(os.environ.get("STANDIN_DEVICES", "2"))


def current_device() -> int:
    return getattr(_local, "device", 0)


class Device:
    """As cupy.cuda.Device: a context that makes the device current in this thread."""

    def __init__(self, device: int | None = None) -> None:
        self.id = current_device() if device is None else int(device)
        if not 0 <= self.id < device_count():
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        self._before: list[int] = []

    def __enter__(self) -> Device:
        self._before = [*getattr(_local, "stack", []), current_device()]
        _local.stack = self._before
        _local.device = self.id
        return self

    def __exit__(self, *failure: Any) -> None:
        *_local.stack, _local.device = _local.stack

    def use(self) -> None:
        _local.device = self.id

    def synchronize(self) -> None:
        pass

    @property
    def pci_bus_id(self) -> str:
        return f"0000:{self.id + 1:02}:00.0"

    @property
    def compute_capability(self) -> str:
        return "80"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Graph:
    """What a stream captured: nothing of it ran yet."""

    def __init__(self, steps: list[Callable[[], None]]) -> None:
        self.steps = steps

    def launch(self, stream: Any = None) -> None:
        for step in self.steps:
            step()


_streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()


def stream_at(ptr: int) -> Stream:
    return _streams[ptr]


class Stream:
    """Work is done at once, in the order of the calls, but for what waits for other processes."""

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        self.device_id = current_device()
        self.captured: list[Callable[[], None]] | None = None
        self.pending: list[
            Callable[[], bool]
        ] = []  # what waits for other processes: each says whether it ended
        self.ptr = 0 if null else id(self)
        _streams[self.ptr] = self

    def __enter__(self) -> Stream:
        _local.streams = [*getattr(_local, "streams", []), getattr(_local, "stream", None)]
        _local.stream = self
        return self

    def __exit__(self, *failure: Any) -> None:
        *_local.streams, _local.stream = _local.streams

    def synchronize(self) -> None:
        if self.captured is not None:
            raise CUDARuntimeError(
                900, "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
            )
        while not ended(self):
            time.sleep(1e-4)

    def begin_capture(self, mode: int | None = None) -> None:
        self.captured = []

    def end_capture(self) -> Graph:
        steps, self.captured = self.captured, None
        return Graph(steps or [])

    def is_capturing(self) -> bool:
        return self.captured is not None


def ended(stream: Stream) -> bool:
    """Whether what waits for other processes has come."""
    while stream.pending and stream.pending[0]():
        stream.pending.pop(0)
    return not stream.pending


NULL = Stream(null=True)


def get_current_stream() -> Stream:
    return getattr(_local, "stream", None) or NULL


def capturing() -> list[Callable[[], None]] | None:
    return get_current_stream().captured


class Event:
    """Done as soon as it is recorded, but for what the stream waits for."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._stream: Stream | None = None

    def record(self, stream: Any = None) -> None:
        self._stream = stream

    def synchronize(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()

    @property
    def done(self) -> bool:
        return self._stream is None or ended(self._stream)
