"""Short ways into an operation for those who call it again and again: methods, vjps, indexing.

They do what `apply` does for one or two tensors without binding names, and look at the recent plans first.
"""

from __future__ import annotations

from typing import Any

from mlcore.dispatch import Op, apply, execute, go_on, new_plan
from mlcore.modes import MODES
from mlcore.recovery import recover
from mlcore.shapes import Shape
from mlcore.table import Entry, Plan, look_up, recall_one, recall_two, remember
from mlcore.tape import finish, record_one, record_two
from mlcore.tensor import TensorBase, new_node, wrap


def call_one(op: Op, x: Any, given: tuple[Any, ...]) -> Any:
    """apply for one tensor and every parameter, in the declared order: the short way of methods."""
    if isinstance(x, TensorBase) and (MODES.special == 0 or not MODES.local.interceptors):
        return _one(op, x, given)
    return apply(op, (x,), dict(zip(op.params, given)))


def _one(op: Op, x: Any, given: tuple[Any, ...]) -> Any:
    device = x.device
    table = device.table
    if op.index >= len(table) or table[op.index] is None or op.result[x.dtype.index] is None:
        return apply(op, (x,), dict(zip(op.params, given)))
    found = table[op.index]
    plan = recall_one(found, x, given)
    if plan is None:
        plan = _find_one(op, found, x, given)
    kernel = plan.kernel
    values = plan.values
    if kernel is None or plan.large or not plan.single or plan.shape is None or op.check is not None:
        return execute(op, plan, (x,), device)
    try:
        if len(values) == 2:
            made = kernel(x.array, values[0], values[1])
        elif len(values) == 1:
            made = kernel(x.array, values[0])
        else:
            made = kernel(x.array, *values)
    except Exception as error:
        return go_on(op, plan, (x,), device, error)
    if (
        x.requires_grad
        and op.differentiable
        and (MODES.special == 0 or MODES.local.recording)
        and plan.floating
    ):
        return record_one(op, plan, made, x)
    return wrap(made, device, plan.dtype, plan.shape)


def _find_one(op: Op, found: Entry, x: Any, asked: tuple[Any, ...]) -> Plan:
    """The plan for one tensor, from the dictionary or a new one."""
    plan = look_up(found, ((x.shape, x.dtype),), asked) if op.cacheable else None
    if plan is None:
        plan = new_plan(op, (x,), dict(zip(op.params, asked)), x.device, x.dtype)
        if op.cacheable:
            remember(found, asked, plan)
    return plan


def call_view(op: Op, x: Any, shape: Shape, values: tuple[Any, ...]) -> Any:
    """call_one where the caller has done what the rule would do: it knows the shape and the canonical parameters."""
    if isinstance(x, TensorBase) and (MODES.special == 0 or not MODES.local.interceptors):
        return _view(op, x, shape, values)
    return apply(op, (x,), dict(zip(op.params, values)))


def _view(op: Op, x: Any, shape: Shape, values: tuple[Any, ...]) -> Any:
    device = x.device
    table = device.table
    if op.index >= len(table) or table[op.index] is None:
        return _one(op, x, values)
    found = table[op.index]
    kernel = found.by_dtype[x.dtype.index]
    if kernel is None:
        return _one(op, x, values)
    try:
        if len(values) == 2:
            made = kernel(x.array, values[0], values[1])
        elif len(values) == 3:
            made = kernel(x.array, values[0], values[1], values[2])
        else:
            made = kernel(x.array, *values)
    except Exception as error:
        recover(op, error, shape, x.dtype, device)
        return _one(op, x, values)
    if x.requires_grad and (MODES.special == 0 or MODES.local.recording):
        edge = x if x.node is None else x.node
        node = new_node(op, device, (edge,), (None,), values)
        node.shapes = ((x.shape, x.dtype),)
        return finish(node, 0, made, device, x.dtype, shape)
    return wrap(made, device, x.dtype, shape)


def call_matrices(op: Op, x: Any, y: Any) -> Any:
    """call_two for two tensors with two dimensions or more; None where they are something else."""
    if len(x.shape) < 2 or len(y.shape) < 2:
        return None
    if MODES.special == 0 or not MODES.local.interceptors:
        return _two(op, x, y)
    return apply(op, (x, y), {})


def call_two(op: Op, x: Any, y: Any) -> Any:
    """apply for two tensors and no parameter that are not elementwise: a matrix product."""
    if (
        isinstance(x, TensorBase)
        and isinstance(y, TensorBase)
        and (MODES.special == 0 or not MODES.local.interceptors)
    ):
        return _two(op, x, y)
    return apply(op, (x, y), {})


def _two(op: Op, x: Any, y: Any) -> Any:
    device = x.device
    table = device.table
    if (
        y.device is not device
        or x.dtype is not y.dtype
        or op.index >= len(table)
        or table[op.index] is None
        or op.result[x.dtype.index] is None
    ):
        return apply(op, (x, y), {})
    found = table[op.index]
    plan = recall_two(found, x, y)
    if plan is None:
        plan = _find_two(op, found, x, y)
    kernel = plan.kernel
    if kernel is None or plan.large or not plan.single or op.check is not None:
        return execute(op, plan, (x, y), device)
    try:
        made = kernel(x.array, y.array)
    except Exception as error:
        return go_on(op, plan, (x, y), device, error)
    if (
        (x.requires_grad or y.requires_grad)
        and op.differentiable
        and (MODES.special == 0 or MODES.local.recording)
        and plan.floating
    ):
        return record_two(op, plan, made, x, y)
    return wrap(made, device, plan.dtype, plan.shape)


def _find_two(op: Op, found: Entry, x: Any, y: Any) -> Plan:
    plan = look_up(found, ((x.shape, x.dtype), (y.shape, y.dtype)), ())
    if plan is None:
        plan = remember(found, (), new_plan(op, (x, y), {}, x.device, x.dtype))
    return plan
