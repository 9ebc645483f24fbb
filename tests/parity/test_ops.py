"""Forward and gradient of the operations against PyTorch, over dtypes, broadcasting and devices."""

# ruff: noqa: B023  (each lambda is called before its loop goes on)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlcore as ml

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

DEVICES = [str(d.id) for d in ml.devices()]
TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "complex128": 1e-12, "complex64": 2e-5}


@pytest.fixture(params=DEVICES, autouse=True)
def _on(request: pytest.FixtureRequest) -> Any:
    with ml.device(request.param):
        yield


def compare(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    arrays: list[Any],
    *,
    rtol: float | None = None,
    grad: bool = True,
) -> None:
    """The same function of the same arrays: values, and gradients for one random direction of the output."""
    tensors = [ml.asarray(a, requires_grad=grad and a.dtype.kind in "fc") for a in arrays]
    others = [torch.tensor(a, requires_grad=grad and a.dtype.kind in "fc") for a in arrays]
    y, z = ours(*tensors), theirs(*others)
    assert tuple(y.shape) == tuple(z.shape)
    host = z.detach().resolve_conj().numpy()
    assert y.dtype.numpy == host.dtype
    limit = rtol or TOLERANCE.get(host.dtype.name, 0)
    np.testing.assert_allclose(np.asarray(y), host, rtol=limit, atol=limit)
    if not grad or not z.requires_grad:
        assert not y.requires_grad or not grad or host.dtype.kind not in "fc"
        return
    rng = np.random.default_rng(7)
    weight = rng.standard_normal(host.shape).astype(host.real.dtype)
    if host.dtype.kind == "c":
        weight = (weight + 1j * rng.standard_normal(host.shape)).astype(host.dtype)
    y.backward(ml.asarray(weight))
    z.backward(torch.tensor(weight))
    for mine, other in zip(tensors, others, strict=True):
        if (
            other.grad is None or mine.grad is None
        ):  # no gradient, said as None here and perhaps as zeros there
            assert other.grad is None or not other.grad.any()
            assert mine.grad is None or not np.asarray(mine.grad).any()
            continue
        expected = other.grad.resolve_conj().numpy()
        assert mine.grad.dtype.numpy == expected.dtype
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(np.asarray(mine.grad), expected, rtol=limit, atol=limit * scale)


def sample(shape: Any, low: float, high: float, dtype: str = "float64", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.uniform(low, high, shape)
    if dtype.startswith("complex"):
        x = x + 1j * rng.uniform(low, high, shape)
    return np.asarray(x, dtype=dtype)


F = torch.nn.functional
UNARY: dict[str, tuple[Any, float, float]] = {
    "abs": (torch.abs, -5, 5),
    "acos": (torch.acos, -0.9, 0.9),
    "acosh": (torch.acosh, 1.1, 9),
    "asin": (torch.asin, -0.9, 0.9),
    "asinh": (torch.asinh, -9, 9),
    "atan": (torch.atan, -9, 9),
    "atanh": (torch.atanh, -0.9, 0.9),
    "ceil": (torch.ceil, -5, 5),
    "cos": (torch.cos, -9, 9),
    "cosh": (torch.cosh, -4, 4),
    "erf": (torch.erf, -3, 3),
    "exp": (torch.exp, -5, 5),
    "expm1": (torch.expm1, -3, 3),
    "floor": (torch.floor, -5, 5),
    "gelu": (F.gelu, -5, 5),
    "log": (torch.log, 0.1, 9),
    "log10": (torch.log10, 0.1, 9),
    "log1p": (torch.log1p, -0.8, 9),
    "log2": (torch.log2, 0.1, 9),
    "negative": (torch.neg, -5, 5),
    "positive": (lambda t: +t, -5, 5),
    "reciprocal": (torch.reciprocal, 0.5, 5),
    "relu": (torch.relu, -5, 5),
    "round": (torch.round, -5, 5),
    "rsqrt": (torch.rsqrt, 0.2, 9),
    "sigmoid": (torch.sigmoid, -9, 9),
    "sign": (lambda t: torch.sign(t), -5, 5),
    "silu": (F.silu, -9, 9),
    "sin": (torch.sin, -9, 9),
    "sinh": (torch.sinh, -4, 4),
    "softplus": (F.softplus, -9, 9),
    "sqrt": (torch.sqrt, 0.1, 9),
    "square": (torch.square, -5, 5),
    "tan": (torch.tan, -1.3, 1.3),
    "tanh": (torch.tanh, -4, 4),
    "trunc": (torch.trunc, -5, 5),
}
SHAPES: list[Any] = [(), (7,), (3, 4), (2, 0, 3)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str, dtype: str) -> None:
    theirs, low, high = UNARY[name]
    for shape in SHAPES:
        if name == "sign":
            compare(ml.sign, theirs, [sample(shape, low, high, dtype)], grad=False)
        else:
            compare(getattr(ml, name), theirs, [sample(shape, low, high, dtype)])


PREDICATES = ["isfinite", "isinf", "isnan", "signbit", "logical_not"]


@pytest.mark.parametrize("name", PREDICATES)
def test_predicates(name: str) -> None:
    x = np.array([0.0, -0.0, 1.5, np.inf, -np.inf, np.nan])
    compare(getattr(ml, name), getattr(torch, name), [x], grad=False)


def test_gelu_tanh_and_special_values() -> None:
    compare(lambda t: ml.gelu(t, "tanh"), lambda t: F.gelu(t, approximate="tanh"), [sample((5, 6), -5, 5)])
    extremes = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, -1e300, 1e-310])
    for name, (theirs, _, _) in UNARY.items():
        if name in ("gelu", "silu", "sign"):
            continue  # x * 0 at -inf is nan in one form and 0 in another; the sign of nan is nan in the Array API
        with np.errstate(all="ignore"):
            compare(getattr(ml, name), theirs, [extremes], grad=False)


BINARY: dict[str, tuple[Any, float, float]] = {
    "add": (torch.add, -5, 5),
    "subtract": (torch.sub, -5, 5),
    "multiply": (torch.mul, -5, 5),
    "divide": (torch.div, 0.5, 5),
    "pow": (torch.pow, 0.3, 3),
    "maximum": (torch.maximum, -5, 5),
    "minimum": (torch.minimum, -5, 5),
    "atan2": (torch.atan2, 0.2, 5),
    "hypot": (torch.hypot, 0.2, 5),
    "logaddexp": (torch.logaddexp, -9, 9),
    "copysign": (torch.copysign, -5, 5),
    "remainder": (torch.remainder, 0.5, 5),
}
PAIRS: list[Any] = [
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((4,), (3, 4)),
    ((3, 1), (1, 4)),
    ((), (3,)),
    ((2, 0), (1, 1)),
    ((2, 1, 3), (4, 1)),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str, dtype: str) -> None:
    theirs, low, high = BINARY[name]
    for a, b in PAIRS:
        compare(getattr(ml, name), theirs, [sample(a, low, high, dtype), sample(b, low, high, dtype, 1)])
    x = sample((3, 4), low, high, dtype)
    if name != "copysign":
        compare(
            lambda t: getattr(ml, name)(t, 2.5), lambda t: theirs(t, torch.tensor(2.5, dtype=t.dtype)), [x]
        )
        compare(
            lambda t: getattr(ml, name)(2.5, t), lambda t: theirs(torch.tensor(2.5, dtype=t.dtype), t), [x]
        )


def test_ties_of_maximum_share_the_gradient() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 3.0])
    compare(ml.maximum, torch.maximum, [a, b])
    compare(ml.minimum, torch.minimum, [a, b])
    tied = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    compare(lambda t: ml.max(t, axis=1), lambda t: torch.amax(t, 1), [tied])
    compare(lambda t: ml.min(t), lambda t: torch.amin(t), [tied])


COMPARISONS = {
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name: str) -> None:
    a, b = np.array([0.0, 1, 2, np.nan, np.inf]), np.array([[0.0], [2], [np.nan], [np.inf]])
    compare(getattr(ml, name), COMPARISONS[name], [a, b], grad=False)
    compare(getattr(ml, name), COMPARISONS[name], [np.arange(-2, 3), np.array([[1], [0]])], grad=False)


INTEGERS = {
    "bitwise_and": torch.bitwise_and,
    "bitwise_or": torch.bitwise_or,
    "bitwise_xor": torch.bitwise_xor,
    "floor_divide": torch.floor_divide,
    "remainder": torch.remainder,
    "maximum": torch.maximum,
    "add": torch.add,
    "multiply": torch.mul,
    "subtract": torch.sub,
}


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
@pytest.mark.parametrize("name", INTEGERS)
def test_integers(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 120, (4, 5)).astype(dtype), rng.integers(1, 9, (5,)).astype(dtype)
    if dtype[0] == "i":
        a = (a - 60).astype(dtype)
    compare(getattr(ml, name), INTEGERS[name], [a, b], grad=False)


# -- complex: the gradient is the conjugate of the derivative, as in PyTorch ------------------------------------

HOLOMORPHIC = [
    "exp",
    "log",
    "sin",
    "cos",
    "tan",
    "sinh",
    "cosh",
    "tanh",
    "asin",
    "acos",
    "atan",
    "sqrt",
    "square",
    "reciprocal",
    "asinh",
    "acosh",
    "atanh",
    "log10",
    "log2",
    "log1p",
    "expm1",
    "negative",
    "positive",
]


@pytest.mark.parametrize("dtype", ["complex128", "complex64"])
@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_complex_unary(name: str, dtype: str) -> None:
    compare(getattr(ml, name), UNARY[name][0], [sample((3, 4), 0.2, 0.8, dtype)])


def test_complex_functions() -> None:
    a, b = sample((3, 4), 0.5, 2, "complex128"), sample((4,), 0.5, 2, "complex128", 1)
    r = sample((4,), 0.5, 2, "float64", 2)
    for f in (
        lambda x, y: x * y,
        lambda x, y: x / y,
        lambda x, y: x + y,
        lambda x, y: x - y,
        lambda x, y: x**y,
    ):
        compare(f, f, [a, b], rtol=1e-11)
        compare(f, f, [a, r], rtol=1e-11)  # the gradient of a real input is real
    compare(ml.abs, torch.abs, [a])
    compare(ml.real, torch.real, [a])
    compare(ml.imag, torch.imag, [a])
    compare(lambda x: ml.conj(x) * x, lambda x: torch.conj(x) * x, [a])
    compare(lambda x: ml.real(x) * ml.imag(x), lambda x: torch.real(x) * torch.imag(x), [a])
    compare(lambda x, y: x @ y, lambda x, y: x @ y, [a, sample((4, 2), -1, 1, "complex128", 3)])
    compare(lambda x: ml.sum(x, axis=0), lambda x: x.sum(0), [a])
    compare(lambda x: ml.mean(x), lambda x: x.mean(), [a])
    compare(lambda x: ml.prod(x, axis=1), lambda x: x.prod(1), [a], rtol=1e-11)
    compare(lambda x: ml.cumulative_sum(x, axis=1), lambda x: x.cumsum(1), [a])
    compare(lambda x: x.mT.reshape(2, 6)[1], lambda x: x.mT.reshape(2, 6)[1], [a])
    compare(lambda x, y: ml.where(ml.real(x) > 1, x, y), lambda x, y: torch.where(x.real > 1, x, y), [a, b])
    compare(lambda x: x.astype("complex64"), lambda x: x.to(torch.complex64), [a], rtol=1e-5)
    compare(
        lambda x: (x * (2 + 1j)).astype("complex128"), lambda x: (x * (2 + 1j)).to(torch.complex128), [r + 0j]
    )


# -- reductions, shapes, indices ---------------------------------------------------------------------------------

REDUCTIONS: dict[str, tuple[Any, Any]] = {
    "sum": (ml.sum, torch.sum),
    "mean": (ml.mean, torch.mean),
    "max": (ml.max, torch.amax),
    "min": (ml.min, torch.amin),
    "logsumexp": (ml.logsumexp, torch.logsumexp),
    "var": (ml.var, lambda t, d, keepdim: torch.var(t, d, correction=0, keepdim=keepdim)),
    "std": (ml.std, lambda t, d, keepdim: torch.std(t, d, correction=0, keepdim=keepdim)),
    "prod": (ml.prod, lambda t, d, keepdim: torch.prod(t, d, keepdim=keepdim)),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str, dtype: str) -> None:
    ours, theirs = REDUCTIONS[name]
    x = sample((3, 4, 5), 0.5, 2, dtype)
    for axis in [0, 1, -1] if name == "prod" else [0, -1, (0, 2), (0, 1, 2)]:
        for keep in (False, True):
            compare(lambda t: ours(t, axis=axis, keepdims=keep), lambda t: theirs(t, axis, keepdim=keep), [x])
    if name == "prod":
        zeros = np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 2.0], [2.0, 3.0, 4.0]], dtype=dtype)
        compare(lambda t: ml.prod(t, axis=1), lambda t: torch.prod(t, 1), [zeros])
        compare(lambda t: ml.prod(t), lambda t: torch.prod(t), [zeros])


AXIS: list[tuple[str, Any, Any]] = [
    ("softmax", lambda t, a: ml.softmax(t, axis=a), lambda t, a: torch.softmax(t, a)),
    ("log_softmax", lambda t, a: ml.log_softmax(t, axis=a), lambda t, a: torch.log_softmax(t, a)),
    ("cumulative_sum", lambda t, a: ml.cumulative_sum(t, axis=a), lambda t, a: torch.cumsum(t, a)),
    ("cumulative_prod", lambda t, a: ml.cumulative_prod(t, axis=a), lambda t, a: torch.cumprod(t, a)),
    ("sort", lambda t, a: ml.sort(t, axis=a), lambda t, a: torch.sort(t, a)[0]),
    (
        "sort down",
        lambda t, a: ml.sort(t, axis=a, descending=True),
        lambda t, a: torch.sort(t, a, descending=True)[0],
    ),
    ("topk", lambda t, a: ml.topk(t, 2, axis=a)[0], lambda t, a: torch.topk(t, 2, a)[0]),
    ("flip", lambda t, a: ml.flip(t, axis=a), lambda t, a: torch.flip(t, (a,))),
    ("roll", lambda t, a: ml.roll(t, 2, axis=a), lambda t, a: torch.roll(t, 2, a)),
    ("norm", lambda t, a: ml.norm(t, axis=a), lambda t, a: torch.linalg.vector_norm(t, dim=a)),
    ("norm 1", lambda t, a: ml.norm(t, 1, axis=a), lambda t, a: torch.linalg.vector_norm(t, 1, dim=a)),
    ("norm 3", lambda t, a: ml.norm(t, 3, axis=a), lambda t, a: torch.linalg.vector_norm(t, 3, dim=a)),
    (
        "norm inf",
        lambda t, a: ml.norm(t, np.inf, axis=a),
        lambda t, a: torch.linalg.vector_norm(t, np.inf, dim=a),
    ),
    ("stack", lambda t, a: ml.stack([t, t * 2], axis=a), lambda t, a: torch.stack([t, t * 2], a)),
    ("concat", lambda t, a: ml.concat([t, t * 2, t], axis=a), lambda t, a: torch.cat([t, t * 2, t], a)),
    ("repeat", lambda t, a: ml.repeat(t, 3, axis=a), lambda t, a: torch.repeat_interleave(t, 3, a)),
    ("split", lambda t, a: ml.split(t, 2, axis=a)[1], lambda t, a: torch.split(t, 2, a)[1]),
    ("unstack", lambda t, a: ml.unstack(t, axis=a)[1], lambda t, a: torch.unbind(t, a)[1]),
    (
        "take",
        lambda t, a: ml.take(t, ml.asarray([2, 0, 2]), axis=a),
        lambda t, a: torch.index_select(t, a, torch.tensor([2, 0, 2])),
    ),
]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(("ours", "theirs"), [row[1:] for row in AXIS], ids=[row[0] for row in AXIS])
def test_along_an_axis(ours: Any, theirs: Any, axis: int) -> None:
    x = sample((4, 5, 3), 0.5, 2)
    compare(lambda t: ours(t, axis), lambda t: theirs(t, axis), [x])
    compare(lambda t: ours(t, axis), lambda t: theirs(t, axis), [x.astype(np.float32)])


GENERAL: list[tuple[str, Any, Any, list[Any]]] = [
    ("permute", lambda t: t.permute_dims(2, 0, 1), lambda t: t.permute(2, 0, 1), [(2, 3, 4)]),
    ("swapaxes", lambda t: ml.swapaxes(t, 0, 2), lambda t: t.swapaxes(0, 2), [(2, 3, 4)]),
    (
        "moveaxis",
        lambda t: ml.moveaxis(t, (0, 1), (-1, 0)),
        lambda t: t.movedim((0, 1), (-1, 0)),
        [(2, 3, 4)],
    ),
    ("reshape", lambda t: t.reshape(4, -1), lambda t: t.reshape(4, -1), [(2, 3, 4)]),
    ("flatten", lambda t: ml.flatten(t, 1), lambda t: t.flatten(1), [(2, 3, 4)]),
    ("squeeze", lambda t: ml.squeeze(t, 1), lambda t: t.squeeze(1), [(2, 1, 4)]),
    ("expand", lambda t: ml.broadcast_to(t, (5, 2, 3)), lambda t: t.expand(5, 2, 3), [(2, 1)]),
    ("tile", lambda t: ml.tile(t, (2, 3)), lambda t: t.tile((2, 3)), [(2, 3)]),
    (
        "pad",
        lambda t: ml.pad(t, ((1, 0), (2, 3)), value=1.5),
        lambda t: F.pad(t, (2, 3, 1, 0), value=1.5),
        [(2, 3)],
    ),
    ("tril", lambda t: ml.tril(t, k=-1), lambda t: t.tril(-1), [(2, 4, 4)]),
    ("triu", lambda t: ml.triu(t, k=1), lambda t: t.triu(1), [(4, 3)]),
    ("diagonal", lambda t: ml.einsum("ii->i", t), lambda t: torch.einsum("ii->i", t), [(4, 4)]),
    ("matmul", lambda a, b: a @ b, lambda a, b: a @ b, [(5, 2, 3), (3, 4)]),
    ("matmul batch", lambda a, b: a @ b, lambda a, b: a @ b, [(2, 3), (5, 3, 4)]),
    ("matmul wide", lambda a, b: a @ b, lambda a, b: a @ b, [(5, 1, 2, 3), (4, 3, 2)]),
    ("matvec", lambda a, b: a @ b, lambda a, b: a @ b, [(5, 2, 3), (3,)]),
    ("vecmat", lambda a, b: a @ b, lambda a, b: a @ b, [(3,), (5, 3, 2)]),
    ("dot", lambda a, b: a @ b, lambda a, b: a @ b, [(3,), (3,)]),
    ("outer", ml.outer, torch.outer, [(3,), (4,)]),
    ("vecdot", ml.vecdot, torch.linalg.vecdot, [(2, 3), (2, 3)]),
    (
        "tensordot",
        lambda a, b: ml.tensordot(a, b, axes=([0, 2], [1, 0])),
        lambda a, b: torch.tensordot(a, b, ([0, 2], [1, 0])),
        [(2, 3, 4), (4, 2, 5)],
    ),
    (
        "einsum",
        lambda a, b, c: ml.einsum("bij,jk,bk->ib", a, b, c),
        lambda a, b, c: torch.einsum("bij,jk,bk->ib", a, b, c),
        [(2, 3, 4), (4, 5), (2, 5)],
    ),
    (
        "where",
        lambda a, b: ml.where(a > b, a, b * 2),
        lambda a, b: torch.where(a > b, a, b * 2),
        [(3, 1), (4,)],
    ),
    ("slice", lambda t: t[1:, ::2, None, 0], lambda t: t[1:, ::2, None, 0], [(3, 5, 2)]),
    ("fancy", lambda t: t[[0, 2, 0], :, [1, 1, 0]], lambda t: t[[0, 2, 0], :, [1, 1, 0]], [(3, 5, 2)]),
    ("mask", lambda t: t[t > 0.7], lambda t: t[t > 0.7], [(3, 5)]),
    (
        "gather",
        lambda t: ml.take_along_axis(t, ml.asarray([[0, 2], [1, 1]]), axis=1),
        lambda t: torch.gather(t, 1, torch.tensor([[0, 2], [1, 1]])),
        [(2, 3)],
    ),
    (
        "clip",
        lambda t: ml.clip(t, 0.6, 0.9),
        lambda t: torch.clip(t, 0.6, 0.9),
        [(3, 4)],
    ),
    ("clip below", lambda t: t.clip(0.6), lambda t: t.clip(0.6), [(3, 4)]),
    ("clip above", lambda t: t.clip(max=0.8), lambda t: t.clip(max=0.8), [(3, 4)]),
    ("clip open", lambda t: t.clip() * 2, lambda t: t * 2, [(3, 4)]),
    (
        "clip between",
        lambda t, a, b: ml.clip(t, a, b),
        lambda t, a, b: torch.clip(t, a, b),
        [(3, 4), (4,), (3, 1)],
    ),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("ours", "theirs", "shapes"), [row[1:] for row in GENERAL], ids=[row[0] for row in GENERAL]
)
def test_general(ours: Any, theirs: Any, shapes: list[Any], dtype: str) -> None:
    compare(ours, theirs, [sample(s, 0.5, 1, dtype, i) for i, s in enumerate(shapes)])


def test_assignment() -> None:
    def ours(x: Any, w: Any) -> Any:
        y = x * 2
        y[1:, ::2] = w
        y[0] += 1
        return y * x

    def theirs(x: Any, w: Any) -> Any:
        y = x * 2
        y[1:, ::2] = w
        y[0] += 1
        return y * x

    compare(ours, theirs, [sample((3, 5), -1, 1), sample((2, 3), -1, 1, seed=1)])


def test_second_order() -> None:
    x = sample((6,), 0.3, 0.9)
    for name, (theirs, _, _) in UNARY.items():
        if name in ("ceil", "floor", "round", "trunc", "sign", "acosh"):
            continue
        t = ml.asarray(x, requires_grad=True)
        (first,) = ml.autograd.grad(getattr(ml, name)(t).sum(), t, create_graph=True)
        u = torch.tensor(x, requires_grad=True)
        (other,) = torch.autograd.grad(theirs(u).sum(), u, create_graph=True)
        (expected,) = (
            torch.autograd.grad((other * other).sum(), u, allow_unused=True)
            if other.requires_grad
            else (None,)
        )
        if not first.requires_grad:  # a constant slope
            assert expected is None or not expected.any(), name
            continue
        (second,) = ml.autograd.grad((first * first).sum(), t)
        np.testing.assert_allclose(np.asarray(second), expected.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)
