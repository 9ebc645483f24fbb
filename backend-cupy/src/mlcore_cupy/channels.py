"""Batch norm over the channels of (N, C, *sizes), and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore_cupy.rows import accumulator
from mlcore_cupy.runtime import Runtime

ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 2}
PIECE = 8192  # values of a channel that one block sums
MOST_PIECES = 64


def _sizes(x: Any) -> tuple[int, int, int]:
    """(values of a channel, channels, positions of an image)."""
    size = math.prod(x.shape[2:])
    return x.shape[0] * size, x.shape[1], size


def _pieces(count: int) -> tuple[int, int]:
    """(values a piece, pieces) of a channel: by its size only, so that results repeat."""
    splits = max(1, min(-(-count // PIECE), MOST_PIECES))
    piece = -(-count // splits)
    return piece, -(-count // piece)


def _threads(piece: int) -> tuple[int]:
    return (max(32, min(256, 1 << math.ceil(math.log2(max(piece, 32) / 2)))),)


def _join(rt: Runtime, name: str, dtype: Any, channels: int, *values: Any) -> None:
    rt.launch("channels", name, dtype, (-(-channels // 64),), (64,), *values)


def batch_norm(
    rt: Runtime, x: Any, weight: Any, bias: Any, eps: float, activation: str
) -> tuple[Any, Any, Any]:
    x, weight, bias = map(rt.dense, (x, weight, bias))
    count, channels, size = _sizes(x)
    y, mean, rstd = rt.empty(x.shape, x.dtype), rt.empty((channels,), x.dtype), rt.empty((channels,), x.dtype)
    if not x.size:
        mean.fill(np.nan)
        rstd.fill(np.nan)
        return y, mean, rstd
    piece, splits = _pieces(count)
    wide = accumulator(x.dtype)
    parts, exact = rt.empty((channels, splits, 2), wide), rt.empty((channels, 2), wide)
    rt.launch(
        "channels",
        "batch_stats",
        x.dtype,
        (channels, splits),
        _threads(piece),
        x,
        parts,
        count,
        channels,
        size,
        piece,
    )
    _join(
        rt,
        "batch_stats_join",
        x.dtype,
        channels,
        parts,
        mean,
        rstd,
        exact,
        count,
        channels,
        piece,
        splits,
        eps,
    )
    how = ACTIVATIONS[activation]
    rt.each(
        "channels", "batch_apply", x.dtype, x.size, x, exact, weight, bias, y, x.size, channels, size, how
    )
    return y, mean, rstd


def batch_norm_grad(
    rt: Runtime, g: Any, x: Any, weight: Any, bias: Any, mean: Any, rstd: Any, activation: str
) -> tuple[Any, Any, Any]:
    g, x, weight, bias, mean, rstd = map(rt.dense, (g, x, weight, bias, mean, rstd))
    count, channels, size = _sizes(x)
    gx, gw, gb = rt.empty(x.shape, x.dtype), rt.empty((channels,), x.dtype), rt.empty((channels,), x.dtype)
    if not x.size:
        gw.fill(0)
        gb.fill(0)
        return gx, gw, gb
    piece, splits = _pieces(count)
    wide, how = accumulator(x.dtype), ACTIVATIONS[activation]
    parts, exact = rt.empty((channels, splits, 2), wide), rt.empty((channels, 2), wide)
    rt.launch(
        "channels", "batch_grad_sums", x.dtype, (channels, splits), _threads(piece), g, x, weight, bias, mean, rstd,
        parts, count, channels, size, piece, how,
    )  # fmt: skip
    _join(rt, "batch_grad_join", x.dtype, channels, parts, gw, gb, exact, channels, splits)
    rt.each(
        "channels", "batch_grad_apply", x.dtype, x.size, g, x, weight, bias, mean, rstd, exact, gx, x.size, count,
        channels, size, how,
    )  # fmt: skip
    return gx, gw, gb


def batch_norm_scale(
    rt: Runtime, x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float, activation: str
) -> Any:
    x, mean, var, weight, bias = map(rt.dense, (x, mean, var, weight, bias))
    _, channels, size = _sizes(x)
    y = rt.empty(x.shape, x.dtype)
    if y.size:
        rt.each(
            "channels", "batch_scale", x.dtype, x.size, x, mean, var, weight, bias, y, x.size, channels, size, eps,
            ACTIVATIONS[activation],
        )  # fmt: skip
    return y


def dropout_mask(rt: Runtime, x: Any, p: float, key: tuple[int, int], offset: int) -> Any:
    x = rt.dense(x)
    y = rt.empty(x.shape, x.dtype)
    if y.size:
        least, scale = math.ceil(p * 2**24), 1 / (1 - p)
        rt.each("dropout", "dropout", x.dtype, x.size, x, y, x.size, key[0], key[1], offset, least, scale)
    return y
