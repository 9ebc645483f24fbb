"""Attention: MLX's fused kernel for the result; the row statistic is a node that only a gradient computes."""

from __future__ import annotations

import math
from typing import Any

from mlcore.dtypes import floating
from mlcore_metal.catalog import kernel
from mlcore_metal.elementwise import narrow, wide
from mlcore_metal.library import mx
from mlcore_metal.neural import softmax_of
from mlcore_metal.precise import exp
from mlcore_metal.reduce import log_sum_exp

Array = Any
_FUSED = (mx.float16, mx.bfloat16, mx.float32)


def _scores(q: Array, k: Array, mask: Array, is_causal: bool, scale: float) -> Array:
    scores = (q @ mx.swapaxes(k, -1, -2)) * scale
    if is_causal:
        scores = mx.where(_lower(q, k), scores, mx.array(-math.inf, dtype=scores.dtype))
    if mask is None:
        return scores
    if mask.dtype == mx.bool_:
        return mx.where(mask, scores, mx.array(-math.inf, dtype=scores.dtype))
    return scores + mask.astype(scores.dtype)


def _lower(q: Array, k: Array) -> Array:
    """Query i sees the keys up to i, counted from the first."""
    return mx.arange(k.shape[-2])[None, :] <= mx.arange(q.shape[-2])[:, None]


@kernel("attention", dtypes=floating)
def attention(
    q: Array, k: Array, v: Array, mask: Array, is_causal: bool, scale: float
) -> tuple[Array, Array]:
    """(`softmax(q @ k.mT * scale + mask) @ v`, logsumexp of the scores)."""
    dtype = q.dtype
    q_, k_ = wide(q), wide(k)
    batch = tuple(mx.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2]))
    shape = (*batch, q.shape[-2], v.shape[-1])
    if 0 in shape or not k.shape[-2] or not q.shape[-1]:
        return _degenerate(q_, k_, v, mask, is_causal, scale, shape, dtype)
    scores = _scores(q_, k_, mask, is_causal, scale)
    lse = mx.broadcast_to(log_sum_exp(scores, (-1,), keepdims=False), shape[:-1])
    if dtype in _FUSED and mask is None and (not is_causal or q.shape[-2] == k.shape[-2]):
        y = _fused(q, k, v, is_causal, scale, batch)
    else:
        y = narrow(softmax_of(scores, -1) @ wide(v), dtype)
    return y, lse


def _degenerate(
    q: Array,
    k: Array,
    v: Array,
    mask: Array,
    is_causal: bool,
    scale: float,
    shape: tuple[int, ...],
    dtype: Any,
) -> tuple[Array, Array]:
    """Nothing to attend to, or nobody who does: zeros, and -inf as the sum's logarithm; or a mean of width 0."""
    rows = (*shape[:-2], q.shape[-2], k.shape[-2])
    if k.shape[-2] and q.shape[-1] == 0 and 0 not in shape:
        scores = (
            _scores(q[..., :1], k[..., :1], mask, is_causal, scale)
            if q.shape[-1]
            else mx.zeros(rows, q.dtype)
        )
        return narrow(softmax_of(scores, -1) @ wide(v), dtype), log_sum_exp(scores, (-1,), keepdims=False)
    return mx.zeros(shape, dtype=dtype), mx.full(shape[:-1], -math.inf, dtype=q.dtype)


def _fused(q: Array, k: Array, v: Array, is_causal: bool, scale: float, batch: tuple[int, ...]) -> Array:
    """MLX's kernel wants (batch, heads, length, width)."""
    flat = (1, math.prod(batch)) if len(batch) != 2 else batch
    q, k, v = (mx.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(*flat, *x.shape[-2:]) for x in (q, k, v))
    y = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask="causal" if is_causal else None)
    return y.reshape(*batch, *y.shape[-2:])


@kernel("attention_grad", dtypes=floating)
def attention_grad(
    g: Array, q: Array, k: Array, v: Array, y: Array, lse: Array, mask: Array, is_causal: bool, scale: float
) -> tuple[Array, ...]:
    """Of q, k and v; the weights are computed again from the statistic."""
    if not all(one.size for one in (q, k, v, y)):
        return tuple(mx.zeros(one.shape, dtype=q.dtype) for one in (q, k, v))
    g_, q_, k_, v_ = wide(g), wide(q), wide(k), wide(v)
    shift = lse.astype(q_.dtype)
    shift = mx.where(mx.isfinite(shift), shift, mx.zeros_like(shift))
    weights = exp(_scores(q_, k_, mask, is_causal, scale) - shift[..., None])
    inner = weights * (g_ @ mx.swapaxes(v_, -1, -2) - mx.sum(g_ * wide(y), axis=-1, keepdims=True))
    found = (
        (inner @ k_) * scale, (mx.swapaxes(inner, -1, -2) @ q_) * scale, mx.swapaxes(weights, -1, -2) @ g_
    )  # fmt: skip
    return tuple(
        narrow(_unbroadcast(one, to.shape), q.dtype) for one, to in zip(found, (q, k, v), strict=True)
    )


def _unbroadcast(x: Array, shape: tuple[int, ...]) -> Array:
    """Summed over what was broadcast."""
    extra = x.ndim - len(shape)
    axes = (*range(extra), *(extra + i for i, d in enumerate(shape) if d == 1 and x.shape[extra + i] != 1))
    return mx.sum(x, axis=axes, keepdims=True).reshape(shape) if axes else x
