"""Determinism of an operation: the same bits run by run, in two threads at once, and for every number of threads.

PYTEST_DONT_REWRITE: pytest would explain a failure by comparing megabytes, line by line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mlcore.backends import fallback
from mlcore.backends.protocol import Device
from mlcore.dtypes import DType
from mlcore.testing.inputs import Case, accepted, build, cases, fits, samples
from mlcore.testing.op_checks import attempt, snapshot
from mlcore.testing.units import Skip, Tally

BIG = (129, 1031)  # enough for kernels that split their work between threads


def check_repeat(op: Any, dtype: DType | None, device: Device) -> Callable[[Tally], None]:
    """The same bits again: run by run, in two threads at once, and for every number of threads."""

    def run(tally: Tally) -> None:
        case = big(op, dtype, device)
        with tally.case(f"{case} again"):
            first = _bits(case, device)
            for _ in range(2):
                assert _bits(case, device) == first, "two runs differ"
            tally.compare(sum(map(len, first)))
        with tally.case(f"{case} in two threads"):
            found = _in_threads(lambda: _bits(case, device))
            assert all(one == first for one in found), (
                "the result of two threads at once differs from that of one"
            )
        change = getattr(device.backend, "set_num_threads", None)
        if change is not None:
            before = device.backend.get_num_threads()
            try:
                for count in (1, 2, 3, 4):
                    with tally.case(f"{case} with {count} threads"):
                        change(count)
                        assert _bits(case, device) == first, f"the result with {count} threads differs"
            finally:
                change(before)

    return run


def big(op: Any, dtype: DType | None, device: Device) -> Case:
    """The largest case the samples give, or a large one of the kit's own."""
    best = None
    for sample in samples(op):
        if sample.shapes is None and op.n_inputs:
            case = build(op, dtype, sample, (BIG,) * op.n_inputs)
            if accepted(case) and fits(case, device):
                return case
        for case in cases(op, dtype, device=device, only=sample):
            size = sum(a.size for a in case.arrays if a is not None)
            if best is None or size > best[0]:
                best = (size, case)
    if best is None and next(cases(op, dtype, quick=True), None) is not None:
        raise Skip("the device cannot hold its results")
    assert best is not None, f"{op.name} declares no sample that it accepts"
    return best[1]


def _bits(case: Case, device: Device) -> list[bytes]:
    found, error = attempt(case, device)
    assert not error, error
    return snapshot(found)


def _in_threads(function: Callable[[], Any], threads: int = 2, turns: int = 2) -> list[Any]:
    found: list[Any] = []
    errors: list[BaseException] = []
    start = threading.Barrier(threads)
    choice = fallback.current()  # of this thread, and no other's

    def work() -> None:
        try:
            start.wait(30)
            with fallback.policy(choice):
                for _ in range(turns):
                    found.append(function())
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    if errors:
        raise errors[0]
    return found
