"""What goes along rows and channels, launched: softmax and its kin, cross-entropy, layer norm, batch norm."""

from __future__ import annotations

import math
from typing import Any, Final

from mlcore_oneapi import channels_source as channels
from mlcore_oneapi import rows_source as source
from mlcore_oneapi.tools import Tools, numbers, real

ACTIVATIONS: Final = {"none": 0, "relu": 1, "relu6": 2}


def along(tools: Tools, kernel: Any, x: Any, axis: int, g: Any = None) -> Any:
    """A kernel of `rows_source.ROWS` along one axis of x (and of g, of the same shape)."""
    x = tools.arrays.contiguous(x)
    y = tools.arrays.empty(x.shape, x.dtype)
    n, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
    rows = math.prod(x.shape[:axis]) * inner
    if not n or not rows:
        return y
    size, per = tools.shares(rows, n)
    if g is None:
        words = numbers(rows, n, inner, x.offset, 0, y.offset, 0, 0, per)
        arrays: tuple[Any, ...] = (x, y)
    else:
        g = tools.arrays.contiguous(g)
        words = numbers(rows, n, inner, x.offset, g.offset, y.offset, 0, 0, per)
        arrays = (g, x, y)
    tools.run(tools.get(kernel, x.dtype), arrays, words, (size, 1, 1))
    return y


def softmax_cross_entropy(tools: Tools, logits: Any, target: Any) -> tuple[Any, Any]:
    """(loss, logsumexp) of each row."""
    logits, target = tools.arrays.contiguous(logits), tools.arrays.contiguous(target)
    rows, n = logits.shape
    loss, lse = (tools.arrays.empty((rows,), logits.dtype) for _ in range(2))
    if rows:
        size, per = tools.shares(rows, n)
        words = numbers(rows, n, 1, logits.offset, 0, 0, target.offset, 0, per)
        kernel = tools.get(source.softmax_cross_entropy, logits.dtype)
        tools.run(kernel, (logits, target, loss, lse), words, (size, 1, 1))
    return loss, lse


def softmax_cross_entropy_grad(tools: Tools, g: Any, logits: Any, target: Any, lse: Any) -> Any:
    """g * (softmax - one hot)."""
    g, logits, target, lse = (tools.arrays.contiguous(one) for one in (g, logits, target, lse))
    rows, n = logits.shape
    y = tools.arrays.empty((rows, n), logits.dtype)
    if rows and n:
        size, per = tools.shares(rows, n)
        words = numbers(rows, n, 1, logits.offset, g.offset, 0, target.offset, lse.offset, per)
        kernel = tools.get(source.softmax_cross_entropy_grad, logits.dtype)
        tools.run(kernel, (g, logits, target, lse, y), words, (size, 1, 1))
    return y


def layer_norm(tools: Tools, x: Any, weight: Any, bias: Any, n_axes: int, eps: float) -> tuple[Any, Any, Any]:
    """(y, mean, rstd) over the last `n_axes` dimensions."""
    x = tools.arrays.contiguous(x)
    lead, tail = x.shape[: len(x.shape) - n_axes], x.shape[len(x.shape) - n_axes :]
    y = tools.arrays.empty(x.shape, x.dtype)
    mean, rstd = (tools.arrays.empty((*lead, *(1,) * n_axes), x.dtype) for _ in range(2))
    rows, n = math.prod(lead), math.prod(tail)
    if rows:
        held = [x if one is None else tools.arrays.contiguous(one) for one in (weight, bias)]
        size, per = tools.shares(rows, n)
        words = numbers(
            rows, n, x.offset, 0, held[0].offset, held[1].offset, 0, 0, per, int(weight is not None),
            int(bias is not None), real(eps, x.dtype),
        )  # fmt: skip
        kernel = tools.get(source.layer_norm, x.dtype)
        tools.run(kernel, (x, *held, y, mean, rstd), words, (size, 1, 1))
    return y, mean, rstd


def layer_norm_grad(
    tools: Tools, g: Any, x: Any, weight: Any, mean: Any, rstd: Any, n_axes: int
) -> tuple[Any, Any, Any]:
    """The gradients of the input, the weight and the bias."""
    g, x, mean, rstd = (tools.arrays.contiguous(one) for one in (g, x, mean, rstd))
    tail = x.shape[len(x.shape) - n_axes :]
    rows, n = math.prod(x.shape[: len(x.shape) - n_axes]), math.prod(tail)
    y = tools.arrays.empty(x.shape, x.dtype)
    if not rows or not n:
        return y, tools.arrays.zeros(tail, x.dtype), tools.arrays.zeros(tail, x.dtype)
    held = x if weight is None else tools.arrays.contiguous(weight)
    size, per = tools.shares(rows, n)
    given = (x.offset, g.offset, held.offset, 0, mean.offset, rstd.offset)
    words = numbers(rows, n, *given, per, int(weight is not None), 0, 0)
    tools.run(tools.get(source.layer_norm_grad, x.dtype), (g, x, held, mean, rstd, y), words, (size, 1, 1))
    lanes = 8 if x.dtype.itemsize == 8 else 16
    blocks = -(-n // lanes)
    parts = max(1, min(-(-rows // 16), -(-4 * tools.units // blocks)))
    each = -(-rows // parts)
    parts = -(-rows // each)
    sums = [tools.arrays.empty((parts, *tail), x.dtype) for _ in range(2)]
    words = numbers(rows, n, *given, each, 0, 0, 0)
    kernel = tools.get(source.layer_norm_sums, x.dtype)
    tools.run(kernel, (g, x, mean, rstd, *sums), words, (blocks, parts, 1))
    made = [one.view(tail) if parts == 1 else tools.arrays.sum_first(one) for one in sums]
    return y, made[0], made[1]


class _Channels:
    """(batch, channels, n) of a picture, and the words of its statistics and weights."""

    __slots__ = ("arrays", "batch", "channels", "n", "words", "x")

    def __init__(
        self,
        tools: Tools,
        x: Any,
        weight: Any,
        bias: Any,
        mean: Any,
        rstd: Any,
        eps: float,
        how: str,
        g: Any = None,
    ) -> None:
        self.x = x = tools.arrays.contiguous(x)
        self.batch, self.channels, self.n = x.shape[0], x.shape[1], math.prod(x.shape[2:])
        held = [x if one is None else one for one in (weight, bias, mean, rstd)]
        self.arrays = held
        steps = [0 if one is None else one.strides[0] for one in (weight, bias, mean, rstd)]
        self.words = (
            self.batch, self.channels, self.n, x.offset, 0 if g is None else g.offset,
            *(one.offset for one in held), *steps, int(weight is not None), int(bias is not None),
            real(eps, x.dtype), ACTIVATIONS[how],
        )  # fmt: skip


def batch_norm(tools: Tools, x: Any, weight: Any, bias: Any, eps: float, how: str) -> tuple[Any, Any, Any]:
    """(y, mean, rstd) of each channel by the batch's own statistics."""
    mean, rstd = (tools.arrays.empty(x.shape[1:2], x.dtype) for _ in range(2))
    c = _Channels(tools, x, weight, bias, mean, rstd, eps, how)
    if c.channels:
        kernel = tools.get(channels.batch_norm_stats, x.dtype)
        tools.run(kernel, (c.x, mean, rstd), numbers(*c.words, 1), (c.channels, 1, 1))
    return _applied(tools, c), mean, rstd


def _applied(tools: Tools, c: _Channels) -> Any:
    y = tools.arrays.empty(c.x.shape, c.x.dtype)
    planes = c.batch * c.channels
    if planes and c.n:
        size, per = tools.shares(planes, c.n)
        kernel = tools.get(channels.batch_norm_apply, y.dtype)
        tools.run(kernel, (c.x, *c.arrays, y), numbers(*c.words, per), (size, 1, 1))
    return y


def batch_norm_grad(
    tools: Tools, g: Any, x: Any, weight: Any, bias: Any, mean: Any, rstd: Any, how: str
) -> tuple[Any, Any, Any]:
    """The gradients of the input, the weight and the bias."""
    g = tools.arrays.contiguous(g)
    c = _Channels(tools, x, weight, bias, mean, rstd, 0.0, how, g)
    y = tools.arrays.empty(x.shape, x.dtype)
    if not c.batch or not c.n or not c.channels:
        return y, *(tools.arrays.zeros(x.shape[1:2], x.dtype) for _ in range(2))
    one, two = (tools.arrays.empty(x.shape[1:2], x.dtype) for _ in range(2))
    kernel = tools.get(channels.batch_norm_sums, x.dtype)
    tools.run(kernel, (g, c.x, *c.arrays, one, two), numbers(*c.words, 1), (c.channels, 1, 1))
    size, per = tools.shares(c.batch * c.channels, c.n)
    kernel = tools.get(channels.batch_norm_grad, x.dtype)
    tools.run(kernel, (g, c.x, *c.arrays, one, two, y), numbers(*c.words, per), (size, 1, 1))
    return y, one, two
