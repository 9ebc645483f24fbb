"""Kernels over rows: softmax and its kin, cross-entropy, layer norm and RMS norm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore_cupy.runtime import Runtime

ACCUMULATORS = {"float64": np.float64}


def accumulator(dtype: Any) -> Any:
    """The dtype that sums are kept in."""
    return ACCUMULATORS.get(np.dtype(dtype).name, np.float32)


def team(rows: int, n: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Grid and block for a team of threads a row: 32 of them, four rows a block, or a whole block for a long row."""
    if n <= 1024:
        return (-(-rows // 4),), (32, 4)
    return (rows,), (min(1024, 1 << math.ceil(math.log2(n / 16))),)


def _split(x: Any, axis: int) -> tuple[int, int, int]:
    """(rows, elements of a row, distance between them) along an axis of a contiguous array."""
    inner = math.prod(x.shape[axis + 1 :])
    return math.prod(x.shape[:axis]) * inner, x.shape[axis], inner


def along(rt: Runtime, name: str, *arrays: Any, axis: int) -> Any:
    """softmax, log_softmax and their gradients."""
    arrays = tuple([rt.dense(one) for one in arrays])
    y = rt.empty(arrays[0].shape, arrays[0].dtype)
    if y.size:
        rows, n, inner = _split(y, axis)
        rt.launch("rows", name, y.dtype, *team(rows, n), *arrays, y, rows, n, inner)
    return y


def softmax(rt: Runtime, x: Any, axis: int) -> Any:
    return along(rt, "softmax", x, axis=axis)


def log_softmax(rt: Runtime, x: Any, axis: int) -> Any:
    return along(rt, "log_softmax", x, axis=axis)


def softmax_grad(rt: Runtime, g: Any, y: Any, axis: int) -> Any:
    return along(rt, "softmax_grad", g, y, axis=axis)


def log_softmax_grad(rt: Runtime, g: Any, y: Any, axis: int) -> Any:
    return along(rt, "log_softmax_grad", g, y, axis=axis)


def logsumexp(rt: Runtime, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    kept = tuple(d for d in range(x.ndim) if d not in axis)
    shape = tuple(1 if d in axis else size for d, size in enumerate(x.shape) if keepdims or d not in axis)
    n = math.prod(x.shape[d] for d in axis)
    rows = math.prod(x.shape[d] for d in kept)
    y = rt.empty(shape, x.dtype)
    if not y.size:
        return y
    if n == 0:
        y.fill(-np.inf)
        return y
    x = rt.dense(x.transpose((*kept, *axis)))
    rt.launch("rows", "logsumexp", x.dtype, *team(rows, n), x, y, rows, n, 1)
    return y


def cross_entropy(rt: Runtime, logits: Any, target: Any) -> tuple[Any, Any]:
    logits, target = rt.dense(logits), rt.dense(target)
    rows, n = logits.shape
    loss, lse = rt.empty((rows,), logits.dtype), rt.empty((rows,), logits.dtype)
    if rows:
        rt.launch("rows", "cross_entropy", logits.dtype, *team(rows, n), logits, target, loss, lse, rows, n)
    return loss, lse


def cross_entropy_grad(rt: Runtime, g: Any, logits: Any, target: Any, lse: Any) -> Any:
    g, logits, target, lse = map(rt.dense, (g, logits, target, lse))
    rows, n = logits.shape
    gx = rt.empty(logits.shape, logits.dtype)
    if gx.size:
        rt.launch(
            "rows", "cross_entropy_grad", logits.dtype, *team(rows, n), g, logits, target, lse, gx, rows, n
        )
    return gx


# -- norms -----------------------------------------------------------------------------------------------------


def _norm_shape(x: Any, n_axes: int) -> tuple[int, int, tuple[int, ...]]:
    """(rows, elements of a row, the shape of the statistics)."""
    lead, tail = x.shape[:-n_axes], x.shape[-n_axes:]
    return math.prod(lead), math.prod(tail), (*lead, *(1,) * n_axes)


def layer_norm(rt: Runtime, x: Any, weight: Any, bias: Any, n_axes: int, eps: float) -> tuple[Any, Any, Any]:
    x, weight, bias = map(rt.dense, (x, weight, bias))
    rows, n, stats = _norm_shape(x, n_axes)
    y, mean, rstd = (rt.empty(shape, x.dtype) for shape in (x.shape, stats, stats))
    if rows:
        rt.launch(
            "norms", "layer_norm", x.dtype, *team(rows, n), x, weight, bias, y, mean, rstd, rows, n, eps
        )
    return y, mean, rstd


def rms_norm(rt: Runtime, x: Any, weight: Any, n_axes: int, eps: float) -> tuple[Any, Any]:
    x, weight = map(rt.dense, (x, weight))
    rows, n, stats = _norm_shape(x, n_axes)
    y, rstd = rt.empty(x.shape, x.dtype), rt.empty(stats, x.dtype)
    if rows:
        rt.launch("norms", "rms_norm", x.dtype, *team(rows, n), x, weight, y, rstd, rows, n, eps)
    return y, rstd


def _columns(rt: Runtime, g: Any, x: Any, mean: Any, rstd: Any, gw: Any, gb: Any, rows: int, n: int) -> None:
    if n:
        grid = (-(-n // 32),)
        rt.launch("norms", "norm_grad_columns", x.dtype, grid, (32, 8), g, x, mean, rstd, gw, gb, rows, n)


def layer_norm_grad(
    rt: Runtime, g: Any, x: Any, weight: Any, mean: Any, rstd: Any, n_axes: int
) -> tuple[Any, Any, Any]:
    g, x, weight, mean, rstd = map(rt.dense, (g, x, weight, mean, rstd))
    rows, n, _ = _norm_shape(x, n_axes)
    gx, gw, gb = (rt.empty(shape, x.dtype) for shape in (x.shape, x.shape[-n_axes:], x.shape[-n_axes:]))
    if rows:
        rt.launch("norms", "layer_norm_grad", x.dtype, *team(rows, n), g, x, weight, mean, rstd, gx, rows, n)
    _columns(rt, g, x, mean, rstd, gw, gb, rows, n)
    return gx, gw, gb


def rms_norm_grad(rt: Runtime, g: Any, x: Any, weight: Any, rstd: Any, n_axes: int) -> tuple[Any, Any]:
    g, x, weight, rstd = map(rt.dense, (g, x, weight, rstd))
    rows, n, _ = _norm_shape(x, n_axes)
    gx, gw = rt.empty(x.shape, x.dtype), rt.empty(x.shape[-n_axes:], x.dtype)
    if rows:
        rt.launch("norms", "rms_norm_grad", x.dtype, *team(rows, n), g, x, weight, rstd, gx, rows, n)
    _columns(rt, g, x, None, rstd, gw, None, rows, n)
    return gx, gw
