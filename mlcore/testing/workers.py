"""The kit's units in several processes: a crash costs its unit, not the run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from mlcore.testing.units import Result, Unit

if TYPE_CHECKING:
    from mlcore.testing.kit import Kit

_kit: Any = None


def _start(device: str, level: int, quick: bool, expectations: Any) -> None:
    global _kit
    from mlcore.testing.kit import Kit

    _kit = Kit(device, level=level, quick=quick, expectations=expectations)


def _run(names: list[str]) -> list[Result]:
    units = {unit.id: unit for unit in _kit.units}
    return [_kit.run_one(units[name]) for name in names]


def run_in_processes(kit: Kit, units: list[Unit], workers: int) -> Iterator[Result]:
    """Run units in `workers` processes, in chunks; those of a process that died are run again one by one."""
    chunks = [[unit.id for unit in units[i : i + 8]] for i in range(0, len(units), 8)]
    alone = False
    while chunks:
        lost: list[str] = []
        with _pool(kit, 1 if alone else workers) as pool:
            waiting = {pool.submit(_run, chunk): chunk for chunk in chunks}
            broken = False
            for done in as_completed(waiting):
                try:
                    yield from done.result()
                except BrokenProcessPool:
                    broken = True
                    lost += waiting[done]
        if not broken:
            return
        if alone and lost:  # one process, one unit at a time: the first that is lost is the one that died
            name = next(unit.id for unit in units if unit.id in set(lost))
            op = next(unit.op for unit in units if unit.id == name)
            yield Result(name, "failed", 1, 0, 1, 0.0, "the process died while running it", op)
            lost.remove(name)
        alone = True
        chunks = [[name] for name in lost]


def _pool(kit: Kit, workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(kit.device.id, kit.level, kit.quick, kit.expected),
    )
