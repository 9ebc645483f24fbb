"""Losses that ask for a margin: of scores, of distances, of similarities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.dtypes import integers
from mlcore.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from mlcore.nn.functional._common import reduced, reduction_of, tensor_beside, valid_indices
from mlcore.nn.functional.distance import pairwise_distance
from mlcore.nn.functional.loss_values import pair
from mlcore.ops.activation import relu
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import minimum, sqrt, where
from mlcore.ops.index import gather, take_along_axis
from mlcore.ops.logic import equal, not_equal
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import expand_dims, reshape


def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    """`input` where the target is 1, `max(0, margin - input)` where it is -1.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.hinge_embedding_loss(ml.asarray([2.0, 0.5]), ml.asarray([1, -1]), reduction="none").tolist()
    [2.0, 0.5]
    """
    reduction = reduction_of("hinge_embedding_loss", size_average, reduce, reduction)
    input, target = pair("hinge_embedding_loss", input, target)
    loss = where(equal(target, 1), 0, relu(margin - input)) + where(equal(target, -1), 0, input)
    return reduced("hinge_embedding_loss", loss, reduction)


def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """`max(0, -target * (input1 - input2) + margin)`: a target of 1 wants input1 above, -1 below.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.margin_ranking_loss(ml.asarray([1.0]), ml.asarray([3.0]), ml.asarray([1.0])).item()
    2.0
    """
    reduction = reduction_of("margin_ranking_loss", size_average, reduce, reduction)
    target = tensor_beside(target, input1)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            f"margin_ranking_loss: inputs {input1.shape} and {input2.shape} with target {target.shape}",
            fix="the same number of dimensions",
        )
    return reduced("margin_ranking_loss", relu(-target * (input1 - input2) + margin), reduction)


def multi_margin_loss(
    input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """`sum_j max(0, margin - x[y] + x[j])**p / C` over the classes j other than the target y: (N, C) or (C,).

    `weight` (C,) scales each row by its target's.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.multi_margin_loss(ml.asarray([[1.0, 0.5, 2.0]]), ml.asarray([0])).item(), 4)
    0.8333
    """
    name = "multi_margin_loss"
    reduction = reduction_of(name, size_average, reduce, reduction)
    if p not in (1, 2):
        raise ArgumentError(f"{name}: p is {p}", fix="use 1 or 2")
    target = tensor_beside(target, input)
    if input.ndim not in (1, 2) or target.shape != input.shape[:-1]:
        raise ShapeError(f"{name}: input {input.shape} with target {target.shape}", fix="use (N, C) and (N,)")
    classes = input.shape[-1]
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(
            f"{name}: weight {weight.shape} for {classes} classes", fix=f"use shape ({classes},)"
        )
    found, _ = valid_indices(name, "target", target, classes, "classes", input.device)
    places = expand_dims(found, axis=-1)
    gap = relu(margin - take_along_axis(input, places, axis=-1) + input)
    loss = gap if p == 1 else gap * gap
    if weight is not None:
        loss = loss * gather(weight, reshape(found, (-1,)), axis=0).reshape(places.shape)
    others = not_equal(iota_on(input, classes), places)
    return reduced(name, sum_(where(others, loss, 0), axis=-1) / classes, reduction)


def multilabel_margin_loss(
    input: Any, target: Any, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Any:  # fmt: skip
    """`sum max(0, 1 - (x[y] - x[i])) / C` over targets y and all other classes i: (N, C) or (C,).

    A row of `target` has its classes first; what comes after the first -1 does not count.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> x, y = ml.asarray([[0.1, 0.2, 0.4, 0.8]]), ml.asarray([[3, 0, -1, 1]])
    >>> round(F.multilabel_margin_loss(x, y).item(), 4)
    0.85
    """
    name = "multilabel_margin_loss"
    reduction = reduction_of(name, size_average, reduce, reduction)
    input, target = pair(name, input, target)
    if input.ndim not in (1, 2):
        raise ShapeError(f"{name}: input {input.shape}", fix="use (N, C) or (C,)")
    if target.dtype not in integers:
        raise DTypeError(
            f"{name}: the target is {target.dtype}, expected classes", fix="astype(target, int64)"
        )
    host = target.numpy()
    counted = np.cumprod(host != -1, axis=-1).astype(bool)  # up to the first -1
    classes = input.shape[-1]
    bad = counted & ((host < 0) | (host >= classes))
    if bad.any():
        raise OutOfRangeError(
            f"{name}: target {int(host[bad][0])} out of range for {classes} classes",
            fix=f"use values from 0 to {classes - 1}, and -1 to end a row",
        )
    width = int(counted.sum(axis=-1).max(initial=0))
    wanted = np.where(counted, host, 0)[..., :width].astype(np.int64)
    labels = np.zeros(host.shape, dtype=bool)
    flags = np.zeros((*host.shape[:-1], classes + 1), dtype=bool)
    np.put_along_axis(flags, np.where(counted, host, classes).astype(np.int64), True, axis=-1)
    labels = flags[..., :classes]
    pairs = counted[..., :width, None] & ~labels[..., None, :]  # (N, targets, C)
    picked = take_along_axis(input, dispatch.from_data(wanted, None, input.device), axis=-1)
    gap = relu(1 - (expand_dims(picked, axis=-1) - expand_dims(input, axis=-2)))
    kept = where(dispatch.from_data(pairs, None, input.device), gap, 0)
    return reduced(name, sum_(kept, axis=(-2, -1)) / classes, reduction)


def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """`1 - cos(input1, input2)` where the target is 1, `max(0, cos - margin)` where it is -1: (N, D) or (D,).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> x = ml.asarray([[1.0, 0.0]])
    >>> round(F.cosine_embedding_loss(x, ml.asarray([[0.0, 1.0]]), ml.asarray([1])).item(), 4)
    1.0
    """
    name = "cosine_embedding_loss"
    reduction = reduction_of(name, size_average, reduce, reduction)
    target = tensor_beside(target, input1)
    if input1.shape != input2.shape or input1.ndim not in (1, 2) or target.shape != input1.shape[:-1]:
        raise ShapeError(
            f"{name}: inputs {input1.shape} and {input2.shape} with target {target.shape}",
            fix="use (N, D) twice and (N,), or (D,) twice and ()",
        )
    tiny = 1e-12
    dot = sum_(input1 * input2, axis=-1)
    cosine = dot / sqrt((sum_(input1 * input1, axis=-1) + tiny) * (sum_(input2 * input2, axis=-1) + tiny))
    loss = where(equal(target, 1), 1 - cosine, 0) + where(equal(target, -1), relu(cosine - margin), 0)
    return reduced(name, loss, reduction)


def triplet_margin_loss(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Any:  # fmt: skip
    """`max(0, d(anchor, positive) - d(anchor, negative) + margin)` with the p-norm distance (Balntas et al. 2016).

    With `swap` the negative's distance is the less of those to the anchor and to the positive.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> a, p, n = ml.zeros((1, 2)), ml.asarray([[3.0, 4.0]]), ml.asarray([[0.0, 1.0]])
    >>> round(F.triplet_margin_loss(a, p, n).item(), 3)
    5.0
    """
    reduction = reduction_of("triplet_margin_loss", size_average, reduce, reduction)

    def distance(a: Any, b: Any) -> Any:
        return pairwise_distance(a, b, p, eps)

    return _triplet("triplet_margin_loss", anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Any, positive: Any, negative: Any, *, distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0, swap: bool = False, reduction: str = "mean",
) -> Any:  # fmt: skip
    """`triplet_margin_loss` with any distance of two batches; `pairwise_distance` unless given.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> x = ml.ones((4, 3))
    >>> F.triplet_margin_with_distance_loss(x, x, x, distance_function=lambda a, b: (a - b).abs().sum(axis=-1)).item()
    1.0
    """
    distance = distance_function or pairwise_distance
    return _triplet(
        "triplet_margin_with_distance_loss", anchor, positive, negative, distance, margin, swap, reduction
    )


def _triplet(
    name: str, anchor: Any, positive: Any, negative: Any, distance: Callable[[Any, Any], Any], margin: float,
    swap: bool, reduction: str,
) -> Any:  # fmt: skip
    if not margin > 0:
        raise ArgumentError(f"{name}: margin is {margin}", fix="use margin > 0")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            f"{name}: anchor {anchor.shape}, positive {positive.shape}, negative {negative.shape}",
            fix="the same number of dimensions",
        )
    far = distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(name, relu(distance(anchor, positive) - far + margin), reduction)
