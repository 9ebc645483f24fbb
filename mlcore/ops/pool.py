"""Max and average pooling over trailing dimensions, and their gradients, as composites of slices."""

from __future__ import annotations

import math
from typing import Any

from mlcore import dtypes
from mlcore.dtypes import floating, real
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.cases import Sample, sample
from mlcore.ops.conv import Pairs, _counts, _fold, _unfold, pairs, tuples
from mlcore.ops.creation import full, iota_on
from mlcore.ops.elementwise import round as round_
from mlcore.ops.elementwise import where
from mlcore.ops.logic import equal
from mlcore.ops.reduce import add_up, reduce_argmax
from mlcore.ops.reduce import max as max_
from mlcore.ops.shape import reshape, stack
from mlcore.ops.spec import Outs, composite, out


def _pool(name: str, shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Any, ...]:
    """(output sizes, kernel, stride, padding, dilation), checked."""
    rank = len(kernel) if not isinstance(kernel, int) else max(1, len(shape) - 2)
    if len(shape) < rank:
        raise ShapeError(f"{name}: a kernel of {rank} dimensions for a tensor of shape {shape}")
    kernel = tuples(f"{name} kernel", kernel, rank)
    stride = kernel if stride is None else tuples(f"{name} stride", stride, rank)
    dilation, padding = tuples(f"{name} dilation", dilation, rank), pairs(padding, rank)
    for k, p in zip(kernel, padding, strict=True):
        if max(p) > k // 2:
            raise ArgumentError(
                f"{name}: padding {p} is more than half of the kernel {k}", fix="use less padding"
            )
    return (
        _counts(name, shape[len(shape) - rank :], kernel, stride, padding, dilation),
        kernel,
        stride,
        padding,
        dilation,
    )


def _max_rule(x: Any, /, *, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> Outs:
    count, *how = _pool("max_pool", x.shape, kernel, stride, padding, dilation)
    return out((*x.shape[: x.ndim - len(count)], *count), x.dtype, *how)


def _lowest(dtype: Any) -> float:
    return float("-inf") if dtype in floating else dtypes.iinfo(dtype).min


def _max_pool_vjp(g: Any, x: Any, y: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    return max_pool_grad(g, x, y, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def _avg_pool_vjp(
    g: Any, x_shape: Any, kernel: Any, stride: Any, padding: Any, count_include_pad: bool
) -> Any:
    return avg_pool_grad(
        g,
        input_shape=x_shape,
        kernel=kernel,
        stride=stride,
        padding=padding,
        count_include_pad=count_include_pad,
    )


_POOLS: tuple[tuple[Any, dict[str, Any]], ...] = (
    ((2, 3, 8, 9), dict(kernel=(2, 2))),
    ((2, 3, 8, 9), dict(kernel=(3, 3), stride=2, padding=1)),
    ((2, 3, 8, 9), dict(kernel=(3, 2), stride=(1, 3), padding=((1, 0), (0, 1)))),
    ((2, 3, 11), dict(kernel=(3,), stride=2)),
    ((2, 5, 4, 6), dict(kernel=(2, 2, 3), padding=1)),
    ((0, 3, 4, 4), dict(kernel=(2, 2))),
    ((1, 17, 34, 33), dict(kernel=(3, 3), stride=2, padding=1)),
)
_DILATED: tuple[Any, dict[str, Any]] = ((2, 3, 8, 9), dict(kernel=(2, 3), dilation=2, padding=1))
_TIES = {"x": lambda x: round_(x * 0.2)}


def _max_samples() -> list[Sample]:
    return [sample([x], **how) for x, how in (*_POOLS, _DILATED)]


def _avg_samples() -> list[Sample]:
    return [sample([x], count_include_pad=flag, **how) for x, how in _POOLS for flag in (True, False)]


def _pooled(x: Any, how: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The output's shape and the canonical parameters of a pool's case."""
    given = (how["kernel"], how.get("stride"), how.get("padding", 0), how.get("dilation", 1))
    count, kernel, stride, padding, dilation = _pool("pool", x, *given)
    full_how = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    return (*x[: len(x) - len(count)], *count), full_how


def _max_grad_samples() -> list[Sample]:
    found = []
    for x, given in (*_POOLS, _DILATED):
        y, how = _pooled(x, given)
        pooled = {"y": lambda x, how=how: max_pool(x, **how)}
        found.append(sample([y, x, y], derive=pooled, **how))
        found.append(sample([y, x, y], derive={**_TIES, **pooled}, gradient=False, **how))
    return found


def _avg_grad_samples() -> list[Sample]:
    found = []
    for x, given in _POOLS:
        y, how = _pooled(x, given)
        del how["dilation"]
        found += [sample([y], input_shape=x, count_include_pad=flag, **how) for flag in (True, False)]
    return found


@composite(
    _max_rule, accepts=real, public=False, samples=_max_samples,
    vjp=_max_pool_vjp,
)  # fmt: skip
def max_pool(x: Any, /, *, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> Any:
    """Largest element of each window over the trailing dimensions; padding never wins."""
    count, kernel, stride, padding, dilation = _pool("max_pool", x.shape, kernel, stride, padding, dilation)
    parts = _unfold(x, kernel, stride, padding, dilation, count, _lowest(x.dtype))
    return max_(parts, axis=x.ndim - len(kernel))


def _max_grad_rule(
    g: Any, x: Any, y: Any, /, *, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> Outs:
    return out(x.shape, g.dtype, kernel, stride, padding, dilation)


@composite(_max_grad_rule, accepts=floating, public=False, ulp=8, samples=_max_grad_samples)
def max_pool_grad(
    grad: Any, x: Any, y: Any, /, *, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    """Gradient of max_pool: each window's goes to its first largest element."""
    lead, count = x.ndim - len(kernel), y.shape[x.ndim - len(kernel) :]
    parts = _unfold(x.detach(), kernel, stride, padding, dilation, count, _lowest(x.dtype))
    winner = reduce_argmax(parts, axis=lead, keepdims=True)
    number = reshape(iota_on(x, math.prod(kernel)), (-1, *(1,) * len(count)))
    spread = where(equal(winner, number), reshape(grad, (*x.shape[:lead], 1, *count)), 0)
    return _fold(spread, x.shape, kernel, stride, padding, dilation, count)


def _avg_rule(
    x: Any, /, *, kernel: Any, stride: Any = None, padding: Any = 0, count_include_pad: bool = True
) -> Outs:
    count, kernel, stride, padding, _ = _pool("avg_pool", x.shape, kernel, stride, padding, 1)
    return out(
        (*x.shape[: x.ndim - len(count)], *count), x.dtype, kernel, stride, padding, bool(count_include_pad)
    )


@composite(
    _avg_rule, accepts=floating, public=False, ulp=8, samples=_avg_samples,
    vjp=_avg_pool_vjp,
)  # fmt: skip
def avg_pool(
    x: Any, /, *, kernel: Any, stride: Any = None, padding: Any = 0, count_include_pad: bool = True
) -> Any:
    """Mean of each window over the trailing dimensions."""
    count, kernel, stride, padding, dilation = _pool("avg_pool", x.shape, kernel, stride, padding, 1)
    parts = _unfold(x, kernel, stride, padding, dilation, count)
    total = add_up(parts, axis=x.ndim - len(kernel))
    return total / _divisor(x, x.shape, kernel, stride, padding, count, count_include_pad)


def _divisor(
    like: Any, shape: Any, kernel: Any, stride: Any, padding: Pairs, count: Any, count_include_pad: bool
) -> Any:
    """How many elements each window averages over."""
    if count_include_pad or not any(map(any, padding)):
        return float(math.prod(kernel))
    sizes = shape[len(shape) - len(kernel) :]
    inside = full(sizes, 1.0, dtype=like.dtype, device=like.device)
    return add_up(_unfold(inside, kernel, stride, padding, (1,) * len(kernel), count), axis=0)


def _avg_grad_rule(
    g: Any, /, *, input_shape: Any, kernel: Any, stride: Any, padding: Any, count_include_pad: bool
) -> Outs:
    return out(tuple(input_shape), g.dtype, tuple(input_shape), kernel, stride, padding, count_include_pad)


@composite(_avg_grad_rule, accepts=floating, public=False, ulp=8, samples=_avg_grad_samples)
def avg_pool_grad(
    grad: Any, /, *, input_shape: Any, kernel: Any, stride: Any, padding: Any, count_include_pad: bool
) -> Any:
    """Gradient of avg_pool: each window's is shared by its elements."""
    lead = len(input_shape) - len(kernel)
    count = grad.shape[lead:]
    share = grad / _divisor(grad, input_shape, kernel, stride, padding, count, count_include_pad)
    parts = stack([share] * math.prod(kernel), axis=lead)
    return _fold(parts, input_shape, kernel, stride, padding, (1,) * len(kernel), count)
