"""Convolution and pooling over 1 to 3 trailing dimensions, and their gradients, as composites of slices and products.

Every body takes the windows of its input apart with one strided slice per kernel element; backends fuse them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcore.dtypes import floating
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.cases import Sample, sample
from mlcore.ops.creation import zeros
from mlcore.ops.linalg import contract
from mlcore.ops.reduce import add_up
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
        raise ShapeError(
            f"convolution: input {x.shape} with weight {weight.shape}",
            cause="the input is (N, C, *sizes), the weight (O, C / groups, *kernel), of 1 to 3 dimensions",
        )
    if groups < 1 or x.shape[1] % groups or weight.shape[0] % groups:
        raise ArgumentError(
            f"convolution: groups={groups} does not divide {x.shape[1]} input and {weight.shape[0]} output channels",
            fix="choose groups that divide both",
        )
    if x.shape[1] != weight.shape[1] * groups:
        raise ShapeError(
            f"convolution: input has {x.shape[1]} channels, the weight {weight.shape} expects"
            f" {weight.shape[1] * groups}" + (f" in {groups} groups" if groups > 1 else ""),
            fix="match the channel counts",
        )
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
    ((1, 49, 19, 14), (50, 49, 3, 3), dict(padding=1)),  # where backends may have a way for many channels
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
        sample([y, x], weight_shape=w, special=not any(map(any, how["padding"])), **how)
        for x, w, y, how in _cases()
    ]


@composite(
    _conv_rule, autocast="low", accepts=floating, public=False, ulp=64, vjp=_conv_grad, samples=_conv_samples
)
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


def _grad_input_vjp(
    g: Any,
    grad: Any,
    weight: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    needs: tuple[bool, ...],
) -> Any:
    """It is linear in both: a convolution gives the gradients back."""
    how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    back = convolution(g, weight, **how) if needs[0] else None
    return back, convolution_grad_weight(grad, g, weight_shape=weight.shape, **how) if needs[1] else None


@composite(
    _grad_input_rule,
    autocast="low",
    accepts=floating,
    public=False,
    ulp=64,
    samples=_grad_input_samples,
    vjp=_grad_input_vjp,
)
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


def _grad_weight_vjp(
    g: Any, grad: Any, x: Any, stride: Any, padding: Any, dilation: Any, groups: int, needs: tuple[bool, ...]
) -> Any:
    how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    back = convolution(x, g, **how) if needs[0] else None
    return back, convolution_grad_input(grad, g, input_shape=x.shape, **how) if needs[1] else None


@composite(
    _grad_weight_rule,
    accepts=floating,
    public=False,
    ulp=64,
    samples=_grad_weight_samples,
    vjp=_grad_weight_vjp,
)
def convolution_grad_weight(
    grad: Any, x: Any, /, *, weight_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """Gradient of a convolution with respect to its weight."""
    kernel, count, n = weight_shape[2:], grad.shape[2:], grad.shape[0]
    parts = _unfold(x, kernel, stride, padding, dilation, count)
    parts = reshape(parts, (n, groups, weight_shape[1] * math.prod(kernel), math.prod(count)))
    rows = reshape(grad, (n, groups, weight_shape[0] // groups, math.prod(count)))
    return reshape(add_up(contract(rows, matrix_transpose(parts)), axis=0), weight_shape)
