"""Softmax, norms and losses as few MLX functions; two-byte floats are computed in float32 and rounded once."""

from __future__ import annotations

import math
from typing import Any

from mlcore.dtypes import floating
from mlcore_metal.catalog import kernel
from mlcore_metal.elementwise import narrow, relu, relu6, relu6_grad, relu_grad, wide
from mlcore_metal.library import mx
from mlcore_metal.precise import exp
from mlcore_metal.reduce import log_sum_exp, mean_of, sum_of

Array = Any


def _or_none(x: Array) -> Array:
    return None if x is None else wide(x)


# -- softmax -------------------------------------------------------------------------------------------------------


@kernel("softmax", dtypes=floating)
def softmax(x: Array, axis: int) -> Array:
    """A row of -inf only gives zeros, where MLX's has nan."""
    if not x.shape[axis]:
        return x
    return narrow(softmax_of(wide(x), axis), x.dtype)


def softmax_of(x: Array, axis: int) -> Array:
    """softmax of float32 or float64; where the largest is infinite, MLX's has nan, here all but that are 0."""
    if x.dtype == mx.float64:
        e = exp(x - top_of(x, axis))
        total = sum_of(e, (axis,), True)
        return e / mx.where(total == 0, 1.0, total)
    top = mx.max(x, axis=axis, keepdims=True)
    kept = mx.where(x == math.inf, mx.array(math.nan, dtype=x.dtype), mx.zeros_like(x))
    return mx.where(mx.isinf(top), kept, mx.softmax(x, axis=axis))


def top_of(x: Array, axis: int) -> Array:
    """The maximum, and 0 where that is infinite."""
    top = mx.max(x, axis=axis, keepdims=True)
    return mx.where(mx.isfinite(top), top, mx.zeros_like(top))


@kernel("log_softmax", dtypes=floating)
def log_softmax(x: Array, axis: int) -> Array:
    if not x.shape[axis]:
        return x
    shifted = wide(x) - top_of(wide(x), axis)
    return narrow(shifted - mx.log(sum_of(exp(shifted), (axis,), True)), x.dtype)


@kernel("softmax_grad", dtypes=floating)
def softmax_grad(g: Array, y: Array, axis: int) -> Array:
    g_, y_ = wide(g), wide(y)
    return narrow(y_ * (g_ - sum_of(g_ * y_, (axis,), True)), y.dtype)


@kernel("log_softmax_grad", dtypes=floating)
def log_softmax_grad(g: Array, y: Array, axis: int) -> Array:
    g_ = wide(g)
    return narrow(g_ - exp(wide(y)) * sum_of(g_, (axis,), True), y.dtype)


# -- layer and rms norm --------------------------------------------------------------------------------------------


def _tail(x: Array, n_axes: int) -> tuple[int, ...]:
    return tuple(range(x.ndim - n_axes, x.ndim))


def _lead(x: Array, n_axes: int) -> tuple[int, ...]:
    return tuple(range(x.ndim - n_axes))


def _summed(x: Array, axis: tuple[int, ...]) -> Array:
    return sum_of(x, axis)


@kernel("layer_norm", dtypes=floating)
def layer_norm(x: Array, weight: Array, bias: Array, n_axes: int, eps: float) -> tuple[Array, ...]:
    """MLX's fused norm over one axis; the statistics are nodes that nobody computes unless a gradient asks."""
    v, axes = wide(x), _tail(x, n_axes)
    centre = mean_of(v, axes)
    shifted = v - centre
    scale = mx.rsqrt(mean_of(shifted * shifted, axes) + eps)
    if n_axes == 1 and x.size and x.dtype != mx.float64:
        y = mx.fast.layer_norm(v, _or_none(weight), _or_none(bias), eps)
    else:
        y = shifted * scale
        y = y if weight is None else y * wide(weight)
        y = y if bias is None else y + wide(bias)
    return narrow(y, x.dtype), narrow(centre, x.dtype), narrow(scale, x.dtype)


@kernel("layer_norm_grad", dtypes=floating)
def layer_norm_grad(
    g: Array, x: Array, weight: Array, centre: Array, rstd: Array, n_axes: int
) -> tuple[Array, ...]:
    g_, axes, scale = wide(g), _tail(x, n_axes), wide(rstd)
    normal = (wide(x) - wide(centre)) * scale
    inner = g_ if weight is None else g_ * wide(weight)
    gx = scale * (inner - mean_of(inner, axes) - normal * mean_of(inner * normal, axes))
    lead = _lead(x, n_axes)
    return tuple(narrow(one, x.dtype) for one in (gx, _summed(g_ * normal, lead), _summed(g_, lead)))


@kernel("rms_norm", dtypes=floating)
def rms_norm(x: Array, weight: Array, n_axes: int, eps: float) -> tuple[Array, ...]:
    v = wide(x)
    scale = mx.rsqrt(mean_of(v * v, _tail(x, n_axes)) + eps)
    if n_axes == 1 and x.size and x.dtype != mx.float64:
        y = mx.fast.rms_norm(v, _or_none(weight), eps)
    else:
        y = v * scale
        y = y if weight is None else y * wide(weight)
    return narrow(y, x.dtype), narrow(scale, x.dtype)


@kernel("rms_norm_grad", dtypes=floating)
def rms_norm_grad(g: Array, x: Array, weight: Array, rstd: Array, n_axes: int) -> tuple[Array, ...]:
    g_, scale = wide(g), wide(rstd)
    normal = wide(x) * scale
    inner = g_ if weight is None else g_ * wide(weight)
    gx = scale * (inner - normal * mean_of(inner * normal, _tail(x, n_axes)))
    return narrow(gx, x.dtype), narrow(_summed(g_ * normal, _lead(x, n_axes)), x.dtype)


# -- batch norm ----------------------------------------------------------------------------------------------------


def _channels(x: Array, value: Array) -> Array:
    return wide(value).reshape(1, -1, *(1,) * (x.ndim - 2))


def _rest(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _followed(y: Array, activation: str) -> Array:
    return relu(y) if activation == "relu" else relu6(y) if activation == "relu6" else y


def _affine(y: Array, x: Array, weight: Array, bias: Array) -> Array:
    y = y if weight is None else y * _channels(x, weight)
    return y if bias is None else y + _channels(x, bias)


@kernel("batch_norm", dtypes=floating)
def batch_norm(x: Array, weight: Array, bias: Array, eps: float, activation: str) -> tuple[Array, ...]:
    v, axes = wide(x), _rest(x)
    centre = mean_of(v, axes)
    shifted = v - centre
    scale = mx.rsqrt(mean_of(shifted * shifted, axes) + eps)
    y = _followed(_affine(shifted * scale, x, weight, bias), activation)
    return narrow(y, x.dtype), narrow(centre.reshape(-1), x.dtype), narrow(scale.reshape(-1), x.dtype)


@kernel("batch_norm_scale", dtypes=floating)
def batch_norm_scale(
    x: Array, centre: Array, var: Array, weight: Array, bias: Array, eps: float, activation: str
) -> Array:
    """By given statistics: one product and one sum a number."""
    normal = (wide(x) - _channels(x, centre)) * mx.rsqrt(_channels(x, var) + eps)
    return narrow(_followed(_affine(normal, x, weight, bias), activation), x.dtype)


@kernel("batch_norm_grad", dtypes=floating)
def batch_norm_grad(
    g: Array, x: Array, weight: Array, bias: Array, centre: Array, rstd: Array, activation: str
) -> tuple[Array, ...]:
    g_, axes, scale = wide(g), _rest(x), _channels(x, rstd)
    normal = (wide(x) - _channels(x, centre)) * scale
    if activation != "none":
        before = _affine(normal, x, weight, bias)
        g_ = (relu_grad if activation == "relu" else relu6_grad)(g_, before)
    inner = g_ if weight is None else g_ * _channels(x, weight)
    gx = scale * (inner - mean_of(inner, axes) - normal * mean_of(inner * normal, axes))
    return tuple(narrow(one, x.dtype) for one in (gx, sum_of(g_ * normal, axes), sum_of(g_, axes)))


# -- losses --------------------------------------------------------------------------------------------------------


@kernel("squared_error", dtypes=floating)
def squared_error(x: Array, target: Array, scale: float) -> Array:
    difference = wide(x) - wide(target)
    return narrow(sum_of(difference * difference) * scale, x.dtype)


@kernel("squared_error_grad", dtypes=floating)
def squared_error_grad(g: Array, x: Array, target: Array, scale: float) -> Array:
    return narrow((wide(x) - wide(target)) * (wide(g) * (2 * scale)), x.dtype)


@kernel("softmax_cross_entropy", dtypes=floating)
def softmax_cross_entropy(logits: Array, target: Array) -> tuple[Array, Array]:
    v = wide(logits)
    lse = log_sum_exp(v, (1,), keepdims=False)
    picked = mx.take_along_axis(v, target.reshape(-1, 1), axis=1).reshape(-1) if v.size else lse
    return narrow(lse - picked, logits.dtype), narrow(lse, logits.dtype)


@kernel("softmax_cross_entropy_grad", dtypes=floating)
def softmax_cross_entropy_grad(g: Array, logits: Array, target: Array, lse: Array) -> Array:
    hot = mx.arange(logits.shape[1], dtype=mx.int64) == target.reshape(-1, 1)
    weights = exp(wide(logits) - wide(lse).reshape(-1, 1))
    return narrow(wide(g).reshape(-1, 1) * (weights - hot.astype(weights.dtype)), logits.dtype)
