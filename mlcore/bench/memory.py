"""Peak memory of training steps and inference: a fresh process for each library and row.

Two figures. The whole process: the most that was ever resident, interpreter and library included. Above the base: how
far running the row drives it beyond what is resident once the library is warm and the model, its optimizer and the
batch are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mlcore.bench.processes import Process, WorkerError, installed
from mlcore.bench.rows import Row
from mlcore.bench.timing import ALONE, FAILED, MINE, OK, Result, Spread, module_of

WHOLE: Final = "peak memory, whole process"
ABOVE: Final = "peak memory above the base"
STEPS: Final = 5


def ids(row: Row) -> list[str]:
    """The names of a row's rows of memory in the table."""
    return [f"{group}: {_name(row)}" for group in (WHOLE, ABOVE)]


def _name(row: Row) -> str:
    return f"{row.name} ({'training' if len(row.rivals) > 1 else 'inference'})"


def run(row: Row, threads: int, device: str | None = None) -> list[Result]:
    """The two rows of memory of a row. PyTorch's is the least of its variants'."""
    results = [Result(group, _name(row), FAILED, threads, unit="B") for group in (WHOLE, ABOVE)]
    variants: dict[str, Mapping[str, Any]] = {MINE: {}, **row.rivals}
    try:
        for name, how in variants.items():
            if not installed(module_of(name)):
                continue
            for result, value in zip(results, measure(row, name, how, threads, device), strict=True):
                if name == MINE:
                    result.mine = Spread.of([value])
                else:
                    result.rivals[name] = Spread.of([value])
    except WorkerError as error:
        for result in results:
            result.note = str(error)
        return results
    for result in results:
        result.state = OK if result.rivals else ALONE
    return results


def measure(
    row: Row, name: str, how: Mapping[str, Any], threads: int, device: str | None
) -> tuple[float, float]:
    """Bytes of the whole process, and above its base."""
    with Process(module_of(name), threads, device) as process:
        process.ask("warm")
        process.ask("build", key=name, row=row.id, how=how)
        base = process.ask("settle")
        process.ask("repeat", key=name, times=STEPS)
        after = process.ask("memory")
    return float(max(base["peak_before"], after["peak"])), float(max(after["peak"] - base["now"], 1))
