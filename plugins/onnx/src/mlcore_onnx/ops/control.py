"""Branches, loops and scans over subgraphs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, ShapeError, UnsupportedOpError
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import on_host, to_numpy, together


def truth(value: Any) -> bool:
    """The one truth value in a tensor."""
    array = np.asarray(to_numpy(value))
    if array.size != 1:
        raise ShapeError(f"a condition of shape {array.shape}", fix="use a single truth value")
    return bool(array.reshape(-1)[0])


@onnx_op("If", 1, raw=True)
def if_(condition: Any, *, then_branch: Any, else_branch: Any) -> Any:
    return tuple(then_branch() if truth(condition) else else_branch())


@onnx_op("Loop", 1, raw=True)
def loop(count: Any = None, condition: Any = None, *states: Any, body: Any) -> Any:
    most = None if count is None else int(np.asarray(to_numpy(count)).reshape(-1)[0])
    on = True if condition is None else truth(condition)
    kept = list(states)
    scanned: list[list[Any]] | None = None
    turn = 0
    while on and (most is None or turn < most):
        made = body(on_host(np.asarray(turn, np.int64)), on_host(np.asarray(on)), *kept)
        on = truth(made[0])
        kept = made[1 : 1 + len(states)]
        rest = made[1 + len(states) :]
        scanned = [[] for _ in rest] if scanned is None else scanned
        for column, one in zip(scanned, rest):
            column.append(one)
        turn += 1
    if scanned is None:  # not once: nothing of the type that the file says
        return (*kept, *(_nothing(one) for one in body.plan.kinds[1 + len(states) :]))
    return (*kept, *map(_stacked, scanned))


def _nothing(kind: Any) -> Any:
    dtype, dims = (np.float32, ()) if kind is None else kind
    return on_host(np.zeros((0, *(dims if math.prod(dims) < 1 << 40 else ())), dtype))


def _stacked(values: list[Any], axis: int = 0) -> Any:
    if isinstance(values[0], list) or values[0] is None:
        raise ArgumentError(
            "a loop that gathers sequences", fix="gather tensors, or carry the sequence along"
        )
    if isinstance(values[0], np.ndarray):
        return np.stack(values, axis)
    return ml.stack(together(values), axis=axis)


def _at(x: Any, axis: int, place: int) -> Any:
    if isinstance(x, np.ndarray):
        return x.take(place, axis)
    return x[(slice(None),) * (axis % x.ndim) + (place,)]


@onnx_op("Scan", 9, raw=True)
def scan(
    *values: Any, body: Any, num_scan_inputs: int, scan_input_axes: Any = None, scan_input_directions: Any = None,
    scan_output_axes: Any = None, scan_output_directions: Any = None,
) -> Any:  # fmt: skip
    first = len(values) - num_scan_inputs
    if num_scan_inputs < 1 or first < 0:
        raise ArgumentError(f"Scan of {num_scan_inputs} inputs, with {len(values)} given")
    states, inputs = list(values[:first]), values[first:]
    axes = scan_input_axes or (0,) * num_scan_inputs
    back = scan_input_directions or (0,) * num_scan_inputs
    lengths = {x.shape[axis] for x, axis in zip(inputs, axes, strict=True)}
    if len(lengths) != 1:
        raise ShapeError(f"Scan over inputs of different lengths: {sorted(lengths)}")
    (steps,) = lengths
    columns: list[list[Any]] = [[] for _ in range(len(body.plan.outputs) - len(states))]
    for t in range(steps):
        parts = [_at(x, a, steps - 1 - t if b else t) for x, a, b in zip(inputs, axes, back, strict=True)]
        made = body(*states, *parts)
        states, rest = made[: len(states)], made[len(states) :]
        for column, one in zip(columns, rest, strict=True):
            column.append(one)
    out_axes = scan_output_axes or (0,) * len(columns)
    out_back = scan_output_directions or (0,) * len(columns)
    if not steps:
        return (*states, *(_nothing(one) for one in body.plan.kinds[len(states) :]))
    scanned = [_stacked(c[::-1] if b else c, a) for c, a, b in zip(columns, out_axes, out_back, strict=True)]
    return (*states, *scanned)


@onnx_op("Scan", 8, 8, raw=True)
def scan_8(lens: Any = None, *values: Any, body: Any, num_scan_inputs: int, directions: Any = None) -> Any:
    """Every input has a batch in front; sequences may have lengths of their own."""
    batch = values[-1].shape[0]
    steps = values[-1].shape[1]
    lengths = (
        [steps] * batch if lens is None else [int(one) for one in np.asarray(to_numpy(lens)).reshape(-1)]
    )
    if any(one != steps for one in lengths):
        raise UnsupportedOpError(
            "Scan (version 8) with sequences of different lengths", fix="export for opset 9 or newer"
        )
    rows = []
    for i in range(batch):
        parts = [_at(x, 0, i) for x in values]
        rows.append(
            scan(*parts, body=body, num_scan_inputs=num_scan_inputs, scan_input_directions=directions)
        )
    return tuple(_stacked(list(one)) for one in zip(*rows))
