"""Losses of numbers and of probabilities, element by element, with PyTorch's reductions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.dtypes import floating
from mlcore.errors import ArgumentError, DTypeError, ShapeError
from mlcore.host import holds_values
from mlcore.nn.functional._common import check_reduction, reduced, reduction_of
from mlcore.ops.activation import softplus
from mlcore.ops.creation import ones_like
from mlcore.ops.elementwise import abs as abs_
from mlcore.ops.elementwise import exp, log, maximum, square, where
from mlcore.ops.loss import probability_error, squared_error
from mlcore.ops.reduce import mean
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import expand_dims
from mlcore.tensor import TensorBase


def pair(name: str, input: Any, target: Any) -> tuple[Any, Any]:
    """The target as a tensor, refused unless it has the input's shape."""
    if not isinstance(target, TensorBase):
        target = dispatch.from_data(target, None, input.device)
    if input.shape != target.shape:
        raise ShapeError(f"{name}: input {input.shape} with target {target.shape}",
                         cause="broadcasting here would compare every element with every other",
                         fix="reshape one of them so that the shapes are equal")  # fmt: skip
    return input, target


def _weighted(name: str, loss: Any, weight: Any, reduction: str, by_weight: bool) -> Any:
    """The loss times a weight for each element; the mean is over the weights, or over the elements."""
    if weight.shape != loss.shape:
        raise ShapeError(
            f"{name}: weight {weight.shape} for a loss {loss.shape}", fix="one weight for each element"
        )
    loss = loss * weight
    if reduction == "mean" and by_weight:
        return sum_(loss) / sum_(weight)
    return reduced(name, loss, reduction)


def mse_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    weight: Any = None,
) -> Any:  # fmt: skip
    """`(input - target) ** 2`, averaged, summed or as it is; the shapes must be equal.

    With `weight` (of that shape too) the mean is divided by the sum of the weights.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.mse_loss(ml.asarray([1.0, 3.0]), ml.asarray([1.0, 1.0])).item()
    2.0
    """
    reduction = reduction_of("mse_loss", size_average, reduce, reduction)
    input, target = pair("mse_loss", input, target)
    if weight is not None:
        return _weighted("mse_loss", square(input - target), weight, reduction, by_weight=True)
    if reduction in ("mean", "sum") and input.dtype in floating and target.dtype in floating:
        scale = 1.0 if reduction == "sum" else 1 / input.size if input.size else math.nan
        return squared_error(input, target, scale=scale)
    return reduced("mse_loss", square(input - target), reduction)


def l1_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    weight: Any = None,
) -> Any:  # fmt: skip
    """`|input - target|`, averaged, summed or as it is; the shapes must be equal.

    With `weight` (of that shape too) the mean is divided by the sum of the weights.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.l1_loss(ml.asarray([1.0, 3.0]), ml.asarray([1.0, 1.0])).item()
    1.0
    """
    reduction = reduction_of("l1_loss", size_average, reduce, reduction)
    input, target = pair("l1_loss", input, target)
    loss = abs_(input - target)
    if weight is not None:
        return _weighted("l1_loss", loss, weight, reduction, by_weight=True)
    return reduced("l1_loss", loss, reduction)


def smooth_l1_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    beta: float = 1.0,
) -> Any:  # fmt: skip
    """`d**2 / (2 beta)` where `d = |input - target|` is below `beta`, else `d - beta / 2` (Girshick 2015).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.smooth_l1_loss(ml.asarray([0.5, 3.0]), ml.zeros((2,)), reduction="none").tolist()
    [0.125, 2.5]
    """
    reduction = reduction_of("smooth_l1_loss", size_average, reduce, reduction)
    if not beta >= 0:
        raise ArgumentError(f"smooth_l1_loss: beta is {beta}", fix="use beta >= 0")
    input, target = pair("smooth_l1_loss", input, target)
    if beta == 0:
        return reduced("smooth_l1_loss", abs_(input - target), reduction)
    difference = input - target
    size = abs_(difference)
    loss = where(size < beta, square(difference) * (0.5 / beta), size - 0.5 * beta)
    return reduced("smooth_l1_loss", loss, reduction)


def huber_loss(
    input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Any:
    """`d**2 / 2` where `d = |input - target|` is at most `delta`, else `delta * (d - delta / 2)` (Huber 1964).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.huber_loss(ml.asarray([1.0, 5.0]), ml.zeros((2,)), reduction="none", delta=2.0).tolist()
    [0.5, 8.0]
    """
    if not delta > 0:
        raise ArgumentError(f"huber_loss: delta is {delta}", fix="use delta > 0")
    input, target = pair("huber_loss", input, target)
    difference = input - target
    size = abs_(difference)
    loss = where(size <= delta, square(difference) * 0.5, (size - 0.5 * delta) * delta)
    if weight is not None:
        return _weighted("huber_loss", loss, weight, reduction, by_weight=False)
    return reduced("huber_loss", loss, reduction)


def _probabilities(name: str, target: Any) -> None:
    if target.dtype not in floating:
        raise DTypeError(
            f"{name}: the target is {target.dtype}, expected probabilities", fix="astype(target, float32)"
        )


def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """`-(target * log(input) + (1 - target) * log(1 - input))` of probabilities, each log at least -100.

    Values outside 0..1 raise ArgumentError. `binary_cross_entropy_with_logits` is the one to train with.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.binary_cross_entropy(ml.asarray([0.5, 0.5]), ml.asarray([1.0, 0.0])).item(), 4)
    0.6931
    """
    name = "binary_cross_entropy"
    reduction = reduction_of(name, size_average, reduce, reduction)
    input, target = pair(name, input, target)
    _probabilities(name, target)
    host = input.detach().numpy() if holds_values(input) else np.zeros(())
    outside = ~((host >= 0) & (host <= 1))
    if outside.any():
        raise ArgumentError(
            f"{name}: the input has {host[outside].ravel()[0]}, and it must be probabilities from 0 to 1",
            cause=f"{int(outside.sum())} of {host.size} are outside",
            fix="apply sigmoid first, or use binary_cross_entropy_with_logits on the logits",
        )
    loss = probability_error(input, target)
    return reduced(name, loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", pos_weight: Any = None,
) -> Any:  # fmt: skip
    """Cross-entropy of `sigmoid(input)` with probabilities `target` of the same shape, without overflow.

    `weight` and `pos_weight` (of the positive class) broadcast to the input.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.binary_cross_entropy_with_logits(ml.zeros((3,)), ml.ones((3,))).item(), 4)
    0.6931
    """
    name = "binary_cross_entropy_with_logits"
    reduction = reduction_of(name, size_average, reduce, reduction)
    input, target = pair(name, input, target)
    _probabilities(name, target)
    negative = softplus(-input)
    if pos_weight is not None:
        negative = negative * ((pos_weight - 1) * target + ones_like(target))
    loss = (1 - target) * input + negative
    return reduced(name, loss if weight is None else loss * weight, reduction)


def kl_div(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    log_target: bool = False,
) -> Any:  # fmt: skip
    """`target * (log(target) - input)`: Kullback and Leibler's divergence (1951) of log-probabilities `input`.

    `target` has probabilities, or their logarithms with `log_target`. reduction='batchmean' divides the sum by the
    first dimension, which is the divergence itself; 'mean' divides by the number of elements.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> p = ml.asarray([[0.5, 0.5]])
    >>> round(F.kl_div(ml.log(ml.asarray([[0.9, 0.1]])), p, reduction="batchmean").item(), 4)
    0.5108
    """
    reduction = reduction_of("kl_div", size_average, reduce, reduction)
    if reduction != "batchmean":
        check_reduction("kl_div", reduction)
    if not isinstance(target, TensorBase):
        target = dispatch.from_data(target, None, input.device)
    if log_target:
        loss = exp(target) * (target - input)
    else:
        positive = target > 0  # 0 * log(0) is 0; a negative target is nan, as its logarithm is
        safe = where(target == 0, 1, target)
        loss = where(positive, target * log(safe), where(target == 0, 0, log(safe))) - target * input
    if reduction == "batchmean":
        return sum_(loss) / input.shape[0] if input.ndim else loss
    return reduced("kl_div", loss, reduction)


def poisson_nll_loss(
    input: Any, target: Any, log_input: bool = True, full: bool = False, size_average: bool | None = None,
    eps: float = 1e-8, reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """`exp(input) - target * input`, for counts with the log-rate `input` (or the rate, without `log_input`).

    `full` adds Stirling's approximation of log(target!) where the target is above 1.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.poisson_nll_loss(ml.zeros((2,)), ml.asarray([1.0, 3.0])).item()
    1.0
    """
    reduction = reduction_of("poisson_nll_loss", size_average, reduce, reduction)
    input, target = pair("poisson_nll_loss", input, target)
    loss = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        counts = where(target > 1, target, 1)
        stirling = counts * log(counts) - counts + 0.5 * log(2 * math.pi * counts)
        loss = loss + where(target > 1, stirling, 0)
    return reduced("poisson_nll_loss", loss, reduction)


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """`(log(var) + (input - target)**2 / var) / 2` (Nix and Weigend 1994), var being at least `eps`.

    `var` is a number, or a tensor of the input's shape, without its last dimension, or with sizes of 1. `full` adds
    `log(2 pi) / 2`. A negative variance raises ArgumentError.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.gaussian_nll_loss(ml.asarray([1.0]), ml.asarray([3.0]), ml.asarray([1.0])).item()
    2.0
    """
    name = "gaussian_nll_loss"
    if not eps > 0:
        raise ArgumentError(f"{name}: eps is {eps}", fix="use eps > 0")
    check_reduction(name, reduction)
    if not isinstance(target, TensorBase):
        target = dispatch.from_data(target, None, input.device)
    var = _variance(name, var, input)
    lowest = var.detach().min().item() if var.size and holds_values(var) else 0.0
    if lowest < 0:
        raise ArgumentError(f"{name}: var has {lowest}", cause="a variance is not negative")
    var = var + (maximum(var, eps) - var).detach()  # its gradient is not cut off below eps
    loss = 0.5 * (log(var) + square(input - target) / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(name, loss, reduction)


def _variance(name: str, var: Any, input: Any) -> Any:
    """The variance in a shape that broadcasts to the input's."""
    if not isinstance(var, TensorBase):
        return dispatch.from_data(float(var), input.dtype, input.device)
    found: Any = var
    if found.shape == input.shape or not found.ndim:
        return found
    if found.shape == input.shape[:-1]:
        return expand_dims(found, axis=-1)
    if found.ndim != input.ndim or any(
        v not in (1, n) for v, n in zip(found.shape, input.shape, strict=True)
    ):
        raise ShapeError(
            f"{name}: var {found.shape} with input {input.shape}",
            fix="the input's shape, that without the last dimension, or with sizes of 1",
        )
    return found


def soft_margin_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Any:  # fmt: skip
    """`log(1 + exp(-target * input))` for targets of 1 and -1, without overflow.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.soft_margin_loss(ml.zeros((3,)), ml.ones((3,))).item(), 4)
    0.6931
    """
    reduction = reduction_of("soft_margin_loss", size_average, reduce, reduction)
    input, target = pair("soft_margin_loss", input, target)
    return reduced("soft_margin_loss", softplus(-(input * target)), reduction)


def multilabel_soft_margin_loss(
    input: Any, target: Any, weight: Any = None, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """Binary cross-entropy of each of the C logits (last dimension) with 0 or 1, averaged over them.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.multilabel_soft_margin_loss(ml.zeros((2, 3)), ml.ones((2, 3))).item(), 4)
    0.6931
    """
    name = "multilabel_soft_margin_loss"
    reduction = reduction_of(name, size_average, reduce, reduction)
    input, target = pair(name, input, target)
    loss = target * softplus(-input) + (1 - target) * softplus(input)
    if weight is not None:
        loss = loss * weight
    return reduced(name, mean(loss, axis=-1), reduction)
