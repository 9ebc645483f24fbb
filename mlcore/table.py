"""The table of a device: how it runs each operation, built as operations are first used."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from typing import Any

from mlcore import dtypes
from mlcore.backends.device import Device
from mlcore.backends.protocol import Kernel
from mlcore.dtype import DType
from mlcore.op import MISSING, OpFacts
from mlcore.recovery import kernel_of

NATIVE, COMPOSITE, HOST = "native", "composite", "host"
COMPOSITION = "composition"  # the origin of a kernel that is the operation's body, compiled by a backend
RECENT = 4  # plans that are compared one by one: as many layers of one kind follow each other


class Entry:
    """How one device runs one operation.

    `by_dtype` has a native kernel per dtype of the first input, or None; `plans` what was worked out for signatures,
    `recent` the few that were looked up last, compared before the dictionary is.
    """

    __slots__ = ("by_dtype", "kernel", "origin", "plans", "recent", "turn")

    def __init__(self, op: OpFacts, device: Device) -> None:
        kernel = kernel_of(op, device)
        limits = getattr(kernel, "dtypes", None)
        held = device.backend.dtypes
        self.kernel = kernel
        self.origin = getattr(kernel, "origin", "native") if kernel is not None else None
        self.plans: dict[Any, Plan] = {}
        self.recent: list[Plan | None] = [None] * RECENT
        self.turn = 0  # the place in `recent` that the next one takes
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

    `shape` and `dtype` are the first output's, `outs` has all, `given` the inputs' pairs of them and `asked` the
    parameters as the caller gave them; `values` are the canonical ones. `kernel`, for inputs of dtype `kind`, is None
    where the operation is composed or the host computes it; `large` results are held against the memory, `floating`
    ones can have a gradient. `shape_1`, ... are those of `given` again, since every `a @ b` compares them.
    """

    __slots__ = (
        "asked", "dtype", "dtype_1", "dtype_2", "floating", "given", "inputs", "kernel", "kind", "large", "outs",
        "shape", "shape_1", "shape_2", "single", "values",
    )  # fmt: skip

    def __init__(
        self,
        kernel: Kernel | None,
        kind: DType,
        given: tuple[Any, ...],
        outs: tuple[Any, ...],
        values: tuple[Any, ...],
        single: bool,
        large: bool,
    ) -> None:
        self.given = given
        self.asked: tuple[Any, ...] = ()
        self.kernel = kernel
        self.kind = kind
        self.outs = outs
        self.values = values
        self.single = single
        self.large = large
        self.shape, self.dtype = outs[0]
        self.floating = self.dtype.kind in "fc"
        self.inputs = len(given)
        first: Any = (*given, None)[0] or (None, None)
        second: Any = (*given, None, None)[1] or (None, None)
        self.shape_1, self.dtype_1 = first
        self.shape_2, self.dtype_2 = second


def asked_for(op: OpFacts, params: dict[str, Any]) -> tuple[Any, ...]:
    """The parameters of a call by their places; MISSING where the caller gave none."""
    if not params:
        return op.unasked
    found: list[Any] = []
    count = 0
    for name in op.params:
        if name in params:
            found.append(params[name])
            count += 1
        else:
            found.append(MISSING)
    if count != len(params):  # names that are no parameter: the rule looks at them
        found.extend(params.items())
    return tuple(found)


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two lists of parameters are one: equal and of equal types, for 2 is not 2.0 here, nor 0.0 -0.0."""
    if len(one) != len(other):
        return False
    for i in range(len(one)):
        a = one[i]
        b = other[i]
        if a is b:
            continue
        kind = type(a)
        if kind is not type(b):
            return False
        if kind is tuple:
            if not same(a, b):
                return False
        elif a != b or (kind is float and a == 0 and math.copysign(1.0, a) != math.copysign(1.0, b)):
            return False
    return True


def recall(found: Entry, inputs: tuple[Any, ...], asked: tuple[Any, ...]) -> Plan | None:
    """The recent plan for such tensors (or None for an optional one) and parameters, if there is one."""
    count = len(inputs)
    for plan in found.recent:
        if plan is None:
            return None
        given = plan.given
        if len(given) != count:
            continue
        fits = True
        for i in range(count):
            if not _like(inputs[i], given[i]):
                fits = False
                break
        if fits and (asked is plan.asked or same(asked, plan.asked)):
            return plan
    return None


def recall_one(found: Entry, x: Any, asked: tuple[Any, ...]) -> Plan | None:
    """recall for one tensor."""
    for plan in found.recent:
        if plan is None:
            return None
        if (
            plan.inputs == 1
            and x.dtype is plan.dtype_1
            and (x.shape is plan.shape_1 or x.shape == plan.shape_1)
            and (asked is plan.asked or same(asked, plan.asked))
        ):
            return plan
    return None


def recall_two(found: Entry, x: Any, y: Any) -> Plan | None:
    """recall for two tensors and no parameter."""
    for plan in found.recent:
        if plan is None:
            return None
        if (
            plan.inputs == 2
            and x.dtype is plan.dtype_1
            and y.dtype is plan.dtype_2
            and (x.shape is plan.shape_1 or x.shape == plan.shape_1)
            and (y.shape is plan.shape_2 or y.shape == plan.shape_2)
        ):
            return plan
    return None


def _like(one: Any, pair: Any) -> bool:
    if one is None or pair is None:
        return one is pair
    shape = pair[0]
    return one.dtype is pair[1] and (one.shape is shape or one.shape == shape)


def look_up(found: Entry, given: tuple[Any, ...], asked: tuple[Any, ...]) -> Plan | None:
    """The plan of a signature; None where there is none yet, or a parameter cannot be a key, such as a list."""
    try:
        plan = found.plans.get((given, asked))
    except TypeError:
        return None
    if plan is None or not same(plan.asked, asked):
        return None
    _note(found, plan)
    return plan


def remember(found: Entry, asked: tuple[Any, ...], plan: Plan) -> Plan:
    """Keep a new plan for the next call like this one."""
    if len(found.plans) > 2048:
        found.plans.clear()
    plan.asked = asked
    try:
        found.plans[(plan.given, asked)] = plan
    except TypeError:
        return plan
    _note(found, plan)
    return plan


def _note(found: Entry, plan: Plan) -> None:
    found.recent[found.turn] = plan
    found.turn = (found.turn + 1) % RECENT


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
