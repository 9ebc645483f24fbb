"""Functions that MLX's processor build computes in float32 precision, or less, made whole.

There `exp`, `sin`, `cos` and `sigmoid` of float64 carry float32's error, and `erf` is an approximation that is 0 near
0. The GPU has no float64, and an `erf` that is good to an ulp.
"""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import floating, inexact
from mlcore_metal.catalog import kernel, maker
from mlcore_metal.library import mx

ON_GPU = bool(mx.metal.is_available())


@kernel("exp", dtypes=inexact)
def exp(x: Any) -> Any:
    """Of float64 from sinh and cosh of the half, which are exact there: e**x is the square of their sum.

    Of float32 on a processor, where results below 2**-126 would be 0, there the square of the half's.
    """
    if x.dtype == mx.float32 and not ON_GPU:
        low = mx.exp(x * 0.5)
        return mx.where(x < -87.0, low * low, mx.exp(x))
    if x.dtype != mx.float64:
        return mx.exp(x)
    half = mx.abs(x) * 0.5
    up = mx.sinh(half) + mx.cosh(half)
    root = mx.where(x < 0, 1.0 / up, up)
    return mx.where(mx.isnan(x), x, root * root)


@kernel("sin", dtypes=inexact)
def sin(x: Any) -> Any:
    """Of float64 from the tangent of the half."""
    if x.dtype != mx.float64:
        return mx.sin(x)
    t = mx.tan(x * 0.5)
    return 2.0 * t / (1.0 + t * t)


@kernel("cos", dtypes=inexact)
def cos(x: Any) -> Any:
    """Of float64 from the tangent of the half."""
    if x.dtype != mx.float64:
        return mx.cos(x)
    t = mx.tan(x * 0.5)
    return (1.0 - t) * (1.0 + t) / (1.0 + t * t)


@kernel("sigmoid", dtypes=floating)
def sigmoid(x: Any) -> Any:
    """MLX's on a GPU and of two-byte floats; else without its loss of small results."""
    if x.dtype.size < 4 or ON_GPU:
        return mx.sigmoid(x)
    small = exp(-mx.abs(x))
    return mx.where(x >= 0, 1.0, small) / (1.0 + small)


# W. J. Cody, "Rational Chebyshev approximations for the error function" (1969), highest power first.
_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_FAR = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
     8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip


def _quotient(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Any) -> Any:
    found = []
    for row in coefficients:
        value = x * row[0] + row[1]
        for one in row[2:]:
            value = value * x + one
        found.append(value)
    return found[0] / found[1]


def erf_by_quotients(x: Any) -> Any:
    """The error function by two quotients of polynomials, to the last bits."""
    v = x.astype(mx.float32) if x.dtype.size < 4 else x
    size = mx.minimum(mx.abs(v), 6.0)  # erf is 1 to the last bit from there on
    near = v * _quotient(_NEAR, v * v)
    far = mx.sign(v) * (1 - exp(-size * size) * _quotient(_FAR, size))
    found = mx.where(size < 0.46875, near, far)
    return mx.where(mx.isnan(v), v, found).astype(x.dtype)


erf = mx.erf if ON_GPU else erf_by_quotients


@maker("erf", dtypes=floating)
def _erf(op: Any, backend: Any) -> Any:
    return erf
