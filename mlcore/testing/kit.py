"""The kit: all units of a device, run one by one or by several processes, and the report.

PYTEST_DONT_REWRITE: pytest would explain a failure by comparing megabytes, line by line.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mlcore.fft
import mlcore.linalg
import mlcore.optim  # noqa: F401  (declares the optimizers' steps, as the others do theirs)
from mlcore import table
from mlcore.backends import detect, fallback
from mlcore.backends.protocol import Device
from mlcore.errors import ArgumentError
from mlcore.ops import registry
from mlcore.plugin import discovery
from mlcore.testing import bad_calls, device_checks, models, op_checks, repeat
from mlcore.testing.expectations import Expectations, find, read
from mlcore.testing.report import Report
from mlcore.testing.units import Result, Skip, Tally, Unit, run_unit

Progress = Callable[[Result], None]


class Kit:
    """Every unit of one device.

    `level` 0 boots, 1 is complete, 2 also measures fast paths; `quick` takes fewer shapes. `expectations` is a
    path, or None for the conformance.toml of the backend's own package.

    >>> kit = Kit("reference", level=0, quick=True)
    >>> report = kit.run("device/protocol")
    >>> report.ok, report.cases
    (True, 2)
    """

    def __init__(self, device: Device | str, *, level: int = 1, quick: bool = False,
                 expectations: Expectations | Path | str | None = None) -> None:  # fmt: skip
        if not __debug__:
            raise ArgumentError(
                "the conformance kit checks with assertions, and Python was started with -O",
                fix="run it without -O",
            )
        discovery.load_ops()  # operations of other packages are checked like our own
        self.device = detect.resolve(device)
        self.level, self.quick = level, quick
        if isinstance(expectations, (str, Path)):
            expectations = read(Path(expectations))
        self.expected = find(self.device) if expectations is None else expectations
        self.units: list[Unit] = [unit for unit in self._all() if unit.level <= level]

    def _all(self) -> Iterator[Unit]:
        yield from self._device_units()
        for op in registry.all_ops():
            if op.rule is not None and (op.n_inputs == 0 or op_checks.usable(op, self.device)):
                yield from self._op_units(op)
        for name in models.MODELS:
            yield Unit(f"model/{name}", self._strict(models.check_model(name, self.device)), 1)
        yield Unit("expectations", self._expectations, 0)

    def _device_units(self) -> Iterator[Unit]:
        d = self.device
        yield Unit("device/protocol", device_checks.check_protocol(d))
        for dtype in sorted(d.backend.dtypes, key=lambda one: one.index):
            yield Unit(f"device/roundtrip/{dtype}", device_checks.check_roundtrip(dtype, d))
            if dtype.kind == "f":
                subnormals = self._strict(device_checks.check_subnormals(dtype, d))
                yield Unit(f"device/subnormals/{dtype}", subnormals, 1)
        for name, check, level in (
            ("refused dtypes", device_checks.check_refused_dtypes, 0),
            ("aliasing", device_checks.check_aliasing, 0),
            ("random", device_checks.check_random, 1),
            ("promotion", device_checks.check_promotion, 1),
            ("memory", device_checks.check_memory, 1),
            ("subnormal canary", device_checks.check_canary, 1),
            ("threads", device_checks.check_threads, 1),
            ("fork", device_checks.check_fork, 1),
        ):
            yield Unit(f"device/{name}", self._strict(check(d)), level)

    def _op_units(self, op: Any) -> Iterator[Unit]:
        d, quick, name = self.device, self.quick, op.name

        def unit(kind: str, check: Callable[[Tally], None], level: int = 1) -> Unit:
            return Unit(f"{kind}/{name}", self._guarded(op, check), level, name)

        def each(kind: str, dtype: Any, check: Callable[[Tally], None]) -> Unit:
            return Unit(f"{kind}/{name}/{dtype}", self._guarded(op, check), 1, name)

        usable = op_checks.usable(op, d) if op.n_inputs else []
        main: list[Any] = op_checks.main_dtypes(op, d) if op.n_inputs else [None]
        if not op.n_inputs:
            yield unit("values", op_checks.check_values(op, None, d, quick))
        for dtype in usable:
            if quick and dtype not in main and dtype.name not in ("float64", "float16"):
                continue
            yield each("values", dtype, op_checks.check_values(op, dtype, d, quick))
            if (not quick or dtype in main) and op_checks.has_special(op, dtype):
                yield each("special", dtype, op_checks.check_special(op, dtype, d))
            if op.body is not None and table.path(op, dtype, d) == table.NATIVE and (dtype in main):
                if table.entry(op, d).origin == table.COMPOSITION:
                    continue  # the kernel is the body itself, compiled
                yield each("body", dtype, op_checks.check_body(op, dtype, d, quick))
        for dtype in main[: 1 if quick else 2] if op.n_inputs else []:
            yield each("layouts", dtype, op_checks.check_layouts(op, dtype, d, quick))
        for dtype in usable:
            if dtype.name in ("float64", "complex128"):
                yield each("gradient", dtype, op_checks.check_gradient(op, dtype, d, quick))
        yield unit("repeat", repeat.check_repeat(op, main[0], d))
        yield unit("errors", bad_calls.check_errors(op, d))

    def _guarded(self, op: Any, check: Callable[[Tally], None]) -> Callable[[Tally], None]:
        """A check under MLCORE_FALLBACK=error; what is declared to run on the host, or listed under [host], may."""
        choice = "allow" if op.name in self.expected.host or op.host else "error"

        def run(tally: Tally) -> None:
            with fallback.policy(choice):
                check(tally)

        return run

    def _strict(self, check: Callable[[Tally], None]) -> Callable[[Tally], None]:
        def run(tally: Tally) -> None:
            with fallback.policy("error"):
                check(tally)

        return run

    def _expectations(self, tally: Tally) -> None:
        """Every entry of conformance.toml says something that is so."""
        whole = copy.copy(self)
        whole.quick = False  # a quick run leaves out units that the file may name
        ids = [unit.id for unit in whole._all()]
        for text in self.expected.unknown(ids, (op.name for op in registry.all_ops())):
            tally.cases += 1
            tally.fail(f"{self.expected.source}: {text}")
        for name in self.expected.host:
            with tally.case(f"[host] {name}"):
                op = registry.get(name)
                paths = {table.path(op, dtype, self.device) for dtype in op_checks.usable(op, self.device)}
                assert table.HOST in paths, "runs on the device now: take the entry out"
        if not tally.cases:
            raise Skip("there is no conformance.toml, or it is empty")

    # -- running -----------------------------------------------------------------------------------------------

    def select(self, expression: str = "") -> list[Unit]:
        """The units whose names an expression such as ``"values and not complex"`` picks."""
        wanted = matcher(expression)
        return [unit for unit in self.units if wanted(unit.id)]

    def run(self, expression: str = "", *, workers: int = 1, progress: Progress | None = None) -> Report:
        """Run the selected units; with several `workers`, in processes of their own."""
        chosen = self.select(expression)
        if not chosen:
            raise ArgumentError(f"no unit matches {expression!r}", example=self.units[0].id)
        results: list[Result] = []
        source = self._in_processes(chosen, workers) if workers > 1 else map(self.run_one, chosen)
        for result in source:
            results.append(result)
            if progress is not None:
                progress(result)
        report = Report.of(self, results, whole=not expression)
        if self.level >= 2:
            from mlcore.testing.speed import measure

            report.speed = measure(self.device)
        return report

    def run_one(self, unit: Unit) -> Result:
        """Run one unit, its expected failure counted."""
        return run_unit(unit, self.expected.reason(unit.id))

    def _in_processes(self, units: list[Unit], workers: int) -> Iterable[Result]:
        from mlcore.testing.workers import run_in_processes

        return run_in_processes(self, units, workers)


# -- choosing units by an expression ---------------------------------------------------------------------------


def matcher(expression: str) -> Callable[[str], bool]:
    """A test on names from words joined by ``and``, ``or``, ``not`` and brackets; a word matches where it occurs.

    >>> wanted = matcher("values and not (complex or float16)")
    >>> wanted("values/exp/float32"), wanted("values/exp/complex64"), wanted("errors/exp")
    (True, False, False)
    """
    words = re.findall(r"\(|\)|[^\s()]+", expression)
    if not words:
        return lambda name: True
    place = 0

    def fail() -> ArgumentError:
        return ArgumentError(
            f"cannot read the expression {expression!r}", fix="words with and, or, not and brackets"
        )

    def either() -> Callable[[str], bool]:
        nonlocal place
        left = both()
        while place < len(words) and words[place] == "or":
            place += 1
            left = _or(left, both())
        return left

    def both() -> Callable[[str], bool]:
        nonlocal place
        left = one()
        while place < len(words) and words[place] == "and":
            place += 1
            left = _and(left, one())
        return left

    def one() -> Callable[[str], bool]:
        nonlocal place
        if place >= len(words):
            raise fail()
        word = words[place]
        place += 1
        if word == "not":
            inner = one()
            return lambda name: not inner(name)
        if word == "(":
            found = either()
            if place >= len(words) or words[place] != ")":
                raise fail()
            place += 1
            return found
        if word in (")", "and", "or"):
            raise fail()
        return lambda name: word in name

    found = either()
    if place != len(words):
        raise fail()
    return found


def _or(a: Callable[[str], bool], b: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda name: a(name) or b(name)


def _and(a: Callable[[str], bool], b: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda name: a(name) and b(name)


def conformance(device: Device | str, *, level: int = 1, quick: bool = True, expression: str = "") -> Report:
    """Run the kit and raise AssertionError with the failures, if any: one line for a backend's own test.

    >>> conformance("reference", expression="values/exp/float32").ok
    True
    """
    with np.errstate(all="ignore"):
        report = Kit(device, level=level, quick=quick).run(expression)
    if not report.ok:
        raise AssertionError(f"{report.failures_text()}\n{report.summary()}")
    return report
