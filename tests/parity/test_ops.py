"""Forward and gradient of elementwise operations against PyTorch, over dtypes, broadcasting and devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from tests.parity.ops_kit import _on, compare, sample

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
__all__ = ["_on"]  # a fixture that every test uses

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
