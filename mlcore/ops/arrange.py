"""Rearrangements made of shape operations: roll, split, repeat, tile and their kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore import shapes
from mlcore.dispatch import from_data
from mlcore.dtypes import int64, numeric
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError
from mlcore.host import as_numpy
from mlcore.ops.index import gather
from mlcore.ops.shape import broadcast_to, concat, expand_dims, permute_dims, reshape, same
from mlcore.ops.spec import function
from mlcore.shapes import normalize_axis
from mlcore.tensor import TensorBase


@function(method=True)
def roll(x: Any, /, shift: Any, *, axis: Any = None) -> Any:
    """Elements moved by `shift` places along `axis`, those pushed out coming in at the other end.

    >>> import mlcore as ml
    >>> ml.roll(ml.arange(4), 1).tolist()
    [3, 0, 1, 2]
    """
    if axis is None:
        return reshape(roll(reshape(x, (-1,)), shift, axis=0), x.shape)
    shifts = (shift,) if isinstance(shift, int) else tuple(shift)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if len(shifts) == 1:
        shifts = shifts * len(axes)
    if len(shifts) != len(axes):
        raise ArgumentError(
            f"roll: {len(shifts)} shifts for {len(axes)} axes", fix="give one shift, or one for each axis"
        )
    for count, one in zip(shifts, axes, strict=True):
        index = normalize_axis("roll", one, x.ndim)
        size = x.shape[index]
        if size and count % size:
            start = (slice(None),) * index
            x = concat(
                [x[(*start, slice(size - count % size, None))], x[(*start, slice(0, size - count % size))]],
                axis=index,
            )
    return same(x)


@function(method=True)
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The slices of `x` along `axis`, without that dimension, as a tuple.

    >>> import mlcore as ml
    >>> [t.tolist() for t in ml.unstack(ml.asarray([[1, 2], [3, 4]]))]
    [[1, 2], [3, 4]]
    """
    index = normalize_axis("unstack", axis, x.ndim)
    return tuple(x[(slice(None),) * index + (i,)] for i in range(x.shape[index]))


@function(method=True)
def split(x: Any, /, sizes: Any, *, axis: int = 0) -> tuple[Any, ...]:
    """`x` cut along `axis` into pieces of `sizes` (an int: equal pieces of that size, the last may be smaller).

    >>> import mlcore as ml
    >>> [t.shape for t in ml.split(ml.zeros((5, 2)), 2)]
    [(2, 2), (2, 2), (1, 2)]
    """
    index = normalize_axis("split", axis, x.ndim)
    size = x.shape[index]
    if isinstance(sizes, int):
        if sizes < 1:
            raise ArgumentError(f"split: pieces of size {sizes}", fix="use a size of at least 1")
        sizes = [min(sizes, size - start) for start in range(0, size, sizes)] or [0]
    if sum(sizes) != size or min(sizes, default=0) < 0:
        raise ShapeError(
            f"split: sizes {list(sizes)} add up to {sum(sizes)}, dim {index} of {x.shape} is {size}"
        )
    pieces, start = [], 0
    for one in sizes:
        pieces.append(x[(slice(None),) * index + (slice(start, start + one),)])
        start += one
    return tuple(pieces)


@function(method=True)
def moveaxis(x: Any, source: Any, destination: Any, /) -> Any:
    """`x` with the dimensions `source` moved to `destination`, the others keeping their order.

    >>> import mlcore as ml
    >>> ml.moveaxis(ml.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    sources = [
        normalize_axis("moveaxis", a, x.ndim)
        for a in (source if isinstance(source, (tuple, list)) else (source,))
    ]
    places = [
        normalize_axis("moveaxis", a, x.ndim)
        for a in (destination if isinstance(destination, (tuple, list)) else (destination,))
    ]
    if len(sources) != len(places):
        raise ArgumentError(f"moveaxis: {len(sources)} sources but {len(places)} destinations")
    order = [i for i in range(x.ndim) if i not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return permute_dims(x, tuple(order))


@function()
def broadcast_arrays(*arrays: Any) -> list[Any]:
    """Tensors broadcast to their common shape.

    >>> import mlcore as ml
    >>> [t.shape for t in ml.broadcast_arrays(ml.zeros((2, 1)), ml.zeros((3,)))]
    [(2, 3), (2, 3)]
    """
    if not arrays:
        return []
    shape = shapes.broadcast("broadcast_arrays", *(one.shape for one in arrays))
    return [broadcast_to(one, shape) for one in arrays]


@function(method=True)
def tile(x: Any, repetitions: Any, /) -> Any:
    """`x` repeated `repetitions` times along each dimension.

    >>> import mlcore as ml
    >>> ml.tile(ml.asarray([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    counts = shapes.as_shape(repetitions, "tile")
    rank = max(len(counts), x.ndim)
    counts = (1,) * (rank - len(counts)) + counts
    dims = (1,) * (rank - x.ndim) + x.shape
    spread = tuple(d for pair in zip(counts, dims, strict=True) for d in pair)
    shapes.check_size(tuple(c * d for c, d in zip(counts, dims, strict=True)), "tile")
    wide = broadcast_to(reshape(x, tuple(d for one in dims for d in (1, one))), spread)
    return reshape(wide, tuple(c * d for c, d in zip(counts, dims, strict=True)))


@function(method=True)
def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Any:
    """Each element repeated `repeats` times (an int, or a tensor of one for each) along `axis` (None: flattened).

    >>> import mlcore as ml
    >>> ml.repeat(ml.asarray([1, 2]), 2).tolist()
    [1, 1, 2, 2]
    """
    if axis is None:
        return repeat(reshape(x, (-1,)), repeats, axis=0)
    index = normalize_axis("repeat", axis, x.ndim)
    if isinstance(repeats, TensorBase):
        return _each_repeated(x, repeats, index)
    if not isinstance(repeats, int):
        raise ArgumentTypeError(
            f"repeat: repeats must be an int, got {type(repeats).__name__}", fix="or pass a tensor of counts"
        )
    shape = shapes.check_size((*x.shape[:index], x.shape[index] * repeats, *x.shape[index + 1 :]), "repeat")
    wide = broadcast_to(
        expand_dims(x, axis=index + 1), (*x.shape[: index + 1], repeats, *x.shape[index + 1 :])
    )
    return reshape(wide, shape)


def _each_repeated(x: Any, repeats: Any, axis: int) -> Any:
    """repeat with a count for each element along an axis: the result's size depends on their values."""
    counts = as_numpy(repeats)
    if counts.dtype.kind not in "iu":
        raise DTypeError(f"repeat: repeats is {repeats.dtype}, expected an integer dtype", fix="astype int64")
    if counts.shape not in ((), (1,), (x.shape[axis],)):
        raise ShapeError(f"repeat: {counts.shape} counts for dim {axis} of size {x.shape[axis]}",
                         fix="give one count for each element, or one for all")  # fmt: skip
    if counts.size and counts.min() < 0:
        raise ArgumentError(f"repeat: a count is {counts.min()}", fix="use counts >= 0")
    places = np.repeat(np.arange(x.shape[axis]), counts.reshape(-1) if counts.size == 1 else counts)
    return gather(x, from_data(places, int64, x.device), axis=axis)


@function(method=True)
def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along `axis`, `n` times over; `prepend` and `append` are joined to `x` first.

    >>> import mlcore as ml
    >>> ml.diff(ml.asarray([1, 4, 9, 16])).tolist()
    [3, 5, 7]
    """
    if x.dtype not in numeric:
        raise DTypeError(f"diff: {x.dtype} has no differences", fix="astype a number's dtype")
    if n < 0:
        raise ArgumentError(f"diff: n is {n}", fix="use a count >= 0")
    index = normalize_axis("diff", axis, x.ndim)
    if n == 0:
        return same(x)
    if prepend is not None or append is not None:
        x = concat([one for one in (prepend, x, append) if one is not None], axis=index)
    start = (slice(None),) * index
    for _ in range(n):
        x = x[(*start, slice(1, None))] - x[(*start, slice(0, -1))]
    return x
