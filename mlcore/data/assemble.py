"""A batch put together while its samples are loaded: each array goes to its place in the batch at once, so that the
samples are never all in memory beside it.

This is `default_collate`, only earlier. What does not fit together (another shape, dtype or kind than the first
sample's) is left to that function, which says what is wrong or knows what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlcore import dtypes
from mlcore.backends import detect
from mlcore.data.collate import default_collate
from mlcore.errors import MlcoreError
from mlcore.inputs import check_holds
from mlcore.tensor import Tensor, wrap

Array = np.ndarray[Any, Any]
Room = Callable[[tuple[int, ...], Any], Array]


class Assembly:
    """A batch of `count` samples. `room` gives the memory of an array, `done` makes of it what the batch has."""

    def __init__(self, count: int, room: Room, done: Callable[[Array], Any]) -> None:
        self.count, self.room, self.done = count, room, done
        self.root: _Part | None = None
        self.given = 0
        self.samples: list[Any] | None = None  # when it is left to default_collate

    def add(self, sample: Any) -> None:
        """The next sample."""
        if self.samples is None:
            root = self.root
            if root is None:
                root = self.root = _part(sample, self)
            if root.put(self.given, sample):
                self.given += 1
                return
            self.samples = [root.sample(i) for i in range(self.given)]
        self.samples.append(sample)

    def batch(self) -> Any:
        """The batch of all samples that were added."""
        if self.samples is not None:
            return default_collate(self.samples)
        if self.root is None or self.given != self.count:
            return default_collate([self.root.sample(i) for i in range(self.given)] if self.root else [])
        return self.root.batch()


def for_device(count: int) -> Assembly | None:
    """An assembly straight into tensors of the default device; None if its memory is not the host's."""
    device = detect.resolve(None)
    room = getattr(device.backend, "buffer", None)
    if room is None:
        return None

    def done(array: Array) -> Any:
        dtype = dtypes.from_numpy(array.dtype)
        check_holds(dtype, device)
        return wrap(array, device, dtype, array.shape)

    return Assembly(count, room, done)


class _Part:
    """A place in the sample's structure, and what the samples have there. This one keeps things as they are."""

    def __init__(self, first: Any) -> None:
        self.kind = type(first)
        self.values: list[Any] = []

    def put(self, place: int, value: Any) -> bool:
        """Take what a sample has there; False if it does not fit."""
        if type(value) is not self.kind:
            return False
        self.values.append(value)
        return True

    def sample(self, place: int) -> Any:
        return self.values[place]

    def batch(self) -> Any:
        return default_collate(self.values)


class _ArrayPart(_Part):
    """NumPy arrays of one shape and dtype."""

    def __init__(self, first: Array, dtype: Any, assembly: Assembly) -> None:
        self.dtype, self.shape, self.done = first.dtype, first.shape, assembly.done
        self.kind = np.ndarray
        self.rows = assembly.room((assembly.count, *first.shape), dtype)

    def put(self, place: int, value: Any) -> bool:
        if type(value) is not np.ndarray or value.dtype != self.dtype or value.shape != self.shape:
            return False
        self.rows[place] = value
        return True

    def sample(self, place: int) -> Any:
        return self.rows[place, ...]

    def batch(self) -> Any:
        return self.done(self.rows)


class _TensorPart(_ArrayPart):
    """Tensors of the default device, off the tape."""

    def __init__(self, first: Tensor, assembly: Assembly) -> None:
        self.device = first.device
        host = self.device.to_host(first.array)
        super().__init__(host, host.dtype, assembly)

    def put(self, place: int, value: Any) -> bool:
        if type(value) is not Tensor or value.device is not self.device or value.shape != self.shape:
            return False
        host = self.device.to_host(value.array)
        if value.node is not None or value.requires_grad or host.dtype != self.dtype:
            return False
        self.rows[place] = host
        return True

    def sample(self, place: int) -> Any:
        row = np.array(self.rows[place, ...])
        return wrap(self.device.from_host(row), self.device, dtypes.from_numpy(row.dtype), row.shape)


class _Sequence(_Part):
    def __init__(self, first: Any, assembly: Assembly) -> None:
        self.kind = type(first)
        self.parts = [_part(one, assembly) for one in first]
        self.puts = [part.put for part in self.parts]

    def put(self, place: int, value: Any) -> bool:
        if type(value) is not self.kind or len(value) != len(self.parts):
            return False
        for put, one in zip(self.puts, value):  # noqa: SIM110 (it is run for each sample)
            if not put(place, one):
                return False
        return True

    def _made(self, values: list[Any]) -> Any:
        return self.kind(*values) if hasattr(self.kind, "_fields") else self.kind(values)

    def sample(self, place: int) -> Any:
        return self._made([part.sample(place) for part in self.parts])

    def batch(self) -> Any:
        return self._made([part.batch() for part in self.parts])


class _Dict(_Part):
    def __init__(self, first: Mapping[Any, Any], assembly: Assembly) -> None:
        self.kind = type(first)
        self.parts = {key: _part(one, assembly) for key, one in first.items()}

    def put(self, place: int, value: Any) -> bool:
        if type(value) is not self.kind or value.keys() != self.parts.keys():
            return False
        for key, part in self.parts.items():  # noqa: SIM110 (it is run for each sample)
            if not part.put(place, value[key]):
                return False
        return True

    def sample(self, place: int) -> Any:
        return {key: part.sample(place) for key, part in self.parts.items()}

    def batch(self) -> Any:
        return {key: part.batch() for key, part in self.parts.items()}


def _part(value: Any, assembly: Assembly) -> _Part:
    """The part for a value of the first sample."""
    kind = type(value)
    if kind is np.ndarray:
        try:
            return _ArrayPart(value, dtypes.from_numpy(value.dtype).numpy, assembly)
        except MlcoreError:  # no dtype of ours: default_collate says so
            return _Part(value)
    if kind is Tensor and value.device is detect.resolve(None) and hasattr(value.device.backend, "buffer"):
        return (
            _TensorPart(value, assembly) if value.node is None and not value.requires_grad else _Part(value)
        )
    if kind is dict:
        return _Dict(value, assembly)
    if kind in (tuple, list) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return _Sequence(value, assembly)
    return _Part(value)
