"""Rows of a table, and sums, means and maxima of bags of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentError, OutOfRangeError, ShapeError
from mlcore.host import as_numpy, holds_values, is_captured
from mlcore.nn.functional._common import valid_indices
from mlcore.ops.creation import zeros
from mlcore.ops.elementwise import where
from mlcore.ops.index import gather, index_add
from mlcore.ops.logic import equal
from mlcore.ops.reduce import max as max_
from mlcore.ops.reduce import norm
from mlcore.ops.shape import expand_dims, reshape
from mlcore.tensor import TensorBase


def embedding(
    input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Any:  # fmt: skip
    """Rows of `weight` (num, dim) at integer `input` of any shape: (*input.shape, dim).

    The row `padding_idx` gets no gradient. With `max_norm` the rows that are looked up are first scaled, in
    `weight` itself, to a `norm_type`-norm of at most that. `scale_grad_by_freq` divides a row's gradient by how often
    it occurs. `sparse` is accepted and changes nothing. An index outside 0..num-1 raises OutOfRangeError.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.embedding(ml.asarray([1, 0]), ml.asarray([[0.0], [10.0]])).tolist()
    [[10.0], [0.0]]
    """
    indices = _indices("embedding", input, weight)
    padding = _padding("embedding", padding_idx, weight)
    if max_norm is not None:
        _renorm(weight, indices, max_norm, norm_type)
    rows = gather(weight, indices, axis=0)
    if scale_grad_by_freq:
        rows = _by_frequency(rows, indices, weight.shape[0])
    if padding is None:
        return rows
    padded = expand_dims(equal(indices, padding), axis=-1)
    return where(padded, rows.detach(), rows)


def _indices(name: str, input: Any, weight: Any) -> Any:
    if weight.ndim != 2:
        raise ShapeError(
            f"{name}: weight of shape {weight.shape}", cause="expected (num_embeddings, embedding_dim)"
        )
    return valid_indices(name, "index", input, weight.shape[0], "rows", weight.device)[0]


def _padding(name: str, padding_idx: int | None, weight: Any) -> int | None:
    if padding_idx is None:
        return None
    if not -weight.shape[0] <= padding_idx < weight.shape[0]:
        raise ArgumentError(
            f"{name}: padding_idx {padding_idx} for {weight.shape[0]} rows", fix="use one of the rows"
        )
    return int(padding_idx % weight.shape[0])


def _renorm(weight: Any, indices: Any, max_norm: float, norm_type: float) -> None:
    """Scale the rows that are used, in the table itself, where they are longer than `max_norm`."""
    if not (holds_values(indices) or is_captured(indices)):
        return
    used = np.unique(indices.numpy())
    if not used.size:
        return
    with dispatch.recording(False):
        value = weight.detach()
        lengths = norm(value, norm_type, axis=1, keepdims=True)
        mask = np.zeros((weight.shape[0], 1), dtype=bool)
        mask[used] = True
        long = (lengths > max_norm) & dispatch.from_data(mask, None, weight.device)
        weight.rebind(where(long, value * (max_norm / (lengths + 1e-7)), value))


def _by_frequency(rows: Any, indices: Any, size: int) -> Any:
    """The rows themselves, with gradients divided by how often each index occurs."""
    if not holds_values(indices):
        return rows
    host = indices.numpy()
    counts = np.bincount(host.reshape(-1), minlength=size)[host]
    scale = dispatch.from_data(1.0 / np.maximum(counts, 1)[..., None], rows.dtype, rows.device)
    scaled = rows * scale
    return scaled + (rows - scaled).detach()


def embedding_bag(
    input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Any:  # fmt: skip
    """The 'sum', 'mean' or 'max' of bags of rows of `weight` (num, dim): (bags, dim).

    `input` is (bags, size), or one row of all bags with `offsets`, where each begins (`include_last_offset` adds where
    the last one ends). `per_sample_weights`, shaped as the input, go with 'sum'. Rows at `padding_idx` do not count.
    An empty bag gives zeros. The other arguments are those of `embedding`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> table = ml.asarray([[1.0], [10.0], [100.0]])
    >>> F.embedding_bag(ml.asarray([0, 1, 2]), table, ml.asarray([0, 2]), mode="sum").tolist()
    [[11.0], [100.0]]
    """
    name = "embedding_bag"
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(f"{name}: mode={mode!r}", fix="use 'sum', 'mean' or 'max'")
    if per_sample_weights is not None and mode != "sum":
        raise ArgumentError(f"{name}: per_sample_weights with mode {mode!r}", fix="use mode='sum'")
    flat, starts = _bags(name, input, offsets, weight, include_last_offset)
    padding = _padding(name, padding_idx, weight)
    weights = None
    if per_sample_weights is not None:
        if per_sample_weights.shape != input.shape:
            raise ShapeError(
                f"{name}: per_sample_weights {per_sample_weights.shape} for an input {input.shape}"
            )
        weights = reshape(per_sample_weights, (-1, 1))
    if max_norm is not None:
        _renorm(weight, flat, max_norm, norm_type)
    rows = gather(weight, flat, axis=0)
    if scale_grad_by_freq:
        rows = _by_frequency(rows, flat, weight.shape[0])
    counted = np.ones(flat.shape[0], dtype=bool)
    if padding is not None and (holds_values(flat) or is_captured(flat)):
        counted = flat.numpy() != padding
    bag_of = np.searchsorted(starts, np.arange(len(counted)), side="right") - 1
    count = len(starts)
    if mode == "max":
        return _largest(rows, bag_of, counted, count)
    if weights is not None:
        rows = rows * weights
    if padding is not None:
        rows = where(dispatch.from_data(counted[:, None], None, rows.device), rows, 0)
    total = zeros((count, weight.shape[1]), dtype=weight.dtype, device=weight.device)
    summed = index_add(total, dispatch.from_data(bag_of.astype(np.int64), None, rows.device), rows, axis=0)
    if mode == "sum":
        return summed
    sizes = np.bincount(bag_of[counted], minlength=count)
    return summed / dispatch.from_data(np.maximum(sizes, 1)[:, None], weight.dtype, weight.device)


def _bags(name: str, input: Any, offsets: Any, weight: Any, include_last: bool) -> tuple[Any, Any]:
    """All indices in one row, and where each bag starts."""
    if not isinstance(input, TensorBase):
        input = dispatch.from_data(input, None, weight.device)
    found: Any = _indices(name, input, weight)
    if found.ndim == 2:
        if offsets is not None:
            raise ArgumentError(
                f"{name}: offsets with an input {found.shape}", fix="leave them out: rows are bags"
            )
        return reshape(found, (-1,)), np.arange(found.shape[0]) * found.shape[1]
    if found.ndim != 1 or offsets is None:
        raise ShapeError(
            f"{name}: input {found.shape} without offsets", fix="use (bags, size), or one row and offsets"
        )
    starts = as_numpy(offsets)
    if starts.ndim != 1 or starts.dtype.kind not in "iu":
        raise ShapeError(f"{name}: offsets {starts.shape} of {starts.dtype}", fix="one row of integers")
    if starts.size and (starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] > found.shape[0]):
        raise OutOfRangeError(
            f"{name}: offsets {starts.tolist()[:8]} for {found.shape[0]} indices",
            fix=f"start at 0, never go down, end at most at {found.shape[0]}",
        )
    return found, starts[:-1] if include_last else starts


def _largest(rows: Any, bag_of: Any, counted: Any, count: int) -> Any:
    """The maxima of the bags, through a table of their members; an empty bag gives zeros."""
    places, bags = np.flatnonzero(counted), bag_of[counted]
    sizes = np.bincount(bags, minlength=count)
    table = np.zeros((count, max(1, int(sizes.max(initial=0)))), dtype=np.int64)
    inside = np.arange(table.shape[1]) < sizes[:, None]
    table[inside] = places
    if not len(bag_of):
        return zeros((count, rows.shape[1]), dtype=rows.dtype, device=rows.device)
    device = rows.device
    members = gather(rows, dispatch.from_data(table, None, device), axis=0)
    members = where(dispatch.from_data(inside[:, :, None], None, device), members, float("-inf"))
    empty = dispatch.from_data((sizes == 0)[:, None], None, device)
    return where(empty, 0, max_(where(expand_dims(empty, axis=2), 0, members), axis=1))
