"""Inverses, determinants and linear equations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlcore import autograd, engine, shapes
from mlcore.dispatch import is_recording
from mlcore.dtypes import complexes
from mlcore.errors import ShapeError
from mlcore.host import holds_values
from mlcore.linalg.common import FACTORED, ON_HOST, eye_like, matrix, mH, square, told
from mlcore.linalg.factor import svd
from mlcore.ops.cases import sample
from mlcore.ops.elementwise import astype, conj, imag, where
from mlcore.ops.linalg import contract
from mlcore.ops.logic import equal, greater
from mlcore.ops.reduce import any as any_
from mlcore.ops.reduce import multiply_up
from mlcore.ops.shape import reshape
from mlcore.ops.spec import Outs, composite, out, outs, primitive, to_real

_SINGULAR = ("singular", "add a small multiple of eye(n), or use pinv")
_STACKS = [(3, 3), (2, 2, 2), (0, 0)]


def _calm(x: Any) -> Any:
    """The same matrices with a heavy diagonal: far from singular."""
    return x + astype(eye_like(x, x.shape[-1]), x.dtype) * (24 * x.shape[-1])


def _matrices() -> list[Any]:
    return [sample([shape], derive={"x": _calm}, special=False, gradient=len(shape) > 2) for shape in _STACKS]


@primitive(
    reference=told("inv", *_SINGULAR)(np.linalg.inv), accepts=FACTORED, ulp=64, public=False, group="linalg",
    standard="linalg.inv",
    host=ON_HOST, samples=_matrices, vjp=lambda g, y: -contract(contract(mH(y), g), mH(y)), family="factorisation",
)  # fmt: skip
def linalg_inv(x: Any, /) -> Outs:
    """The inverses of square matrices."""
    square("inv", x)
    return out(x.shape, x.dtype)


def inv(x: Any, /) -> Any:
    """The inverse of each square matrix; LinAlgError where one is singular.

    >>> import mlcore as ml
    >>> ml.linalg.inv(ml.asarray([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return linalg_inv(x)


def _systems() -> list[Any]:
    pairs: list[list[tuple[int, ...]]] = [[(3, 3), (3, 2)], [(2, 3, 3), (3, 1)], [(0, 0), (0, 2)]]
    return [
        sample(pair, derive={"x1": lambda x1: _calm(x1)}, special=False, gradient=len(pair[0]) > 2)
        for pair in pairs
    ]


@primitive(
    reference=told("solve", *_SINGULAR)(np.linalg.solve), accepts=FACTORED, ulp=64, public=False, group="linalg",
    host=ON_HOST, samples=_systems, family="factorisation", standard="linalg.solve",
    vjp=(
        lambda g, x1, y: engine.unbroadcast(-contract(linalg_solve(mH(x1), g), mH(y)), x1.shape),
        lambda g, x1, x2_shape: engine.unbroadcast(linalg_solve(mH(x1), g), x2_shape),
    ),
)  # fmt: skip
def linalg_solve(x1: Any, x2: Any, /) -> Outs:
    """The solution y of x1 @ y == x2, column by column."""
    size, (rows, columns) = square("solve", x1), matrix("solve", x2)
    if rows != size:
        raise ShapeError(
            f"solve: matrices of shape {x1.shape} and right-hand sides of shape {x2.shape}",
            cause=f"{size} equations, {rows} values for them",
            fix="their rows must be as many",
        )
    batch = shapes.broadcast("solve", x1.shape[:-2], x2.shape[:-2])
    return out((*batch, size, columns), x1.dtype)


def solve(x1: Any, x2: Any, /) -> Any:
    """The solution of ``x1 @ y == x2`` for square matrices; a 1-d `x2` is one right-hand side, else its columns are.

    LinAlgError where a matrix is singular.

    >>> import mlcore as ml
    >>> ml.linalg.solve(ml.asarray([[2.0, 0.0], [0.0, 4.0]]), ml.asarray([2.0, 2.0])).tolist()
    [1.0, 0.5]
    """
    if x2.ndim != 1:
        return linalg_solve(x1, x2)
    found = linalg_solve(x1, reshape(x2, (-1, 1)))
    return reshape(found, found.shape[:-1])


def _det_grad(g: Any, x: Any, y: Any) -> Any:
    """det times the inverse; where a matrix is singular, its cofactors by way of the singular values."""
    if holds_values(y) and any_(equal(y, 0)).item():
        return _scaled(g, _cofactors(x))
    return _scaled(g * _conj(y), mH(linalg_inv(x)))


def _scaled(weight: Any, matrices: Any) -> Any:
    return reshape(weight, (*weight.shape, 1, 1)) * matrices


def _conj(x: Any) -> Any:
    return conj(x) if x.dtype in complexes else x


def _cofactors(x: Any) -> Any:
    """The conjugate of the matrix of cofactors, by which det changes."""
    u, s, vh = svd(x, full_matrices=False)
    size = x.shape[-1]
    others = multiply_up(where(eye_like(s, size), 1, reshape(s, (*s.shape[:-1], 1, size))), axis=-1)
    turned = _conj(linalg_det(u) * linalg_det(vh))
    rows = u * astype(reshape(others, (*others.shape[:-1], 1, size)), u.dtype)
    return _scaled(turned, contract(rows, vh))


@primitive(
    reference=lambda x: np.asarray(np.linalg.det(x)), accepts=FACTORED, ulp=64, public=False, group="linalg",
    standard="linalg.det",
    host=ON_HOST, samples=_matrices, vjp=lambda g, x, y: _det_grad(g, x, y), family="factorisation",
)  # fmt: skip
def linalg_det(x: Any, /) -> Outs:
    """The determinants of square matrices."""
    square("det", x)
    return out(x.shape[:-2], x.dtype)


def det(x: Any, /) -> Any:
    """The determinant of each square matrix; 1 of an empty one.

    >>> import mlcore as ml
    >>> round(ml.linalg.det(ml.asarray([[1.0, 2.0], [3.0, 4.0]])).item(), 4)
    -2.0
    """
    return linalg_det(x)


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Any
    logabsdet: Any


def _slogdet(x: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    sign, size = np.linalg.slogdet(x)
    return np.asarray(size), np.asarray(sign)


@primitive(
    reference=_slogdet, accepts=FACTORED, ulp=64, public=False, group="linalg", outputs=("logabsdet", "sign"),
    host=ON_HOST, samples=_matrices, vjp=lambda g, x: _scaled(astype(g, x.dtype), mH(linalg_inv(x))),
    family="factorisation", standard="linalg.slogdet",
)  # fmt: skip
def linalg_slogdet(x: Any, /) -> Outs:
    """The logarithm of the magnitude of the determinant, and its sign."""
    square("slogdet", x)
    return outs([(x.shape[:-2], to_real(x.dtype)), (x.shape[:-2], x.dtype)])


def _phase_rule(x: Any, sign: Any, /) -> Outs:
    return out(sign.shape, sign.dtype)


@composite(
    _phase_rule, accepts=complexes, public=False, registered=False, group="linalg",
    vjp=(lambda g, x, y: _scaled(astype(imag(conj(y) * g), y.dtype) * 1j, mH(linalg_inv(x))), None),
)  # fmt: skip
def linalg_phase(x: Any, sign: Any, /) -> Any:
    """The sign of a complex determinant, with its gradient: it turns as the matrix changes."""
    return sign * 1


def slogdet(x: Any, /) -> SlogdetResult:
    """(sign, logabsdet) of the determinant of each square matrix, without overflow; 0 and -inf where it is singular.

    >>> import mlcore as ml
    >>> sign, size = ml.linalg.slogdet(ml.asarray([[0.0, 1.0], [1.0, 0.0]]))
    >>> sign.item(), size.item()
    (-1.0, 0.0)
    """
    size, sign = linalg_slogdet(x)
    if x.dtype in complexes and x.requires_grad and is_recording():
        sign = linalg_phase(x, sign)
    return SlogdetResult(sign, size)


def _pinv_rule(x: Any, cutoff: Any, /) -> Outs:
    rows, columns = matrix("pinv", x)
    return out((*x.shape[:-2], columns, rows), x.dtype)


def _pinv_grad(g: Any, x: Any, y: Any) -> Any:
    """Of the pseudoinverse at constant rank (Golub and Pereyra 1973)."""
    left, right = g - contract(contract(g, x), y), g - contract(y, contract(x, g))  # g(1 - XY), (1 - YX)g
    wide = contract(mH(left), contract(y, mH(y))) + contract(contract(mH(y), y), mH(right))
    return wide - contract(contract(mH(y), g), mH(y))


@composite(
    _pinv_rule, accepts=FACTORED, promote=("x",), public=False, registered=False, group="linalg",
    vjp=(lambda g, x, y: _pinv_grad(g, x, y), None),
)  # fmt: skip
def linalg_pinv(x: Any, cutoff: Any, /) -> Any:
    """The pseudoinverse, with singular values up to a part `cutoff` of the largest taken for 0."""
    u, s, vh = svd(x, full_matrices=False)
    kept = greater(s, cutoff * s[..., :1]) if s.shape[-1] else greater(s, 0)
    inverse = where(kept, 1 / where(kept, s, 1), 0)
    return contract(mH(vh) * astype(reshape(inverse, (*s.shape[:-1], 1, s.shape[-1])), x.dtype), mH(u))


def pinv(x: Any, /, *, rtol: Any = None) -> Any:
    """The Moore-Penrose pseudoinverse of each matrix.

    Singular values not above `rtol` (a number, or one for each matrix) times the largest count as 0; by default the
    larger dimension times the dtype's epsilon. The gradient holds where the rank does not change.

    >>> import mlcore as ml
    >>> ml.linalg.pinv(ml.asarray([[2.0, 0.0], [0.0, 0.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    from mlcore.linalg.matrices import tolerance

    matrix("pinv", x)
    with autograd.no_grad():
        cutoff = tolerance(x, rtol)
    return linalg_pinv(x, cutoff)
