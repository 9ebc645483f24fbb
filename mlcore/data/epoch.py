"""One pass of a loader through its dataset: jobs in, batches out, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mlcore.data.fetch import Job, Piece


@dataclass(slots=True)
class Place:
    """How far an epoch is: `position` batches were given without a gap, and those `beyond` before their turn."""

    position: int = 0
    beyond: set[int] = field(default_factory=set)
    dataset: Any = None  # the state of an iterable dataset after the last batch given
    exhausted: bool = False

    def given(self, number: int) -> None:
        """The batch of this number was given."""
        self.beyond.add(number)
        while self.position in self.beyond:
            self.beyond.remove(self.position)
            self.position += 1


class Epoch:
    """The iterator over a loader's batches; `ahead` jobs are under way at a time."""

    def __init__(self, jobs: Iterator[Job], pool: Any, ahead: int, in_order: bool, place: Place) -> None:
        self.jobs, self.pool, self.ahead, self.in_order = jobs, pool, ahead, in_order
        self.waiting: dict[int, None] = {}  # the numbers that are under way, in their order
        self.place = place
        self.finished = False

    def __iter__(self) -> Epoch:
        return self

    def __next__(self) -> Any:
        if self.finished:
            raise StopIteration
        try:
            return self._next()
        except BaseException as error:
            self._end(quick=not isinstance(error, StopIteration))
            raise

    def _next(self) -> Any:
        self._submit(self.ahead - len(self.waiting))
        while self.waiting:
            number, content = self.pool.take(next(iter(self.waiting)) if self.in_order else None)
            del self.waiting[number]
            if isinstance(content, Piece):
                if content.ended:
                    self.jobs = iter(())
                    continue
                self.place.dataset, content = content.state, content.batch
            self._submit(1)
            self.place.given(number)
            return content
        self.place.exhausted = True
        raise StopIteration

    def _submit(self, count: int) -> None:
        for job in islice(self.jobs, max(0, count)):
            self.waiting[job.number] = None
            self.pool.submit(job)

    def _end(self, quick: bool) -> None:
        if not self.finished:
            self.finished = True
            if self.pool.persistent and not quick:
                self.pool.cancel()
            else:
                self.pool.close(quick)

    def close(self) -> None:
        """Leave the epoch before its end."""
        if not self.finished:
            self.finished = True
            if self.pool.persistent:
                self.pool.cancel()
            else:
                self.pool.close()

    def __del__(self) -> None:
        if not getattr(self, "finished", True):
            self.close()
