"""Convolutions and pooling: shapes of one to three dimensions as the kernels want them, and the launches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcore_cupy.channels import ACTIVATIONS
from mlcore_cupy.rows import accumulator
from mlcore_cupy.runtime import Runtime

WINDOW = np.dtype([("sizes", "<i4", (6, 3))])  # struct Window: x, y, k, s, p, d
SHAPE = np.dtype([("counts", "<i4", (4,)), ("sizes", "<i4", (6, 3))])  # struct Shape
TILE, THREADS, DEPTH = 64, 256, 16  # as in convolution.cu
BLOCKS = 512  # that a weight gradient is cut into, about

Pairs = Sequence[tuple[int, int]]


def _three(values: Sequence[int], fill: int) -> list[int]:
    return [*(fill,) * (3 - len(values)), *values]


def _window(x: Any, y: Any, kernel: Any, stride: Any, padding: Pairs, dilation: Any) -> np.ndarray[Any, Any]:
    """The six rows of a Window; dimensions that are not there are of size 1."""
    before = [one[0] for one in padding]
    rows = ((x, 1), (y, 1), (kernel, 1), (stride, 1), (before, 0), (dilation, 1))
    return np.array([_three(values, fill) for values, fill in rows], dtype=np.int32)


def _shape(x: Any, weight: Any, y: Any, stride: Any, padding: Pairs, dilation: Any, groups: int) -> Any:
    """A struct Shape by value, from the shapes of input, weight and output."""
    made = np.zeros((), dtype=SHAPE)
    made["counts"] = (x[0], groups, x[1] // groups, weight[0] // groups)
    made["sizes"] = _window(x[2:], y[2:], weight[2:], stride, padding, dilation)
    return made


def _tiles(rows: int, columns: int, deep: int) -> tuple[int, int, int]:
    return -(-columns // TILE), -(-rows // TILE), deep


def _counts(x: Any, kernel: Any, stride: Any, padding: Pairs, dilation: Any) -> tuple[int, ...]:
    return tuple(
        (size + sum(pad) - d * (k - 1) - 1) // s + 1
        for size, k, s, pad, d in zip(x, kernel, stride, padding, dilation, strict=True)
    )


def convolution(
    rt: Runtime, x: Any, weight: Any, bias: Any, stride: Any, padding: Pairs, dilation: Any, groups: int,
    scale: Any = None, shift: Any = None, activation: str = "none",
) -> Any:  # fmt: skip
    """A convolution, and where given a scale and a shift for each channel and an activation after it."""
    x, weight, bias = map(rt.dense, (x, weight, bias))
    count = _counts(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    y = rt.empty((x.shape[0], weight.shape[0], *count), x.dtype)
    if y.size:
        shape = _shape(x.shape, weight.shape, y.shape, stride, padding, dilation, groups)
        grid = _tiles(weight.shape[0] // groups, x.shape[0] * math.prod(count), groups)
        rt.launch(
            "convolution", "convolution", x.dtype, grid, (THREADS,), x, weight, bias, scale, shift, y,
            ACTIVATIONS[activation], shape,
        )  # fmt: skip
    return y


def convolution_norm(
    rt: Runtime, x: Any, weight: Any, bias: Any, mean: Any, var: Any, gain: Any, offset: Any, stride: Any,
    padding: Pairs, dilation: Any, groups: int, eps: float, activation: str,
) -> Any:  # fmt: skip
    """The norm and the activation end the convolution's own kernel: its result goes through memory once."""
    xp, wide = rt.cupy, accumulator(x.dtype)
    scale = 1 / xp.sqrt(var.astype(wide) + wide(eps))
    if gain is not None:
        scale = scale * gain.astype(wide)
    shift = -mean.astype(wide) * scale
    if offset is not None:
        shift = shift + offset.astype(wide)
    scale, shift = (rt.dense(one.astype(x.dtype)) for one in (scale, shift))
    return convolution(rt, x, weight, bias, stride, padding, dilation, groups, scale, shift, activation)


def convolution_grad_input(
    rt: Runtime, grad: Any, weight: Any, input_shape: Any, stride: Any, padding: Pairs, dilation: Any, groups: int
) -> Any:  # fmt: skip
    grad, weight = rt.dense(grad), rt.dense(weight)
    gx = rt.empty(input_shape, grad.dtype)
    if gx.size:
        shape = _shape(input_shape, weight.shape, grad.shape, stride, padding, dilation, groups)
        grid = _tiles(input_shape[1] // groups, input_shape[0] * math.prod(input_shape[2:]), groups)
        rt.launch("convolution", "convolution_data", grad.dtype, grid, (THREADS,), grad, weight, gx, shape)
    return gx


def convolution_grad_weight(
    rt: Runtime, grad: Any, x: Any, weight_shape: Any, stride: Any, padding: Pairs, dilation: Any, groups: int
) -> Any:  # fmt: skip
    grad, x = rt.dense(grad), rt.dense(x)
    gw = rt.empty(weight_shape, grad.dtype)
    if not gw.size:
        return gw
    if not grad.size:
        gw.fill(0)
        return gw
    shape = _shape(x.shape, weight_shape, grad.shape, stride, padding, dilation, groups)
    columns, rows, _ = _tiles(weight_shape[0] // groups, math.prod(weight_shape[1:]), groups)
    depth = x.shape[0] * math.prod(grad.shape[2:])
    wanted = max(1, min(BLOCKS // (columns * rows * groups), depth // (8 * DEPTH), 65535 // groups))
    piece = -(-depth // wanted)
    splits = -(-depth // piece)
    parts = rt.empty((splits, gw.size), accumulator(grad.dtype))
    rt.launch(
        "convolution", "convolution_weights", grad.dtype, (columns, rows, groups * splits), (THREADS,), grad, x, parts,
        piece, splits, shape,
    )  # fmt: skip
    rt.each("convolution", "join_splits", grad.dtype, gw.size, parts, gw, gw.size, splits)
    return gw


# -- pooling -----------------------------------------------------------------------------------------------------


def _pool(x: Any, y: Any, kernel: Any, stride: Any, padding: Pairs, dilation: Any) -> tuple[int, Any]:
    """(what is before the pooled dimensions, a struct Window by value)."""
    rank = len(kernel)
    made = np.zeros((), dtype=WINDOW)
    made["sizes"] = _window(x[len(x) - rank :], y[len(y) - rank :], kernel, stride, padding, dilation)
    return math.prod(x[: len(x) - rank]), made


def _pooled(x: Any, kernel: Any, stride: Any, padding: Pairs, dilation: Any) -> tuple[int, ...]:
    rank = len(kernel)
    return (*x[: len(x) - rank], *_counts(x[len(x) - rank :], kernel, stride, padding, dilation))


def max_pool(rt: Runtime, x: Any, kernel: Any, stride: Any, padding: Pairs, dilation: Any) -> Any:
    x = rt.dense(x)
    y = rt.empty(_pooled(x.shape, kernel, stride, padding, dilation), x.dtype)
    if y.size:
        lead, window = _pool(x.shape, y.shape, kernel, stride, padding, dilation)
        rt.each("pooling", "max_pool", x.dtype, y.size, x, y, lead, window)
    return y


def max_pool_grad(
    rt: Runtime, grad: Any, x: Any, y: Any, kernel: Any, stride: Any, padding: Pairs, dilation: Any
) -> Any:
    grad, x = rt.dense(grad), rt.dense(x)
    gx = rt.empty(x.shape, grad.dtype)
    if gx.size:
        lead, window = _pool(x.shape, grad.shape, kernel, stride, padding, dilation)
        rt.each("pooling", "max_pool_grad", x.dtype, gx.size, grad, x, gx, lead, window)
    return gx


def avg_pool(rt: Runtime, x: Any, kernel: Any, stride: Any, padding: Pairs, count_include_pad: bool) -> Any:
    x, ones = rt.dense(x), (1,) * len(kernel)
    y = rt.empty(_pooled(x.shape, kernel, stride, padding, ones), x.dtype)
    if y.size:
        lead, window = _pool(x.shape, y.shape, kernel, stride, padding, ones)
        rt.each("pooling", "avg_pool", x.dtype, y.size, x, y, lead, int(count_include_pad), window)
    return y


def avg_pool_grad(
    rt: Runtime, grad: Any, input_shape: Any, kernel: Any, stride: Any, padding: Pairs, count_include_pad: bool
) -> Any:  # fmt: skip
    grad, ones = rt.dense(grad), (1,) * len(kernel)
    gx = rt.empty(input_shape, grad.dtype)
    if gx.size:
        lead, window = _pool(input_shape, grad.shape, kernel, stride, padding, ones)
        rt.each(
            "pooling", "avg_pool_grad", grad.dtype, gx.size, grad, gx, lead, int(count_include_pad), window
        )
    return gx
