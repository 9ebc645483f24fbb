"""Factorisations: Cholesky, QR and singular values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlcore.dispatch import is_recording
from mlcore.dtypes import complexes
from mlcore.errors import ArgumentError, AutogradError
from mlcore.linalg.common import (
    FACTORED,
    ON_HOST,
    between,
    eye_like,
    joint,
    matrix,
    mH,
    on_diagonal,
    quotient,
    square,
    told,
    tracked,
)
from mlcore.linalg.matrices import diagonal
from mlcore.ops.cases import sample
from mlcore.ops.creation import tril, triu
from mlcore.ops.elementwise import astype, imag, real_
from mlcore.ops.linalg import contract
from mlcore.ops.shape import concat, reshape
from mlcore.ops.spec import Outs, out, outs, primitive, to_real

# -- Cholesky -------------------------------------------------------------------------------------------------------


def _positive(x: Any) -> Any:
    """Positive definite matrices made of any."""
    return contract(x, mH(x)) + astype(eye_like(x, x.shape[-1]), x.dtype) * (8 * x.shape[-1])


def _definite() -> list[Any]:
    # differences would leave the symmetric matrices, on which alone the factor is defined
    shapes = ((3, 3), (2, 2, 2), (0, 0))
    return [sample([shape], derive={"x": _positive}, special=False, gradient=False) for shape in shapes]


def _solve(a: Any, b: Any) -> Any:
    from mlcore.linalg.solving import linalg_solve

    return linalg_solve(a, b)


def _cholesky_grad(g: Any, y: Any) -> Any:
    """Among symmetric matrices (Murray 2016, arXiv:1602.07527)."""
    inner = contract(mH(y), g)
    half = tril(inner, k=-1) + on_diagonal(_real(diagonal(inner)) / 2)
    wide = _solve(mH(y), mH(_solve(mH(y), mH(half))))
    return (wide + mH(wide)) / 2


def _real(x: Any) -> Any:
    return astype(real_(x), x.dtype) if x.dtype in complexes else x


@primitive(
    reference=told("cholesky", "not positive definite", "add a small multiple of eye(n), or use eigh")(
        np.linalg.cholesky
    ),
    standard="linalg.cholesky",
    accepts=FACTORED, ulp=64, public=False, group="linalg", host=ON_HOST, samples=_definite, family="factorisation",
    vjp=lambda g, y: _cholesky_grad(g, y),
)  # fmt: skip
def linalg_cholesky(x: Any, /) -> Outs:
    """The lower triangular factor of positive definite matrices, whose upper triangle is not looked at."""
    square("cholesky", x)
    return out(x.shape, x.dtype)


def cholesky(x: Any, /, *, upper: bool = False) -> Any:
    """The lower triangular L with ``x == L @ L.mH`` of each positive definite matrix; `upper`: U with ``U.mH @ U``.

    Only one triangle of `x` is read; LinAlgError where a matrix is not positive definite. The gradient is that among
    symmetric (Hermitian) matrices.

    >>> import mlcore as ml
    >>> ml.linalg.cholesky(ml.asarray([[4.0, 2.0], [2.0, 5.0]])).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    return mH(linalg_cholesky(mH(x))) if upper else linalg_cholesky(x)


# -- QR -------------------------------------------------------------------------------------------------------------


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Any
    R: Any


def _qr_shapes(x: Any, mode: str) -> tuple[int, int, int]:
    rows, columns = matrix("qr", x)
    return rows, rows if mode == "complete" else min(rows, columns), columns


@primitive(
    reference=lambda x, mode: tuple(np.linalg.qr(x, mode=mode)), accepts=FACTORED, ulp=64, public=False,
    standard="linalg.qr",
    registered=False, group="linalg", host=ON_HOST, outputs=("q", "r"), family="factorisation",
)  # fmt: skip
def linalg_qr(x: Any, /, *, mode: str) -> Outs:
    """Orthogonal and upper triangular factors."""
    rows, inner, columns = _qr_shapes(x, mode)
    batch = x.shape[:-2]
    return outs([((*batch, rows, inner), x.dtype), ((*batch, inner, columns), x.dtype)], mode)


def _qr_grad(x: Any, values: Any, gradients: Any) -> Any:
    """Of the leading square (or tall) part; further columns only meet Q in ``R = Q.mH @ x``."""
    (q, r), (gq, gr) = values, gradients
    gr, size = triu(gr), q.shape[-1]
    first = r[..., :size]
    if x.shape[-1] > size:
        gq = gq + contract(x[..., size:], mH(gr[..., size:]))
    side = contract(gr[..., :size], mH(first))
    turn = contract(mH(q), gq)
    free = turn - side
    bent = tril(free - mH(free), k=-1)
    if x.dtype in complexes:
        bent = bent + on_diagonal(astype(imag(diagonal(free)), x.dtype) * 1j)
    inner = gq + contract(q, bent + side - turn)
    found = mH(_solve(first, mH(inner)))
    return found if x.shape[-1] <= size else concat([found, contract(q, gr[..., size:])], axis=-1)


_qr_node = joint("qr", 2, _qr_grad)


def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """(Q, R) of each matrix: orthonormal columns, and an upper triangle; `mode` 'complete' gives a square Q.

    Differentiable for full rank; with 'complete' only where Q is square anyway.

    >>> import mlcore as ml
    >>> q, r = ml.linalg.qr(ml.asarray([[3.0, 1.0], [4.0, 2.0]]))
    >>> ml.abs(r[0, 0]).item()
    5.0
    """
    if mode not in ("reduced", "complete"):
        raise ArgumentError(f"qr: mode={mode!r}", fix="use 'reduced' or 'complete'")
    rows, columns = matrix("qr", x)
    if mode == "complete" and rows > columns and x.requires_grad and is_recording():
        raise AutogradError(
            "qr: mode='complete' of tall matrices has no gradient",
            cause="the further columns of Q are any that are orthogonal",
            fix="use mode='reduced'",
        )
    return QRResult(*tracked(_qr_node, x, linalg_qr(x, mode=mode)))


# -- singular values ------------------------------------------------------------------------------------------------


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: Any
    S: Any
    Vh: Any


_converged = told("svd", "not finite", "look for inf and nan in what made it")


@primitive(
    reference=_converged(lambda x, full: tuple(np.linalg.svd(x, full_matrices=full))), accepts=FACTORED, ulp=64,
    standard="linalg.svd",
    public=False, registered=False, group="linalg", host=ON_HOST, outputs=("u", "s", "vh"), family="factorisation",
)  # fmt: skip
def linalg_svd(x: Any, /, *, full: bool) -> Outs:
    """Singular vectors and values."""
    rows, columns = matrix("svd", x)
    inner, batch = min(rows, columns), x.shape[:-2]
    left = (*batch, rows, rows if full else inner)
    right = (*batch, columns if full else inner, columns)
    return outs([(left, x.dtype), ((*batch, inner), to_real(x.dtype)), (right, x.dtype)], full)


def _svd_grad(x: Any, values: Any, gradients: Any) -> Any:
    """Townsend 2016; Wan and Zhang 2019 (arXiv:1909.02659) for complex matrices, whose phases are free."""
    (u, s, vh), (gu, gs, gvh) = values, gradients
    rows, columns, size = x.shape[-2], x.shape[-1], s.shape[-1]
    s, gs = _real(s), _real(gs)
    along, down = reshape(s, (*s.shape[:-1], 1, size)), reshape(s, (*s.shape[:-1], size, 1))
    gaps = along * along - down * down
    left, right = contract(mH(u), gu), contract(vh, mH(gvh))
    left, right = left - mH(left), right - mH(right)
    inner = between(left, gaps) * along + down * between(right, gaps) + on_diagonal(gs)
    if x.dtype in complexes:
        inner = inner + on_diagonal(quotient(diagonal(left), 2 * s))
    found = contract(contract(u, inner), vh)
    if rows > size:
        slope = quotient(gu, along)
        found = found + contract(slope - contract(u, contract(mH(u), slope)), vh)
    if columns > size:
        slope = quotient(gvh, down)
        found = found + contract(u, slope - contract(contract(slope, mH(vh)), vh))
    return found


_svd_node = joint("svd", 3, _svd_grad)


def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """(U, S, Vh) with ``x == U @ diag(S) @ Vh`` for each matrix, the singular values descending.

    `full_matrices` gives square U and Vh; what that adds to them carries no gradient. Gradients of singular vectors
    hold where the singular values differ; where two are equal they are nan.

    >>> import mlcore as ml
    >>> ml.linalg.svd(ml.asarray([[0.0, 2.0], [1.0, 0.0]])).S.tolist()
    [2.0, 1.0]
    """
    if not (x.requires_grad and is_recording()):
        return SVDResult(*linalg_svd(x, full=bool(full_matrices)))
    u, s, vh = tracked(_svd_node, x, linalg_svd(x, full=False))
    if full_matrices and x.shape[-2] != x.shape[-1]:
        whole, size = linalg_svd(x.detach(), full=True), s.shape[-1]
        u = concat([u, whole[0][..., size:]], axis=-1)
        vh = concat([vh, whole[2][..., size:, :]], axis=-2)
    return SVDResult(u, s, vh)


def _any_matrices() -> list[Any]:
    return [sample([shape], special=False) for shape in ((2, 4, 3), (2, 5), (0, 3))]


@primitive(
    reference=_converged(lambda x: np.linalg.svd(x, compute_uv=False)), accepts=FACTORED, ulp=64, public=False,
    group="linalg", host=ON_HOST, samples=_any_matrices, family="factorisation", standard="linalg.svdvals",
)  # fmt: skip
def linalg_svdvals(x: Any, /) -> Outs:
    """Singular values alone."""
    return out((*x.shape[:-2], min(matrix("svdvals", x))), to_real(x.dtype))


def svdvals(x: Any, /) -> Any:
    """The singular values of each matrix, descending.

    >>> import mlcore as ml
    >>> ml.linalg.svdvals(ml.asarray([[0.0, 2.0], [1.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    return svd(x, full_matrices=False).S if x.requires_grad and is_recording() else linalg_svdvals(x)
