"""Tensors as sets: their distinct elements, membership, and counting (Array API names)."""

from __future__ import annotations

from typing import Any, NamedTuple

from mlcore.dtypes import bool_, complexes, int8, int64
from mlcore.inputs import prepare
from mlcore.ops.creation import full, zeros
from mlcore.ops.elementwise import astype, imag, real_
from mlcore.ops.index import nonzero, take
from mlcore.ops.logic import equal, logical_not, not_equal
from mlcore.ops.reduce import any as any_
from mlcore.ops.reduce import cumulative_sum
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import concat, reshape
from mlcore.ops.sorting import argsort, searchsorted, sort
from mlcore.ops.spec import function


class UniqueAll(NamedTuple):
    """What `unique_all` returns."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCounts(NamedTuple):
    """What `unique_counts` returns."""

    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: Any
    inverse_indices: Any


def _order(x: Any) -> Any:
    """The stable order of a flat tensor; complex numbers by their real parts, then by their imaginary ones."""
    if x.dtype not in complexes:
        return argsort(x)
    order = argsort(imag(x))
    return take(order, argsort(take(real_(x), order)))


def _runs(x: Any) -> tuple[Any, Any, Any]:
    """(order, elements in order, whether each is not the one before it) of a tensor, flattened."""
    flat = reshape(x, (-1,))
    order = _order(flat)
    ordered = take(flat, order)
    if not flat.shape[0]:
        return order, ordered, zeros((0,), dtype=bool_, device=x.device)
    first = full((1,), True, device=x.device)
    return order, ordered, concat([first, not_equal(ordered[1:], ordered[:-1])])


@function()
def unique_all(x: Any, /) -> UniqueAll:
    """The distinct elements of `x` in ascending order: (values, indices, inverse_indices, counts).

    `indices` has the first place of each in the flattened `x`, `inverse_indices`, of the shape of `x`, the place of
    each element among the values. Every nan is distinct; -0.0 is 0.0.

    >>> import mlcore as ml
    >>> [t.tolist() for t in ml.unique_all(ml.asarray([3, 1, 3]))]
    [[1, 3], [1, 0], [1, 0, 1], [1, 2]]
    """
    order, ordered, new = _runs(x)
    (starts,) = nonzero(new)
    place = cumulative_sum(astype(new, int64)) - 1
    inverse = reshape(take(place, argsort(order)), x.shape)
    return UniqueAll(take(ordered, starts), take(order, starts), inverse, _lengths(starts, x))


def _lengths(starts: Any, x: Any) -> Any:
    """How long each run is, from where they start."""
    end = full((1,), x.size, dtype=int64, device=x.device)
    bounds = concat([starts, end])
    return bounds[1:] - bounds[:-1]


@function()
def unique_counts(x: Any, /) -> UniqueCounts:
    """The distinct elements of `x` in ascending order, and how often each occurs: (values, counts).

    >>> import mlcore as ml
    >>> [t.tolist() for t in ml.unique_counts(ml.asarray([3, 1, 3]))]
    [[1, 3], [1, 2]]
    """
    _, ordered, new = _runs(x)
    (starts,) = nonzero(new)
    return UniqueCounts(take(ordered, starts), _lengths(starts, x))


@function()
def unique_inverse(x: Any, /) -> UniqueInverse:
    """The distinct elements of `x`, and the place of each element among them: (values, inverse_indices).

    >>> import mlcore as ml
    >>> [t.tolist() for t in ml.unique_inverse(ml.asarray([3, 1, 3]))]
    [[1, 3], [1, 0, 1]]
    """
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


@function()
def unique_values(x: Any, /) -> Any:
    """The distinct elements of `x` in ascending order.

    >>> import mlcore as ml
    >>> ml.unique_values(ml.asarray([3, 1, 3])).tolist()
    [1, 3]
    """
    _, ordered, new = _runs(x)
    (starts,) = nonzero(new)
    return take(ordered, starts)


@function()
def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Any:
    """Whether each element of `x1` is among those of `x2` (`invert`: is not); nan never is.

    >>> import mlcore as ml
    >>> ml.isin(ml.asarray([1, 2, 3]), ml.asarray([3, 1])).tolist()
    [True, False, True]
    """
    (x1, x2), _, _ = prepare(equal, (x1, x2))
    wanted = reshape(x2, (-1,))
    if wanted.dtype is bool_:
        x1, wanted = astype(x1, int8), astype(wanted, int8)
    count = wanted.shape[0]
    if not count or wanted.dtype in complexes:
        found = any_(equal(reshape(x1, (*x1.shape, 1)), wanted), axis=-1)
    else:
        ordered = sort(wanted)
        place = reshape(searchsorted(ordered, reshape(x1, (-1,))), x1.shape)
        found = equal(take(ordered, place - astype(equal(place, count), int64)), x1)
    return logical_not(found) if invert else found


@function(method=True)
def count_nonzero(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """How many elements over `axis` are not zero, as int64; nan counts.

    >>> import mlcore as ml
    >>> ml.count_nonzero(ml.asarray([[0, 1], [2, 3]]), axis=0).tolist()
    [1, 2]
    """
    return sum_(astype(astype(x, bool_), int64), axis=axis, keepdims=keepdims)
