"""The table of a device: how it runs each operation, built as operations are first used."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from mlcore import dtypes
from mlcore.backends.device import Device
from mlcore.backends.protocol import Kernel
from mlcore.dtype import DType
from mlcore.op import OpFacts

NATIVE, COMPOSITE, HOST = "native", "composite", "host"


class Entry:
    """How one device runs one operation.

    `by_dtype` has a native kernel per dtype of the first input, or None; `plans` what was worked out for signatures,
    `last` the one that was used last, and for what.
    """

    __slots__ = ("by_dtype", "kernel", "last", "last_dtype", "last_given", "last_shape", "origin", "plans")

    def __init__(self, op: OpFacts, device: Device) -> None:
        kernel = device.backend.kernel(op)
        limits = getattr(kernel, "dtypes", None)
        held = device.backend.dtypes
        self.kernel = kernel
        self.origin = getattr(kernel, "origin", "native") if kernel is not None else None
        self.plans: dict[Any, Plan] = {}
        self.last: Plan | None = None
        self.last_shape: Any = None
        self.last_dtype: Any = None
        self.last_given: Any = None
        self.by_dtype: list[Kernel | None] = [
            kernel
            if kernel is not None and d in op.accepts and d in held and (limits is None or d in limits)
            else None
            for d in dtypes.all_dtypes
        ]

    def native(self, dtype: DType) -> Kernel | None:
        """The native kernel for inputs of `dtype`, or None."""
        return self.by_dtype[dtype.index]


class Plan:
    """What a signature (shapes, dtypes, parameters) of an operation comes to on a device.

    `shape` and `dtype` are the first output's, `outs` has all, `given` the inputs' pairs of them; `values` are the
    canonical parameters; `kernel` is None where the operation is composed or the host computes it; `large` results
    are held against the memory.
    """

    __slots__ = ("dtype", "given", "kernel", "large", "outs", "shape", "single", "values")

    def __init__(
        self,
        kernel: Kernel | None,
        given: tuple[Any, ...],
        outs: tuple[Any, ...],
        values: tuple[Any, ...],
        single: bool,
        large: bool,
    ) -> None:
        self.given = given
        self.kernel = kernel
        self.outs = outs
        self.values = values
        self.single = single
        self.large = large
        self.shape, self.dtype = outs[0]


def entry(op: OpFacts, device: Device) -> Entry:
    """The table entry of `op` on `device`, made when it is first asked for."""
    if op.index >= len(device.table):
        with _table_lock:
            device.table = device.table + [None] * (op.index + 16 - len(device.table))
    found: Entry | None = device.table[op.index]
    if found is None:
        found = device.table[op.index] = Entry(op, device)
    return found


_table_lock = threading.Lock()


def path(op: OpFacts, dtype: DType, device: Device) -> str | None:
    """How `device` runs `op` on `dtype`: 'native', 'composite', 'host', or None where it cannot.

    The host needs no kernel, but the device must hold the dtype.
    """
    if dtype not in op.accepts or dtype not in device.backend.dtypes:
        return None
    if entry(op, device).native(dtype) is not None:
        return NATIVE
    if op.body is not None:
        return COMPOSITE
    return HOST if op.reference is not None else None


def coverage(device: Device, ops: Iterable[OpFacts]) -> dict[str, dict[str, str]]:
    """{op name: {dtype name: 'native' | 'composite' | 'host'}} of a device, for the dtypes each op accepts."""
    found: dict[str, dict[str, str]] = {}
    for op in ops:
        ways = {d.name: path(op, d, device) for d in dtypes.all_dtypes}
        found[op.name] = {name: way for name, way in ways.items() if way is not None}
    return found
