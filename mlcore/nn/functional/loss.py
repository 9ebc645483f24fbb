"""Losses of classes: cross-entropy and negative log-likelihood, with PyTorch's reductions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlcore import dispatch
from mlcore.checkpointing import checkpoint
from mlcore.dtypes import floating
from mlcore.errors import ArgumentError, ShapeError
from mlcore.host import holds_values
from mlcore.nn.functional._common import check_reduction, reduced, reduction_of, valid_indices
from mlcore.nn.functional.dense import linear
from mlcore.ops import nn
from mlcore.ops.arrange import moveaxis
from mlcore.ops.elementwise import astype, where
from mlcore.ops.index import gather, take_along_axis
from mlcore.ops.loss import softmax_cross_entropy
from mlcore.ops.reduce import mean
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import concat, expand_dims, reshape, squeeze
from mlcore.tensor import TensorBase


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Cross-entropy of logits (N, C), (C,) or (N, C, *sizes) with classes (N, *sizes), or with probabilities.

    Probabilities have the shape of `input`.

    `weight` (C,) scales the classes, and 'mean' then divides by the weights used; targets equal to `ignore_index`
    do not count. A class outside 0..C-1 raises OutOfRangeError with its row, and a mean over no target at
    all ArgumentError.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.cross_entropy(ml.zeros((2, 4)), ml.asarray([0, 3])).item(), 4)
    1.3863
    """
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(
            f"cross_entropy: label_smoothing is {label_smoothing}", fix="use a value from 0 to 1"
        )
    reduction = reduction_of("cross_entropy", size_average, reduce, reduction)
    check_reduction("cross_entropy", reduction)
    if not isinstance(target, TensorBase):
        target = dispatch.from_data(target, None, input.device)
    if input.ndim < 1:
        raise ShapeError("cross_entropy: the logits are 0-d", fix="use (N, C)")
    if target.dtype in floating and target.shape == input.shape:
        return _soft_targets(input, target, weight, reduction, label_smoothing)
    rows, places = _rows("cross_entropy", input, target)
    classes = rows.shape[1]
    _check_weight("cross_entropy", weight, classes)
    found, skipped = valid_indices(
        "cross_entropy", "target", target, classes, "classes", input.device, ignore_index
    )
    flat = reshape(found, (-1,))
    loss = softmax_cross_entropy(rows, flat)[0]
    if weight is None and skipped is None and not label_smoothing:
        return reshape(loss, places) if reduction == "none" else reduced("cross_entropy", loss, reduction)
    kept = None if skipped is None else reshape(skipped, (-1,)).logical_not()
    scale = None if weight is None else gather(weight, flat, axis=0)
    if label_smoothing:
        smooth = -nn.log_softmax(rows, axis=1)
        smooth = sum_(smooth if weight is None else smooth * weight, axis=1) * (label_smoothing / classes)
        loss = (loss if scale is None else loss * scale) * (1 - label_smoothing) + smooth
    elif scale is not None:
        loss = loss * scale
    return _over_kept("cross_entropy", loss, kept, scale, places, reduction)


def _rows(name: str, input: Any, target: Any) -> tuple[Any, tuple[int, ...]]:
    """The input as (rows, C), and the shape of one loss per target."""
    places = (*input.shape[:1], *input.shape[2:]) if input.ndim > 1 else ()
    if target.shape != places:
        what = "expected one class for each row"
        if target.dtype in floating:
            what = "probabilities need the shape of the input"
        elif input.ndim == 2 and target.shape == (*places, 1):
            what += "; squeeze the last dimension"
        raise ShapeError(
            f"{name}: input {input.shape} with target {target.shape}",
            cause=what,
            fix=f"a target of shape {places}",
        )
    if input.ndim == 2:
        return input, places
    if input.ndim == 1:
        return reshape(input, (1, -1)), places
    return reshape(moveaxis(input, 1, -1), (math.prod(places), input.shape[1])), places


def _check_weight(name: str, weight: Any, classes: int) -> None:
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(
            f"{name}: weight of shape {weight.shape} for {classes} classes", fix=f"use shape ({classes},)"
        )


def _over_kept(name: str, loss: Any, kept: Any, scale: Any, places: tuple[int, ...], reduction: str) -> Any:
    """Reduce over the targets that count; 'mean' divides by their number, or by their weights."""
    if kept is not None:
        loss = where(kept, loss, 0)
    if reduction == "none":
        return reshape(loss, places)
    total = sum_(loss)
    if reduction == "sum":
        return total
    if kept is not None and holds_values(kept) and not kept.any().item():
        raise ArgumentError(
            f"{name}: all {loss.shape[0]} targets are ignore_index",
            cause="a mean over no target is 0 / 0",
            fix="skip such a batch, or use reduction='sum'",
        )
    if scale is not None:
        return total / sum_(scale if kept is None else where(kept, scale, 0))
    return mean(loss) if kept is None else total / sum_(astype(kept, loss.dtype))


def _soft_targets(input: Any, target: Any, weight: Any, reduction: str, smoothing: float) -> Any:
    axis = 1 if input.ndim > 1 else 0
    classes = input.shape[axis]
    _check_weight("cross_entropy", weight, classes)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    terms = nn.log_softmax(input, axis=axis) * target
    if weight is not None:
        terms = terms * reshape(weight, (-1, *(1,) * (input.ndim - 1 - axis)))
    loss = -sum_(terms, axis=axis)
    if reduction == "mean":
        return sum_(loss) / max(1, loss.size)
    return reduced("cross_entropy", loss, reduction)


def nll_loss(
    input: Any, target: Any, weight: Any = None, size_average: bool | None = None, ignore_index: int = -100,
    reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """`-input[target]` of log-probabilities (N, C), (C,) or (N, C, *sizes); see `cross_entropy`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.nll_loss(ml.asarray([[-1.0, -2.0]]), ml.asarray([1])).item()
    2.0
    """
    reduction = reduction_of("nll_loss", size_average, reduce, reduction)
    check_reduction("nll_loss", reduction)
    if not isinstance(target, TensorBase):
        target = dispatch.from_data(target, None, input.device)
    rows, places = _rows("nll_loss", input, target)
    _check_weight("nll_loss", weight, rows.shape[1])
    found, skipped = valid_indices(
        "nll_loss", "target", target, rows.shape[1], "classes", input.device, ignore_index
    )
    flat = reshape(found, (-1,))
    loss = -squeeze(take_along_axis(rows, expand_dims(flat, axis=1), axis=1), 1)
    kept = None if skipped is None else reshape(skipped, (-1,)).logical_not()
    scale = None if weight is None else gather(weight, flat, axis=0)
    return _over_kept("nll_loss", loss if scale is None else loss * scale, kept, scale, places, reduction)


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` goes about it: `batch_chunk_size` rows of logits are held at a time.

    None takes as many rows as keep the logits at about the size of the input. The gradient works the logits of
    each chunk out again. The other fields are PyTorch's; they are accepted and change nothing.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None


def linear_cross_entropy(
    input: Any, linear_weight: Any, target: Any, *, linear_bias: Any = None, weight: Any = None,
    reduction: str = "mean", ignore_index: int | None = None, label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Any:  # fmt: skip
    """`cross_entropy(linear(input, linear_weight, linear_bias), target)`: (N, F), (C, F) and (N,).

    A weight (C, *sizes, F) with a bias (C, *sizes) gives logits (N, C, *sizes), for targets (N, *sizes). With
    `options`, never all (N, C) logits are in memory, which is what a large vocabulary wants.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.linear_cross_entropy(ml.ones((2, 3)), ml.zeros((4, 3)), ml.asarray([0, 3])).item(), 4)
    1.3863
    """
    how: dict[str, Any] = dict(
        ignore_index=-100 if ignore_index is None else ignore_index, label_smoothing=label_smoothing
    )
    if linear_weight.ndim > 2:  # a loss of several dimensions
        wide = linear_weight.shape[:-1]
        bias = None if linear_bias is None else reshape(linear_bias, (-1,))
        logits = linear(input, reshape(linear_weight, (-1, linear_weight.shape[-1])), bias)
        return cross_entropy(
            reshape(logits, (*input.shape[:-1], *wide)), target, weight, reduction=reduction, **how
        )
    rows = input.shape[0] if input.ndim == 2 else 0
    size = rows
    if options is not None and rows:
        size = options.batch_chunk_size or max(1, rows * input.shape[1] // max(1, linear_weight.shape[0]))
    if size >= rows or rows == 0:
        return cross_entropy(
            linear(input, linear_weight, linear_bias), target, weight, reduction=reduction, **how
        )
    if not isinstance(target, TensorBase):
        target = dispatch.from_data(target, None, input.device)

    def part(x: Any, w: Any, b: Any, wanted: Any) -> Any:
        return cross_entropy(linear(x, w, b), wanted, weight, reduction="none", **how)

    parts = [
        checkpoint(part, input[at : at + size], linear_weight, linear_bias, target[at : at + size])
        for at in range(0, rows, size)
    ]
    loss = concat(parts, axis=0)
    check_reduction("linear_cross_entropy", reduction)
    if reduction != "mean" or target.dtype in floating:
        return reduced("linear_cross_entropy", loss, reduction)
    found, skipped = valid_indices(
        "linear_cross_entropy",
        "target",
        target,
        linear_weight.shape[0],
        "classes",
        input.device,
        how["ignore_index"],
    )
    scale = None if weight is None else gather(weight, found, axis=0)
    kept = None if skipped is None else skipped.logical_not()
    return _over_kept("linear_cross_entropy", loss, kept, scale, (rows,), reduction)
