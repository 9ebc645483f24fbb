"""Connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore import dispatch, dtypes
from mlcore.errors import ArgumentError, OutOfRangeError, ShapeError
from mlcore.host import as_numpy
from mlcore.nn.functional._common import check_reduction, reduced
from mlcore.ops.elementwise import astype, logaddexp, maximum, where
from mlcore.ops.index import take_along_axis
from mlcore.ops.reduce import mean
from mlcore.ops.shape import broadcast_to, concat, reshape

_NEVER = -1e30  # the logarithm of what cannot be: finite, so that its gradient is 0 and not nan
_NAME = "ctc_loss"


def ctc_loss(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """`-log` of the probability of `targets` over all alignments (Graves et al. 2006).

    `log_probs` (T, N, C) are logarithms of probabilities (or (T, C) of one sequence), `targets` (N, S) or all of
    them one after the other, without `blank`; lengths are tensors or sequences of N integers. 'mean' divides each
    loss by its target's length first. A target that does not fit into its input has an infinite loss, or 0 with
    `zero_infinity`; its gradient is 0 either way.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> steps = ml.log(ml.full((2, 1, 2), 0.5))  # "a-", "-a" and "aa" of four
    >>> round(F.ctc_loss(steps, ml.asarray([[1]]), [2], [1], reduction="sum").exp().item(), 4)
    1.3333
    """
    check_reduction(_NAME, reduction)
    if log_probs.ndim not in (2, 3):
        raise ShapeError(f"{_NAME}: log_probs {log_probs.shape}", fix="use (T, N, C) or (T, C)")
    single = log_probs.ndim == 2
    emitted = reshape(log_probs, (log_probs.shape[0], 1, log_probs.shape[1])) if single else log_probs
    if emitted.dtype.itemsize < 4:
        emitted = astype(emitted, dtypes.float32)
    steps, count, classes = emitted.shape
    if not 0 <= blank < classes:
        raise OutOfRangeError(f"{_NAME}: blank is {blank}, there are {classes} classes")
    inputs = _lengths("input_lengths", input_lengths, count)
    if (inputs > steps).any():
        raise ArgumentError(f"{_NAME}: input_lengths has {int(inputs.max())}, log_probs has {steps} steps")
    sizes = _lengths("target_lengths", target_lengths, count)
    labels = _labels(targets, sizes, count, classes, blank)
    loss = _forward(emitted, labels, inputs, sizes, blank)
    lost = loss > -_NEVER / 2
    loss = where(lost, 0.0 if zero_infinity else float("inf"), loss)
    if loss.dtype is not log_probs.dtype:
        loss = astype(loss, log_probs.dtype)
    if reduction == "mean":
        weights = dispatch.from_data(np.maximum(sizes, 1), log_probs.dtype, log_probs.device)
        return mean(loss / weights)
    loss = reduced(_NAME, loss, reduction)
    return reshape(loss, ()) if single and reduction == "none" else loss


def _lengths(what: str, given: Any, count: int) -> Any:
    host = as_numpy(given)
    if host.dtype.kind not in "iu":
        raise ArgumentError(f"{_NAME}: {what} are {host.dtype}", fix="use integers")
    host = host.reshape(-1).astype(np.int64)
    if host.shape != (count,) or (host < 0).any():
        raise ArgumentError(
            f"{_NAME}: {what} is {host.tolist()}", fix=f"{count} lengths >= 0, one a sequence"
        )
    return host


def _labels(targets: Any, sizes: Any, count: int, classes: int, blank: int) -> Any:
    """The targets as (N, longest), filled up with `blank`."""
    host = as_numpy(targets)
    if host.dtype.kind not in "iu":
        raise ArgumentError(f"{_NAME}: targets are {host.dtype}", fix="use integers")
    found = np.full((count, int(sizes.max(initial=0))), blank, dtype=np.int64)
    if host.ndim == 1:
        if host.size != int(sizes.sum()):
            raise ShapeError(
                f"{_NAME}: {host.size} targets in one row, target_lengths add up to {int(sizes.sum())}"
            )
        starts = np.cumsum(sizes) - sizes
        rows = [host[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    elif host.ndim == 2 and host.shape[0] == count and host.shape[1] >= found.shape[1]:
        rows = [row[:size] for row, size in zip(host, sizes, strict=True)]
    else:
        raise ShapeError(
            f"{_NAME}: targets {host.shape} for {count} sequences of up to {found.shape[1]}",
            fix="use (N, S), or one row of all",
        )
    for i, row in enumerate(rows):
        if (bad := (row < 0) | (row >= classes) | (row == blank)).any():
            raise OutOfRangeError(
                f"{_NAME}: target {int(row[bad][0])} in sequence {i}",
                fix=f"use classes from 0 to {classes - 1} other than the blank, {blank}",
            )
        found[i, : len(row)] = row
    return found


def _forward(emitted: Any, labels: Any, inputs: Any, sizes: Any, blank: int) -> Any:
    """The forward variables, step by step; states are blanks with the labels between them."""
    steps, count, _ = emitted.shape
    states = 2 * labels.shape[1] + 1
    path = np.full((count, states), blank, dtype=np.int64)
    path[:, 1::2] = labels
    jumps = np.zeros((count, states), dtype=bool)  # over the blank between two different labels
    jumps[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    device, dtype = emitted.device, emitted.dtype

    def constant(value: Any) -> Any:
        return dispatch.from_data(value, None, device)

    places = broadcast_to(constant(path[None]), (steps, count, states))
    scores = maximum(take_along_axis(emitted, places, axis=2), _NEVER)
    begin = np.full((count, states), _NEVER)
    begin[:, 0] = 0.0
    alpha = dispatch.from_data(begin, dtype, device)
    never = dispatch.from_data(np.full((count, min(2, states)), _NEVER), dtype, device)
    may_jump = constant(jumps)
    for step in range(int(inputs.max(initial=0))):
        come = alpha
        if states > 1:
            come = logaddexp(come, concat([never[:, :1], alpha[:, :-1]], axis=1))
            two = concat([never, alpha[:, :-2]], axis=1)
            come = logaddexp(come, where(may_jump, two, _NEVER))
        come = maximum(come + scores[step], _NEVER)
        running = inputs > step
        alpha = come if running.all() else where(constant(running[:, None]), come, alpha)
    ends = np.stack([2 * sizes, np.maximum(2 * sizes - 1, 0)], axis=1)
    last = take_along_axis(alpha, constant(ends), axis=1)
    both = logaddexp(last[:, 0], where(constant(sizes > 0), last[:, 1], _NEVER))
    return -both
