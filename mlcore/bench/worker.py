"""One process of one library: it builds and runs rows when told to. Commands come as lines of JSON, and so do replies.

Nothing here may import the library of another process: `processes.py` sees to it that even mlcore is not there.
"""

from __future__ import annotations

import gc
import json
import operator
import os
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from mlcore.bench import rows
from mlcore.bench.libraries import Library, Mlcore, Torch
from mlcore.bench.rows import Row, Task


def library(name: str) -> Library:
    """The library of a name."""
    if name in ("mlcore", "torch"):
        return Mlcore() if name == "mlcore" else Torch()
    from mlcore.bench.others import OTHERS

    return OTHERS[name]()


WARM_UP: Final = 0.02
"""Seconds of calls before those that are timed: data and code come back, the scheduler spreads the threads."""

LONG: Final = 0.05
"""Seconds of a call from which on that does not count."""


class Held:
    """A row that was built."""

    def __init__(self, row: Row, lib: Library, how: dict[str, Any]) -> None:
        self.row, self.data = row, row.data()
        self.task: Task = row.build(lib, self.data, **how)
        self.timer = timeit.Timer(self.task.step, globals=self.task.names)
        self.took = 0.0  # seconds of a call, when last timed

    def block(self, count: int) -> float:
        """Seconds that so many calls take."""
        started = time.perf_counter()
        self.timer.timeit(count)
        self.task.finish()
        took = time.perf_counter() - started
        self.took = took / count
        return took


class Worker:
    """Holds the variants of one row, by the names the run gave them."""

    def __init__(self, name: str, threads: int) -> None:
        self.rows = rows.load()
        self.lib = library(name)
        self.lib.threads(threads)
        self.held: dict[str, Held] = {}

    def build(self, key: str, row: str, how: dict[str, Any]) -> None:
        """Make a row's inputs and its task; another row's are let go."""
        if any(one.row.id != row for one in self.held.values()):
            self.drop()
        self.held[key] = Held(self.rows[row], self.lib, how)

    def values(self, key: str, file: str) -> None:
        """Write a row's results for comparison."""
        held = self.held[key]
        np.savez(Path(file), *held.row.comparable(held.task.values(held.row.steps), held.data))

    def count(self, key: str, block: float) -> int:
        """How many calls make a block of so many seconds."""
        held, count = self.held[key], 1
        held.block(1)
        while (took := held.block(count)) < block / 4 and count < 10**7:
            count *= 4
        return max(1, round(count * block / took))

    def block(self, key: str, count: int) -> float:
        """Seconds a call, over a block of calls; before it, some that are not timed."""
        held = self.held[key]
        if held.took < LONG:
            held.block(max(1, round(WARM_UP / held.took)))
        return held.block(count) / count

    def repeat(self, key: str, times: int) -> None:
        """Run the row so many times: the memory rows do."""
        for _ in range(times):
            self.held[key].block(1)

    def product_rate(self, dtype: str, size: int) -> float:
        """The best rate of a square matrix product, in operations a second."""
        numbers = np.random.default_rng(0).integers(-8, 8, (size, size))
        kind = None if dtype == "int8" else dtype
        product: Callable[..., Any] = self.lib.int8_product if kind is None else operator.matmul
        array = numbers.astype(np.int8 if kind is None else np.float32)
        task = self.lib.forward(
            product, self.lib.tensor(array, dtype=kind), self.lib.tensor(array, dtype=kind)
        )
        return 2.0 * size**3 / self._fastest(task)

    def bandwidth(self, size: int) -> float:
        """The best rate of the sum of two arrays, in bytes a second; the three arrays have so many bytes together."""
        a, b = (self.lib.tensor(np.ones(size // 12, np.float32)) for _ in "ab")
        return 12.0 * (size // 12) / self._fastest(self.lib.task(self.lib.stream(a, b)))

    @staticmethod
    def _fastest(task: Task) -> float:
        """Seconds of the fastest of several blocks of calls, within a third of a second."""
        timer = timeit.Timer(task.step, globals=task.names)
        timer.timeit(1)
        started = time.perf_counter()
        count = max(1, round(0.004 / max(timer.timeit(1), 1e-9)))
        found: list[float] = []
        while not found or (len(found) < 15 and time.perf_counter() - started < 0.3):
            began = time.perf_counter()
            timer.timeit(count)
            task.finish()
            found.append(time.perf_counter() - began)
        return min(found) / count

    def warm(self) -> None:
        """Have the library do what it does once."""
        self.lib.warm()

    def memory(self) -> dict[str, int]:
        """What is resident now, and the most that ever was, in bytes."""
        return resident()

    def settle(self) -> dict[str, int]:
        """Give back what can be given back, start the peak anew where the system lets one, and look at memory."""
        gc.collect()
        trim()
        before = resident()
        restarted = restart_peak()
        return {**resident(), "peak_before": before["peak"], "restarted": int(restarted)}

    def drop(self) -> None:
        """Let go of the row."""
        self.held = {}
        gc.collect()


def quieten() -> None:
    """Wait until this process's threads rest.

    libgomp's go on spinning after a call for 10 ms and OpenBLAS's for 100, as measured: they would take a core from
    the library that comes next.
    """
    for _ in range(30):
        before = time.process_time()
        time.sleep(0.009)  # the system may count processor time in ticks of 4 ms
        if time.process_time() - before < 0.0005:
            return


def resident() -> dict[str, int]:
    """Resident memory now and at its peak, in bytes."""
    try:
        with open("/proc/self/status") as status:
            facts = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Vm")}
        return {"now": int(facts["VmRSS"]) * 1024, "peak": int(facts["VmHWM"]) * 1024}
    except (OSError, KeyError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return {"now": peak, "peak": peak}


def restart_peak() -> bool:
    """Let the peak be what is resident now (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def trim() -> None:
    """Have the C library give back what was freed (glibc)."""
    import ctypes

    release = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if release is not None:
        release(0)


def serve(commands: TextIO, replies: TextIO, name: str, threads: int) -> None:
    """Answer commands until there are no more."""
    worker: Worker | None = None
    for line in commands:
        command = json.loads(line)
        try:
            if worker is None:
                worker = Worker(name, threads)
            method: Callable[..., Any] = getattr(worker, command.pop("do"))
            reply = {"result": method(**command)}
            if threads > 1:
                quieten()
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main(name: str, threads: int) -> None:
    """Serve on this process's pipes; what a library prints goes to the standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(private, "w", encoding="utf-8") as replies:
        serve(sys.stdin, replies, name, threads)
