"""A row, run: built, compared, then timed in alternation.

Every library runs in its own process. Each task is timed in blocks long enough for the clock. A round has one block
of every task, in an order that turns from round to round, so that what else the machine does falls on all alike; while
one process runs its block the others wait for a line on a pipe. Reported are quantiles over the blocks.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlcore.bench.processes import Pool, WorkerError, installed
from mlcore.bench.rows import ARGUMENTS, Array, Row, Work

OK, ALONE, INVALID, FAILED = "ok", "alone", "INVALID", "FAILED"
NO_WORK: Final = Work()
MINE: Final = "mlcore"


@dataclass(frozen=True)
class Effort:
    """How long a row may take: seconds a block, seconds a row and task, and at least so many rounds."""

    block: float
    budget: float
    rounds: int
    most: int = 100


FULL = Effort(block=0.01, budget=0.5, rounds=5)
QUICK = Effort(block=0.003, budget=0.12, rounds=3)


@dataclass(frozen=True)
class Spread:
    """Quantiles of a measured figure over its samples."""

    median: float
    p25: float
    p75: float
    least: float
    samples: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        p25, median, p75 = (float(one) for one in np.percentile(samples, (25, 50, 75)))
        return cls(median, p25, p75, float(min(samples)), len(samples))

    def to_json(self) -> dict[str, Any]:
        """Its fields, the least as "min"."""
        return {"median": self.median, "p25": self.p25, "p75": self.p75, "min": self.least,
                "samples": self.samples}  # fmt: skip


@dataclass
class Result:
    """A row, run with so many threads."""

    group: str
    name: str
    state: str
    threads: int | None = None  # None: what does not depend on it
    unit: str = "s"
    mine: Spread | None = None
    rivals: dict[str, Spread] = field(default_factory=dict)  # PyTorch eager and its variants
    others: dict[str, Spread] = field(default_factory=dict)  # shown, and not what the ratio is against
    difference: float | None = None  # the largest found, relative to the largest value
    work: Work = NO_WORK
    floor: float | None = None
    note: str = ""
    facts: dict[str, float] = field(default_factory=dict)  # whatever else was measured of it

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

    @property
    def share(self) -> float | None:
        """How much of what the machine can do at most was reached: the floor over the median."""
        return self.floor / self.mine.median if self.floor and self.mine and self.state != INVALID else None

    def _ratio(self, what: str) -> float | None:
        if self.state != OK or self.mine is None or self.best is None:
            return None
        mine, theirs = float(getattr(self.mine, what)), float(getattr(self.rivals[self.best], what))
        return mine / theirs if theirs > 0 else None

    def remark(self, text: str) -> None:
        """Add to the note."""
        self.note = "; ".join(filter(None, (self.note, text)))

    def to_json(self) -> dict[str, Any]:
        """Everything that is known of it. Times in seconds, memory in bytes."""
        return {
            "group": self.group, "name": self.name, "state": self.state, "threads": self.threads, "unit": self.unit,
            "mlcore": self.mine and self.mine.to_json(),
            "rivals": {name: one.to_json() for name, one in self.rivals.items()},
            "others": {name: one.to_json() for name, one in self.others.items()},
            "best_rival": self.best, "ratio": self.ratio, "ratio_of_minima": self.least_ratio,
            "flops": self.work.flops, "bytes": self.work.bytes, "floor": self.floor, "share_of_floor": self.share,
            "difference": self.difference, "note": self.note, "facts": self.facts,
        }  # fmt: skip


def difference(mine: Sequence[Array], theirs: Sequence[Array]) -> float:
    """The largest difference between two lists of arrays, relative to the largest value of each pair.

    inf where shapes, or the places of nan and inf, disagree.

    >>> difference([np.array([1.0, 4.0])], [np.array([1.0, 5.0])])
    0.2
    """
    if [one.shape for one in mine] != [one.shape for one in theirs]:
        return float("inf")
    return max((_difference(a, b) for a, b in zip(mine, theirs, strict=True)), default=0.0)


def _difference(a: Array, b: Array) -> float:
    exact = np.longdouble if a.dtype == b.dtype == np.int64 else np.float64
    a, b = a.astype(exact), b.astype(exact)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return float("inf")
    if not finite.all():
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return float("inf")
        a, b = a[finite], b[finite]
    if not a.size:
        return 0.0
    return float(np.abs(a - b).max()) / (float(np.abs(b).max()) or 1.0)


def run(row: Row, pool: Pool, effort: Effort, compilers: bool = False) -> Result:
    """Build, compare, time. Never raises: a row that cannot run says so."""
    result = Result(row.group, row.name, FAILED, pool.threads, work=row.work)
    variants: dict[str, Mapping[str, Any]] = {MINE: {}, **row.rivals}
    variants |= {name: ARGUMENTS.get(name, {}) for name in row.also if compilers or name != "torch.compile"}
    try:
        there = {name: how for name, how in variants.items() if installed(module_of(name))}
        with tempfile.TemporaryDirectory(prefix="mlcore-bench-") as folder:
            if not _agree(row, pool, there, result, Path(folder)):
                return result
        timed = alternate(pool, tuple(there), effort)
    except WorkerError as error:
        result.note = str(error)
        return result
    result.mine = timed.pop(MINE)
    result.rivals = {name: one for name, one in timed.items() if name in row.rivals}
    result.others = {name: one for name, one in timed.items() if name not in row.rivals}
    result.state = OK if result.rivals else ALONE
    return result


def module_of(variant: str) -> str:
    """The library of a variant.

    >>> module_of("torch (fused AdamW)")
    'torch'
    """
    return variant.partition(" ")[0]


def _agree(
    row: Row, pool: Pool, variants: dict[str, Mapping[str, Any]], result: Result, folder: Path
) -> bool:
    """Compare everybody's results with mlcore's. What `row.also` names and cannot run is left out."""
    mine: list[Array] = []
    for name in tuple(variants):
        file = folder / f"{len(name)}-{name.replace(' ', '-')}.npz"
        try:
            process = pool[module_of(name)]
            process.ask("build", key=name, row=row.id, how=variants[name])
            process.ask("values", key=name, file=str(file))
        except WorkerError as error:
            if name not in row.also:
                raise WorkerError(f"{name}: {error}") from None
            del variants[name]
            result.remark(f"{name}: {error}")
            continue
        with np.load(file) as loaded:
            values = [loaded[key] for key in loaded.files]
        file.unlink()
        if name == MINE:
            mine = values
            continue
        found = difference(mine, values)
        said = f"differs from {name} by {found:.2g} of the largest value (allowed {row.tolerance:g})"
        if name in row.also and not found <= row.tolerance:
            del variants[name]
            result.remark(said)
            continue
        result.difference = max(found, result.difference or 0.0)
        if not found <= row.tolerance:
            result.state, result.note = INVALID, said
            return False
    return True


def alternate(pool: Pool, variants: Iterable[str], effort: Effort) -> dict[str, Spread]:
    """The time of one call of each variant that was built, in seconds, from blocks in alternation."""
    order = list(variants)
    counts = {name: pool[module_of(name)].ask("count", key=name, block=effort.block) for name in order}
    samples: dict[str, list[float]] = {name: [] for name in order}
    started, done = time.perf_counter(), 0
    while done < effort.rounds or (
        done < effort.most and time.perf_counter() - started < effort.budget * len(order)
    ):
        for name in order:
            samples[name].append(pool[module_of(name)].ask("block", key=name, count=counts[name]))
        order.append(order.pop(0))
        done += 1
    return {name: Spread.of(found) for name, found in samples.items()}
