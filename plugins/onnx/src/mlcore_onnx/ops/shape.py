"""Shapes, and values that only change places."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.subscript import getitem
from mlcore_onnx.ops.cast import as_dtype
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import ints, on_host, place_for


@onnx_op("Shape", 1, raw=True)
def shape(x: Any, *, start: int = 0, end: int | None = None) -> Any:
    return on_host(np.asarray(x.shape[slice(start, end)], np.int64))


@onnx_op("Size", 1, raw=True)
def size(x: Any) -> Any:
    return on_host(np.asarray(math.prod(x.shape), np.int64))


@onnx_op("Reshape", 5, host=("shape",), moves=True)
def reshape(x: Any, shape: Any, *, allowzero: int = 0) -> Any:
    wanted = list(ints(shape))
    if not allowzero:
        if any(one == 0 and i >= x.ndim for i, one in enumerate(wanted)):
            raise ShapeError(f"Reshape of {x.shape} to {tuple(wanted)}: a 0 has no size to copy")
        wanted = [x.shape[i] if one == 0 else one for i, one in enumerate(wanted)]
    return ml.reshape(x, tuple(wanted))


@onnx_op("Flatten", 1, moves=True)
def flatten(x: Any, *, axis: int = 1) -> Any:
    if not -x.ndim <= axis <= x.ndim:
        raise ShapeError(f"Flatten of {x.shape} at axis {axis}")
    axis = axis + x.ndim if axis < 0 else axis
    return ml.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@onnx_op("Transpose", 1, moves=True)
def transpose(x: Any, *, perm: Any = None) -> Any:
    return ml.permute_dims(x, tuple(range(x.ndim))[::-1] if perm is None else tuple(perm))


@onnx_op("Squeeze", 13, host=("axes",), moves=True)
def squeeze(x: Any, axes: Any = None) -> Any:
    if axes is None:
        return ml.reshape(x, tuple(d for d in x.shape if d != 1))
    return ml.squeeze(x, tuple(ints(axes)))


@onnx_op("Squeeze", 1, 12, moves=True)
def squeeze_1(x: Any, *, axes: Any = None) -> Any:
    return squeeze(x, axes)


@onnx_op("Unsqueeze", 13, host=("axes",), moves=True)
def unsqueeze(x: Any, axes: Any) -> Any:
    rank = x.ndim + len(ints(axes))
    places = {one + rank if one < 0 else one for one in ints(axes)}
    if len(places) != rank - x.ndim or not all(0 <= one < rank for one in places):
        raise ShapeError(f"Unsqueeze of {x.shape} at axes {ints(axes)}", fix=f"distinct axes below {rank}")
    sizes = iter(x.shape)
    return ml.reshape(x, tuple(1 if i in places else next(sizes) for i in range(rank)))


@onnx_op("Unsqueeze", 1, 12, moves=True)
def unsqueeze_1(x: Any, *, axes: Any) -> Any:
    return unsqueeze(x, axes)


@onnx_op("Concat", 4, moves=True)
def concat(*xs: Any, axis: int) -> Any:
    return xs[0] if len(xs) == 1 else ml.concat(list(xs), axis=axis)


def _split(x: Any, sizes: Any, axis: int) -> tuple[Any, ...]:
    if sum(sizes) != x.shape[axis]:
        raise ShapeError(
            f"Split of {x.shape} at axis {axis} into {tuple(sizes)}", cause="the sizes do not add up"
        )
    return tuple(ml.split(x, list(sizes), axis=axis))


def even(total: int, parts: int) -> list[int]:
    """Sizes of equal pieces, the last of which may be smaller."""
    each = math.ceil(total / parts)
    return [max(min(each, total - i * each), 0) for i in range(parts)]


@onnx_op("Split", 18, host=("split",), moves=True)
def split(x: Any, split: Any = None, *, axis: int = 0, num_outputs: int | None = None, outputs: int) -> Any:
    return _split(x, even(x.shape[axis], num_outputs or outputs) if split is None else ints(split), axis)


@onnx_op("Split", 13, 17, host=("split",), moves=True)
def split_13(x: Any, split: Any = None, *, axis: int = 0, outputs: int) -> Any:
    return _split(x, even(x.shape[axis], outputs) if split is None else ints(split), axis)


@onnx_op("Split", 2, 12, moves=True)
def split_2(x: Any, *, axis: int = 0, split: Any = None, outputs: int) -> Any:
    return _split(x, even(x.shape[axis], outputs) if split is None else split, axis)


def sliced(x: Any, starts: Any, ends: Any, axes: Any, steps: Any) -> Any:
    """A slice in NumPy's sense, whose bounds may lie anywhere."""
    key = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -x.ndim <= axis < x.ndim or step == 0:
            raise ShapeError(f"Slice of {x.shape} at axis {axis} with step {step}")
        n = x.shape[axis]
        if step > 0:
            key[axis] = slice(*slice(start, end, step).indices(n))
        else:  # an end that lies before the first element is -1 in what indices() gives: that means None here
            first, last, by = slice(start, end, step).indices(n)
            key[axis] = slice(first, None if last < 0 else last, by) if first >= 0 else slice(0, 0)
    return getitem(x, tuple(key))


@onnx_op("Slice", 10, host=("starts", "ends", "axes", "steps"), moves=True)
def slice_(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    low, high = ints(starts), ints(ends)
    return sliced(x, low, high, range(len(low)) if axes is None else ints(axes),
                  (1,) * len(low) if steps is None else ints(steps))  # fmt: skip


@onnx_op("Slice", 1, 9, moves=True)
def slice_1(x: Any, *, starts: Any, ends: Any, axes: Any = None) -> Any:
    return sliced(x, starts, ends, range(len(starts)) if axes is None else axes, (1,) * len(starts))


@onnx_op("Expand", 8, host=("shape",), moves=True, grows=True)
def expand(x: Any, shape: Any) -> Any:
    wanted = np.broadcast_shapes(x.shape, ints(shape)) if x.ndim or len(shape) else ()
    return ml.broadcast_to(x, tuple(wanted))


@onnx_op("Tile", 6, host=("repeats",), moves=True, grows=True)
def tile(x: Any, repeats: Any) -> Any:
    return ml.tile(x, ints(repeats))


@onnx_op("ConstantOfShape", 9, host=("shape",), grows=True)
def constant_of_shape(shape: Any, *, value: Any = None, device: Any) -> Any:
    fill = np.zeros((), np.float32) if value is None else value.reshape(-1)[0]
    wanted = ints(shape)
    if any(one < 0 for one in wanted):
        raise ShapeError(f"ConstantOfShape of {wanted}")
    array = on_host(np.asarray(fill))
    if isinstance(array, np.ndarray):
        if math.prod(wanted) > 1 << 24:
            raise ShapeError(f"ConstantOfShape of {wanted}, {array.dtype}: too large for the host")
        return np.full(wanted, fill)
    return ml.full(wanted, array.item(), dtype=array.dtype, device=place_for(wanted, device))


@onnx_op("Range", 11, host=("start", "limit", "delta"), grows=True)
def range_(start: Any, limit: Any, delta: Any, *, stash_type: int = 1, device: Any) -> Any:
    first, last, step = start.item(), limit.item(), delta.item()
    if step == 0:
        raise ArgumentError("Range with a step of 0")
    dtype = as_dtype(None, on_host(start).dtype)
    count = max(math.ceil((last - first) / step), 0)
    where = place_for((count,), device)
    whole = ml.arange(count, device=where)
    if dtype.kind in "iu":
        return ml.astype(whole * step + first, dtype)
    wide = ml.float64 if dtype is ml.float64 else ml.float32
    return ml.astype(ml.astype(whole, wide) * step + first, dtype)


@onnx_op("EyeLike", 9)
def eye_like(x: Any, *, dtype: int | None = None, k: int = 0) -> Any:
    return ml.eye(*x.shape, k=k, dtype=as_dtype(dtype, x.dtype), device=x.device)


@onnx_op("Trilu", 14, host=("k",))
def trilu(x: Any, k: Any = None, *, upper: int = 1) -> Any:
    by = 0 if k is None else int(k.reshape(-1)[0])
    return ml.triu(x, k=by) if upper else ml.tril(x, k=by)


@onnx_op("DepthToSpace", 1)
def depth_to_space(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    n, c, h, w = x.shape
    b = blocksize
    if mode == "DCR":
        split_, order = (n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2)
    elif mode == "CRD":
        split_, order = (n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3)
    else:
        raise ArgumentError(f"DepthToSpace: mode {mode!r}", fix="'DCR' or 'CRD'")
    return ml.reshape(ml.permute_dims(ml.reshape(x, split_), order), (n, c // (b * b), h * b, w * b))


@onnx_op("SpaceToDepth", 1)
def space_to_depth(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    n, c, h, w = x.shape
    b = blocksize
    parts = ml.reshape(x, (n, c, h // b, b, w // b, b))
    order = {"DCR": (0, 3, 5, 1, 2, 4), "CRD": (0, 1, 3, 5, 2, 4)}.get(mode)
    if order is None:
        raise ArgumentError(f"SpaceToDepth: mode {mode!r}", fix="'DCR' or 'CRD'")
    return ml.reshape(ml.permute_dims(parts, order), (n, c * b * b, h // b, w // b))


@onnx_op("ReverseSequence", 10, host=("sequence_lens",))
def reverse_sequence(x: Any, sequence_lens: Any, *, batch_axis: int = 1, time_axis: int = 0) -> Any:
    steps = x.shape[time_axis]
    lengths = sequence_lens.reshape(-1, 1)
    places = np.arange(steps)[None, :]
    index = np.where(places < lengths, lengths - 1 - places, places)
    if (index < 0).any() or (index >= steps).any():
        raise ShapeError(f"ReverseSequence of {x.shape}: lengths {ints(sequence_lens)[:8]}")
    if batch_axis % x.ndim > time_axis % x.ndim:
        index = index.T
    wide = [1] * x.ndim
    wide[batch_axis], wide[time_axis] = x.shape[batch_axis], steps
    found = ml.asarray(np.ascontiguousarray(index.reshape(wide)), device=x.device)
    return ml.take_along_axis(x, found, axis=time_axis % x.ndim)


PAD_MODES = {"constant": None, "reflect": np.arange, "edge": np.arange, "wrap": np.arange}


def padded(x: Any, before: Any, after: Any, mode: str, value: Any) -> Any:
    """`x` with more (or, below 0, fewer) elements on either side of each axis."""
    if mode not in PAD_MODES:
        raise ArgumentError(f"Pad: mode {mode!r}", fix=", ".join(PAD_MODES))
    key = tuple(slice(max(-b, 0), n - max(-a, 0)) for b, a, n in zip(before, after, x.shape, strict=True))
    if any(b < 0 or a < 0 for b, a in zip(before, after, strict=True)):
        x = getitem(x, key)
    pads = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    if mode == "constant":
        return ml.pad(x, pads, value=value) if any(map(any, pads)) else x
    how = "symmetric" if mode == "symmetric" else mode
    for axis, (low, high) in enumerate(pads):
        if low or high:
            if not x.shape[axis]:
                raise ShapeError(f"Pad of {x.shape}: nothing to repeat along axis {axis}")
            places = np.pad(np.arange(x.shape[axis]), (low, high), mode=how)  # type: ignore[call-overload]  # a str
            x = ml.take(x, ml.asarray(places, device=x.device), axis=axis)
    return x


@onnx_op("Pad", 11, host=("pads", "value", "axes"), grows=True)
def pad(x: Any, pads: Any, value: Any = None, axes: Any = None, *, mode: str = "constant") -> Any:
    given = ints(pads)
    chosen = tuple(range(x.ndim)) if axes is None else tuple(a % x.ndim for a in ints(axes))
    if len(given) != 2 * len(chosen):
        raise ShapeError(f"Pad of {x.shape}: {len(given)} pads for {len(chosen)} axes")
    before, after = [0] * x.ndim, [0] * x.ndim
    for i, axis in enumerate(chosen):
        before[axis], after[axis] = given[i], given[len(chosen) + i]
    return padded(
        x, before, after, mode, 0 if value is None or not value.size else value.reshape(-1)[0].item()
    )


@onnx_op("Pad", 2, 10)
def pad_2(x: Any, *, pads: Any, mode: str = "constant", value: float = 0.0) -> Any:
    return padded(x, pads[: x.ndim], pads[x.ndim :], mode, value)


@onnx_op("CenterCropPad", 18, host=("shape",), grows=True)
def center_crop_pad(x: Any, shape: Any, *, axes: Any = None) -> Any:
    before, after = [0] * x.ndim, [0] * x.ndim
    for axis, wanted in zip(range(x.ndim) if axes is None else axes, ints(shape), strict=True):
        more = wanted - x.shape[axis]
        low = more // 2 if more >= 0 else -((-more) // 2)
        before[axis], after[axis] = low, more - low
    return padded(x, before, after, "constant", 0)
