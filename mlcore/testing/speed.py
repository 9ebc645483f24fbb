"""Level 2: every kernel that stands for a composite, timed beside it. Measured and reported, never asserted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore import autograd, table
from mlcore.backends.protocol import Device
from mlcore.errors import MlcoreError
from mlcore.ops import registry
from mlcore.testing.inputs import Case, call
from mlcore.testing.op_checks import main_dtypes, run_body, usable
from mlcore.testing.repeat import big


def measure(device: Device, seconds: float = 0.05) -> list[dict[str, Any]]:
    """For each operation with a kernel and a body: seconds of both on its largest sample, and their ratio."""
    found = []
    for op in registry.all_ops():
        if op.body is None or op.rule is None or not op.n_inputs or not usable(op, device):
            continue
        dtype = main_dtypes(op, device)[0]
        if table.path(op, dtype, device) != table.NATIVE:
            continue
        case = big(op, dtype, device)
        try:
            with autograd.no_grad(), np.errstate(all="ignore"):
                fused, parts = _both(case, device, seconds)
        except MlcoreError:  # a part that this device cannot run: there is nothing to compare with
            continue
        found.append(
            dict(
                op=op.name,
                dtype=dtype.name,
                case=str(case),
                kernel=fused,
                composite=parts,
                ratio=fused / parts,
            )
        )
    return found


def _both(case: Case, device: Device, seconds: float) -> tuple[float, float]:
    inputs = case.on(device)
    fused = _time(lambda: call(case.op, inputs, case.params, device), device, seconds)
    return fused, _time(lambda: run_body(case, inputs), device, seconds)


def _time(function: Callable[[], Any], device: Device, seconds: float) -> float:
    """The median time of a call, from at least 3 calls."""
    times: list[float] = []
    function()
    stop = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < stop and len(times) < 1000):
        started = time.perf_counter()
        function()
        device.backend.synchronize()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]
