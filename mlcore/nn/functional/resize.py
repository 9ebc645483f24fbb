"""Resizing by interpolation: each axis is a few taps, or one small matrix where windows grow (area, antialias)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.functional.pooling_adaptive import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
)
from mlcore.ops.arrange import moveaxis
from mlcore.ops.index import gather
from mlcore.ops.linalg import matmul
from mlcore.ops.shape import matrix_transpose, reshape

_RANKS = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
_AREAS = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


def interpolate(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Any:  # fmt: skip
    """(N, C, *sizes) resized to `size`, or by `scale_factor`.

    Modes 'nearest', 'nearest-exact' and 'area' for one to three dimensions, 'linear' for one, 'bilinear' and
    'bicubic' (a = -0.75; Keys 1981) for two, 'trilinear' for three. `align_corners` puts the outermost elements at the
    outermost places. `antialias` (bilinear, bicubic; a = -0.5) widens the filter when shrinking, as Pillow does.
    A given `scale_factor` is the scale, unless `recompute_scale_factor` takes it from the sizes.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.interpolate(ml.asarray([[[0.0, 2.0]]]), scale_factor=2.0, mode="linear").tolist()
    [[[0.0, 0.5, 1.5, 2.0]]]
    """
    rank = input.ndim - 2
    if not 1 <= rank <= 3:
        raise ShapeError(f"interpolate: {input.shape}", fix="use (N, C, L), (N, C, H, W) or (N, C, D, H, W)")
    if mode not in ("nearest", "nearest-exact", "area", *_RANKS):
        raise ArgumentError(f"interpolate: mode={mode!r}", fix="see the modes in its documentation")
    if _RANKS.get(mode, rank) != rank:
        raise ShapeError(
            f"interpolate: mode {mode!r} of {input.shape}",
            fix=f"it is for {_RANKS[mode]} dimensions after (N, C)",
        )
    if align_corners is not None and mode not in _RANKS:
        raise ArgumentError(
            f"interpolate: align_corners with mode {mode!r}", fix="only the linear and cubic ones"
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ArgumentError(f"interpolate: antialias with mode {mode!r}", fix="use 'bilinear' or 'bicubic'")
    sizes = input.shape[2:]
    wanted, scales = _wanted(sizes, size, scale_factor, recompute_scale_factor)
    if 0 in sizes:
        raise ShapeError(f"interpolate: nothing to resize in {input.shape}")
    if mode == "area":
        return _AREAS[rank](input, wanted)
    for axis in range(rank - 1, -1, -1):
        input = _axis(input, axis + 2, wanted[axis], scales[axis], mode, bool(align_corners), antialias)
    return input


def _wanted(
    sizes: Any, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[Any, list[float | None]]:
    """The sizes of the result, and the factor of each axis where the scale is not that of the sizes."""
    rank = len(sizes)
    if (size is None) == (scale_factor is None):
        raise ArgumentError(f"interpolate: size {size}, scale_factor {scale_factor}", fix="give one of them")
    if size is not None:
        if recompute:
            raise ArgumentError("interpolate: recompute_scale_factor with size", fix="leave it out")
        wanted = (size,) * rank if isinstance(size, int) else tuple(int(one) for one in size)
        factors: list[float | None] = [None] * rank
    else:
        given = (scale_factor,) * rank if isinstance(scale_factor, (int, float)) else tuple(scale_factor)
        if len(given) == rank:
            if not all(math.isfinite(one) and one > 0 for one in given):
                raise ArgumentError(f"interpolate: scale_factor {scale_factor}", fix="use factors > 0")
            wanted = tuple(math.floor(n * float(one)) for n, one in zip(sizes, given, strict=True))
            factors = [None if recompute else float(one) for one in given]
        else:
            wanted, factors = (), []
    if len(wanted) != rank or not all(one >= 1 for one in wanted):
        raise ArgumentError(
            f"interpolate: {sizes} with size {size}, scale_factor {scale_factor}",
            fix=f"one size or factor, or {rank}; sizes >= 1",
        )
    return wanted, factors


def _axis(
    x: Any, axis: int, wanted: int, factor: float | None, mode: str, corners: bool, antialias: bool
) -> Any:
    size = x.shape[axis]
    if antialias:
        matrix = _filter(size, wanted, factor, mode, corners)
        return _through(x, axis, dispatch.from_data(matrix, x.dtype, x.device))
    step = 1 / factor if factor is not None else size / wanted
    if mode.startswith("nearest"):
        shift = 0.5 if mode == "nearest-exact" else 0.0
        places = np.minimum(
            np.floor((np.arange(wanted) + shift) * np.float32(step)).astype(np.int64), size - 1
        )
        unchanged = wanted == size and bool((places == np.arange(size)).all())
        return x if unchanged else _take(x, axis, places)
    if corners:
        at = np.arange(wanted) * ((size - 1) / (wanted - 1) if wanted > 1 else 0.0)
    else:
        at = (np.arange(wanted) + 0.5) * step - 0.5
    if mode == "bicubic":
        low = np.floor(at)
        taps, weights = low.astype(np.int64)[:, None] + np.arange(-1, 3), _cubic(at - low, -0.75)
    else:
        at = np.maximum(at, 0)
        low = np.minimum(np.floor(at), size - 1)
        taps, weights = (
            low.astype(np.int64)[:, None] + np.arange(2),
            np.stack([1 - (at - low), at - low], axis=1),
        )
    return _tapped(x, axis, np.clip(taps, 0, size - 1), weights)


def _take(x: Any, axis: int, places: Any) -> Any:
    return gather(x, dispatch.from_data(np.ascontiguousarray(places), None, x.device), axis=axis)


def _tapped(x: Any, axis: int, taps: Any, weights: Any) -> Any:
    """The sum over the taps of (wanted, taps) places and weights."""
    total = None
    for place, weight in zip(taps.T, weights.T, strict=True):
        if not weight.any():
            continue
        scale = dispatch.from_data(np.ascontiguousarray(weight), x.dtype, x.device)
        part = _take(x, axis, place) * reshape(scale, (-1, *(1,) * (x.ndim - 1 - axis)))
        total = part if total is None else total + part
    return total


def _through(x: Any, axis: int, matrix: Any) -> Any:
    """(wanted, size) times one axis of `x`."""
    if axis == x.ndim - 1:
        return matmul(x, matrix_transpose(matrix))
    if axis == x.ndim - 2:
        return matmul(matrix, x)
    return moveaxis(matmul(moveaxis(x, axis, -1), matrix_transpose(matrix)), -1, axis)


def _cubic(t: Any, a: float) -> Any:
    """Keys' four weights at distance t from the second tap."""
    d = np.abs(t[:, None] - np.arange(-1, 3))
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _filter(size: int, wanted: int, factor: float | None, mode: str, corners: bool) -> Any:
    """The (wanted, size) matrix of a filter that is as wide as the step between two results."""
    if corners:
        step = (size - 1) / (wanted - 1) if wanted > 1 else 0.0
    else:
        step = 1 / factor if factor is not None else size / wanted
    reach = (1.0 if mode == "bilinear" else 2.0) * max(step, 1.0)
    inverse = 1 / step if step >= 1 else 1.0
    matrix = np.zeros((wanted, size))
    for i in range(wanted):
        center = step * (i + 0.5)
        first, last = max(int(center - reach + 0.5), 0), min(int(center + reach + 0.5), size)
        d = np.abs((np.arange(first, last) - center + 0.5) * inverse)
        if mode == "bilinear":
            weights = np.maximum(1 - d, 0)
        else:
            near = (1.5 * d - 2.5) * d * d + 1
            weights = np.where(d < 1, near, np.where(d < 2, (((d - 5) * d + 8) * d - 4) * -0.5, 0.0))
        matrix[i, first:last] = weights / weights.sum()
    return matrix


def upsample(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Any:
    """`interpolate`, by PyTorch's old name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` with mode 'nearest'."""
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` with mode 'bilinear' and `align_corners`."""
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
