"""Sorting and searching."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore import dtypes
from mlcore.dtypes import real
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.cases import Sample, sample
from mlcore.ops.elementwise import astype
from mlcore.ops.index import sum_along, take, take_along_axis
from mlcore.ops.spec import Outs, composite, function, out, outs, primitive
from mlcore.shapes import normalize_axis


def _argsort(x: np.ndarray[Any, Any], axis: int, descending: bool) -> np.ndarray[Any, Any]:
    if x.dtype.itemsize == 2 and x.dtype.kind not in "iu":  # NumPy finds no order among bfloat16 with nan
        x = x.astype(np.float32)
    if not descending:
        return np.argsort(x, axis=axis, kind="stable").astype(np.int64)
    flipped = np.argsort(np.flip(x, axis=axis), axis=axis, kind="stable")
    return np.ascontiguousarray(np.flip(x.shape[axis] - 1 - flipped, axis=axis)).astype(np.int64)


@primitive(
    reference=_argsort,
    accepts=real,
    public=False,
    standard="argsort",
    samples=lambda: [dict(axis=-1), dict(axis=0, descending=True)],
)
def sort_indices(x: Any, /, *, axis: int = -1, descending: bool = False) -> Outs:
    """The stable order of the elements along an axis, nan last when ascending, as int64."""
    return out(x.shape, dtypes.int64, normalize_axis("sort", axis, x.ndim), bool(descending))


@function(method=True)
def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """Indices that sort `x` along `axis`; always stable.

    >>> import mlcore as ml
    >>> ml.argsort(ml.asarray([3, 1, 2])).tolist()
    [1, 2, 0]
    """
    if x.dtype is dtypes.bool_:
        x = astype(x, dtypes.int8)
    return sort_indices(x, axis=axis, descending=descending)


def _ordered_rule(x: Any, /, *, axis: int, descending: bool, count: int) -> Outs:
    axis = normalize_axis("sort", axis, x.ndim)
    shape = tuple(count if i == axis else d for i, d in enumerate(x.shape))
    return outs([(shape, x.dtype), (shape, dtypes.int64)], axis, bool(descending), int(count))


def _ordered_samples() -> list[Sample]:
    shapes: tuple[tuple[tuple[int, ...], int, int], ...] = (
        ((7,), 0, 7), ((4, 6), -1, 6), ((4, 6), 0, 2), ((3, 1029), 1, 1029), ((3, 1029), 1, 5), ((2, 5, 3), 1, 0),
        ((0, 4), 1, 3), ((600, 2), 0, 600),
    )  # fmt: skip
    return [sample([x], axis=axis, descending=i % 2 == 1, count=n) for i, (x, axis, n) in enumerate(shapes)]


@composite(
    _ordered_rule, accepts=real, public=False, outputs=("y", "indices"), samples=_ordered_samples, standard="sort",
    vjp=lambda g, indices, x_shape, axis: _spread(g, indices, x_shape, axis),
)  # fmt: skip
def ordered(x: Any, /, *, axis: int, descending: bool, count: int) -> Any:
    """The first `count` elements in stable order along an axis, and their indices."""
    order = sort_indices(x, axis=axis, descending=descending)[(slice(None),) * axis + (slice(0, count),)]
    return take_along_axis(x, order, axis=axis), order


def _spread(g: Any, indices: Any, shape: tuple[int, ...], axis: int) -> Any:
    """Each gradient at the place its element came from, and 0 elsewhere."""
    return sum_along(g, indices, axis=axis, size=shape[axis])


@function(method=True)
def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """`x` in order along `axis`; always stable.

    >>> import mlcore as ml
    >>> ml.sort(ml.asarray([3, 1, 2]), descending=True).tolist()
    [3, 2, 1]
    """
    if x.dtype is dtypes.bool_:
        return astype(sort(astype(x, dtypes.int8), axis=axis, descending=descending), dtypes.bool_)
    place = normalize_axis("sort", axis, x.ndim)
    return ordered(x, axis=place, descending=descending, count=x.shape[place])[0]


@function(method=True)
def topk(x: Any, k: int, /, *, axis: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Any, Any]:
    """The `k` largest (or smallest) elements along `axis` and their indices; always in order.

    >>> import mlcore as ml
    >>> [t.tolist() for t in ml.topk(ml.asarray([1, 9, 5]), 2)]
    [[9, 5], [1, 2]]
    """
    index = normalize_axis("topk", axis, x.ndim)
    if not 0 <= k <= x.shape[index]:
        raise ArgumentError(
            f"topk: k is {k} for dim {index} of size {x.shape[index]}", fix="use 0 <= k <= size"
        )
    if x.dtype is dtypes.bool_:
        values, order = topk(astype(x, dtypes.int8), k, axis=index, largest=largest)
        return astype(values, dtypes.bool_), order
    found: tuple[Any, Any] = ordered(x, axis=index, descending=bool(largest), count=k)
    return found


def _searchsorted(x1: np.ndarray[Any, Any], x2: np.ndarray[Any, Any], side: Any) -> np.ndarray[Any, Any]:
    if x1.dtype.name == "bfloat16":  # whose nan NumPy does not know to be the largest
        x1, x2 = x1.astype(np.float32), x2.astype(np.float32)
    return np.asarray(np.searchsorted(x1, x2, side=side)).astype(np.int64)


def _search_samples() -> list[Sample]:
    shapes: list[list[tuple[int, ...]]] = [
        [(7,), (4, 5)],
        [(7,), ()],
        [(0,), (3,)],
        [(5,), (0,)],
        [(129,), (1029,)],
    ]
    in_order = {"x1": lambda x1: sort(x1)}
    return [sample(one, derive=in_order, side=side) for one in shapes for side in ("left", "right")]


@primitive(reference=_searchsorted, accepts=real, samples=_search_samples, public=False)
def searchsorted_(x1: Any, x2: Any, /, *, side: str = "left") -> Outs:
    """searchsorted in a tensor that is in order."""
    if x1.ndim != 1:
        raise ShapeError(f"searchsorted: x1 must be 1-d, got shape {x1.shape}")
    if side not in ("left", "right"):
        raise ArgumentError(f"searchsorted: side={side!r}", fix="use 'left' or 'right'")
    return out(x2.shape, dtypes.int64, side)


@function()
def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Any:
    """Where to insert each of `x2` (a tensor or a number) into the sorted 1-d `x1` to keep it sorted.

    `sorter` has the indices that put `x1` in order, where it is not.

    >>> import mlcore as ml
    >>> ml.searchsorted(ml.asarray([1, 3, 5]), ml.asarray([3, 4])).tolist()
    [1, 2]
    """
    if sorter is not None:
        if sorter.shape != x1.shape:
            raise ShapeError(f"searchsorted: a sorter of shape {sorter.shape} for a tensor of shape {x1.shape}",
                             fix="pass argsort(x1)")  # fmt: skip
        x1 = take(x1, sorter, axis=0)
    return searchsorted_(x1, x2, side=side)
