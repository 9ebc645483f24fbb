"""Units of the kit: what runs, what it counted, and how it ended."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mlcore.errors import MlcoreError


class Skip(Exception):
    """Raised by a check that has nothing to say about this device; the text is the reason."""


@dataclass
class Tally:
    """What one unit has counted so far."""

    cases: int = 0
    compared: int = 0
    failures: list[str] = field(default_factory=list)
    failed: int = 0

    @contextlib.contextmanager
    def case(self, text: object) -> Iterator[None]:
        """One case: an exception inside is a failure of this case, and the unit goes on."""
        self.cases += 1
        try:
            yield
        except Skip:
            raise
        except AssertionError as error:
            self.fail(f"{text}: {error}")
        except MlcoreError as error:
            self.fail(f"{text}: {type(error).__name__}: {error}")
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            self.fail(
                f"{text}: {type(error).__name__}: {error} ({last.filename}:{last.lineno}, in {last.name})"
            )

    def fail(self, text: str) -> None:
        """Count a failed case; the first few texts are kept."""
        self.failed += 1
        if len(self.failures) < 3:
            self.failures.append(text)

    def compare(self, elements: int) -> None:
        """Count compared elements."""
        self.compared += elements


@dataclass(frozen=True)
class Unit:
    """One named check, such as `values/exp/float32`."""

    id: str
    run: Callable[[Tally], None]
    level: int = 0
    op: str | None = None


@dataclass
class Result:
    """How a unit ended: passed, failed, skipped, xfailed (expected), or xpassed (expected to fail, and passed)."""

    id: str
    outcome: str
    cases: int = 0
    compared: int = 0
    failed: int = 0
    seconds: float = 0.0
    reason: str = ""
    op: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            name: getattr(self, name)
            for name in ("id", "outcome", "cases", "compared", "failed", "seconds", "reason", "op")
        }


def run_unit(unit: Unit, expected: str | None = None) -> Result:
    """Run a unit; `expected` is the reason for which it may (and then must) fail."""
    import time

    tally, started = Tally(), time.perf_counter()
    outcome, reason = "passed", ""
    try:
        with tally.case(unit.id):
            tally.cases -= 1
            unit.run(tally)
    except Skip as skip:
        outcome, reason = "skipped", str(skip)
    if tally.failed:
        more = tally.failed - len(tally.failures)
        outcome, reason = "failed", "\n".join(tally.failures) + (f"\n... and {more} more" if more else "")
    if expected is not None:
        if outcome == "failed":
            outcome, reason = "xfailed", expected
        elif outcome == "passed":
            outcome, reason = "xpassed", f"expected to fail ({expected}), and passed: take the entry out"
    return Result(
        unit.id,
        outcome,
        tally.cases,
        tally.compared,
        tally.failed,
        time.perf_counter() - started,
        reason,
        unit.op,
    )
