"""Eigenvalues and eigenvectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlcore.dispatch import is_recording
from mlcore.dtypes import DType, complex64, complex128, complexes, float32, float64
from mlcore.linalg.common import (
    FACTORED,
    ON_HOST,
    between,
    joint,
    mH,
    on_diagonal,
    square,
    told,
    tracked,
)
from mlcore.linalg.factor import _real, _solve
from mlcore.linalg.matrices import diagonal
from mlcore.ops.cases import sample
from mlcore.ops.elementwise import astype, conj
from mlcore.ops.linalg import contract
from mlcore.ops.shape import reshape
from mlcore.ops.spec import Outs, out, outs, primitive, to_real


class EighResult(NamedTuple):
    """What `eigh` and `eig` return."""

    eigenvalues: Any
    eigenvectors: Any


_converged = told("eigh", "not finite", "look for inf and nan in what made it")


def to_complex(dtype: DType) -> DType:
    """The complex dtype whose parts have a dtype."""
    return {float32: complex64, float64: complex128}.get(dtype, dtype)


def _gaps(values: Any) -> Any:
    """w[j] - w[i]."""
    size = values.shape[-1]
    along = reshape(values, (*values.shape[:-1], 1, size))
    return along - reshape(values, (*values.shape[:-1], size, 1))


# -- of symmetric matrices ------------------------------------------------------------------------------------------


@primitive(
    reference=_converged(lambda x: tuple(np.linalg.eigh(x))), accepts=FACTORED, ulp=64, public=False,
    standard="linalg.eigh",
    registered=False, group="linalg", host=ON_HOST, outputs=("w", "v"), family="factorisation",
)  # fmt: skip
def linalg_eigh(x: Any, /) -> Outs:
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices, of which the lower triangle is read."""
    size = square("eigh", x)
    return outs([((*x.shape[:-2], size), to_real(x.dtype)), (x.shape, x.dtype)])


def _eigh_grad(x: Any, values: Any, gradients: Any) -> Any:
    """Giles 2008, section 3.1: among symmetric (Hermitian) matrices."""
    (w, v), (gw, gv) = values, gradients
    inner = on_diagonal(_real(gw)) + between(contract(mH(v), gv), _gaps(_real(w)))
    wide = contract(contract(v, inner), mH(v))
    return (wide + mH(wide)) / 2


_eigh_node = joint("eigh", 2, _eigh_grad)


def eigh(x: Any, /) -> EighResult:
    """(eigenvalues, eigenvectors) of each symmetric (Hermitian) matrix, the values ascending, the vectors as columns.

    Only the lower triangle is read. The gradient is that among symmetric matrices; that of the vectors holds where
    the eigenvalues differ; where two are equal it is nan.

    >>> import mlcore as ml
    >>> ml.linalg.eigh(ml.asarray([[2.0, 0.0], [0.0, 1.0]])).eigenvalues.tolist()
    [1.0, 2.0]
    """
    return EighResult(*tracked(_eigh_node, x, linalg_eigh(x)))


def _symmetric() -> list[Any]:
    return [
        sample([shape], derive={"x": lambda x: x + mH(x)}, special=False)
        for shape in ((3, 3), (2, 2, 2), (0, 0))
    ]


@primitive(
    reference=_converged(np.linalg.eigvalsh), accepts=FACTORED, ulp=64, public=False, group="linalg", host=ON_HOST,
    samples=_symmetric, family="factorisation", standard="linalg.eigvalsh",
)  # fmt: skip
def linalg_eigvalsh(x: Any, /) -> Outs:
    """Eigenvalues of symmetric matrices alone."""
    return out((*x.shape[:-2], square("eigvalsh", x)), to_real(x.dtype))


def eigvalsh(x: Any, /) -> Any:
    """The eigenvalues of each symmetric (Hermitian) matrix, ascending; only the lower triangle is read.

    >>> import mlcore as ml
    >>> ml.linalg.eigvalsh(ml.asarray([[2.0, 0.0], [0.0, 1.0]])).tolist()
    [1.0, 2.0]
    """
    return eigh(x).eigenvalues if x.requires_grad and is_recording() else linalg_eigvalsh(x)


# -- of any square matrices -----------------------------------------------------------------------------------------


def _eig(x: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    wide = x.astype(np.result_type(x.dtype, np.complex64))  # NumPy's are real where all of them happen to be
    w, v = np.linalg.eig(x)
    return w.astype(wide.dtype), v.astype(wide.dtype)


@primitive(
    reference=told("eig", "not finite", "look for inf and nan in what made it")(_eig), accepts=FACTORED, ulp=64,
    standard="linalg.eig",
    public=False, registered=False, group="linalg", host=ON_HOST, outputs=("w", "v"), family="factorisation",
)  # fmt: skip
def linalg_eig(x: Any, /) -> Outs:
    """Eigenvalues and eigenvectors, complex in any case."""
    size, dtype = square("eig", x), to_complex(x.dtype)
    return outs([((*x.shape[:-2], size), dtype), (x.shape, dtype)])


def _eig_grad(x: Any, values: Any, gradients: Any) -> Any:
    """Boeddeker et al. 2017 (arXiv:1701.00392): each vector has length 1, and its phase is free."""
    (w, v), (gw, gv) = values, gradients
    turn = contract(mH(v), gv)
    held = turn - contract(mH(v), v) * reshape(_real(diagonal(turn)), (*w.shape[:-1], 1, w.shape[-1]))
    inner = on_diagonal(gw) + between(held, conj(_gaps(w)))
    return _solve(mH(v), contract(inner, mH(v)))


_eig_node = joint("eig", 2, _eig_grad)


def eig(x: Any, /) -> EighResult:
    """(eigenvalues, eigenvectors) of each square matrix, complex in any case, in no order; the vectors are columns.

    The gradient holds where the eigenvalues differ, and for what does not depend on the vectors' phases.

    >>> import mlcore as ml
    >>> sorted(ml.linalg.eig(ml.asarray([[0.0, -1.0], [1.0, 0.0]])).eigenvalues.tolist(), key=lambda w: w.imag)
    [-1j, 1j]
    """
    parts = linalg_eig(x)
    if x.requires_grad and is_recording() and x.dtype not in complexes:
        x = astype(x, to_complex(x.dtype))
    return EighResult(*tracked(_eig_node, x, parts))


def eigvals(x: Any, /) -> Any:
    """The eigenvalues of each square matrix, complex in any case, in no order.

    >>> import mlcore as ml
    >>> ml.linalg.eigvals(ml.asarray([[3.0]])).tolist()
    [(3+0j)]
    """
    return eig(x).eigenvalues
