"""Loss functions, with PyTorch's reductions."""

from __future__ import annotations

import math
from typing import Any

from mlcore import dispatch
from mlcore.dtypes import floating
from mlcore.errors import ArgumentError, DTypeError, ShapeError
from mlcore.nn.functional._common import check_reduction, reduced, valid_indices
from mlcore.ops import nn
from mlcore.ops.activation import softplus
from mlcore.ops.arrange import moveaxis
from mlcore.ops.creation import ones_like
from mlcore.ops.elementwise import abs as abs_
from mlcore.ops.elementwise import astype, square, where
from mlcore.ops.index import gather, take_along_axis
from mlcore.ops.loss import softmax_cross_entropy, squared_error
from mlcore.ops.reduce import mean
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import expand_dims, reshape, squeeze
from mlcore.tensor import TensorBase


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
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
    if kept is not None and not kept.any().item():
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
    input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    """`-input[target]` of log-probabilities (N, C), (C,) or (N, C, *sizes); see `cross_entropy`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.nll_loss(ml.asarray([[-1.0, -2.0]]), ml.asarray([1])).item()
    2.0
    """
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


def _pair(name: str, input: Any, target: Any) -> tuple[Any, Any]:
    if not isinstance(target, TensorBase):
        target = dispatch.from_data(target, None, input.device)
    if input.shape != target.shape:
        raise ShapeError(f"{name}: input {input.shape} with target {target.shape}",
                         cause="broadcasting here would compare every element with every other",
                         fix="reshape one of them so that the shapes are equal")  # fmt: skip
    return input, target


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """`(input - target) ** 2`, averaged, summed or as it is; the shapes must be equal.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.mse_loss(ml.asarray([1.0, 3.0]), ml.asarray([1.0, 1.0])).item()
    2.0
    """
    input, target = _pair("mse_loss", input, target)
    if reduction in ("mean", "sum") and input.dtype in floating and target.dtype in floating:
        scale = 1.0 if reduction == "sum" else 1 / input.size if input.size else math.nan
        return squared_error(input, target, scale=scale)
    return reduced("mse_loss", square(input - target), reduction)


def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Any:
    """`|input - target|`, averaged, summed or as it is; the shapes must be equal.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.l1_loss(ml.asarray([1.0, 3.0]), ml.asarray([1.0, 1.0])).item()
    1.0
    """
    input, target = _pair("l1_loss", input, target)
    return reduced("l1_loss", abs_(input - target), reduction)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    """Cross-entropy of `sigmoid(input)` with probabilities `target` of the same shape, without overflow.

    `weight` and `pos_weight` (of the positive class) broadcast to the input.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.binary_cross_entropy_with_logits(ml.zeros((3,)), ml.ones((3,))).item(), 4)
    0.6931
    """
    input, target = _pair("binary_cross_entropy_with_logits", input, target)
    if target.dtype not in floating:
        raise DTypeError(f"binary_cross_entropy_with_logits: the target is {target.dtype}, expected probabilities",
                         fix="astype(target, float32)")  # fmt: skip
    negative = softplus(-input)
    if pos_weight is not None:
        negative = negative * ((pos_weight - 1) * target + ones_like(target))
    loss = (1 - target) * input + negative
    if weight is not None:
        loss = loss * weight
    return reduced("binary_cross_entropy_with_logits", loss, reduction)
