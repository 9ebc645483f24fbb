"""Factorisations beyond what array_api_strict tells: gradients of both orders, every device, refusals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import linalg
from mlcore.errors import AutogradError, DTypeError, LinAlgError, ShapeError
from mlcore.testing import gradcheck
from mlcore.testing.gradients import passed

CHECKED: Counter[str] = Counter()
INF = math.inf


def random(*shape: int, kind: str = "float64", seed: int = 0) -> Any:
    rng = np.random.default_rng([seed, *shape])
    host = rng.standard_normal(shape)
    if "complex" in kind:
        host = host + 1j * rng.standard_normal(shape)
    return ml.asarray(host.astype(kind))


def mH(x: Any) -> Any:
    return ml.conj(x.mT) if x.dtype.kind == "c" else x.mT


def as_like(values: Any, x: Any) -> Any:
    """Real numbers as rows that matrices of the dtype of `x` can be multiplied with."""
    return ml.astype(ml.expand_dims(values, axis=-2), x.dtype)


# -- gradients --------------------------------------------------------------------------------------------------

SQUARE = [(3, 3), (2, 4, 4), (1, 1)]
ANY = [(3, 3), (4, 2), (2, 2, 4)]


def symmetric(x: Any) -> Any:
    return (x + mH(x)) / 2


def definite(x: Any) -> Any:
    return x @ mH(x) + ml.eye(x.shape[-1], dtype=x.dtype)


def by_eigh(x: Any) -> Any:
    """Values, magnitudes of vectors, and a function of the matrix: what no sign or phase changes."""
    w, v = linalg.eigh(symmetric(x))
    return w, ml.abs(v) ** 2, (v * as_like(ml.exp(w), v)) @ mH(v)


def by_svd(x: Any) -> Any:
    u, s, vh = linalg.svd(x, full_matrices=False)
    return s, ml.abs(u) ** 2, ml.abs(vh) ** 2, (u * as_like(s**2, u)) @ vh


def by_eig(x: Any) -> Any:
    w, v = linalg.eig(x)
    return w, ml.abs(v) ** 2


SMOOTH: dict[str, tuple[Callable[[Any], Any], list[tuple[int, ...]]]] = {
    "inv": (linalg.inv, SQUARE),
    "det": (linalg.det, SQUARE),
    "slogdet": (linalg.slogdet, SQUARE),
    "cholesky": (lambda x: linalg.cholesky(definite(x)), SQUARE),
    "cholesky upper": (lambda x: linalg.cholesky(definite(x), upper=True), SQUARE),
    "eigh": (by_eigh, SQUARE),
    "eigvalsh": (lambda x: linalg.eigvalsh(symmetric(x)), SQUARE),
    "eig": (by_eig, SQUARE),
    "eigvals": (linalg.eigvals, SQUARE),
    "qr": (lambda x: tuple(linalg.qr(x)), ANY),
    "qr complete": (lambda x: tuple(linalg.qr(x, mode="complete")), [(3, 3), (2, 2, 4)]),
    "svd": (by_svd, ANY),
    "svd full": (lambda x: linalg.svd(x).S, ANY),
    "svdvals": (linalg.svdvals, ANY),
    "pinv": (linalg.pinv, ANY),
    "matrix_power": (lambda x: linalg.matrix_power(x, 3), SQUARE),
    "matrix_power negative": (lambda x: linalg.matrix_power(x, -2), SQUARE),
    "diagonal": (lambda x: linalg.diagonal(x, offset=1), ANY),
    "trace": (linalg.trace, ANY),
    **{f"matrix_norm {o}": (lambda x, o=o: linalg.matrix_norm(x, ord=o), ANY)
       for o in ("fro", "nuc", 1, -1, 2, -2, INF, -INF)},
    **{f"vector_norm {o}": (lambda x, o=o: linalg.vector_norm(x, ord=o, axis=-1), ANY)
       for o in (0.5, 1, 2, 3, -1, INF, -INF)},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["float64", "complex128"])
@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_of_both_orders(name: str, kind: str) -> None:
    function, shapes = SMOOTH[name]
    for shape in shapes:
        before = passed[2]
        assert gradcheck(function, [random(*shape, kind=kind).requires_grad_()], order=2)
        CHECKED["gradients"] += passed[2] - before


@pytest.mark.parametrize("kind", ["float64", "complex128"])
def test_gradients_of_two_operands(kind: str) -> None:
    pairs = [((3, 3), (3, 2)), ((2, 3, 3), (3, 1)), ((3, 3), (2, 3, 2)), ((3, 3), (3,))]
    for a, b in pairs:
        some = [random(*one, kind=kind).requires_grad_() for one in (a, b)]
        assert gradcheck(linalg.solve, some, order=2)
    some = [random(*one, kind=kind).requires_grad_() for one in ((2, 3), (3,))]
    assert gradcheck(linalg.cross, some, order=2)


def test_the_gradient_of_a_singular_determinant() -> None:
    """Cofactors, not nan; beside a matrix that is not singular."""
    x = ml.asarray([np.diag([1.0, 2.0, 0.0]), np.diag([1.0, 2.0, 3.0])]).requires_grad_()
    ml.sum(linalg.det(x)).backward()
    wanted = np.stack([np.diag([0.0, 0.0, 2.0]), np.diag([6.0, 3.0, 2.0])])
    np.testing.assert_allclose(np.asarray(x.grad), wanted, atol=1e-12)


def test_the_norm_is_flat_at_zero() -> None:
    x = ml.zeros((2, 2), requires_grad=True)
    linalg.vector_norm(x).backward()
    assert x.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_equal_eigenvalues() -> None:
    """Have a gradient themselves; their vectors have none, which nan says and no number hides."""
    x = ml.eye(3, dtype=ml.float64).requires_grad_()
    w, v = linalg.eigh(x)
    assert ml.grad(lambda m: ml.sum(linalg.eigh(m).eigenvalues))(x).tolist() == np.eye(3).tolist()
    ml.sum((v * as_like(w, v)) @ v.mT).backward()
    assert not ml.all(ml.isfinite(x.grad)).item()
    assert ml.grad(lambda m: ml.sum(linalg.svdvals(m)))(x).tolist() == np.eye(3).tolist()


# -- factors make the matrix again, on every device ---------------------------------------------------------------


def devices() -> list[str]:
    return [device.id for device in ml.devices()]


@pytest.fixture(params=devices())
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MLCORE_FALLBACK", "allow")  # what a device has not, the host does
    with ml.device(request.param):
        yield request.param


def near(found: Any, wanted: Any, scale: float = 1.0) -> None:
    a, b = np.asarray(found), np.asarray(wanted)
    assert a.shape == b.shape
    eps = np.finfo(b.dtype).eps
    size = max(1.0, float(np.abs(b).max())) if b.size else 1.0
    np.testing.assert_allclose(a, b, rtol=0, atol=200 * eps * size * scale)
    CHECKED["elements"] += b.size


KINDS = ["float32", "float64", "complex64", "complex128"]
SHAPES = [(3, 3), (5, 2), (2, 5), (2, 4, 3), (3, 2, 6, 6), (0, 3), (3, 0), (0, 0), (0, 2, 2), (1, 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_factors_make_the_matrix_again(device: Any, kind: str) -> None:
    held = ml.asarray(0).device.backend.dtypes
    if getattr(ml, kind) not in held:
        pytest.skip(f"{device} holds no {kind}")
    for shape in SHAPES:
        x = random(*shape, kind=kind)
        u, s, vh = linalg.svd(x, full_matrices=False)
        near((u * as_like(s, u)) @ vh, x)
        near(linalg.svdvals(x), s)
        whole = linalg.svd(x)
        for one in (whole.U, whole.Vh):
            near(one @ mH(one), ml.broadcast_to(ml.eye(one.shape[-1], dtype=x.dtype), one.shape))
        for mode in ("reduced", "complete"):
            q, r = linalg.qr(x, mode=mode)
            near(q @ r, x)
            near(
                mH(q) @ q,
                ml.broadcast_to(ml.eye(q.shape[-1], dtype=x.dtype), (*x.shape[:-2], *q.shape[-1:] * 2)),
            )
            near(r, ml.triu(r))
        inverse = linalg.pinv(x)
        near(x @ inverse @ x, x, 50)
        assert linalg.matrix_rank(x).tolist() == ml.full(shape[:-2], min(shape[-2:])).tolist()
        if shape[-1] != shape[-2]:
            continue
        identity = ml.broadcast_to(ml.eye(shape[-1], dtype=x.dtype), x.shape)
        near(linalg.inv(x) @ x, identity, 50)
        near(x @ linalg.solve(x, identity), identity, 50)
        sign, size = linalg.slogdet(x)
        near(sign * ml.astype(ml.exp(size), sign.dtype), linalg.det(x), 10)
        w, v = linalg.eigh(symmetric(x))
        near((v * as_like(w, v)) @ mH(v), symmetric(x))
        near(linalg.eigvalsh(symmetric(x)), w)
        low = linalg.cholesky(definite(x))
        near(low @ mH(low), definite(x))
        up = linalg.cholesky(definite(x), upper=True)
        near(mH(up) @ up, definite(x))
        if ml.complex128 not in held:
            continue
        w, v = linalg.eig(x)
        near(v * ml.expand_dims(w, axis=-2), ml.astype(x, v.dtype) @ v, 50)


@pytest.mark.parametrize("layout", ["transposed", "sliced", "backwards", "broadcast"])
def test_layouts(layout: str) -> None:
    base = random(8, 8)
    x = {
        "transposed": lambda: base.mT, "sliced": lambda: base[::2, 1::2], "backwards": lambda: base[::-1, ::-1],
        "broadcast": lambda: ml.broadcast_to(base, (2, 8, 8)),
    }[layout]()  # fmt: skip
    host = np.array(np.asarray(x))
    near(linalg.inv(x), np.linalg.inv(host))
    near(linalg.det(x), np.linalg.det(host), 10)
    near(linalg.diagonal(x, offset=-1), np.diagonal(host, -1, -2, -1))
    near(linalg.svdvals(x), np.linalg.svd(host, compute_uv=False))


# -- refusals ---------------------------------------------------------------------------------------------------


def stack() -> Any:
    return ml.asarray([np.eye(2), np.zeros((2, 2))], dtype=ml.float32)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: linalg.inv(stack()), LinAlgError, r"inv: matrix \(1,\) of \(2,\) is singular"),
        (lambda: linalg.inv(ml.zeros((2, 2))), LinAlgError, "inv: the matrix is singular"),
        (lambda: linalg.solve(stack(), ml.ones(2)), LinAlgError, r"solve: matrix \(1,\)"),
        (lambda: linalg.cholesky(-ml.eye(2)), LinAlgError, "cholesky: the matrix is not positive definite"),
        (lambda: linalg.cholesky(stack()), LinAlgError, r"matrix \(1,\) of \(2,\) is not positive definite"),
        (lambda: linalg.svd(ml.full((2, 2), math.nan)), LinAlgError, "elements that are inf or nan"),
        (lambda: linalg.eig(ml.full((2, 2), math.nan)), LinAlgError, "elements that are inf or nan"),
        (lambda: linalg.matrix_power(ml.zeros((2, 2)), -1), LinAlgError, "singular"),
        (lambda: linalg.inv(ml.zeros((2, 3))), ShapeError, "matrices of 2 x 3"),
        (lambda: linalg.det(ml.zeros(3)), ShapeError, "is no matrix"),
        (lambda: linalg.solve(ml.eye(2), ml.ones(3)), ShapeError, "2 equations, 3 values"),
        (lambda: linalg.cross(ml.ones(2), ml.ones(2)), ShapeError, "must have 3 elements"),
        (
            lambda: linalg.inv(ml.ones((2, 2), dtype=ml.int32)),
            DTypeError,
            r"linalg\.inv: int32 is not accepted",
        ),
        (lambda: linalg.inv(ml.ones((2, 2), dtype=ml.float16)), DTypeError, r"linalg\.inv: float16"),
        (lambda: linalg.vector_norm(ml.ones(2, dtype=ml.int32)), DTypeError, "astype a floating dtype"),
        (lambda: linalg.matrix_norm(ml.eye(2), ord=3), ValueError, "use 'fro', 'nuc'"),
        (lambda: linalg.qr(ml.eye(2), mode="full"), ValueError, "use 'reduced' or 'complete'"),
        (
            lambda: linalg.qr(ml.ones((3, 2), requires_grad=True), mode="complete"),
            AutogradError,
            "use mode='reduced'",
        ),
    ],
)
def test_refusals(call: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


def test_a_singular_matrix_is_numpys_error_too() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        linalg.inv(ml.zeros((2, 2)))


def test_how_much_was_checked() -> None:
    print(dict(CHECKED))
