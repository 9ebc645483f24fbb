"""The lines that are to hold, computed from the rows: CPU speed against PyTorch eager."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlcore.bench import fresh, memory
from mlcore.bench.groups import convolution, elementwise, matmul, overhead, reductions, training
from mlcore.bench.timing import FAILED, INVALID, Result

LARGE: Final = 40e6  # bytes: more than caches hold

Figure = Callable[[Result], float | None]


@dataclass(frozen=True)
class Goal:
    """A bound on the geometric mean, or on each row, of some figure of some rows."""

    text: str
    bound: float
    rows: Callable[[Result], bool]
    figure: Figure
    mean: bool = False
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value keeps the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Verdict:
    """A goal, held against the rows of one number of threads."""

    goal: Goal
    threads: int | None
    value: float | None  # the mean, or the worst row's
    count: int  # rows with a figure
    misses: tuple[tuple[str, float | None], ...]  # None: a row without a figure

    @property
    def met(self) -> bool | None:
        """None: nothing was measured."""
        if self.value is None:
            return False if self.misses else None
        return self.goal.holds(self.value) and not any(value is None for _, value in self.misses)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "goal": self.goal.text, "bound": self.goal.bound, "threads": self.threads, "value": self.value,
            "rows": self.count, "met": self.met,
            "misses": [{"row": name, "value": value} for name, value in self.misses],
        }  # fmt: skip


def _ratio(one: Result) -> float | None:
    return one.ratio


def _own(one: Result) -> float | None:
    return one.mine.median if one.mine else None


def _share_of_onednn(one: Result) -> float | None:
    return one.others["onednn"].median / one.mine.median if one.mine and "onednn" in one.others else None


def _in(*groups: str) -> Callable[[Result], bool]:
    return lambda one: one.group in groups


def _convolved(one: Result) -> bool:
    return one.group == convolution.GROUP and convolution.BOTH_WAYS in one.name and "pool" not in one.name


def _large(one: Result) -> bool:
    """What memory limits: large tensors, and rows that neither sort nor sum up along the way."""
    return (
        one.group in (elementwise.GROUP, reductions.GROUP)
        and one.work.bytes >= LARGE
        and not one.name.startswith(("sort", "topk"))
    )


def _product(one: Result) -> bool:
    return one.group == matmul.GROUP and ("onednn" in one.others or one.state in (FAILED, INVALID))


def _named(name: str) -> Callable[[Result], bool]:
    return lambda one: one.group == fresh.GROUP and one.name == name


def _trained(group: str) -> Callable[[Result], bool]:
    return lambda one: one.group == group and "(training)" in one.name


_SMALL: Final = _in(elementwise.GROUP, reductions.GROUP)
GOALS: Final = [
    Goal("training steps, geometric mean of the ratios", 0.40, _in(training.GROUP), _ratio, mean=True),
    Goal("training steps, worst ratio", 0.80, _in(training.GROUP), _ratio),
    Goal("inference, geometric mean of the ratios", 0.40, _in(training.INFERENCE), _ratio, mean=True),
    Goal("inference, worst ratio", 0.80, _in(training.INFERENCE), _ratio),
    Goal("overhead of a call on tiny tensors, worst ratio", 0.25,
         lambda one: one.group == overhead.GROUP and one.name != overhead.CHAIN, _ratio),
    Goal("41 small ops, ratio", 0.30, lambda one: one.name == overhead.CHAIN, _ratio),
    Goal("elementwise and reductions, geometric mean of the ratios", 0.60, _SMALL, _ratio, mean=True),
    Goal("elementwise and reductions, worst ratio", 1.0, _SMALL, _ratio),
    Goal("large elementwise and reductions, least share of the floor", 0.70, _large, lambda one: one.share,
         at_least=True),
    Goal("float32 matmul, least share of oneDNN's own speed", 0.85, _product, _share_of_onednn, at_least=True),
    Goal("convolution forward + backward, geometric mean of the ratios", 0.70, _convolved, _ratio, mean=True),
    Goal("convolution forward + backward, worst ratio", 1.0, _convolved, _ratio),
    Goal("training, peak memory of the whole process, worst ratio", 0.60, _trained(memory.WHOLE), _ratio),
    Goal("training, peak memory above the base, worst ratio", 0.80, _trained(memory.ABOVE), _ratio),
    Goal("import and first operation, seconds", 0.20, _named(f"{fresh.FIRST}: time"), _own),
    Goal("resident memory after it, MB", 60e6, _named(f"{fresh.FIRST}: resident memory"), _own),
    Goal("installed without NumPy, MB", 80e6, _named(fresh.INSTALLED), _own),
]  # fmt: skip


def judge(results: Sequence[Result]) -> list[Verdict]:
    """Every goal for every number of threads; goals of which no row was run are left out."""
    found = []
    for threads in dict.fromkeys(one.threads for one in results):
        mine = [one for one in results if one.threads == threads]
        found += [_verdict(goal, threads, [one for one in mine if goal.rows(one)]) for goal in GOALS]
    return [one for one in found if one.count or one.misses]


def _verdict(goal: Goal, threads: int | None, rows: Sequence[Result]) -> Verdict:
    figures = [(one.name, goal.figure(one)) for one in rows]
    values = [value for _, value in figures if value is not None]
    missing = [(one.name, None) for one in rows if one.state in (FAILED, INVALID)]
    if goal.mean:
        return Verdict(goal, threads, geometric_mean(values), len(values), tuple(missing))
    misses = sorted(
        ((name, value) for name, value in figures if value is not None and not goal.holds(value)),
        key=lambda miss: miss[1], reverse=not goal.at_least,
    )  # fmt: skip
    worst = (min if goal.at_least else max)(values, default=None)
    return Verdict(goal, threads, worst, len(values), (*misses, *missing))


def geometric_mean(values: Sequence[float]) -> float | None:
    """None of nothing.

    >>> geometric_mean([2.0, 8.0])
    4.0
    """
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """A Markdown table, and below it what misses."""
    yield "| | threads | bound | found | |"
    yield "|---|---:|---:|---:|---|"
    for one in verdicts:
        sign = "at least" if one.goal.at_least else "at most"
        state = {True: "yes", False: "**no**", None: "not measured"}[one.met]
        yield (
            f"| {one.goal.text} | {one.threads or ''} | {sign} {_number(one.goal, one.goal.bound)} | "
            f"{_number(one.goal, one.value)} ({one.count} row{'s' * (one.count != 1)}) | {state} |"
        )
    missed = [one for one in verdicts if one.misses]
    if missed:
        yield ""
        yield "Rows that miss:"
        yield ""
    for one in missed:
        where = f", {one.threads} thread{'s' if one.threads != 1 else ''}" if one.threads else ""
        names = "; ".join(f"{name} {_number(one.goal, value)}" for name, value in one.misses)
        yield f"- {one.goal.text}{where}: {names}"


def _number(goal: Goal, value: float | None) -> str:
    if value is None:
        return "no figure"
    return f"{value / 1e6:.0f}" if goal.text.endswith("MB") else f"{value:.2f}"
