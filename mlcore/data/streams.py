"""What a sample may ask while it is loaded: its random stream, and which worker it is in."""

from __future__ import annotations

import contextlib
import random as python_random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcore.ops import random


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Which worker this is: `id` of `num_workers`, the `seed` it started with, and its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class _Current(threading.local):
    batch: tuple[int, int] | None = None  # the seed of the epoch's streams, and the batch's number
    generator: Any = None  # made when somebody asks, like rng
    rng: np.random.Generator | None = None
    info: WorkerInfo | None = None


_current = _Current()


def get_worker_info() -> WorkerInfo | None:
    """The worker that runs this code, a thread or a process; None outside a worker.

    >>> from mlcore import data
    >>> data.get_worker_info() is None
    True
    """
    return _current.info


def set_worker_info(info: WorkerInfo | None) -> None:
    """Say which worker this thread is."""
    _current.info = info


def sample_generator() -> Any:
    """The random generator for the sample that is being loaded; mlcore's default one outside a loader.

    Each batch has a stream of its own, so augmentations that draw from this are the same for any number of workers.

    >>> from mlcore import data
    >>> import mlcore as ml
    >>> data.sample_generator() is ml.random.default_generator()
    True
    """
    if _current.generator is None:
        if _current.batch is None:
            return random.default_generator()
        _current.generator = _stream(*_current.batch)
    return _current.generator


def sample_rng() -> np.random.Generator:
    """The same as a NumPy generator, which is much quicker for single numbers: what transforms draw from.

    Outside a loader it starts from mlcore's default generator, and moves that one on.

    >>> from mlcore import data
    >>> import mlcore as ml
    >>> _ = ml.manual_seed(1)
    >>> 0 <= data.sample_rng().random() < 1
    True
    """
    if _current.batch is None:
        source = random.default_generator()
        return np.random.default_rng((source.seed, source.take(1)))
    if _current.rng is None:
        _current.rng = np.random.default_rng((sample_generator().seed, 1))
    return _current.rng


def _stream(epoch: int, number: int) -> Any:
    return random.Generator(epoch).spawn(number)


class BatchStream:
    """Meanwhile `sample_generator()` and `sample_rng()` are a batch's own; with `reseed`, the global generators start
    from its stream.
    """

    __slots__ = ("batch", "before", "reseed")

    def __init__(self, epoch: int, number: int, reseed: bool) -> None:
        self.batch, self.reseed = (epoch, number), reseed

    def __enter__(self) -> None:
        self.before = _current.batch, _current.generator, _current.rng
        set_stream(*self.batch, self.reseed)

    def __exit__(self, *_: object) -> None:
        _current.batch, _current.generator, _current.rng = self.before


def set_stream(epoch: int, number: int, reseed: bool) -> None:
    """Go on with another batch's stream, inside `BatchStream`."""
    _current.batch, _current.generator, _current.rng = (epoch, number), None, None
    if reseed:
        seed_globals(sample_generator().seed)


def seed_globals(seed: int) -> None:
    """Start Python's `random`, NumPy's global generator and mlcore's default one from a batch's seed."""
    words = random.Generator(seed)
    first, second, third = (words.spawn(i).seed for i in range(3))
    python_random.seed(first)
    np.random.seed([second >> 32, second & 0xFFFFFFFF])
    random.manual_seed(third)


@contextlib.contextmanager
def globals_kept() -> Iterator[None]:
    """Put the three global generators back to where they stood."""
    states = python_random.getstate(), np.random.get_state(), random.get_state()
    try:
        yield
    finally:
        python_random.setstate(states[0])
        np.random.set_state(states[1])
        random.set_state(states[2])
