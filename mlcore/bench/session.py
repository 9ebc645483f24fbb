"""The whole run: fresh processes first, then every row for each number of threads, then memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlcore.bench import fresh, machine, memory, peaks, rows, timing
from mlcore.bench.groups import elementwise, matmul
from mlcore.bench.processes import Pool
from mlcore.bench.rows import Row
from mlcore.bench.timing import Effort, Result


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    pattern: re.Pattern[str]
    threads: Sequence[int]
    effort: Effort = timing.FULL
    device: str | None = None
    compilers: bool = False

    @property
    def quick(self) -> bool:
        return self.effort is timing.QUICK

    def timed(self) -> list[Row]:
        """The rows that are asked for; without a pattern, --quick leaves some out."""
        found = [row for row in rows.load().values() if self.pattern.search(row.id)]
        return [row for row in found if row.quick] if self.quick and not self.pattern.pattern else found

    def remembered(self) -> list[Row]:
        """The rows whose memory is asked for."""
        found = [row for row in rows.load().values() if row.memory]
        if self.quick and not self.pattern.pattern:
            return [row for row in found if row.quick and len(row.rivals) > 1][-1:]
        return [row for row in found if any(self.pattern.search(name) for name in memory.ids(row))]

    def fresh(self) -> list[str]:
        """The names of the rows of fresh processes."""
        return [name for name in fresh.names() if self.pattern.search(f"{fresh.GROUP}: {name}")]

    def names(self) -> list[str]:
        """Everything that would be run, by its name in the table."""
        found = [f"{fresh.GROUP}: {name}" for name in self.fresh()]
        found += [row.id for row in self.timed()]
        for row in self.remembered():
            found += [name for name in memory.ids(row) if self.pattern.search(name)]
        return found


def run(plan: Plan, facts: dict[str, Any], report: Callable[[str], None]) -> Iterator[Result]:
    """The results, one after the other; `facts` gets what was measured of the machine."""
    yield from fresh.run(plan.pattern, plan.effort, machine.backend_module(plan.device))
    facts["peaks"] = {}
    for threads in plan.threads:
        report(f"-- {threads} thread{'s' if threads != 1 else ''}")
        yield from _timed(plan, threads, facts)
        for row in plan.remembered():
            found = memory.run(row, threads, plan.device)
            yield from (one for one in found if plan.pattern.search(f"{one.group}: {one.name}"))


def _timed(plan: Plan, threads: int, facts: dict[str, Any]) -> Iterator[Result]:
    chosen = plan.timed()
    if not chosen:
        return
    kinds = {"float32", *(row.work.kind for row in chosen)}
    with Pool(threads, plan.device) as pool:
        found = peaks.measure(pool, [kind for kind in peaks.DTYPES if kind in kinds])
        done = []
        group = ""
        for row in chosen:
            if row.group != group:  # what other rows left in memory goes with the process
                pool.end()
                group = row.group
            result = timing.run(row, pool, plan.effort, plan.compilers)
            result.floor = found.floor(row.work)
            done.append(result)
            yield result
    found = found.raised(_rates(matmul.GROUP, done), _rates(elementwise.GROUP, done))
    for one in done:
        one.floor = found.floor(one.work)
    facts["peaks"][str(threads)] = found.to_json()


def _rates(group: str, results: Sequence[Result]) -> Iterator[tuple[Any, float]]:
    """What anybody reached in the products of matrices, or in the sums of two arrays: the peak cannot be less."""
    for one in results:
        if one.group != group or one.mine is None:
            continue
        for each in (one.mine, *one.rivals.values(), *one.others.values()):
            if group == matmul.GROUP:
                yield one.work.kind, one.work.flops / each.median
            elif one.name.startswith(elementwise.STREAMED):
                yield one.work.bytes, one.work.bytes / each.median
