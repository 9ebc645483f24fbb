"""Elements by their places: gather, scatter, sort, unique."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, OutOfRangeError, ShapeError
from mlcore.ops.index import index_add, scatter
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import HOST, ints, on_host


@onnx_op("Gather", 1, moves=True)
def gather(x: Any, indices: Any, *, axis: int = 0) -> Any:
    return ml.take(x, indices, axis=axis % x.ndim)


@onnx_op("GatherElements", 11, moves=True)
def gather_elements(x: Any, indices: Any, *, axis: int = 0) -> Any:
    axis = axis % x.ndim
    if x.ndim != indices.ndim or any(
        b > a for i, (a, b) in enumerate(zip(x.shape, indices.shape)) if i != axis
    ):
        raise ShapeError(f"GatherElements: {x.shape} at indices {indices.shape} along axis {axis}")
    x = x[tuple(slice(None) if i == axis else slice(0, n) for i, n in enumerate(indices.shape))]
    return ml.take_along_axis(x, indices, axis=axis)


def _flat_places(indices: Any, sizes: tuple[int, ...]) -> Any:
    """Row-major places of the index tuples in the last dimension."""
    flat: Any = None
    for i, size in enumerate(sizes):
        part = indices[..., i]
        if part.size and (int(ml.min(part)) < -size or int(ml.max(part)) >= size):
            raise OutOfRangeError(f"index {int(ml.max(part))} of a dimension of size {size}")
        part = ml.where(ml.less(part, 0), part + size, part)
        flat = part if flat is None else flat * size + part
    return flat


@onnx_op("GatherND", 11, moves=True)
def gather_nd(x: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    depth = indices.shape[-1]
    lead = x.shape[:batch_dims]
    if batch_dims + depth > x.ndim or lead != indices.shape[:batch_dims] or depth == 0:
        raise ShapeError(f"GatherND: {x.shape} at indices {indices.shape}, batch_dims {batch_dims}")
    sizes, rest = x.shape[batch_dims : batch_dims + depth], x.shape[batch_dims + depth :]
    count = math.prod(lead)
    places = ml.reshape(_flat_places(indices, sizes), (count, -1))
    step = math.prod(sizes)
    if count != 1 or lead:
        places = places + ml.reshape(ml.arange(count, device=x.device) * step, (-1, 1))
    rows = ml.reshape(x, (count * step, *rest))
    found = ml.take(rows, ml.reshape(places, (-1,)), axis=0)
    return ml.reshape(found, (*indices.shape[:-1], *rest))


def _combined(flat: Any, places: Any, values: Any, how: str, what: str) -> Any:
    """`flat` (n, ...) with `values` (m, ...) put at `places` (m,), or folded in."""
    if how == "none":
        return scatter(flat, places, values, axis=0)
    if how == "add":
        return index_add(flat, places, values, axis=0)
    if how not in ("mul", "max", "min"):
        raise ArgumentError(f"{what}: reduction {how!r}", fix="none, add, mul, max or min")
    of = {"mul": ml.multiply, "max": ml.maximum, "min": ml.minimum}[how]
    return _folded(flat, places, values, of)


def _folded(flat: Any, places: Any, values: Any, of: Any) -> Any:
    """Folds of values in rounds, in each of which a place comes up once."""
    order = np.asarray(places)
    turn = np.zeros(order.shape, np.int64)
    sorted_ = np.argsort(order, kind="stable")
    same = order[sorted_]
    starts = np.flatnonzero(np.r_[True, same[1:] != same[:-1]]) if len(same) else np.zeros(0, np.int64)
    turn[sorted_] = np.arange(len(same)) - np.repeat(starts, np.diff(np.r_[starts, len(same)]))
    for number in range(int(turn.max(initial=-1)) + 1):
        chosen = ml.asarray(np.flatnonzero(turn == number), device=flat.device)
        at = ml.take(places, chosen, axis=0)
        flat = scatter(flat, at, of(ml.take(flat, at, axis=0), ml.take(values, chosen, axis=0)), axis=0)
    return flat


@onnx_op("ScatterND", 11)
def scatter_nd(x: Any, indices: Any, updates: Any, *, reduction: str = "none") -> Any:
    depth = indices.shape[-1]
    if depth > x.ndim or depth == 0:
        raise ShapeError(f"ScatterND: {x.shape} at indices {indices.shape}")
    sizes, rest = x.shape[:depth], x.shape[depth:]
    places = ml.reshape(_flat_places(indices, sizes), (-1,))
    flat = ml.reshape(x, (math.prod(sizes), *rest))
    made = _combined(
        flat,
        places,
        ml.reshape(updates, (-1, *rest)) if math.prod(rest) else flat[:0],
        reduction,
        "ScatterND",
    )
    return ml.reshape(made, x.shape)


@onnx_op("ScatterElements", 11)
def scatter_elements(x: Any, indices: Any, updates: Any, *, axis: int = 0, reduction: str = "none") -> Any:
    axis = axis % x.ndim
    size = x.shape[axis]
    if indices.size and (int(ml.min(indices)) < -size or int(ml.max(indices)) >= size):
        raise OutOfRangeError(f"ScatterElements: index {int(ml.max(indices))} of a dimension of size {size}")
    places = ml.astype(ml.where(ml.less(indices, 0), indices + size, indices), ml.int64)
    flat: Any = None
    for i, n in enumerate(x.shape):
        line = ml.reshape(
            ml.arange(indices.shape[i], device=x.device), tuple(-1 if i == j else 1 for j in range(x.ndim))
        )
        part = places if i == axis else line
        flat = part if flat is None else flat * n + part
    flat = ml.reshape(ml.broadcast_to(flat, indices.shape), (-1,))
    made = _combined(ml.reshape(x, (-1,)), flat, ml.reshape(updates, (-1,)), reduction, "ScatterElements")
    return ml.reshape(made, x.shape)


@onnx_op("Scatter", 9, 10)
def scatter_9(x: Any, indices: Any, updates: Any, *, axis: int = 0) -> Any:
    return scatter_elements(x, indices, updates, axis=axis)


@onnx_op("TensorScatter", 24)
def tensor_scatter(
    past: Any, update: Any, write_indices: Any = None, *, axis: int = -2, mode: str = "linear"
) -> Any:
    axis = axis % past.ndim
    size, count, batch = past.shape[axis], update.shape[axis], past.shape[0]
    first = ml.zeros((batch,), dtype=ml.int64, device=past.device) if write_indices is None else write_indices
    places = ml.reshape(first, (batch, 1)) + ml.reshape(ml.arange(count, device=past.device), (1, count))
    if mode == "circular":
        places = ml.remainder(places, size)
    elif mode != "linear":
        raise ArgumentError(f"TensorScatter: mode {mode!r}", fix="'linear' or 'circular'")
    wide = ml.reshape(places, tuple(batch if i == 0 else count if i == axis else 1 for i in range(past.ndim)))
    return scatter_elements(past, ml.broadcast_to(wide, update.shape), update, axis=axis)


@onnx_op("OneHot", 9, host=("depth",), grows=True)
def one_hot(indices: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    count = int(depth.reshape(-1)[0])
    whole = ml.astype(indices, ml.int64)
    whole = ml.where(ml.less(whole, 0), whole + count, whole)
    rank = indices.ndim + 1
    axis = axis % rank
    wide = ml.expand_dims(whole, axis=axis)
    line = ml.reshape(
        ml.arange(count, device=indices.device), tuple(-1 if i == axis else 1 for i in range(rank))
    )
    return ml.where(ml.equal(wide, line), values[1], values[0])


@onnx_op("TopK", 10, host=("k",))
def top_k(x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:
    count = int(k.reshape(-1)[0])
    axis = axis % x.ndim
    if not 0 <= count <= x.shape[axis]:
        raise ArgumentError(f"TopK: k={count} of {x.shape} along axis {axis}")
    order = ml.argsort(x, axis=axis, descending=bool(largest), stable=True)
    order = order[(slice(None),) * axis + (slice(0, count),)]
    return ml.take_along_axis(x, order, axis=axis), order


@onnx_op("TopK", 1, 9)
def top_k_1(x: Any, *, axis: int = -1, k: int) -> Any:
    return top_k(x, np.asarray(k), axis=axis)


@onnx_op("NonZero", 9)
def non_zero(x: Any) -> Any:
    if x.ndim == 0:
        return ml.zeros((0, int(bool(x))), dtype=ml.int64, device=x.device)
    return ml.stack(list(ml.nonzero(x)), axis=0)


@onnx_op("Compress", 9, host=("condition",), moves=True)
def compress(x: Any, condition: Any, *, axis: int | None = None) -> Any:
    places = np.flatnonzero(condition.reshape(-1))
    flat = ml.reshape(x, (-1,)) if axis is None else x
    return ml.take(
        flat, ml.asarray(places.astype(np.int64), device=x.device), axis=0 if axis is None else axis % x.ndim
    )


@onnx_op("Unique", 11, host=("x",))
def unique(x: Any, *, axis: int | None = None, sorted: int = 1) -> Any:
    """Worked out on the host: how much there is depends on the values."""
    found, index, inverse, counts = np.unique(x, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(index, kind="stable")
        turn = np.empty(len(order), np.int64)
        turn[order] = np.arange(len(order))
        found = np.take(found, order, axis=0 if axis is None else axis)
        index, inverse, counts = index[order], turn[inverse], counts[order]
    return on_host(found), *(on_host(one.astype(np.int64)) for one in (index, inverse, counts))


@onnx_op("NonMaxSuppression", 10, host=("boxes", "scores", "count", "iou", "score"))
def non_max_suppression(
    boxes: Any,
    scores: Any,
    count: Any = None,
    iou: Any = None,
    score: Any = None,
    *,
    center_point_box: int = 0,
) -> Any:
    """Worked out on the host, box after box."""
    most = int(count.reshape(-1)[0]) if count is not None else 0
    overlap = float(iou.reshape(-1)[0]) if iou is not None else 0.0
    least = float(score.reshape(-1)[0]) if score is not None else -math.inf
    chosen = []
    for batch in range(scores.shape[0]):
        corners = _corners(boxes[batch], center_point_box)
        for group in range(scores.shape[1]):
            value = scores[batch, group]
            order = [i for i in np.argsort(-value, kind="stable") if value[i] > least]
            kept: list[int] = []
            for i in order:
                if len(kept) >= most:
                    break
                if all(_overlap(corners[i], corners[j]) <= overlap for j in kept):
                    kept.append(int(i))
            chosen += [(batch, group, i) for i in kept]
    return ml.asarray(np.asarray(chosen, np.int64).reshape(-1, 3), device=HOST)


def _corners(boxes: Any, center: int) -> Any:
    if center:
        x, y, w, h = boxes.T
        return np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], axis=1)
    a, b = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(a, b), np.maximum(a, b)], axis=1)


def _overlap(a: Any, b: Any) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    total = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / total if total > 0 else 0.0


__all__ = ["ints", "scatter_elements"]
