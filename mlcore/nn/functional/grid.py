"""Images sampled at any places (Jaderberg et al. 2015, Spatial transformer networks)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from mlcore import dispatch, dtypes
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.elementwise import abs as abs_
from mlcore.ops.elementwise import astype, floor, maximum, minimum, where
from mlcore.ops.elementwise import round as round_
from mlcore.ops.index import take_along_axis
from mlcore.ops.linalg import matmul
from mlcore.ops.logic import isfinite
from mlcore.ops.shape import broadcast_to, matrix_transpose, reshape


def affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Any:
    """The places, from -1 to 1, that an affine map (N, 2, 3) or (N, 3, 4) takes the pixels of `size` to.

    `size` is (N, C, H, W) or (N, C, D, H, W); the result, for `grid_sample`, is (N, H, W, 2) or (N, D, H, W, 3).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.affine_grid(ml.asarray([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2)).tolist()
    [[[[-0.5, 0.0], [0.5, 0.0]]]]
    """
    sizes = tuple(int(one) for one in size)
    rank = len(sizes) - 2
    if rank not in (2, 3) or theta.shape != (sizes[0], rank, rank + 1):
        raise ShapeError(
            f"affine_grid: theta {theta.shape} for {sizes}",
            fix="(N, 2, 3) for (N, C, H, W), (N, 3, 4) for five",
        )
    axes = []
    for n in sizes[2:]:
        line = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
        axes.append(line if align_corners else line * ((n - 1) / n))
    planes = np.meshgrid(*axes, indexing="ij")[::-1]
    base = np.stack([*planes, np.ones(sizes[2:])], axis=-1).reshape(-1, rank + 1)
    places = matmul(dispatch.from_data(base, theta.dtype, theta.device), matrix_transpose(theta))
    return reshape(places, (sizes[0], *sizes[2:], rank))


def grid_sample(
    input: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Any:
    """(N, C, H, W) sampled at places (N, h, w, 2), given as x and y from -1 to 1: (N, C, h, w). Or with D, and z.

    Modes 'bilinear', 'nearest' and (for images) 'bicubic'; places outside are 'zeros', the nearest 'border', or a
    'reflection'. With `align_corners` -1 and 1 are the centres of the outermost pixels, else their outer edges.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> x = ml.asarray([[[[1.0, 3.0]]]])
    >>> F.grid_sample(x, ml.asarray([[[[0.0, 0.0]]]]), align_corners=True).tolist()
    [[[[2.0]]]]
    """
    rank = input.ndim - 2
    if (
        rank not in (2, 3)
        or grid.ndim != input.ndim
        or grid.shape[0] != input.shape[0]
        or grid.shape[-1] != rank
    ):
        raise ShapeError(
            f"grid_sample: input {input.shape}, grid {grid.shape}", fix="(N, C, H, W) and (N, h, w, 2)"
        )
    if mode not in ("bilinear", "nearest", "bicubic") or (mode == "bicubic" and rank == 3):
        raise ArgumentError(
            f"grid_sample: mode={mode!r} of {input.shape}", fix="'bilinear', 'nearest' or 'bicubic'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ArgumentError(
            f"grid_sample: padding_mode={padding_mode!r}", fix="'zeros', 'border' or 'reflection'"
        )
    if 0 in input.shape[2:]:
        raise ShapeError(f"grid_sample: nothing to sample in {input.shape}")
    places = []  # of the axes in the input's order: the grid has x first
    for axis, n in enumerate(input.shape[2:]):
        at = grid[..., rank - 1 - axis]
        scaled = (at + 1) * ((n - 1) / 2) if align_corners else ((at + 1) * n - 1) / 2
        if mode != "bicubic":
            scaled = _inside(scaled, n, padding_mode, bool(align_corners))
        places.append(scaled)
    if mode == "nearest":
        return _pick(input, [round_(one.detach()) for one in places], padding_mode == "zeros", None)
    if mode == "bicubic":
        return _bicubic(input, places, padding_mode, bool(align_corners))
    lows = [floor(one.detach()) for one in places]
    total = None
    for corner in itertools.product((0, 1), repeat=rank):
        weight = None
        for one, low, high in zip(places, lows, corner, strict=True):
            part = one - low if high else (low + 1) - one
            weight = part if weight is None else weight * part
        picked = _pick(input, [low + high for low, high in zip(lows, corner, strict=True)], True, weight)
        total = picked if total is None else total + picked
    return total


def _inside(at: Any, size: int, padding: str, corners: bool) -> Any:
    """Places moved inside the image, as the padding has it."""
    if padding == "border":
        return minimum(maximum(at, 0), size - 1)
    if padding == "reflection":
        low, span = (0.0, size - 1.0) if corners else (-0.5, float(size))
        if span == 0:
            return at * 0
        shifted = abs_(at - low)
        turns = floor(shifted.detach() / span)
        rest = shifted - turns * span
        odd = turns - 2 * floor(turns / 2) == 1
        back = where(odd, span - rest, rest) + low
        return minimum(maximum(back, 0), size - 1)
    return at


def _pick(input: Any, places: list[Any], zeros: bool, weight: Any) -> Any:
    """The pixels at whole places (times a weight each), 0 for those outside the image."""
    n, c, *sizes = input.shape
    flat = valid = None
    for at, size in zip(places, sizes, strict=True):
        fits = (at >= 0) & (at <= size - 1)
        valid = fits if valid is None else valid & fits
        held = minimum(maximum(where(isfinite(at), at, 0), 0), size - 1)
        whole = astype(held, dtypes.int64)
        flat = whole if flat is None else flat * size + whole
    shape = places[0].shape[1:]
    rows = reshape(input, (n, c, math.prod(sizes)))
    index = broadcast_to(reshape(flat, (n, 1, math.prod(shape))), (n, c, math.prod(shape)))
    found = reshape(take_along_axis(rows, index, axis=2), (n, c, *shape))
    if zeros:
        found = where(reshape(valid, (n, 1, *shape)), found, 0)
    return found if weight is None else found * reshape(weight, (n, 1, *shape))


def _bicubic(input: Any, places: list[Any], padding: str, corners: bool) -> Any:
    """Keys' kernel with a = -0.75; each of the 16 taps is moved inside by itself."""
    lows = [floor(one.detach()) for one in places]
    taps = []
    for one, low, size in zip(places, lows, input.shape[2:], strict=True):
        t = one - low
        pairs = []
        for k in range(-1, 3):
            d = abs_(t - k)
            near, far = ((d * 1.25 - 2.25) * d * d + 1), ((d - 5) * d + 8) * d * -0.75 + 3.0
            pairs.append((_inside(low + k, size, padding, corners), near if k in (0, 1) else far))
        taps.append(pairs)
    total = None
    for (y, a), (x, b) in itertools.product(*taps):
        picked = _pick(input, [round_(y), round_(x)], padding == "zeros", a * b)
        total = picked if total is None else total + picked
    return total
