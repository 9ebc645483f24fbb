"""Losses for classes of very different size: focal and Dice."""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import floating
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.functional._common import check_reduction, reduced, tensor_beside, valid_indices
from mlcore.nn.functional.dense import one_hot
from mlcore.nn.functional.loss import cross_entropy
from mlcore.nn.functional.loss_values import binary_cross_entropy_with_logits
from mlcore.ops import nn
from mlcore.ops.activation import sigmoid
from mlcore.ops.arrange import moveaxis
from mlcore.ops.elementwise import astype, exp
from mlcore.ops.index import gather
from mlcore.ops.reduce import mean
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import reshape


def focal_loss(
    input: Any, target: Any, alpha: Any = None, gamma: float = 2.0, reduction: str = "mean"
) -> Any:
    """Cross-entropy times `(1 - p)**gamma`, p being the target's probability (Lin et al. 2017).

    Logits with a float target of the same shape: each element is a yes or no, and `alpha` weights yes, `1 - alpha`
    no (torchvision's `sigmoid_focal_loss`, whose default is 0.25). Logits (N, C, *sizes) with classes (N, *sizes):
    softmax, and `alpha` is None or a tensor of C weights.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.focal_loss(ml.zeros((2, 4)), ml.asarray([0, 3])).item(), 4)
    0.7798
    """
    if not gamma >= 0:
        raise ArgumentError(f"focal_loss: gamma is {gamma}", fix="use gamma >= 0")
    check_reduction("focal_loss", reduction)
    target = tensor_beside(target, input)
    if target.dtype in floating:
        loss = binary_cross_entropy_with_logits(input, target, reduction="none")
        p = sigmoid(input)
        right = p * target + (1 - p) * (1 - target)
        loss = loss * (1 - right) ** gamma
        if alpha is not None:
            loss = loss * (alpha * target + (1 - alpha) * (1 - target))
        return reduced("focal_loss", loss, reduction)
    loss = cross_entropy(input, target, reduction="none")
    scaled = loss * (1 - exp(-loss)) ** gamma
    if alpha is not None:
        weights = tensor_beside(alpha, input)
        if weights.shape != (input.shape[min(1, input.ndim - 1)],):
            raise ShapeError(
                f"focal_loss: alpha {weights.shape} for logits {input.shape}", fix="one weight a class"
            )
        scaled = scaled * reshape(
            gather(weights, reshape(astype(target, "int64"), (-1,)), axis=0), scaled.shape
        )
    return reduced("focal_loss", scaled, reduction)


def dice_loss(input: Any, target: Any, smooth: float = 1.0, reduction: str = "mean") -> Any:
    """`1 - (2 * overlap + smooth) / (sizes + smooth)` of probabilities and target (Milletari et al. 2016).

    Logits (N, C, *sizes) with classes (N, *sizes): softmax over C. With a float target of the logits' shape: sigmoid.
    One loss for each sample and channel, (N, C), averaged, summed or as it is.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.dice_loss(ml.asarray([[[9.0, -9.0]]]), ml.asarray([[[1.0, 0.0]]])).item(), 3)
    0.0
    """
    check_reduction("dice_loss", reduction)
    if not smooth >= 0:
        raise ArgumentError(f"dice_loss: smooth is {smooth}", fix="use smooth >= 0")
    target = tensor_beside(target, input)
    if input.ndim < 2:
        raise ShapeError(f"dice_loss: logits {input.shape}", fix="use (N, C, *sizes)")
    if target.dtype in floating:
        if target.shape != input.shape:
            raise ShapeError(
                f"dice_loss: logits {input.shape} with target {target.shape}", fix="the same shape"
            )
        p, hot = sigmoid(input), target
    else:
        if target.shape != (input.shape[0], *input.shape[2:]):
            raise ShapeError(
                f"dice_loss: logits {input.shape} with classes {target.shape}",
                fix=f"classes of shape {(input.shape[0], *input.shape[2:])}",
            )
        found, _ = valid_indices("dice_loss", "target", target, input.shape[1], "classes", input.device)
        p = nn.softmax(input, axis=1)
        hot = moveaxis(astype(one_hot(found, input.shape[1]), input.dtype), -1, 1)
    axes = tuple(range(2, input.ndim))
    overlap, sizes = p * hot, p + hot
    if axes:
        overlap, sizes = sum_(overlap, axis=axes), sum_(sizes, axis=axes)
    loss = 1 - (2 * overlap + smooth) / (sizes + smooth)
    return mean(loss) if reduction == "mean" else reduced("dice_loss", loss, reduction)
