"""Indexing: what `x[...]` and `x[...] = v` mean, on the primitives slice, take, index_add and scatter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore import dtypes, shapes
from mlcore.dispatch import from_data
from mlcore.dtypes import booleans, floating, integers, numeric
from mlcore.errors import ArgumentTypeError, DTypeError, OutOfRangeError, ShapeError
from mlcore.host import holds_values, is_captured
from mlcore.ops.cases import Sample, sample
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import abs as abs_
from mlcore.ops.elementwise import astype, where
from mlcore.ops.logic import equal, isfinite, isnan
from mlcore.ops.reduce import any as any_
from mlcore.ops.reduce import max as max_
from mlcore.ops.reduce import min as min_
from mlcore.ops.reduce import reduce_argmax
from mlcore.ops.shape import broadcast_to, permute_dims, reshape
from mlcore.ops.spec import Outs, composite, function, out, outs, primitive
from mlcore.shapes import normalize_axis
from mlcore.tensor import TensorBase

# -- primitives: indices are int64, not negative, and valid (the functions below see to it) ---------------------


@primitive(
    reference=lambda x, indices, axis: np.take(x, indices, axis=axis),
    promote=("x",),
    public=False,
    standard="take",
    samples=lambda: [
        sample([(5, 4, 3), (2, 3)], integers={"indices": 5}, axis=0),
        sample([(4, 5), (7,)], integers={"indices": 5}, axis=-1),
        sample([(4, 5), ()], integers={"indices": 4}, axis=0),
        sample([(4, 5), (0,)], integers={"indices": 5}, axis=1),
        sample([(129, 5), (257,)], integers={"indices": 129}, axis=0),
    ],
    vjp=(lambda g, x_shape, indices, axis: _gather_grad(g, x_shape, indices, axis), None),
)
def gather(x: Any, indices: Any, /, *, axis: int) -> Outs:
    """Slices of `x` along `axis` at `indices` of any shape."""
    axis = normalize_axis("take", axis, x.ndim)
    return out((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype, axis)


def _gather_grad(g: Any, shape: tuple[int, ...], indices: Any, axis: int) -> Any:
    flat = reshape(g, (*shape[:axis], math.prod(indices.shape), *shape[axis + 1 :]))
    return index_sum(flat, reshape(indices, (-1,)), axis=axis, size=shape[axis])


def _index_add(
    x: np.ndarray[Any, Any], indices: np.ndarray[Any, Any], values: np.ndarray[Any, Any], axis: int
) -> np.ndarray[Any, Any]:
    y = np.moveaxis(x, axis, 0).copy()
    np.add.at(y, indices, np.moveaxis(values, axis, 0))
    return np.moveaxis(y, 0, axis)


def _updates_rule(x: Any, indices: Any, values: Any, /, *, axis: int) -> Outs:
    axis = normalize_axis("index_add", axis, x.ndim)
    wanted = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if len(indices.shape) != 1 or values.shape != wanted:
        raise ShapeError(f"index_add: values of shape {values.shape} for indices of shape {indices.shape} along axis"
                         f" {axis} of {x.shape}", fix=f"the values must have shape {wanted}")  # fmt: skip
    return out(x.shape, x.dtype, axis)


def _update_shapes() -> list[tuple[list[tuple[int, ...]], int]]:
    return [
        ([(5, 4), (7,), (7, 4)], 0), ([(4, 5, 3), (6,), (4, 6, 3)], 1), ([(4, 5), (9,), (4, 9)], -1),
        ([(5, 2), (0,), (0, 2)], 0), ([(6,), (1,), (1,)], 0), ([(33, 5), (257,), (257, 5)], 0),
        ([(5000, 67), (1031,), (1031, 67)], 0), ([(9, 3000), (65,), (65, 3000)], 0),
    ]  # fmt: skip


def _update_samples() -> list[Sample]:
    return [sample(one, integers={"indices": one[0][axis]}, axis=axis) for one, axis in _update_shapes()]


def _hits(size: int, indices: Any) -> Any:
    """(size, n) bool: which of the n indices names which position."""
    return equal(reshape(iota_on(indices, size), (-1, 1)), reshape(indices, (1, -1)))


@composite(
    _updates_rule,
    accepts=numeric,
    ulp=4,
    public=False,
    promote=("x", "values"),
    samples=lambda: _update_samples(),
    reference=_index_add,
    vjp=(lambda g: g, None, lambda g, indices, axis: gather(g, indices, axis=axis)),
)
def index_add(x: Any, indices: Any, values: Any, /, *, axis: int) -> Any:
    """A copy of `x` with `values` added along `axis` at 1-d `indices`; repeated indices add up."""
    from mlcore.ops.linalg import matmul

    hits = astype(_hits(x.shape[axis], indices), x.dtype)
    order = (axis, *(i for i in range(x.ndim) if i != axis))
    width = math.prod(d for i, d in enumerate(x.shape) if i != axis)
    rows = reshape(permute_dims(values, order), (indices.shape[0], width))
    added = _product(hits, rows) if x.dtype in floating else matmul(hits, rows)
    added = reshape(added, tuple(x.shape[i] for i in order))
    return x + permute_dims(added, tuple(int(i) for i in np.argsort(order)))


def _product(hits: Any, rows: Any) -> Any:
    """`hits @ rows` where a 0 in `hits` keeps inf and nan out: those are counted beside the finite ones."""
    from mlcore.ops.linalg import matmul

    up, down = equal(rows, float("inf")), equal(rows, float("-inf"))
    kinds = [where(isfinite(rows), rows, 0), *(astype(one, rows.dtype) for one in (up, down, isnan(rows)))]
    total, ups, downs, nans = (matmul(hits, one) for one in kinds)
    bent = where(ups > 0, float("inf"), where(downs > 0, float("-inf"), total))
    return where((nans > 0) | ((ups > 0) & (downs > 0)), float("nan"), bent)


def _index_sum_rule(values: Any, indices: Any, /, *, axis: int, size: int) -> Outs:
    axis = normalize_axis("index_sum", axis, values.ndim)
    if indices.shape != (values.shape[axis],):
        raise ShapeError(f"index_sum: indices of shape {indices.shape} for values of shape {values.shape} along axis"
                         f" {axis}", fix=f"the indices must have shape {(values.shape[axis],)}")  # fmt: skip
    return out(_resized(values.shape, axis, size), values.dtype, axis, int(size))


def _resized(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], int(size), *shape[axis + 1 :])


@composite(
    _index_sum_rule,
    accepts=numeric,
    ulp=4,
    public=False,
    promote=("values",),
    samples=lambda: [
        sample([one[0][2], one[0][1]], integers={"indices": one[0][0][axis]}, axis=axis, size=one[0][0][axis])
        for one in _update_shapes() for axis in one[1:]
    ],
    reference=lambda values, indices, axis, size: _index_add(
        np.zeros(_resized(values.shape, axis, size), values.dtype), indices, values, axis
    ),
    vjp=(lambda g, indices, axis: gather(g, indices, axis=axis), None),
)  # fmt: skip
def index_sum(values: Any, indices: Any, /, *, axis: int, size: int) -> Any:
    """`size` zeros along `axis` with `values` added at 1-d `indices`; repeated indices add up."""
    from mlcore.ops.creation import zeros

    empty = zeros(_resized(values.shape, axis, size), dtype=values.dtype, device=values.device)
    return index_add(empty, indices, values, axis=axis)


def _scatter(
    x: np.ndarray[Any, Any], indices: np.ndarray[Any, Any], values: np.ndarray[Any, Any], axis: int
) -> np.ndarray[Any, Any]:
    y = np.moveaxis(x, axis, 0).copy()
    y[indices] = np.moveaxis(values, axis, 0)
    return np.moveaxis(y, 0, axis)


@composite(
    _updates_rule,
    public=False,
    promote=("x", "values"),
    samples=lambda: _update_samples(),
    reference=_scatter,
    vjp=lambda g, indices, x_shape, axis: _scatter_grad(g, indices, x_shape, axis),
)
def scatter(x: Any, indices: Any, values: Any, /, *, axis: int) -> Any:
    """A copy of `x` with `values` put along `axis` at 1-d `indices`; of repeated indices the last wins."""
    if indices.shape[0] == 0:
        return x
    winner, hit = _winners(x.shape[axis], indices)
    wide = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    return where(broadcast_to(reshape(hit, wide), x.shape), gather(values, winner, axis=axis), x)


def _winners(size: int, indices: Any) -> tuple[Any, Any]:
    """For each position, the last of `indices` that names it, and whether any does."""
    hits = _hits(size, indices)
    turn = where(hits, iota_on(indices, indices.shape[0]), -1)
    return reduce_argmax(turn, axis=1), any_(hits, axis=1)


def _scatter_grad(g: Any, indices: Any, x_shape: tuple[int, ...], axis: int) -> tuple[Any, None, Any]:
    from mlcore.ops.creation import zeros

    count = indices.shape[0]
    shape = tuple(count if i == axis else d for i, d in enumerate(x_shape))
    kept = scatter(g, indices, zeros(shape, dtype=g.dtype, device=g.device), axis=axis)
    if count == 0:
        return kept, None, zeros(shape, dtype=g.dtype, device=g.device)
    order = iota_on(indices, count)
    last = gather(
        scatter(zeros((x_shape[axis],), dtype=dtypes.int64, device=g.device), indices, order, axis=0),
        indices,
        axis=0,
    )
    won = reshape(equal(last, order), tuple(-1 if i == axis else 1 for i in range(len(x_shape))))
    return kept, None, where(won, gather(g, indices, axis=axis), 0)


@primitive(
    reference=lambda x: tuple(i.astype(np.int64) for i in np.nonzero(x)),
    listed=True,
    public=False,
    standard="nonzero",
    samples=lambda: [
        sample([shape], derive={"x": lambda x: x if x.dtype in booleans else where(equal(x, abs_(x)), x, 0)})
        for shape in ((7,), (3, 4), (0,), (2, 0), (2, 3, 4), (1029,))
    ],
)
def where_true(x: Any, /) -> Outs:
    """The indices of the elements that are not zero, one tensor per dimension, in row-major order."""
    return outs([(None, dtypes.int64)] * x.ndim)


@function(method=True)
def nonzero(x: Any, /) -> tuple[Any, ...]:
    """The indices of the elements that are not zero, as one int64 tensor per dimension.

    >>> import mlcore as ml
    >>> [t.tolist() for t in ml.nonzero(ml.asarray([0, 3, 0, 4]))]
    [[1, 3]]
    """
    if x.ndim == 0:
        raise ShapeError("nonzero: a 0-d tensor has no indices", fix="compare it to 0 instead")
    found = where_true(x)
    return found if isinstance(found, tuple) else (found,)


# -- checked indices -----------------------------------------------------------------------------------------------


def checked(op: str, indices: Any, size: int, axis: int, device: Any) -> Any:
    """Indices as a valid int64 tensor on `device`; negative ones count from the end."""
    indices = _as_indices(op, indices, device)
    if indices.size and holds_values(indices):
        low, high = min_(indices).item(), max_(indices).item()
        if low < -size or high >= size:
            raise out_of_range(op, low, high, size, axis)
        if low < 0:
            indices = where(indices < 0, indices + size, indices)
    elif indices.size and is_captured(indices):
        indices = where(indices < 0, indices + size, indices)
    return indices


def _as_indices(op: str, indices: Any, device: Any) -> Any:
    if not isinstance(indices, TensorBase):
        indices = from_data(indices, dtypes.int64 if np.size(indices) == 0 else None, device)
    if indices.dtype not in integers:
        raise DTypeError(f"{op}: indices are {indices.dtype}, expected an integer dtype", fix="astype int64")
    return indices if indices.dtype is dtypes.int64 else astype(indices, dtypes.int64)


def out_of_range(op: str, low: int, high: int, size: int, axis: int) -> OutOfRangeError:
    """The error of indices from `low` to `high` for a dimension of another size."""
    return OutOfRangeError(f"{op}: index {high if high >= size else low} out of range for dim {axis} of size {size}",
                           fix=f"use indices from {-size} to {size - 1}")  # fmt: skip


@function(method=True)
def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Any:
    """Slices of `x` along `axis` (needed beyond one dimension) at integer `indices` of any shape.

    >>> import mlcore as ml
    >>> ml.take(ml.asarray([10, 20, 30]), ml.asarray([2, 0])).tolist()
    [30, 10]
    """
    if axis is None and x.ndim != 1:
        raise ArgumentTypeError(f"take: axis is needed for a tensor of shape {x.shape}")
    place = normalize_axis("take", axis or 0, x.ndim)
    return gather(x, checked("take", indices, x.shape[place], place, x.device), axis=place)


# An index for each element: these look at the indices themselves, so that a backend reads them once.


def _along_rule(x: Any, indices: Any, /, *, axis: int) -> Outs:
    axis = normalize_axis("take_along_axis", axis, x.ndim)
    if _resized(x.shape, axis, 0) != _resized(indices.shape, axis, 0):
        raise ShapeError(f"take_along_axis: indices of shape {indices.shape} for a tensor of shape {x.shape} along axis"
                         f" {axis}", fix="they must be equal in every other dimension")  # fmt: skip
    return out(indices.shape, x.dtype, axis)


def _refuse_outside(indices: np.ndarray[Any, Any], size: int, axis: int) -> None:
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise out_of_range("take_along_axis", int(indices.min()), int(indices.max()), size, axis)


def _take_along(x: np.ndarray[Any, Any], indices: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
    _refuse_outside(indices, x.shape[axis], axis)
    return np.take_along_axis(x, indices, axis=axis)


def _along_shapes() -> list[tuple[tuple[int, ...], int, int]]:
    return [((4, 5), 1, 3), ((4, 5), 0, 7), ((3, 4, 5), 1, 6), ((9,), 0, 4), ((2, 0, 3), 0, 2), ((5, 3), 1, 0),
            ((3, 1029), 1, 2051), ((70, 33), 0, 41), ((2, 5, 300), 1, 9)]  # fmt: skip


def _from_the_end(size: int) -> Any:
    """Every other index as one that counts from the end, if it does not yet."""
    return lambda indices: where(equal(indices % 2, 0) & (indices >= 0), indices - size, indices)


@composite(
    _along_rule,
    public=False,
    promote=("x",),
    samples=lambda: [
        sample([shape, _resized(shape, axis, count)], integers={"indices": shape[axis]}, axis=axis,
               derive={"indices": _from_the_end(shape[axis])})
        for shape, axis, count in _along_shapes()
    ],
    reference=_take_along,
    vjp=(lambda g, x_shape, indices, axis: sum_along(g, indices, axis=axis, size=x_shape[axis]), None),
)  # fmt: skip
def take_along(x: Any, indices: Any, /, *, axis: int) -> Any:
    """Elements of `x` along `axis` at `indices`, which may count from the end."""
    places = _flat_along(indices, x.shape[axis], axis)
    return gather(reshape(x, (-1,)), places, axis=0)


def _flat_along(indices: Any, size: int, axis: int) -> Any:
    """Where the elements that `indices` name lie in a flat tensor that has `size` along `axis`."""
    shape = indices.shape
    indices = checked("take_along_axis", indices, size, axis, indices.device)
    parts = [indices if i == axis else _along(indices, i, d, len(shape)) for i, d in enumerate(shape)]
    return _flat(parts, _resized(shape, axis, size), shape)


def _sum_along_rule(values: Any, indices: Any, /, *, axis: int, size: int) -> Outs:
    axis = normalize_axis("sum_along", axis, values.ndim)
    if values.shape != indices.shape:
        raise ShapeError(f"sum_along: indices of shape {indices.shape} for values of shape {values.shape}",
                         fix="they must be equal")  # fmt: skip
    return out(_resized(values.shape, axis, size), values.dtype, axis, int(size))


def _sum_along(
    values: np.ndarray[Any, Any], indices: np.ndarray[Any, Any], axis: int, size: int
) -> np.ndarray[Any, Any]:
    _refuse_outside(indices, size, axis)
    y = np.zeros(_resized(values.shape, axis, size), values.dtype)
    others = np.ogrid[tuple(slice(d) for d in values.shape)]
    np.add.at(y, tuple(indices if i == axis else one for i, one in enumerate(others)), values)
    return y


@composite(
    _sum_along_rule,
    accepts=numeric,
    ulp=4,
    public=False,
    promote=("values",),
    samples=lambda: [
        sample([_resized(shape, axis, count)] * 2, integers={"indices": shape[axis]}, axis=axis, size=shape[axis],
               derive={"indices": _from_the_end(shape[axis])})
        for shape, axis, count in _along_shapes()
    ],
    reference=_sum_along,
    vjp=(lambda g, indices, axis: take_along(g, indices, axis=axis), None),
)  # fmt: skip
def sum_along(values: Any, indices: Any, /, *, axis: int, size: int) -> Any:
    """`size` zeros along `axis` with each of `values` added where its index, which may count from the end, says."""
    shape = _resized(values.shape, axis, size)
    places = reshape(_flat_along(indices, size, axis), (-1,))
    return reshape(index_sum(reshape(values, (-1,)), places, axis=0, size=math.prod(shape)), shape)


@function(method=True)
def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Any:
    """One element of `x` for each of `indices`, which match `x` in every dimension but `axis` (or broadcast).

    >>> import mlcore as ml
    >>> ml.take_along_axis(ml.asarray([[1, 2], [3, 4]]), ml.asarray([[1], [0]])).tolist()
    [[2], [3]]
    """
    place = normalize_axis("take_along_axis", axis, x.ndim)
    indices = _as_indices("take_along_axis", indices, x.device)
    if indices.ndim != x.ndim:
        raise ShapeError(f"take_along_axis: indices of shape {indices.shape} for a tensor of shape {x.shape}",
                         fix="both need the same number of dimensions")  # fmt: skip
    rest = shapes.broadcast(
        "take_along_axis",
        *(tuple(1 if i == place else d for i, d in enumerate(s)) for s in (x.shape, indices.shape)),
    )
    x = broadcast_to(x, _resized(rest, place, x.shape[place]))
    return take_along(x, broadcast_to(indices, _resized(rest, place, indices.shape[place])), axis=place)


def _along(like: Any, axis: int, size: int, rank: int) -> Any:
    """0..size-1 along one of `rank` axes."""
    return reshape(iota_on(like, size), tuple(-1 if i == axis else 1 for i in range(rank)))


def _flat(parts: list[Any], dims: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """Row-major positions from one index tensor per dimension."""
    flat = None
    for part, dim in zip(parts, dims, strict=True):
        flat = part if flat is None else flat * dim + part
    return broadcast_to(flat, shape)
