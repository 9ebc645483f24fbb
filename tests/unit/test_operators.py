"""Python operators: plain, reflected, with scalars and with NumPy on either side."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

import mlcore as ml

ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "eq", "ne", "lt", "le", "gt", "ge"]
BITS = ["and_", "or_", "xor", "lshift", "rshift", "eq", "ne"]


def compare(found: Any, expected: Any, rtol: float = 1e-15) -> None:
    expected = np.asarray(expected)
    assert isinstance(found, ml.Tensor)
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.asarray(found), expected.astype(found.dtype.numpy), rtol=rtol)


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name: str, rng: np.random.Generator) -> None:
    op = getattr(operator, name)
    a, b = rng.uniform(0.5, 4, (2, 3)), rng.uniform(0.5, 4, (3,))
    x, y = ml.asarray(a), ml.asarray(b)
    compare(op(x, y), op(a, b))
    compare(op(y, x), op(b, a))
    compare(op(x, 2), op(a, 2))
    compare(op(2, x), op(2, a))
    compare(op(x, 2.5), op(a, 2.5))
    compare(op(2.5, x), op(2.5, a))
    compare(op(x, b), op(a, b))  # NumPy on the right
    compare(op(b, x), op(b, a))  # NumPy on the left: mlcore answers
    compare(op(x, np.float64(2.5)), op(a, 2.5))
    compare(op(np.float64(2.5), x), op(2.5, a))


@pytest.mark.parametrize("name", BITS)
def test_bits(name: str, rng: np.random.Generator) -> None:
    op = getattr(operator, name)
    a, b = rng.integers(0, 20, (2, 3)), rng.integers(0, 5, (3,))
    x, y = ml.asarray(a), ml.asarray(b)
    compare(op(x, y), op(a, b))
    compare(op(x, 3), op(a, 3))
    compare(op(3, x), op(3, a))
    compare(op(x, b), op(a, b))
    compare(op(a, y), op(a, b))
    if name in ("and_", "or_", "xor"):
        compare(op(x > 5, y > 2), op(a > 5, b > 2))
        compare(op(x > 5, True), op(a > 5, True))
        compare(op(True, x > 5), op(True, a > 5))


def test_unary_operators(rng: np.random.Generator) -> None:
    a = rng.standard_normal((2, 3))
    for op in (operator.neg, operator.pos, abs):
        compare(op(ml.asarray(a)), op(a))
    compare(~ml.asarray([1, -5, 0]), ~np.array([1, -5, 0]))
    compare(~ml.asarray([True, False]), np.array([False, True]))


@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
     ((5, 1, 2, 3), (4, 3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2))],
)  # fmt: skip
def test_matmul(a: Any, b: Any, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal(a), rng.standard_normal(b)
    compare(ml.asarray(x) @ ml.asarray(y), x @ y, 1e-13)
    compare(ml.asarray(x) @ y, x @ y, 1e-13)
    compare(x @ ml.asarray(y), x @ y, 1e-13)


def test_matmul_in_integers_and_complex(rng: np.random.Generator) -> None:
    i = rng.integers(-5, 5, (3, 3))
    compare(ml.asarray(i) @ ml.asarray(i), i @ i)
    c = rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3))
    compare(ml.asarray(c) @ ml.asarray(c), c @ c, 1e-13)


@pytest.mark.parametrize("other", [None, "text", object(), [1.0, 2.0], {}, (1.0,)])
def test_what_mlcore_does_not_know_is_refused(other: Any) -> None:
    x = ml.ones((2,))
    for op in (operator.add, operator.mul, operator.truediv, operator.lt):
        with pytest.raises(TypeError):
            op(x, other)
        with pytest.raises(TypeError):
            op(other, x)
    assert (x == other) is False
    assert (x != other) is True


def test_another_type_may_answer() -> None:
    class Unit:
        def __radd__(self, other: Any) -> str:
            return "Unit.__radd__"

        def __rmatmul__(self, other: Any) -> str:
            return "Unit.__rmatmul__"

    assert ml.ones((2,)) + Unit() == "Unit.__radd__"
    assert ml.ones((2, 2)) @ Unit() == "Unit.__rmatmul__"


def test_gradients_flow_through_reflected_operators() -> None:
    x = ml.asarray([2.0, 4.0], requires_grad=True)
    (8 / x + 3 - x + 2**x + np.asarray([1.0, 2.0], np.float32) * x).sum().backward()
    expected = -8 / np.array([4.0, 16.0]) - 1 + np.log(2) * 2 ** np.array([2.0, 4.0]) + np.array([1.0, 2.0])
    np.testing.assert_allclose(np.asarray(x.grad), expected, rtol=1e-6)


def test_division_follows_python(rng: np.random.Generator) -> None:
    a = rng.integers(-20, 20, 50)
    b = np.where((c := rng.integers(-5, 5, 50)) == 0, 3, c)
    for x, y in ((a, b), (a.astype(np.float64), b.astype(np.float64))):
        compare(ml.asarray(x) // ml.asarray(y), x // y)
        compare(ml.asarray(x) % ml.asarray(y), x % y)
    compare(ml.asarray(a) / ml.asarray(b), (a / b).astype(np.float32), 1e-7)
