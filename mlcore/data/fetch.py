"""How one batch is made: the samples' indices in, the collated batch out, errors with the sample's number.

A worker thread shares the fetcher; a worker process has a copy of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from mlcore.data import streams
from mlcore.data.assemble import Assembly, for_device
from mlcore.data.collate import default_collate
from mlcore.errors import DataError

NOWHERE: Final = -1  # the cell's value outside a sample


class Cell(Protocol):
    """Where the position of the sample that is being loaded is written down: a list, or memory that others see."""

    def __setitem__(self, index: Any, position: Any, /) -> None: ...


class Job(NamedTuple):
    """One batch to be made: its number in the epoch, what it is made of, and the seed that all streams come from."""

    number: int
    what: Any  # a list of indices, one index, or for an iterable dataset a Start or None
    streams: int

    def label(self) -> str:
        """What an error message calls it."""
        if self.what is None or isinstance(self.what, Start):
            return f"batch {self.number}"
        if isinstance(self.what, (list, tuple, np.ndarray)):
            return f"samples {some(self.what)}"
        return f"sample {self.what}"

    def sample(self, position: int) -> str:
        """The sample at a position of the batch, or the batch."""
        if position >= 0 and isinstance(self.what, (list, tuple, np.ndarray)) and position < len(self.what):
            return f"sample {self.what[position]}"
        return self.label()


class Start(NamedTuple):
    """The first job of an epoch of an iterable dataset: where to begin."""

    skip: int  # batches to read past
    state: Any  # (samples that came before, the dataset's own state) instead of reading past them


class Piece(NamedTuple):
    """What an iterable dataset's job gives."""

    ended: bool
    batch: Any
    state: Any


class Fetcher:
    """Makes batches of one dataset. `kind`: 'sample', 'batch', 'whole' (the dataset makes batches), or 'stream'."""

    def __init__(
        self, dataset: Any, collate: Callable[[Any], Any], kind: str, batch_size: int | None, drop_last: bool
    ) -> None:
        self.dataset, self.collate, self.kind = dataset, collate, kind
        self.batch_size, self.drop_last = batch_size, drop_last
        self.assembly: Callable[[int], Assembly | None] = for_device  # a worker process has its own way
        self.reader: _Reader | None = None

    def make(self, job: Job, cell: Cell, reseed: bool) -> Any:
        """The batch. `cell[0]` is the position of the sample that is being loaded meanwhile."""
        with streams.BatchStream(job.streams, job.number, reseed):
            try:
                if self.kind == "stream":
                    return self._piece(job, cell, reseed)
                if self.kind == "sample":
                    return self._collate(self._get(job.what), job)
                return self._batch(job, cell)
            finally:
                cell[0] = NOWHERE

    # -- samples by number ----------------------------------------------------------------------------------------

    def _batch(self, job: Job, cell: Cell) -> Any:
        if self.kind == "whole":
            try:
                return self.dataset.batch(np.asarray(job.what, dtype=np.int64))
            except Exception as error:
                self._note(error, f"while loading {job.label()}")
                raise
        indices = [int(i) if isinstance(i, np.integer) else i for i in job.what]
        several = getattr(self.dataset, "__getitems__", None)
        if callable(several) and not getattr(self.dataset, "one_by_one", False):
            return self._collate(self._several(several, indices, job), job)
        assembly = self.assembly(len(indices)) if self.collate is default_collate else None
        samples: list[Any] = []
        add = samples.append if assembly is None else assembly.add
        for position, index in enumerate(indices):
            cell[0] = position
            add(self._get(index))
        cell[0] = NOWHERE
        return self._collate(samples, job, assembly)

    def _several(self, several: Callable[[list[Any]], Any], indices: list[Any], job: Job) -> list[Any]:
        try:
            samples = list(several(indices))
        except Exception as error:
            self._note(error, f"while loading {job.label()}")
            raise
        if len(samples) != len(indices):
            raise DataError(
                f"{type(self.dataset).__name__}.__getitems__ gave {len(samples)} samples for {len(indices)} indices",
                fix="return one for each, in their order",
            )
        return samples

    def _collate(self, samples: Any, job: Job, assembly: Assembly | None = None) -> Any:
        try:
            return self.collate(samples) if assembly is None else assembly.batch()
        except Exception as error:
            self._note(error, f"while making a batch of {job.label()}")
            raise

    def _get(self, index: Any) -> Any:
        try:
            return self.dataset[index]
        except IndexError as error:
            size, name = len(self.dataset), type(self.dataset).__name__
            if isinstance(index, int) and 0 <= index < size:
                raise DataError(
                    f"sample {index} of {name}, whose length is {size}, raised IndexError: {error}",
                    cause="__len__ promises more samples than __getitem__ has, or the sample itself failed",
                    fix="make __len__ and __getitem__ agree",
                ) from error
            error.add_note(f"while loading sample {index} of {name}, whose length is {size}")
            raise
        except Exception as error:
            self._note(error, f"while loading sample {index}")
            raise

    def _note(self, error: Exception, text: str) -> None:
        error.add_note(f"{text} of {type(self.dataset).__name__}")

    # -- samples one after the other --------------------------------------------------------------------------------

    def _piece(self, job: Job, cell: Cell, reseed: bool) -> Piece:
        if isinstance(job.what, Start):
            self.reader = _Reader(self, job.what, job.streams, reseed)
            self.reader.number = job.number if job.what.state is not None else 0
            self.reader.skip(job.number, cell)
            streams.set_stream(job.streams, job.number, reseed)
        assert self.reader is not None
        return self.reader.read(job, cell)


@dataclass(frozen=True)
class Crew:
    """What a pool of workers is told: what they do, how many, how long to wait for them, and whether they stay."""

    fetcher: Fetcher
    count: int
    timeout: float
    setup: Callable[[int], Any] | None
    seed: int
    persistent: bool

    def seed_of(self, number: int) -> int:
        """The seed of a worker."""
        return (self.seed + number) % 2**64


class _Reader:
    """Takes batch after batch from an iterable dataset, and holds its length against what came."""

    def __init__(self, fetcher: Fetcher, start: Start, streams: int, reseed: bool) -> None:
        self.fetcher, self.streams, self.reseed = fetcher, streams, reseed
        self.ended, self.count, self.number = False, 0, 0
        self.samples: Iterator[Any] | None = None
        self.state = start.state

    def skip(self, number: int, cell: Cell) -> None:
        """Read past the batches before this one, each with the random stream that it had."""
        while self.number < number and not self.ended:
            streams.set_stream(self.streams, self.number, self.reseed)
            self._take(cell)

    def read(self, job: Job, cell: Cell) -> Piece:
        if self.ended:
            return Piece(True, None, None)
        fetcher = self.fetcher
        found = self._take(cell)
        whole = len(found) == (fetcher.batch_size or 1)
        if not found or (fetcher.drop_last and not whole):
            return Piece(True, None, None)
        batch = fetcher._collate(found[0] if fetcher.batch_size is None else found, job)
        return Piece(False, batch, self._state())

    def _take(self, cell: Cell) -> list[Any]:
        dataset, wanted = self.fetcher.dataset, self.fetcher.batch_size or 1
        found: list[Any] = []
        try:
            if self.samples is None:
                if self.state is not None:
                    self.count = self.state[0]
                    dataset.load_state_dict(self.state[1])
                self.samples = iter(dataset)
            while len(found) < wanted:
                cell[0] = len(found)
                found.append(next(self.samples))
                self.count += 1
        except StopIteration:
            self._end()
        except Exception as error:
            self.ended = True
            error.add_note(f"while loading sample {self.count} of {type(dataset).__name__}")
            raise
        self.number += 1
        return found

    def _state(self) -> Any:
        if callable(getattr(self.fetcher.dataset, "state_dict", None)):
            return self.count, self.fetcher.dataset.state_dict()
        return None

    def _end(self) -> None:
        self.ended, dataset = True, self.fetcher.dataset
        if hasattr(dataset, "__len__") and len(dataset) != self.count:
            raise DataError(
                f"{type(dataset).__name__} gave {self.count} samples, its length is {len(dataset)}",
                cause="__len__ and __iter__ disagree",
                fix="make them agree, or leave __len__ out",
            )


def some(indices: Any) -> str:
    """The first few of many indices."""
    shown = ", ".join(str(i) for i in list(indices[:4]))
    return f"{shown}, ... ({len(indices)})" if len(indices) > 4 else shown
