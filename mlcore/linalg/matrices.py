"""Diagonals, norms, powers, ranks and the cross product: made of other operations."""

from __future__ import annotations

import math
from typing import Any

from mlcore import shapes
from mlcore.dispatch import from_data
from mlcore.dtypes import finfo, int64
from mlcore.errors import ArgumentError, DTypeError, ShapeError
from mlcore.linalg.common import eye_like, matrix, square
from mlcore.ops.elementwise import abs as abs_
from mlcore.ops.elementwise import astype, sqrt, where
from mlcore.ops.linalg import contract
from mlcore.ops.logic import equal, greater, not_equal
from mlcore.ops.reduce import add_up
from mlcore.ops.reduce import max as max_
from mlcore.ops.reduce import min as min_
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import broadcast_to, reshape, same, stack
from mlcore.shapes import normalize_axes, reduced
from mlcore.tensor import TensorBase


def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """The diagonal of each matrix, `offset` places above the main one (below it where negative).

    >>> import mlcore as ml
    >>> ml.linalg.diagonal(ml.asarray([[1, 2], [3, 4]])).tolist()
    [1, 4]
    """
    rows, columns = matrix("diagonal", x)
    length = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    start = offset if offset >= 0 else -offset * columns
    flat = reshape(x, (*x.shape[:-2], rows * columns))
    return flat[
        ..., start : start + max(0, (length - 1) * (columns + 1) + 1) if length else start : columns + 1
    ]


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sum along a diagonal of each matrix; small integers are summed in 64 bits.

    >>> import mlcore as ml
    >>> ml.linalg.trace(ml.asarray([[1, 2], [3, 4]])).item()
    5
    """
    return sum_(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """The cross product of vectors of length 3 along `axis`; the other dimensions broadcast.

    >>> import mlcore as ml
    >>> ml.linalg.cross(ml.asarray([1, 0, 0]), ml.asarray([0, 1, 0])).tolist()
    [0, 0, 1]
    """
    rank = min(x1.ndim, x2.ndim)
    place = shapes.normalize_axis("cross", axis, rank)
    place -= rank if axis < 0 or x1.ndim != x2.ndim else x1.ndim
    if x1.shape[place] != 3 or x2.shape[place] != 3:
        raise ShapeError(f"cross: shapes {x1.shape} and {x2.shape} along axis {axis}",
                         fix="vectors must have 3 elements there")  # fmt: skip
    (a, b, c), (d, e, f) = ([_part(x, place, i) for i in range(3)] for x in (x1, x2))
    parts = (b * f - c * e, c * d - a * f, a * e - b * d)
    return stack(parts, axis=place)


def _part(x: Any, axis: int, index: int) -> Any:
    return x[(*(slice(None),) * (x.ndim + axis), index)]


# -- norms ----------------------------------------------------------------------------------------------------------


def _size(name: str, x: Any) -> Any:
    if x.dtype.kind not in "fc":
        raise DTypeError(f"{name}: {x.dtype} is not accepted", fix="astype a floating dtype")
    return abs_(x)


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
    """The norm of order `ord` over `axis` (an int, a tuple, or None for all): any number, inf, or -inf.

    0 counts the elements that are not 0. At 0 the gradient of the norm of order 2 is taken for 0.

    >>> import mlcore as ml
    >>> ml.linalg.vector_norm(ml.asarray([3.0, 4.0])).item()
    5.0
    """
    size = _size("vector_norm", x)
    axes = normalize_axes("vector_norm", axis, x.ndim)
    if ord == math.inf:
        return max_(size, axis=axes, keepdims=keepdims)
    if ord == -math.inf:
        return min_(size, axis=axes, keepdims=keepdims)
    if ord == 0:
        return add_up(astype(not_equal(size, 0), size.dtype), axis=axes, keepdims=keepdims)
    if ord == 1:
        return add_up(size, axis=axes, keepdims=keepdims)
    if ord == 2:
        return _root(add_up(size * size, axis=axes, keepdims=keepdims))
    return add_up(size**ord, axis=axes, keepdims=keepdims) ** (1 / ord)


def _root(total: Any) -> Any:
    """The square root, flat at 0."""
    zero = equal(total, 0)
    return where(zero, 0, sqrt(where(zero, 1, total)))


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm of each matrix: 'fro', 'nuc', or 1, 2, inf and their negatives.

    >>> import mlcore as ml
    >>> ml.linalg.matrix_norm(ml.asarray([[3.0, 0.0], [0.0, 4.0]])).item()
    5.0
    """
    matrix("matrix_norm", x)
    both = (x.ndim - 2, x.ndim - 1)
    if ord == "fro":
        return vector_norm(x, axis=both, keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        values = _singular_values(x)
        found = add_up(values, axis=-1) if ord == "nuc" else (max_ if ord == 2 else min_)(values, axis=-1)
    elif ord in (1, -1, math.inf, -math.inf):
        sums = add_up(_size("matrix_norm", x), axis=-2 if abs(ord) == 1 else -1)
        found = (max_ if ord > 0 else min_)(sums, axis=-1)
    else:
        raise ArgumentError(f"matrix_norm: ord={ord!r}", fix="use 'fro', 'nuc', 1, -1, 2, -2, inf or -inf")
    return reshape(found, reduced(x.shape, both, True)) if keepdims else found


def _singular_values(x: Any) -> Any:
    from mlcore.linalg.factor import svdvals

    return svdvals(x)


# -- powers and ranks -----------------------------------------------------------------------------------------------


def matrix_power(x: Any, n: int, /) -> Any:
    """Each square matrix multiplied by itself `n` times; a negative `n` takes the inverse.

    >>> import mlcore as ml
    >>> ml.linalg.matrix_power(ml.asarray([[1.0, 1.0], [0.0, 1.0]]), 5).tolist()
    [[1.0, 5.0], [0.0, 1.0]]
    """
    size = square("matrix_power", x)
    if n == 0:
        return broadcast_to(astype(eye_like(x, size), x.dtype), x.shape)
    if n < 0:
        from mlcore.linalg.solving import inv

        x, n = inv(x), -n
    found = None
    while True:
        if n % 2:
            found = x if found is None else contract(found, x)
        n //= 2
        if not n:
            return same(found)
        x = contract(x, x)


def tolerance(x: Any, rtol: Any) -> Any:
    """What part of the largest singular value counts as 0, to be compared with values one by one."""
    if rtol is None:
        return from_data(max(x.shape[-2:], default=0) * finfo(x.dtype).eps, finfo(x.dtype).dtype, x.device)
    if not isinstance(rtol, TensorBase):
        return from_data(float(rtol), finfo(x.dtype).dtype, x.device)
    return reshape(rtol, (*rtol.shape, 1))


def matrix_rank(x: Any, /, *, rtol: Any = None) -> Any:
    """How many singular values of each matrix are above `rtol` times the largest, as int64.

    By default `rtol` is the larger dimension times the dtype's epsilon.

    >>> import mlcore as ml
    >>> ml.linalg.matrix_rank(ml.asarray([[1.0, 2.0], [2.0, 4.0]])).item()
    1
    """
    matrix("matrix_rank", x)
    values = _singular_values(x.detach())
    if not values.shape[-1]:
        return add_up(astype(values, int64), axis=-1)
    return add_up(astype(greater(values, values[..., :1] * tolerance(x, rtol)), int64), axis=-1)
