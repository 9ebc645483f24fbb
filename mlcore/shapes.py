"""Shapes: broadcasting, axes, slices and windows, as pure functions on tuples of integers."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex

from mlcore.errors import ArgumentError, ArgumentTypeError, OutOfRangeError, ShapeError

Shape = tuple[int, ...]
MAX_ELEMENTS = 2**63 - 1


def as_shape(value: Any, what: str = "shape") -> Shape:
    """Turn an int or a sequence of ints into a checked shape.

    >>> as_shape([2, 3]), as_shape(4)
    ((2, 3), (4,))
    """
    try:
        dims: Shape = (operator.index(value),)
    except TypeError:
        try:
            dims = tuple(operator.index(d) for d in value)
        except TypeError:
            raise ArgumentTypeError(
                f"{what}: expected ints, got {value!r}", fix="pass a tuple of ints"
            ) from None
    return check_size(dims, what)


def check_size(shape: Shape, what: str = "shape") -> Shape:
    """Refuse negative dimensions and element counts that no memory could hold."""
    for dim in shape:
        if dim < 0:
            raise ShapeError(
                f"{what}: negative dimension {dim} in {shape}", fix="every dimension must be >= 0"
            )
    if math.prod(d for d in shape if d) > MAX_ELEMENTS:
        raise ShapeError(f"{what}: the element count of {shape} overflows 2**63", fix="use a smaller shape")
    return shape


def broadcast(op: str, *shapes: Shape) -> Shape:
    """The common shape of several, by NumPy's rule.

    >>> broadcast("add", (2, 1, 3), (4, 1))
    (2, 4, 3)
    """
    first = max(shapes, key=len)
    if all(shape == first or not shape for shape in shapes):
        return first
    rank = max(map(len, shapes))
    result = [1] * rank
    for shape in shapes:
        offset = rank - len(shape)
        for i, dim in enumerate(shape):
            if dim != 1 and result[offset + i] != dim:
                if result[offset + i] != 1:
                    listed = " with ".join(map(str, shapes))
                    raise ShapeError(
                        f"{op}: cannot broadcast {listed} at dim {offset + i}: {result[offset + i]} vs {dim}",
                        cause="dimensions must be equal or 1, aligned from the right",
                        fix="reshape or slice one of them",
                    )
                result[offset + i] = dim
    return tuple(result)


def normalize_axis(op: str, axis: SupportsIndex, ndim: int) -> int:
    """Turn a possibly negative axis into 0..ndim-1.

    >>> normalize_axis("sum", -1, 3)
    2
    """
    try:
        index = operator.index(axis)
    except TypeError:
        raise ArgumentTypeError(f"{op}: axis must be an int, got {axis!r}", fix="pass an int") from None
    if not -ndim <= index < ndim:
        span = f"[{-ndim}, {ndim - 1}]" if ndim else "(a 0-d tensor has no axes)"
        raise OutOfRangeError(
            f"{op}: axis {index} out of range {span}", fix=f"the tensor has {ndim} dimensions"
        )
    return index + ndim if index < 0 else index


def normalize_axes(op: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Turn None (all), an int or a sequence of axes into ascending, distinct, non-negative axes.

    >>> normalize_axes("sum", (-1, 0), 3), normalize_axes("sum", None, 2)
    ((0, 2), (0, 1))
    """
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, Iterable):
        return (normalize_axis(op, axis, ndim),)
    axes = sorted(normalize_axis(op, a, ndim) for a in axis)
    if len(set(axes)) != len(axes):
        raise ArgumentError(
            f"{op}: repeated axis in {tuple(axis)} of a {ndim}-d tensor", fix="name each axis once"
        )
    return tuple(axes)


def reduced(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """The shape after reducing `axes`.

    >>> reduced((2, 3, 4), (0, 2), True)
    (1, 3, 1)
    """
    if keepdims:
        return tuple(1 if i in axes else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axes)


def resolve_reshape(shape: Shape, target: Any) -> Shape:
    """The target of a reshape with at most one -1 worked out.

    >>> resolve_reshape((2, 6), (3, -1))
    (3, 4)
    """
    try:
        dims = [operator.index(d) for d in (target if isinstance(target, Iterable) else (target,))]
    except TypeError:
        raise ArgumentTypeError(
            f"reshape: expected ints, got {target!r}", fix="pass a tuple of ints"
        ) from None
    size = math.prod(shape)
    unknown = [i for i, d in enumerate(dims) if d == -1]
    if len(unknown) > 1:
        raise ShapeError(
            f"reshape: more than one -1 in {tuple(dims)}", fix="leave at most one dimension open"
        )
    if unknown:
        known = math.prod(d for d in dims if d != -1)
        if known == 0 or size % known:
            raise ShapeError(
                f"reshape: cannot infer -1 in {tuple(dims)} for a tensor of shape {shape} ({size} elements)",
                cause=f"the other dimensions hold {known} elements",
                fix="choose dimensions whose product divides the size",
            )
        dims[unknown[0]] = size // known
    result = check_size(tuple(dims), "reshape")
    if math.prod(result) != size:
        raise ShapeError(
            f"reshape: {shape} ({size} elements) does not fit {result} ({math.prod(result)} elements)",
            fix="the product of the dimensions must not change",
        )
    return result


Key = tuple[tuple[int, int | None, int], ...]


def slice_key(item: slice, size: int) -> tuple[int, int | None, int]:
    """(start, stop, step) of a slice over `size` elements, canonical: equal selections give equal keys.

    `stop` is None when a negative step runs past the first element.

    >>> slice_key(slice(None, None, -1), 4), slice_key(slice(1, 100, 2), 4)
    ((3, None, -1), (1, 5, 2))
    """
    try:
        start, stop, step = item.indices(size)
    except ValueError:
        raise ArgumentError("slice: step is 0", fix="use a step other than 0") from None
    count = len(range(start, stop, step))
    if count == 0:
        return (0, 0, 1)
    end = start + count * step
    return (start, end if end >= 0 else None, step)


def sliced(shape: Shape, key: Key) -> Shape:
    """The shape that `key` selects."""
    return tuple(span(*k) for k in key)


def span(start: int, stop: int | None, step: int) -> int:
    """How many elements a canonical (start, stop, step) selects."""
    return len(range(start, -1 if stop is None else stop, step))


def key_slices(key: Key) -> tuple[slice, ...]:
    """The slice objects that an array library understands."""
    return tuple(slice(*k) for k in key)


def windows(op: str, size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int) -> int:
    """How many windows of a convolution or pool fit along one axis."""
    if stride < 1 or dilation < 1 or kernel < 1:
        raise ArgumentError(
            f"{op}: kernel {kernel}, stride {stride}, dilation {dilation}", cause="each must be at least 1",
            fix="use positive values",
        )  # fmt: skip
    if min(padding) < 0:
        raise ArgumentError(f"{op}: negative padding {padding}", fix="crop by slicing instead")
    reach = dilation * (kernel - 1) + 1
    room = size + padding[0] + padding[1]
    if reach > room:
        raise ShapeError(
            f"{op}: kernel of {kernel} (dilation {dilation}, reach {reach}) is larger than the input of {size}"
            f" with padding {padding}",
            fix="use a smaller kernel or more padding",
        )
    return (room - reach) // stride + 1
