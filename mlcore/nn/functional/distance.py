"""Distances and similarities of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.functional._common import one_axis
from mlcore.ops.elementwise import abs as abs_
from mlcore.ops.elementwise import astype, maximum, sign, sqrt
from mlcore.ops.index import gather
from mlcore.ops.reduce import norm
from mlcore.ops.reduce import sum as sum_


def vector_norm(x: Any, p: float, keepdims: bool = False) -> Any:
    """The p-norm along the last axis for any p >= 0, as PyTorch's distances take it (0: how many are not zero)."""
    if p == 0:
        return sum_(abs_(sign(x)), axis=-1, keepdims=keepdims)
    return norm(x, p, axis=-1, keepdims=keepdims)


def _order(function: str, p: float) -> float:
    if not p >= 0:
        raise ArgumentError(f"{function}: p is {p}", fix="use p >= 0, e.g. 2.0")
    return float(p)


def cosine_similarity(
    x1: Any, x2: Any, dim: int | None = None, eps: float = 1e-8, *, axis: int | None = None
) -> Any:
    """`sum(x1 * x2) / (|x1| * |x2|)` along `dim` (1 unless given), each norm at least `eps`; the inputs broadcast.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.cosine_similarity(ml.asarray([[3.0, 4.0]]), ml.asarray([[4.0, 3.0]])).item(), 4)
    0.96
    """
    place = 1 if dim is None and axis is None else one_axis("cosine_similarity", dim, axis)
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    if not -len(shape) <= place < len(shape):
        raise ShapeError(f"cosine_similarity: dim={place} for inputs of shape {shape}")
    place -= len(shape) if place >= 0 else 0  # from the end: the inputs may differ in rank
    a = x1 / maximum(sqrt(sum_(x1 * x1, axis=place, keepdims=True)), eps)
    b = x2 / maximum(sqrt(sum_(x2 * x2, axis=place, keepdims=True)), eps)
    return sum_(a * b, axis=place)


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The p-norm of `x1 - x2 + eps` along the last dimension; (N, D) or (D,), and the inputs broadcast.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.pairwise_distance(ml.asarray([[3.0, 0.0]]), ml.asarray([[0.0, 4.0]])).item(), 4)
    5.0
    """
    return vector_norm(x1 - x2 + eps, _order("pairwise_distance", p), keepdim)


def pdist(input: Any, p: float = 2.0) -> Any:
    """The p-norm distances of all pairs of rows of (N, D), in the order (0, 1), (0, 2), ...: (N * (N - 1) / 2,).

    The gradient of two equal rows' distance is 0, as PyTorch's is.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.pdist(ml.asarray([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])).tolist()[:2]
    [5.0, 1.0]
    """
    if input.ndim != 2:
        raise ShapeError(f"pdist: input {input.shape}", fix="use (N, D)")
    order = _order("pdist", p)
    first, second = (
        dispatch.from_data(one, None, input.device) for one in np.triu_indices(input.shape[0], 1)
    )
    difference = gather(input, first, axis=0) - gather(input, second, axis=0)
    same = (difference == 0).all(axis=-1, keepdims=True)
    safe = difference + astype(same, input.dtype)  # away from the kink at 0, where the gradient is nan
    found = vector_norm(safe, order, keepdims=True)
    return (found * astype(same.logical_not(), input.dtype)).squeeze(-1)
