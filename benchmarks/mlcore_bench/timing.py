"""Compare first, then time in alternation.

Each task is timed in blocks long enough for the clock. A round has one block of every task, in an order that turns
from round to round, so that what else the machine does falls on all alike. Reported are quantiles over the blocks.
"""

from __future__ import annotations

import gc
import time
import timeit
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcore_bench.rows import Row, Task, installed

OK, ALONE, INVALID, FAILED = "ok", "alone", "INVALID", "FAILED"


@dataclass(frozen=True)
class Effort:
    """How long a row may take: seconds a block, seconds a row and task, and at least so many rounds."""

    block: float
    budget: float
    rounds: int
    most: int = 200


FULL = Effort(block=0.01, budget=2.0, rounds=9)
QUICK = Effort(block=0.003, budget=0.2, rounds=3)


@dataclass(frozen=True)
class Spread:
    """Quantiles of a measured figure over its samples."""

    median: float
    p25: float
    p75: float
    least: float
    samples: int

    @classmethod
    def of(cls, samples: list[float]) -> Spread:
        p25, median, p75 = (float(one) for one in np.percentile(samples, (25, 50, 75)))
        return cls(median, p25, p75, min(samples), len(samples))

    def to_json(self) -> dict[str, Any]:
        return {
            "median": self.median,
            "p25": self.p25,
            "p75": self.p75,
            "min": self.least,
            "samples": self.samples,
        }


@dataclass
class Result:
    """A row, run."""

    group: str
    name: str
    state: str
    unit: str = "s"
    mine: Spread | None = None
    rivals: dict[str, Spread] = field(default_factory=dict)
    difference: float | None = None  # the largest found, relative to the largest value
    note: str = ""

    @property
    def best(self) -> str | None:
        """The fastest rival: it is the one that the ratio is against."""
        return min(self.rivals, key=lambda name: self.rivals[name].median, default=None)

    @property
    def ratio(self) -> float | None:
        """mlcore's median over the best rival's; None where the numbers disagree, or there is nobody."""
        return self._ratio("median")

    @property
    def least_ratio(self) -> float | None:
        """The same of the minima, which a busy machine disturbs less."""
        return self._ratio("least")

    def _ratio(self, what: str) -> float | None:
        if self.state != OK or self.mine is None or self.best is None:
            return None
        return float(getattr(self.mine, what) / getattr(self.rivals[self.best], what))

    def to_json(self) -> dict[str, Any]:
        return {
            "group": self.group, "name": self.name, "state": self.state, "unit": self.unit,
            "mlcore": self.mine and self.mine.to_json(),
            "rivals": {name: one.to_json() for name, one in self.rivals.items()},
            "best_rival": self.best, "ratio": self.ratio, "ratio_of_minima": self.least_ratio,
            "difference": self.difference, "note": self.note,
        }  # fmt: skip


def difference(mine: list[np.ndarray[Any, Any]], theirs: list[np.ndarray[Any, Any]]) -> float:
    """The largest difference between two lists of arrays, relative to the largest value of each pair.

    inf where shapes, or the places of nan and inf, disagree.
    """
    if [one.shape for one in mine] != [one.shape for one in theirs]:
        return float("inf")
    worst = 0.0
    for a, b in zip(mine, theirs, strict=True):
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(
            a[~finite], b[~finite], equal_nan=True
        ):
            return float("inf")
        if finite.any():
            scale = float(np.abs(b[finite]).max()) or 1.0
            worst = max(worst, float(np.abs(a[finite] - b[finite]).max()) / scale)
    return worst


def run(row: Row, effort: Effort) -> Result:
    """Build, compare, time. Never raises: a row that cannot run says so."""
    result = Result(row.group, row.name, FAILED)
    try:
        data = row.data()
        mine = row.mine(data)
        rivals = {name: build(data) for name, build in row.rivals.items() if installed(name)}
        if not _agree(row, mine, rivals, result):
            return result
        timed = alternate({"": mine, **rivals}, effort)
    except Exception as error:
        result.note = f"{type(error).__name__}: {error}".partition("\n")[0]
        return result
    finally:
        gc.collect()
    result.mine = timed.pop("")
    result.rivals = timed
    result.state = OK if timed else ALONE
    return result


def _agree(row: Row, mine: Task, rivals: dict[str, Task], result: Result) -> bool:
    if not rivals:
        return True
    values = mine.values(row.steps)
    for name, task in rivals.items():
        found = difference(values, task.values(row.steps))
        result.difference = max(found, result.difference or 0.0)
        if not found <= row.tolerance:
            result.state = INVALID
            result.note = (
                f"differs from {name} by {found:.2g} of the largest value (allowed {row.tolerance:g})"
            )
            return False
    return True


def alternate(tasks: dict[str, Task], effort: Effort) -> dict[str, Spread]:
    """The time of one call of each task, in seconds, from blocks in alternation."""
    timers = {name: (_timer(task), task.finish) for name, task in tasks.items()}
    counts = {name: _count(*timer, effort.block) for name, timer in timers.items()}
    samples: dict[str, list[float]] = {name: [] for name in tasks}
    order = list(tasks)
    started = time.perf_counter()
    done = 0
    while done < effort.rounds or (
        done < effort.most and time.perf_counter() - started < effort.budget * len(tasks)
    ):
        for name in order:
            timer, finish = timers[name]
            if counts[name] > 1:  # its data, code and threads come back from where the others drove them
                _block(timer, finish, 1)
            samples[name].append(_block(timer, finish, counts[name]) / counts[name])
        order.append(order.pop(0))
        done += 1
    return {name: Spread.of(found) for name, found in samples.items()}


def _timer(task: Task) -> timeit.Timer:
    return timeit.Timer(task.step, globals=task.names)


def _block(timer: timeit.Timer, finish: Any, count: int) -> float:
    started = time.perf_counter()
    timer.timeit(count)
    finish()
    return time.perf_counter() - started


def _count(timer: timeit.Timer, finish: Any, block: float) -> int:
    """How many calls make a block."""
    _block(timer, finish, 1)
    count = 1
    while (took := _block(timer, finish, count)) < block / 4 and count < 10**7:
        count *= 4
    return max(1, round(count * block / took))
