"""One optimizer step over many parameters: one operation, in the memory of the old values where nobody else has them.

Types for the compiled version are in step.pxd: for a small model this is most of what a step costs.
"""

from __future__ import annotations

from typing import Any

from mlcore.errors import DeviceError
from mlcore.inputs import cast
from mlcore.modes import MODES, recording
from mlcore.recovery import recover
from mlcore.table import entry

LARGEST = 1 << 27  # elements that one call updates: it cannot be interrupted, so it should take a moment only


def graded(parameters: list[Any]) -> tuple[list[Any], list[Any]]:
    """The parameters that have a gradient, and their gradients."""
    found: list[Any] = []
    gradients: list[Any] = []
    for one in parameters:
        gradient = one.grad
        if gradient is not None:
            found.append(one)
            gradients.append(gradient)
    return found, gradients


def clear(parameters: list[Any]) -> None:
    """Forget the gradients."""
    for one in parameters:
        one._grad = None


def buckets(
    parameters: list[Any], gradients: list[Any], keys: list[Any] | None = None, largest: int = LARGEST
) -> list[tuple[Any, list[Any], list[Any]]]:
    """(key, parameters, gradients) that one operation can update together: of one dtype, device and key."""
    first = parameters[0]
    total = 0
    for i in range(len(parameters)):
        one = parameters[i]
        if (
            one.dtype is not first.dtype
            or one.device is not first.device
            or gradients[i].dtype is not first.dtype
            or (keys is not None and keys[i] != keys[0])
        ):
            return _sorted(parameters, gradients, keys, largest)
        size = 1
        for dim in one.shape:
            size *= dim
        total += size
    if total > largest:
        return _sorted(parameters, gradients, keys, largest)
    return [(None if keys is None else keys[0], parameters, gradients)]


def _sorted(
    parameters: list[Any], gradients: list[Any], keys: list[Any] | None, largest: int
) -> list[tuple[Any, list[Any], list[Any]]]:
    done: list[tuple[Any, list[Any], list[Any]]] = []
    filling: dict[Any, Any] = {}
    for i in range(len(parameters)):
        p, g = parameters[i], gradients[i]
        key = None if keys is None else keys[i]
        kind = (p.dtype.index, p.device.id, key)
        bucket = filling.get(kind)
        if bucket is None or bucket[1] + p.size > largest:
            bucket = filling[kind] = [(key, [], []), 0]
            done.append(bucket[0])
        bucket[0][1].append(p)
        bucket[0][2].append(g if g.dtype is p.dtype else cast(g, p.dtype))
        bucket[1] += p.size
    return done


def run(op: Any, columns: list[list[Any]], values: tuple[Any, ...], follow: bool = False) -> None:
    """Give parameters and states (`columns` without the second, the gradients) what `op` makes of them.

    `values` are the parameters of `op` in its order. A failure leaves everything as it was. With `follow` the tape
    sees the parts of the step, so that gradients flow through it.

    A kernel may have `update(arrays, *values)`: as a call, but it may write over an array that is not a gradient when
    only the list and its tensor refer to it; other new arrays take their places in the list. It returns how many did,
    or -1 where it cannot. So whoever remembers something about an array keeps a reference to it.
    """
    first = columns[0][0]
    for column in columns:
        for one in column:
            if one.device is not first.device:
                raise _apart(op, first.device, one.device)
    if follow:
        flat = [one for column in columns for one in column]
        _take(columns, op.body(*flat, **dict(zip(op.params, values))))
        return
    if MODES.special != 0 and MODES.local.interceptors:
        _call(op, columns, values)
        return
    found = entry(op, first.device)
    kernel = found.by_dtype[first.dtype.index]
    update = getattr(kernel, "update", None)
    if update is None:
        _call(op, columns, values)
        return
    arrays: list[Any] = []
    for column in columns:
        for one in column:
            arrays.append(one.array)
    try:
        replaced = update(arrays, *values)
    except Exception as error:
        recover(op, error, first.shape, first.dtype, first.device)
        replaced = -1
    if replaced < 0:
        _call(op, columns, values)
    elif replaced:
        at = 0
        for column in columns:
            for one in column:
                one.array = arrays[at]
                at += 1


def _apart(op: Any, one: Any, other: Any) -> DeviceError:
    """The error for a parameter whose gradient or state lies on another device."""
    return DeviceError(
        f"{op.name}: operands live on different devices: {one} and {other}",
        cause="a parameter was moved after its gradient or its optimizer's state was made",
        fix=f"move the model first and make the optimizer then, or load_state_dict() its state on {str(one)!r}",
    )


def _call(op: Any, columns: list[list[Any]], values: tuple[Any, ...]) -> None:
    """The same through dispatch, with new arrays for all results."""
    with recording(False):
        made = op([one for column in columns for one in column], **dict(zip(op.params, values)))
    _take(columns, made)


def _take(columns: list[list[Any]], made: Any) -> None:
    """Give the tensors their new values."""
    at = 0
    for i in range(len(columns)):
        if i != 1:
            for one in columns[i]:
                one.rebind(made[at])
                at += 1
