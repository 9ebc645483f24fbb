"""What the factorisations share: checks of shapes, LAPACK's refusals told as ours, and several results on the tape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcore.dispatch import is_recording
from mlcore.dtypes import bfloat16, bool_, complexes, float16, inexact
from mlcore.errors import LinAlgError, ShapeError
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import conj, real_, where
from mlcore.ops.logic import equal, logical_and
from mlcore.ops.shape import concat, matrix_transpose, reshape
from mlcore.ops.spec import Outs, composite, out

Host = np.ndarray[Any, Any]
FACTORED = inexact - {float16, bfloat16}  # what LAPACK computes with
ON_HOST = "LAPACK is the host's; a device's own library may have it natively"


def mH(x: Any) -> Any:
    """The conjugate transpose of the last two dimensions."""
    turned = matrix_transpose(x)
    return conj(turned) if x.dtype in complexes else turned


def matrix(name: str, x: Any) -> tuple[int, int]:
    """The last two dimensions of a stack of matrices."""
    if x.ndim < 2:
        raise ShapeError(f"{name}: shape {x.shape} is no matrix", fix="pass at least 2 dimensions")
    return x.shape[-2], x.shape[-1]


def square(name: str, x: Any) -> int:
    """The order of a stack of square matrices."""
    rows, columns = matrix(name, x)
    if rows != columns:
        raise ShapeError(
            f"{name}: matrices of {rows} x {columns} (shape {x.shape}) are not square",
            fix="use pinv, qr or svd for matrices of any shape" if name in ("inv", "solve", "eig") else None,
        )
    return rows


def told(name: str, what: str, fix: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A reference whose LinAlgError is ours, and names the matrix of the batch: the one that is `what`."""

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def reference(x: Host, *rest: Any) -> Any:
            try:
                return call(x, *rest)
            except np.linalg.LinAlgError as error:
                place = _first_refused(call, x, rest)
                which = f"matrix {place} of {x.shape[:-2]}" if place else "the matrix"
                cause = str(error) if np.isfinite(x).all() else "it has elements that are inf or nan"
                raise LinAlgError(f"{name}: {which} is {what}", cause=cause, fix=fix) from None

        return reference

    return around


def _first_refused(call: Callable[..., Any], x: Host, rest: tuple[Any, ...]) -> tuple[int, ...]:
    """The place in the batch of the first matrix that LAPACK refuses; () for a single one."""
    for place in np.ndindex(x.shape[:-2]):
        others = [np.ones((x.shape[-1], 1), x.dtype) if isinstance(one, np.ndarray) else one for one in rest]
        try:
            call(x[place], *others)
        except np.linalg.LinAlgError:
            return place
    return ()


def eye_like(x: Any, size: int) -> Any:
    """Where a square matrix has its diagonal, as bools."""
    line = iota_on(x, size)
    return equal(reshape(line, (-1, 1)), line)


def on_diagonal(values: Any) -> Any:
    """Square matrices with `values` on the diagonal and zeros elsewhere."""
    size = values.shape[-1]
    zero = False if values.dtype is bool_ else 0
    return where(eye_like(values, size), reshape(values, (*values.shape[:-1], 1, size)), zero)


def quotient(x: Any, y: Any) -> Any:
    """x / y, and 0 where both are 0: what is not asked for has no gradient, even where another would have none."""
    neither = logical_and(equal(x, 0), equal(y, 0))
    return x / where(neither, 1, y)


def between(x: Any, gaps: Any) -> Any:
    """What turns vectors into each other: x / gaps off the diagonal, 0 on it."""
    return quotient(where(eye_like(x, x.shape[-1]), 0, x), gaps)


# -- several results ----------------------------------------------------------------------------------------------


def joint(name: str, parts: int, gradient: Callable[..., Any]) -> Any:
    """An operation that puts the `parts` factors of a matrix on the tape as one tensor, with one gradient.

    A node has one gradient, and a factorisation several results: they are laid side by side, and `tracked` takes them
    apart again. `gradient(x, values, gradients)` gets the factors, which are on the tape too, and theirs.
    """

    def rule(x: Any, a: Any, b: Any, c: Any = None, /) -> Outs:
        width = sum(math.prod(_shape(x, one)) for one in (a, b, c) if one is not None)
        return out((*x.shape[:-2], width), a.dtype)

    def body(x: Any, a: Any, b: Any, c: Any = None, /) -> Any:
        rows = [reshape(one, (*x.shape[:-2], -1)) for one in (a, b, c) if one is not None]
        if not rows[0].size + rows[1].size:
            rows = [
                reshape(one, (*x.shape[:-2], math.prod(_shape(x, one))))
                for one in (a, b, c)
                if one is not None
            ]
        return concat(rows, axis=-1)

    def vjp(g: Any, x: Any, y: Any, a_shape: Any, b_shape: Any, c_shape: Any) -> Any:
        shapes = [one for one in (a_shape, b_shape, c_shape) if one is not None]
        found = gradient(x, apart(y, x, shapes), apart(g, x, shapes))
        return found, None, None, None

    body.__name__ = name
    body.__doc__ = f"The factors of {name} side by side, as one node of the tape."
    return composite(rule, vjp=vjp, accepts=FACTORED, public=False, registered=False, group="linalg")(body)


def _shape(x: Any, part: Any) -> tuple[int, ...]:
    """A factor's shape without the batch."""
    found: tuple[int, ...] = part.shape[x.ndim - 2 :]
    return found


def apart(joined: Any, x: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """The factors that `joint` laid side by side."""
    found, start = [], 0
    for shape in shapes:
        width = math.prod(shape[x.ndim - 2 :])
        found.append(reshape(joined[..., start : start + width], shape))
        start += width
    return found


def tracked(op: Any, x: Any, parts: Sequence[Any]) -> list[Any]:
    """The factors of `x`, with their gradient where one is asked for; real ones stay real."""
    if not (x.requires_grad and is_recording()):
        return list(parts)
    joined = apart(op(x, *parts), x, [one.shape for one in parts])
    return [
        real_(new) if new.dtype in complexes and old.dtype not in complexes else new
        for new, old in zip(joined, parts, strict=True)
    ]
