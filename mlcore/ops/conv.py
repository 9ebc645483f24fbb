"""Convolution and pooling over 1 to 3 trailing dimensions, and their gradients, as composites of slices and products.

Every body takes the windows of its input apart with one strided slice per kernel element; backends fuse them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcore import dtypes
from mlcore.dtypes import floating, real
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.cases import Sample, sample
from mlcore.ops.creation import full, iota_on, zeros
from mlcore.ops.elementwise import equal, where
from mlcore.ops.elementwise import round as round_
from mlcore.ops.linalg import contract
from mlcore.ops.reduce import add_up, reduce_argmax
from mlcore.ops.reduce import max as max_
from mlcore.ops.shape import matrix_transpose, pad, reshape, slice_, slice_update, stack
from mlcore.ops.spec import Outs, composite, out
from mlcore.shapes import Key, windows

Pairs = tuple[tuple[int, int], ...]


# -- windows -----------------------------------------------------------------------------------------------------


def _keys(
    shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    count: Sequence[int],
) -> list[Key]:
    """For each kernel element, the key that picks its input from a padded tensor, for all windows at once."""
    lead = tuple((0, d, 1) for d in shape[: len(shape) - len(kernel)])
    keys: list[Key] = []
    for offset in itertools.product(*map(range, kernel)):
        starts = [o * d for o, d in zip(offset, dilation, strict=True)]
        keys.append(
            (*lead, *((b, b + (n - 1) * s + 1, s) for b, n, s in zip(starts, count, stride, strict=True)))
        )
    return keys


def _unfold(
    x: Any, kernel: Any, stride: Any, padding: Pairs, dilation: Any, count: Any, value: float = 0
) -> Any:
    """(..., windows) stacked over kernel elements: shape (*lead, prod(kernel), *count)."""
    lead = x.ndim - len(kernel)
    wide = pad(x, ((0, 0),) * lead + tuple(padding), value=value)
    return stack([slice_(wide, key) for key in _keys(wide.shape, kernel, stride, dilation, count)], axis=lead)


def _fold(
    parts: Any, shape: Sequence[int], kernel: Any, stride: Any, padding: Pairs, dilation: Any, count: Any
) -> Any:
    """The adjoint of `_unfold`: add each kernel element's contribution back to where it came from."""
    lead = len(shape) - len(kernel)
    sizes = tuple(d + sum(p) for d, p in zip(shape[lead:], padding, strict=True))
    total = zeros((*shape[:lead], *sizes), dtype=parts.dtype, device=parts.device)
    for i, key in enumerate(_keys(total.shape, kernel, stride, dilation, count)):
        total = slice_update(total, slice_(total, key) + parts[(slice(None),) * lead + (i,)], key=key)
    crop = tuple((0, d, 1) for d in shape[:lead]) + tuple(
        (p[0], p[0] + d, 1) for d, p in zip(shape[lead:], padding, strict=True)
    )
    return slice_(total, crop)


def _counts(
    name: str, sizes: Any, kernel: Any, stride: Any, padding: Pairs, dilation: Any
) -> tuple[int, ...]:
    return tuple(windows(name, *one) for one in zip(sizes, kernel, stride, padding, dilation, strict=True))


def tuples(name: str, value: Any, rank: int) -> tuple[int, ...]:
    """An int for all dimensions, or one per dimension.

    >>> tuples("stride", 2, 3)
    (2, 2, 2)
    """
    found = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(found) != rank or not all(isinstance(one, (int, np.integer)) for one in found):
        raise ArgumentError(
            f"{name}: {value!r} for {rank} dimensions", fix="give an int, or one per dimension"
        )
    return tuple(int(one) for one in found)


def pairs(value: Any, rank: int) -> Pairs:
    """Padding as (before, after) per dimension, from an int, one int each, or pairs.

    >>> pairs((1, 2), 2)
    ((1, 1), (2, 2))
    """
    if isinstance(value, int):
        return ((value, value),) * rank
    found = tuple((one, one) if isinstance(one, int) else tuple(one) for one in value)
    if len(found) != rank or any(len(one) != 2 for one in found):
        raise ArgumentError(
            f"padding: {value!r} for {rank} dimensions", fix="give an int, one per dimension, or pairs"
        )
    return found


# -- convolution -------------------------------------------------------------------------------------------------


def _conv_rule(
    x: Any,
    weight: Any,
    bias: Any = None,
    /,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Outs:
    rank = weight.ndim - 2
    if not 1 <= rank <= 3 or x.ndim != weight.ndim:
        raise ShapeError(f"convolution: input {x.shape} with weight {weight.shape}",
                         cause="the input is (N, C, *sizes), the weight (O, C / groups, *kernel), of 1 to 3 dimensions")  # fmt: skip
    if groups < 1 or x.shape[1] % groups or weight.shape[0] % groups:
        raise ArgumentError(f"convolution: groups={groups} does not divide {x.shape[1]} input and {weight.shape[0]} output channels",
                            fix="choose groups that divide both")  # fmt: skip
    if x.shape[1] != weight.shape[1] * groups:
        raise ShapeError(f"convolution: input has {x.shape[1]} channels, the weight {weight.shape} expects {weight.shape[1] * groups}"
                         + (f" in {groups} groups" if groups > 1 else ""), fix="match the channel counts")  # fmt: skip
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ShapeError(f"convolution: bias of shape {bias.shape} for {weight.shape[0]} output channels")
    stride, dilation = (
        tuples("convolution stride", stride, rank),
        tuples("convolution dilation", dilation, rank),
    )
    padding = pairs(padding, rank)
    count = _counts("convolution", x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return out((x.shape[0], weight.shape[0], *count), x.dtype, stride, padding, dilation, int(groups))


def _conv_grad(
    g: Any,
    x: Any,
    weight: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    needs: tuple[bool, ...],
) -> Any:
    how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    gx = convolution_grad_input(g, weight, input_shape=x.shape, **how) if needs[0] else None
    gw = convolution_grad_weight(g, x, weight_shape=weight.shape, **how) if needs[1] else None
    gb = add_up(g, axis=(0, *range(2, g.ndim))) if len(needs) > 2 and needs[2] else None
    return gx, gw, gb


_CASES: tuple[tuple[Any, Any, dict[str, Any]], ...] = (
    ((2, 4, 9, 8), (6, 4, 3, 3), dict(padding=1)),
    ((2, 4, 9, 8), (6, 4, 3, 2), dict(stride=2)),
    ((2, 4, 9, 8), (6, 4, 3, 3), dict(dilation=2, padding=((0, 1), (2, 0)))),
    ((2, 4, 7, 8), (6, 2, 3, 3), dict(groups=2, stride=(2, 1), padding=(1, 0))),
    ((1, 4, 6, 5), (8, 1, 3, 3), dict(groups=4, padding=1)),
    ((3, 5, 4, 4), (7, 5, 1, 1), {}),
    ((2, 3, 11), (4, 3, 4), dict(stride=3, padding=2)),
    ((1, 2, 5, 4, 6), (3, 2, 2, 3, 2), dict(padding=1, stride=(1, 2, 2))),
    ((0, 3, 5, 5), (2, 3, 3, 3), {}),
    ((2, 17, 19, 18), (33, 17, 3, 3), dict(padding=1)),
)


def _conv_samples() -> list[Sample]:
    bare = [sample([x, w, None], **how) for x, w, how in _CASES]
    return [*bare, *(sample([x, w, w[:1]], **how) for x, w, how in _CASES[:5])]


def _cases() -> list[tuple[Any, Any, Any, dict[str, Any]]]:
    """(input, weight, output, canonical parameters) of each case."""
    found = []
    for x, w, given in _CASES:
        rank, how = len(w) - 2, {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **given}
        how["stride"], how["dilation"] = (
            tuples("stride", how["stride"], rank),
            tuples("dilation", how["dilation"], rank),
        )
        how["padding"] = pairs(how["padding"], rank)
        count = _counts("convolution", x[2:], w[2:], how["stride"], how["padding"], how["dilation"])
        found.append((x, w, (x[0], w[0], *count), how))
    return found


def _grad_input_samples() -> list[Sample]:
    return [sample([y, w], input_shape=x, **how) for x, w, y, how in _cases()]


def _grad_weight_samples() -> list[Sample]:
    # Whether inf in the gradient meets the padding's zeros (and makes nan) is left open.
    return [
        sample([y, x], weight_shape=w, special=not any(map(any, how["padding"])), **how) for x, w, y, how in _cases()
    ]


@composite(_conv_rule, accepts=floating, public=False, ulp=64, vjp=_conv_grad, samples=_conv_samples)
def convolution(
    x: Any,
    weight: Any,
    bias: Any = None,
    /,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Cross-correlation of `x` (N, C, *sizes) with `weight` (O, C / groups, *kernel), plus `bias` (O,)."""
    _, (stride, padding, dilation, groups) = _conv_rule(
        x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, o, kernel = x.shape[0], weight.shape[0], weight.shape[2:]
    count = _counts("convolution", x.shape[2:], kernel, stride, padding, dilation)
    parts = reshape(
        _unfold(x, kernel, stride, padding, dilation, count),
        (n, groups, weight.shape[1] * math.prod(kernel), math.prod(count)),
    )
    y = contract(reshape(weight, (groups, o // groups, -1)), parts)
    y = reshape(y, (n, o, *count))
    return y if bias is None else y + reshape(bias, (1, o, *(1,) * len(count)))


def _grad_input_rule(
    g: Any, weight: Any, /, *, input_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Outs:
    return out(tuple(input_shape), g.dtype, tuple(input_shape), stride, padding, dilation, groups)


@composite(_grad_input_rule, accepts=floating, public=False, ulp=64, samples=_grad_input_samples)
def convolution_grad_input(
    grad: Any, weight: Any, /, *, input_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """Gradient of a convolution with respect to its input."""
    kernel, count = weight.shape[2:], grad.shape[2:]
    rows = reshape(grad, (grad.shape[0], groups, grad.shape[1] // groups, math.prod(count)))
    parts = contract(matrix_transpose(reshape(weight, (groups, weight.shape[0] // groups, -1))), rows)
    parts = reshape(parts, (grad.shape[0], input_shape[1], math.prod(kernel), *count))
    return _fold(parts, input_shape, kernel, stride, padding, dilation, count)


def _grad_weight_rule(
    g: Any, x: Any, /, *, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Outs:
    return out(tuple(weight_shape), g.dtype, tuple(weight_shape), stride, padding, dilation, groups)


@composite(_grad_weight_rule, accepts=floating, public=False, ulp=64, samples=_grad_weight_samples)
def convolution_grad_weight(
    grad: Any, x: Any, /, *, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """Gradient of a convolution with respect to its weight."""
    kernel, count, n = weight_shape[2:], grad.shape[2:], grad.shape[0]
    parts = _unfold(x, kernel, stride, padding, dilation, count)
    parts = reshape(parts, (n, groups, weight_shape[1] * math.prod(kernel), math.prod(count)))
    rows = reshape(grad, (n, groups, weight_shape[0] // groups, math.prod(count)))
    return reshape(add_up(contract(rows, matrix_transpose(parts)), axis=0), weight_shape)


# -- pooling -----------------------------------------------------------------------------------------------------


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
