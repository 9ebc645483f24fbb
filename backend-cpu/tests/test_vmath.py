"""The float32 vector functions: ulp over dense samples of the whole range, and the special values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from cpu_helpers import kernel

SPECIAL = np.array(
    [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1.0,
        -1.0,
        1e-45,
        -1e-45,
        1e-38,
        3.4028235e38,
        -3.4028235e38,
        0.5,
        2.0,
    ],
    "f",
)


def everywhere(count: int = 400_000) -> np.ndarray[Any, Any]:
    """Bit patterns spread evenly over all float32 values."""
    bits = np.linspace(0, 2**32 - 1, count).astype(np.uint64).astype(np.uint32)
    return bits.view(np.float32)


def near(low: float, high: float, count: int = 200_000) -> np.ndarray[Any, Any]:
    return np.linspace(low, high, count).astype(np.float32)


def ulp_error(got: Any, want: Any) -> np.ndarray[Any, Any]:
    """Distance from the exact value in units of its last float32 place; 0 where both are the same non-finite."""
    with np.errstate(all="ignore"):
        rounded = want.astype(np.float32)
        place = np.spacing(np.abs(np.where(np.isfinite(rounded), rounded, 1))).astype(np.float64)
        error = np.abs(got.astype(np.float64) - want) / place
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(
        same,
        np.where(np.isfinite(rounded), np.nan_to_num(error), 0),
        np.where(np.isfinite(error), error, np.inf),
    )


def erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes=[float])(x)


def sigmoid(x: Any) -> Any:
    return np.where(x >= 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x)))


CASES = [
    ("exp", np.exp, (-104, 89), 2),
    ("expm1", np.expm1, (-20, 89), 2),
    ("log", np.log, (0, 4), 2),
    ("log2", np.log2, (0, 4), 1),
    ("log10", np.log10, (0, 4), 1),
    ("log1p", np.log1p, (-1, 2), 1),
    ("sin", np.sin, (-1000, 1000), 1),
    ("cos", np.cos, (-1000, 1000), 1),
    ("tan", np.tan, (-1000, 1000), 1),
    ("sinh", np.sinh, (-89, 89), 1),
    ("cosh", np.cosh, (-89, 89), 1),
    ("tanh", np.tanh, (-10, 10), 4),
    ("asinh", np.arcsinh, (-10, 10), 1),
    ("acosh", np.arccosh, (1, 10), 1),
    ("atanh", np.arctanh, (-1, 1), 1),
    ("sigmoid", sigmoid, (-104, 104), 3),
    ("sqrt", np.sqrt, (0, 10), 1),
    ("rsqrt", lambda x: 1 / np.sqrt(x), (0, 10), 2),
    ("asin", np.arcsin, (-1, 1), 2),
    ("acos", np.arccos, (-1, 1), 2),
    ("atan", np.arctan, (-10, 10), 2),
]


@pytest.mark.parametrize(("name", "reference", "interval", "ulp"), CASES, ids=[case[0] for case in CASES])
def test_unary_function(name: str, reference: Any, interval: Any, ulp: float) -> None:
    for x in (near(*interval), everywhere(), SPECIAL):
        with np.errstate(all="ignore"):
            want = reference(x.astype(np.float64))
        y = kernel(name)(x)
        error = ulp_error(y, want)
        worst = int(error.argmax())
        assert error[worst] <= ulp, (
            f"{name}({x[worst]!r}) = {y[worst]!r}, exactly {want[worst]!r}: {error[worst]:.2f} ulp"
        )
        if name not in ("cosh", "cos", "exp", "sigmoid", "rsqrt", "acos", "log", "log2", "log10", "acosh"):
            zero = np.zeros(40, "f")
            assert not np.signbit(kernel(name)(zero)).any()
            assert np.signbit(kernel(name)(-zero)).all()


def test_erf() -> None:
    for x in (near(-5, 5, 50_000), everywhere(20_000), SPECIAL):
        with np.errstate(all="ignore"):
            error = ulp_error(kernel("erf")(x), erf(x.astype(np.float64)))
        assert error.max() <= 2, float(x[error.argmax()])


def test_pow(rng: Any) -> None:
    bases = np.concatenate(
        [rng.uniform(0, 4, 100_000), 10.0 ** rng.uniform(-44, 38, 100_000), rng.uniform(-4, 0, 50_000)]
    ).astype("f")
    powers = np.concatenate([rng.uniform(-60, 60, 200_000), np.rint(rng.uniform(-20, 20, 50_000))]).astype(
        "f"
    )
    with np.errstate(all="ignore"):
        error = ulp_error(
            kernel("pow")(bases, powers), np.power(bases.astype(np.float64), powers.astype(np.float64))
        )
        assert error.max() <= 1, (bases[error.argmax()], powers[error.argmax()])
        x, y = (
            grid.ravel()
            for grid in np.meshgrid(
                SPECIAL, np.append(SPECIAL, [3.0, -3.0, 1e9, 16777217.0, -2.5]).astype("f")
            )
        )
        got, want = kernel("pow")(x, y), np.power(x, y)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.signbit(got)[~np.isnan(got)], np.signbit(want)[~np.isnan(want)])
    np.testing.assert_allclose(got, want, rtol=3e-7)


def test_results_do_not_depend_on_the_position(rng: Any) -> None:
    """The vector body and the scalar tail of a loop compute the same bits."""
    x = rng.uniform(0.1, 8, 67).astype("f")
    for name in ("exp", "log", "tanh", "sin", "erf", "sigmoid", "log1p", "expm1", "cosh"):
        whole = kernel(name)(x)
        singly = np.concatenate([kernel(name)(x[i : i + 1]) for i in range(67)])
        np.testing.assert_array_equal(whole, singly, err_msg=name)
    whole = kernel("pow")(x, x)
    np.testing.assert_array_equal(
        whole, np.concatenate([kernel("pow")(x[i : i + 1], x[i : i + 1]) for i in range(67)])
    )


def test_huge_arguments_of_trigonometric_functions() -> None:
    x = np.array([1e5, 1.1e5, 1e10, 1e22, 3.4e38, 2.0**24, 710.0] * 100, "f")
    for name, reference in (("sin", math.sin), ("cos", math.cos), ("tan", math.tan)):
        want = np.array([reference(float(v)) for v in x])
        assert ulp_error(kernel(name)(x), want).max() <= 1, name


F64_CASES = [
    ("exp", np.exp, (-746, 710), 2),
    ("expm1", np.expm1, (-40, 710), 3),
    ("log", np.log, (0, 4), 2),
    ("tanh", np.tanh, (-20, 20), 4),
    ("sigmoid", sigmoid, (-740, 740), 4),
]


@pytest.mark.parametrize(("name", "reference", "interval", "ulp"), F64_CASES, ids=[c[0] for c in F64_CASES])
def test_unary_function_float64(name: str, reference: Any, interval: Any, ulp: float) -> None:
    """Against the 64-bit mantissa of long double."""
    bits = np.linspace(0, 2**63, 100_000).astype(np.uint64)
    everywhere64 = np.concatenate([bits, bits | np.uint64(2**63)]).view(np.float64)
    for x in (
        np.linspace(*interval, 100_000),
        everywhere64,
        SPECIAL.astype(np.float64),
        np.linspace(-1, 1, 20_001),
    ):
        with np.errstate(all="ignore"):
            want = reference(x.astype(np.longdouble))
            y = kernel(name)(x)
            rounded = want.astype(np.float64)
            place = np.spacing(np.abs(np.where(np.isfinite(rounded), rounded, 1))).astype(np.longdouble)
            error = np.abs(y.astype(np.longdouble) - want) / place
        same = (y == rounded) | (np.isnan(y) & np.isnan(rounded))
        error = np.where(same, 0, np.where(np.isfinite(error), error, np.inf))
        worst = int(error.argmax())
        assert error[worst] <= ulp, (name, x[worst], y[worst], rounded[worst], float(error[worst]))
