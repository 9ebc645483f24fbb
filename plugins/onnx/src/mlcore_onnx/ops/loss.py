"""Losses."""

from __future__ import annotations

from typing import Any

import mlcore as ml
from mlcore.errors import ArgumentError
from mlcore_onnx.ops.declare import onnx_op


def _picked(log_p: Any, target: Any, weight: Any, ignore: int | None) -> tuple[Any, Any]:
    """(minus the weighted log-probability of each target, its weight)."""
    target = ml.astype(target, ml.int64)
    kept = None if ignore is None else ml.not_equal(target, ignore)
    safe = target if kept is None else ml.where(kept, target, 0)
    found = ml.negative(ml.squeeze(ml.take_along_axis(log_p, ml.expand_dims(safe, axis=1), axis=1), (1,)))
    scale = ml.ones_like(found) if weight is None else ml.take(weight, safe, axis=0)
    if kept is not None:
        scale = ml.where(kept, scale, 0)
        found = ml.where(kept, found, 0)
    return found * scale, scale


def _reduced(loss: Any, scale: Any, reduction: str) -> Any:
    if reduction == "none":
        return loss
    if reduction == "sum":
        return ml.sum(loss, dtype=loss.dtype)
    if reduction == "mean":
        return ml.sum(loss, dtype=loss.dtype) / ml.sum(scale, dtype=loss.dtype)
    raise ArgumentError(f"reduction {reduction!r}", fix="'none', 'sum' or 'mean'")


@onnx_op("NegativeLogLikelihoodLoss", 12)
def nll(
    x: Any, target: Any, weight: Any = None, *, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    return _reduced(*_picked(x, target, weight, ignore_index), reduction)


@onnx_op("SoftmaxCrossEntropyLoss", 12)
def cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
    outputs: int,
) -> Any:
    log_p = ml.log_softmax(x, axis=1)
    loss = _reduced(*_picked(log_p, target, weight, ignore_index), reduction)
    return loss if outputs == 1 else (loss, log_p)
