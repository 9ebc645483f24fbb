"""Attention: tiled kernels where a tile fits into a block's memory, matrix products and softmax where not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore_cupy.rows import accumulator, softmax
from mlcore_cupy.runtime import Runtime

QUERIES, KEYS, THREADS = 16, 16, 128  # as in attention.cu
MEMORY = 40 * 1024  # of a block, for tiles: what every device grants without being asked
MOST_BATCHES = 65535


class Call:
    """One call: arrays broadcast to one batch and made contiguous, and the mask as a pointer with strides."""

    def __init__(self, rt: Runtime, q: Any, k: Any, v: Any, mask: Any, is_causal: bool, scale: float) -> None:
        self.rt, self.causal, self.scale = rt, is_causal, scale
        self.batch = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
        self.q, self.k, self.v = (self.spread(one) for one in (q, k, v))
        self.batches = math.prod(self.batch)
        self.n, self.m, self.d, self.e = q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1]
        self.mask: Any = None
        self.mask_strides = (0, 0, 0)
        self.kind = 0
        if mask is not None:
            self._take_mask(mask)

    def spread(self, x: Any) -> Any:
        """(batches, rows, width), contiguous."""
        wide = self.rt.cupy.broadcast_to(x, (*self.batch, *x.shape[-2:]))
        return self.rt.dense(wide).reshape((math.prod(self.batch), *x.shape[-2:]))

    def _take_mask(self, mask: Any) -> None:
        """Rows and keys that broadcast keep a stride of 0; the batch does when all of it has one mask."""
        self.kind = 1 if mask.dtype.kind == "b" else 2
        if self.kind == 2 and mask.dtype != self.q.dtype:
            mask = mask.astype(self.q.dtype)
        mask = mask.reshape((1,) * max(0, 2 - mask.ndim) + mask.shape)
        rows, keys = mask.shape[-2:]
        if math.prod(mask.shape[:-2]) > 1:
            mask = self.rt.cupy.broadcast_to(mask, (*self.batch, rows, keys))
        self.mask = self.rt.dense(mask).reshape((-1, rows, keys))
        self.mask_strides = (
            rows * keys if self.mask.shape[0] > 1 else 0, keys if rows > 1 else 0, 1 if keys > 1 else 0,
        )  # fmt: skip

    def shapes(self) -> tuple[Any, ...]:
        """The kernels' SHAPES."""
        how = (self.scale, int(self.causal), self.kind, self.mask)
        return (self.n, self.m, self.d, self.e, *how, *self.mask_strides)

    def memory(self, gradient: bool) -> int:
        """Bytes of tiles that a block needs."""
        numbers = QUERIES * self.d + KEYS * self.d + KEYS * self.e + QUERIES * self.e
        if gradient:
            numbers += max(QUERIES * self.d, KEYS * self.d + KEYS * self.e)
        return int(numbers * np.dtype(accumulator(self.q.dtype)).itemsize)

    def tiled(self, gradient: bool) -> bool:
        return self.memory(gradient) <= MEMORY and self.batches <= MOST_BATCHES

    def scores(self) -> Any:
        """All scores, as a matrix of the accumulator's dtype."""
        xp, wide = self.rt.cupy, accumulator(self.q.dtype)
        found = xp.matmul(self.q.astype(wide), self.k.astype(wide).swapaxes(-1, -2)) * wide(self.scale)
        if self.causal:
            rows, keys = xp.arange(self.n).reshape((-1, 1)), xp.arange(self.m)
            found = xp.where(keys <= rows, found, wide(-np.inf))
        if self.kind == 1:
            return xp.where(self.mask, found, wide(-np.inf))
        return found + self.mask.astype(wide) if self.kind == 2 else found


def attention(
    rt: Runtime, q: Any, k: Any, v: Any, mask: Any, is_causal: bool, scale: float
) -> tuple[Any, Any]:
    call = Call(rt, q, k, v, mask, is_causal, scale)
    wide = accumulator(q.dtype)
    y = rt.empty((call.batches, call.n, call.e), q.dtype)
    lse = rt.empty((call.batches, call.n), wide)
    if lse.size:
        if call.tiled(False):
            grid = (-(-call.n // QUERIES), call.batches)
            rt.launch(
                "attention", "attention", q.dtype, grid, (THREADS,), call.q, call.k, call.v, y, lse, *call.shapes(),
                shared=call.memory(False),
            )  # fmt: skip
        else:
            y, lse = _plain(rt, call)
    return y.reshape((*call.batch, call.n, call.e)), lse.reshape((*call.batch, call.n))


def _plain(rt: Runtime, call: Call) -> tuple[Any, Any]:
    from mlcore_cupy.rows import logsumexp

    scores = call.scores()
    weights = softmax(rt, scores, 2)
    y = rt.cupy.matmul(weights, call.v.astype(weights.dtype)).astype(call.q.dtype)
    return y, logsumexp(rt, scores, (2,), False)


def scaled_dot_product_attention(
    rt: Runtime, q: Any, k: Any, v: Any, mask: Any, is_causal: bool, scale: float
) -> Any:
    return attention(rt, q, k, v, mask, is_causal, scale)[0]


def attention_grad(
    rt: Runtime, g: Any, q: Any, k: Any, v: Any, y: Any, lse: Any, mask: Any, is_causal: bool, scale: float
) -> tuple[Any, ...]:
    call = Call(rt, q, k, v, mask, is_causal, scale)
    g, y = call.spread(g), call.spread(y)
    lse = rt.dense(lse.astype(accumulator(g.dtype), copy=False)).reshape((call.batches, call.n))
    found = (_tiled_grad if call.tiled(True) else _plain_grad)(rt, call, g, y, lse)
    return tuple([_fold(rt, call, one, to) for one, to in zip(found, (q, k, v), strict=True)])


def _tiled_grad(rt: Runtime, call: Call, g: Any, y: Any, lse: Any) -> tuple[Any, ...]:
    found = tuple([rt.empty(one.shape, one.dtype) for one in (call.q, call.k, call.v)])
    if not call.batches or not (call.n or call.m):
        return found
    gq, gk, gv = found
    inner = rt.empty(lse.shape, lse.dtype)
    how, shared = call.shapes(), call.memory(True)
    arrays = (g, call.q, call.k, call.v, lse, inner)
    if call.n:
        rt.each("attention", "attention_inner", g.dtype, inner.size, g, y, inner, inner.size, call.e)
        grid = (-(-call.n // QUERIES), call.batches)
        rt.launch(
            "attention", "attention_grad_queries", g.dtype, grid, (THREADS,), *arrays, gq, *how, shared=shared
        )
    if call.m:
        grid = (-(-call.m // KEYS), call.batches)
        rt.launch(
            "attention",
            "attention_grad_keys",
            g.dtype,
            grid,
            (THREADS,),
            *arrays,
            gk,
            gv,
            *how,
            shared=shared,
        )
    return gq, gk, gv


def _plain_grad(rt: Runtime, call: Call, g: Any, y: Any, lse: Any) -> tuple[Any, ...]:
    xp, wide = rt.cupy, accumulator(g.dtype)
    shift = xp.where(xp.isfinite(lse), lse, wide(0))
    weights = xp.exp(call.scores() - shift[:, :, None])
    q, k, v, g, y = (one.astype(wide) for one in (call.q, call.k, call.v, g, y))
    slopes = weights * (xp.matmul(g, v.swapaxes(-1, -2)) - (g * y).sum(axis=-1, keepdims=True))
    found = (
        xp.matmul(slopes, k) * wide(call.scale), xp.matmul(slopes.swapaxes(-1, -2), q) * wide(call.scale),
        xp.matmul(weights.swapaxes(-1, -2), g),
    )  # fmt: skip
    return tuple([one.astype(call.q.dtype) for one in found])


def _fold(rt: Runtime, call: Call, found: Any, to: Any) -> Any:
    """The gradient of an input that was broadcast over the batch: the sum over where it was."""
    found = found.reshape((*call.batch, *found.shape[1:]))
    lead = found.ndim - to.ndim
    axes = tuple(range(lead)) + tuple(
        d for d in range(lead, found.ndim) if to.shape[d - lead] == 1 and found.shape[d] != 1
    )
    if not axes:
        return found
    total = found.astype(accumulator(found.dtype)).sum(axis=axes)
    return total.astype(found.dtype).reshape(to.shape)
