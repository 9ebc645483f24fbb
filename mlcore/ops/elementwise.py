"""Elementwise arithmetic, comparison, logic and elementary functions (Array API names)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore import engine, inputs
from mlcore.dtypes import booleans, complexes, everything, float32, floating, inexact, integers, numeric, real
from mlcore.errors import ArgumentError, DivisionError
from mlcore.ops.cases import sample
from mlcore.ops.spec import Outs, binary, elementwise, out, primitive, to_bool, to_real, unary
from mlcore.shapes import broadcast

bits = booleans | integers


def _along(g: Any, slope: Any) -> Any:
    """g times the conjugate of a holomorphic slope; the conjugate of a real one is itself."""
    return g * (conj(slope) if slope.dtype in complexes else slope)


def _same(x: Any) -> Any:
    return x


# -- dtype ---------------------------------------------------------------------------------------------------


@primitive(
    reference=lambda x, dtype: _astype(x, dtype.numpy),
    vjp=lambda g, x_dtype: _cast_back(g, x_dtype),
    method=True,
    public=False,
    ignores=("copy",),
    elementwise=True,
    casts_integers=False,
    samples=lambda: [
        *(
            dict(dtype=name)
            for name in ("float16", "bfloat16", "float32", "float64", "bool", "complex64", "complex128")
        ),
        *(
            sample(dtype=name, special=False, derive={"x": lambda x: abs(x) if x.dtype in numeric else x})
            for name in ("int8", "int32", "int64", "uint8", "uint64")
        ),
        sample(dtype="int32", special=False),
    ],
)
def astype(x: Any, /, dtype: Any, *, copy: bool = True) -> Outs:
    """The values of `x` as another dtype.

    Floats become integers by truncation; out of range, and from nan, the result is unspecified but never a crash.
    Raises DTypeError for complex to real: take `real(x)` or `abs(x)`.

    >>> import mlcore as ml
    >>> ml.astype(ml.asarray([1.7, -1.7]), ml.int32).tolist()
    [1, -1]
    """
    from mlcore.dtypes import as_dtype
    from mlcore.errors import DTypeError

    chosen = as_dtype(dtype)
    if x.dtype in complexes and chosen not in complexes and chosen not in booleans:
        raise DTypeError(
            f"astype: {x.dtype} to {chosen} would drop the imaginary part", fix="use real(x) or abs(x)"
        )
    return out(x.shape, chosen, chosen)


def _astype(x: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    with np.errstate(all="ignore"):
        return x.astype(dtype)


def _cast_back(g: Any, dtype: Any) -> Any:
    return astype(real_(g) if g.dtype in complexes and dtype not in complexes else g, dtype=dtype)


# -- arithmetic ----------------------------------------------------------------------------------------------


def _no_zero(x: Any, y: Any) -> None:
    """Integer division by zero has no value: refuse it before the kernel."""
    if y.dtype in integers and (y == 0).any().item():
        raise DivisionError(
            f"integer division by zero: the divisor of shape {y.shape}, {y.dtype}, contains 0",
            fix="astype a floating dtype to get inf or nan, or mask the zeros with where()",
        )


def _no_negative_power(x: Any, y: Any) -> None:
    if y.dtype in integers and (y < 0).any().item():
        raise ArgumentError(
            "pow: integers to negative powers are not integers", fix="astype a floating dtype first"
        )


add = binary(
    "add", "Sum of `x1` and `x2`.\n\n>>> import mlcore as ml\n>>> ml.add(ml.asarray([1, 2]), 3).tolist()\n[4, 5]",
    reference=np.add, c={"biufc": "x1 + x2"}, accepts=numeric, domain=(-10, 10), operators=("__add__", "__radd__"),
    vjp=(lambda g: g, lambda g: g),
)  # fmt: skip
subtract = binary(
    "subtract", "Difference `x1 - x2`.", reference=np.subtract, c="x1 - x2", accepts=numeric, domain=(-10, 10),
    operators=("__sub__", "__rsub__"), vjp=(lambda g: g, lambda g: -g),
)  # fmt: skip
multiply = binary(
    "multiply", "Product of `x1` and `x2`.", reference=np.multiply, c="x1 * x2", accepts=numeric, domain=(-10, 10),
    operators=("__mul__", "__rmul__"), ulp=1, vjp=(lambda g, x2: _along(g, x2), lambda g, x1: _along(g, x1)),
)  # fmt: skip
divide = binary(
    "divide", "Quotient `x1 / x2`; integers divide as floats.", reference=np.divide, c="x1 / x2", accepts=inexact,
    domain=((-10, 10), (0.5, 10)), ulp=2, operators=("__truediv__", "__rtruediv__"),
    vjp=(lambda g, x2: g / _conj(x2), lambda g, x2, y: -g * _conj(y / x2)),
)  # fmt: skip
_SIGNS = [sample(), sample(derive={"x2": lambda x2: -x2})]
floor_divide = binary(
    "floor_divide", "Quotient rounded down. Integer division by zero raises DivisionError.", samples=lambda: _SIGNS,
    reference=np.floor_divide, accepts=real, domain=((-10, 10), (1, 10)), check=_no_zero,
    c={"f": "floor_divide(x1, x2)", "i": "floor_divide(x1, x2)", "u": "x2 == 0 ? 0 : x1 / x2"},
    operators=("__floordiv__", "__rfloordiv__"),
)  # fmt: skip
remainder = binary(
    "remainder", "Remainder of `floor_divide`, with the sign of `x2`. Integer division by zero raises DivisionError.",
    samples=lambda: _SIGNS,
    reference=np.remainder, accepts=real, domain=((-10, 10), (1, 10)), check=_no_zero,
    c={"f": "remainder(x1, x2)", "i": "remainder(x1, x2)", "u": "x2 == 0 ? 0 : x1 % x2"},
    operators=("__mod__", "__rmod__"), vjp=(lambda g: g, lambda g, x1, x2: -g * floor(x1 / x2)),
)  # fmt: skip
pow = binary(
    "pow", "`x1` to the power `x2`. Integers to negative powers raise ArgumentError.", reference=np.power,
    c={"f": "pow(x1, x2)", "iu": "pow(x1, x2)"}, accepts=numeric, domain=((0.1, 4), (-2, 3)), ulp=8,
    check=_no_negative_power, operators=("__pow__", "__rpow__"),
    samples=lambda: [sample(derive={"x2": lambda x2: abs(x2) if x2.dtype in integers else x2})],
    vjp=(
        lambda g, x1, x2: g * _conj(x2 * x1 ** (x2 - 1)),
        lambda g, x1, y: g * _conj(where(x1 == 0, 0.0, y * log(where(x1 == 0, 1.0, x1)))),
    ),
)  # fmt: skip
maximum = binary(
    "maximum", "Larger of `x1` and `x2`; nan if either is.", reference=np.maximum, c="max(x1, x2)", accepts=real,
    vjp=(lambda g, x1, x2: g * _picked(x1, x2), lambda g, x1, x2: g * _picked(x2, x1)),
)  # fmt: skip
minimum = binary(
    "minimum", "Smaller of `x1` and `x2`; nan if either is.", reference=np.minimum, c="min(x1, x2)", accepts=real,
    vjp=(lambda g, x1, x2: g * _picked(x2, x1), lambda g, x1, x2: g * _picked(x1, x2)),
)  # fmt: skip


def _picked(a: Any, b: Any) -> Any:
    """1 where `a > b`, 1/2 where they tie, as a weight for the gradient."""
    return where(a > b, 1.0, where(a == b, 0.5, 0.0)).astype(a.dtype)


def _conj(x: Any) -> Any:
    return conj(x) if x.dtype in complexes else x


atan2 = binary(
    "atan2", "Angle of the point (`x2`, `x1`), in radians from -pi to pi.", reference=np.arctan2, c="atan2(x1, x2)",
    accepts=floating, domain=(-5, 5), ulp=4,
    vjp=(lambda g, x1, x2: g * x2 / (x1 * x1 + x2 * x2), lambda g, x1, x2: -g * x1 / (x1 * x1 + x2 * x2)),
)  # fmt: skip
hypot = binary(
    "hypot", "Length of the hypotenuse, `sqrt(x1**2 + x2**2)` without overflow.", reference=np.hypot,
    c="hypot(x1, x2)", accepts=floating, domain=(-5, 5), ulp=2,
    vjp=(lambda g, x1, y: g * x1 / y, lambda g, x2, y: g * x2 / y),
)  # fmt: skip
logaddexp = binary(
    "logaddexp", "`log(exp(x1) + exp(x2))` without overflow.", reference=np.logaddexp, accepts=floating,
    domain=(-10, 10), ulp=8, c="x1 == x2 ? x1 + T(0.6931471805599453) : max(x1, x2) + log1p(exp(-fabs(x1 - x2)))",
    vjp=(lambda g, x1, y: g * exp(x1 - y), lambda g, x2, y: g * exp(x2 - y)),
)  # fmt: skip
copysign = binary(
    "copysign", "Magnitude of `x1` with the sign of `x2`.", reference=np.copysign, c="copysign(x1, x2)",
    accepts=floating, vjp=(lambda g, x1, x2: g * where((x1 < 0) == signbit(x2), 1.0, -1.0).astype(g.dtype), None),
)  # fmt: skip
nextafter = binary(
    "nextafter", "The next representable value after `x1` in the direction of `x2`.", reference=np.nextafter,
    c="nextafter(x1, x2)", accepts=floating,
)  # fmt: skip

# -- sign, rounding, parts -----------------------------------------------------------------------------------

positive = unary(
    "positive",
    "`x` itself.",
    reference=np.array,
    c="x",
    accepts=everything,
    operators=("__pos__",),
    vjp=lambda g: g,
)
negative = unary(
    "negative",
    "`-x`.",
    reference=np.negative,
    c="-x",
    accepts=numeric,
    operators=("__neg__",),
    vjp=lambda g: -g,
)
abs = unary(
    "abs", "Magnitude of `x`.", reference=np.abs, c={"f": "fabs(x)", "i": "x < 0 ? -x : x", "u": "x"}, accepts=numeric,
    result=to_real, operators=("__abs__",), vjp=lambda g, x: g * (_direction(x) if x.dtype in complexes else sign(x)),
)  # fmt: skip


def _direction(x: Any) -> Any:
    """The sign of complex numbers, with a gradient of its own."""
    size = abs(x)
    return x / where(size == 0, 1.0, size)


sign = unary(
    "sign", "-1, 0 or 1; `x / |x|` for complex; nan for nan.",
    reference=lambda x: np.sign(x), c={"f": "x != x ? x : T((x > 0) - (x < 0))", "i": "T((x > 0) - (x < 0))",
    "u": "T(x > 0)"}, accepts=numeric,
)  # fmt: skip
signbit = unary(
    "signbit", "Whether the sign bit is set, also of -0.0.", reference=np.signbit, c="signbit(x)", accepts=floating,
    result=to_bool,
)  # fmt: skip
reciprocal = unary(
    "reciprocal", "`1 / x`.", reference=np.reciprocal, c="T(1) / x", accepts=inexact, domain=(0.5, 10), ulp=2,
    vjp=lambda g, y: -g * _conj(y * y), body=lambda x: 1 / x,
)  # fmt: skip
square = unary(
    "square", "`x * x`.", reference=np.square, c="x * x", accepts=numeric, domain=(-10, 10), ulp=1,
    vjp=lambda g, x: g * _conj(2 * x),
)  # fmt: skip
floor = unary(
    "floor", "Rounded down.", reference=np.floor, c={"f": "floor(x)", "iu": "x"}, accepts=real,
    vjp=lambda g: g * 0,
)  # fmt: skip
ceil = unary(
    "ceil", "Rounded up.", reference=np.ceil, c={"f": "ceil(x)", "iu": "x"}, accepts=real, vjp=lambda g: g * 0
)
trunc = unary(
    "trunc", "Rounded towards zero.", reference=np.trunc, c={"f": "trunc(x)", "iu": "x"}, accepts=real,
    vjp=lambda g: g * 0,
)  # fmt: skip
round = unary(
    "round", "Rounded to the nearest integer, halves to even; complex numbers part by part.", reference=np.round,
    c={"f": "rint(x)", "iu": "x"}, accepts=numeric, vjp=lambda g: g * 0,
)  # fmt: skip
real_ = unary(
    "real", "Real part of a complex tensor.", reference=lambda x: np.array(np.real(x)), accepts=complexes,
    result=to_real, vjp=lambda g: g * complex(1), public=False, method=False,
)  # fmt: skip
imag = unary(
    "imag",
    "Imaginary part of a complex tensor.",
    reference=lambda x: np.array(np.imag(x)),
    accepts=complexes,
    result=to_real,
    vjp=lambda g: g * complex(0, 1),
)
conj = unary(
    "conj",
    "Complex conjugate; `x` itself where real.",
    reference=np.conj,
    accepts=numeric,
    c={"iuf": "x"},
    vjp=lambda g: conj(g),
)

# -- elementary functions ------------------------------------------------------------------------------------

exp = unary(
    "exp", "`e**x`.\n\n>>> import mlcore as ml\n>>> ml.exp(ml.zeros((2,))).tolist()\n[1.0, 1.0]", reference=np.exp,
    c="exp(x)", accepts=inexact, domain=(-10, 10), ulp=4, vjp=lambda g, y: _along(g, y),
)  # fmt: skip
expm1 = unary(
    "expm1", "`e**x - 1`, exact near 0.", reference=np.expm1, c="expm1(x)", accepts=inexact, domain=(-5, 5), ulp=4,
    vjp=lambda g, y: _along(g, y + 1),
)  # fmt: skip
log = unary(
    "log", "Natural logarithm.", reference=np.log, c="log(x)", accepts=inexact, domain=(0.01, 100), ulp=4,
    vjp=lambda g, x: g / _conj(x),
)  # fmt: skip
log1p = unary(
    "log1p", "`log(1 + x)`, exact near 0.", reference=np.log1p, c="log1p(x)", accepts=inexact, domain=(-0.9, 10),
    ulp=4, vjp=lambda g, x: g / _conj(1 + x),
)  # fmt: skip
log2 = unary(
    "log2", "Logarithm to base 2.", reference=np.log2, c="log2(x)", accepts=inexact, domain=(0.01, 100), ulp=4,
    vjp=lambda g, x: g / _conj(x * math.log(2)),
)  # fmt: skip
log10 = unary(
    "log10", "Logarithm to base 10.", reference=np.log10, c="log10(x)", accepts=inexact, domain=(0.01, 100), ulp=4,
    vjp=lambda g, x: g / _conj(x * math.log(10)),
)  # fmt: skip
sqrt = unary(
    "sqrt", "Square root.", reference=np.sqrt, c="sqrt(x)", accepts=inexact, domain=(0.01, 100), ulp=1,
    vjp=lambda g, y: g / _conj(2 * y),
)  # fmt: skip
rsqrt = unary(
    "rsqrt", "`1 / sqrt(x)`.", reference=lambda x: (1 / np.sqrt(x)).astype(x.dtype), c="T(1) / sqrt(x)",
    accepts=floating, domain=(0.1, 100), ulp=2, body=lambda x: 1 / sqrt(x), vjp=lambda g, y: g * (y * y * y) * -0.5,
)  # fmt: skip
sin = unary(
    "sin", "Sine of radians.", reference=np.sin, c="sin(x)", accepts=inexact, domain=(-10, 10), ulp=4,
    vjp=lambda g, x: _along(g, cos(x)),
)  # fmt: skip
cos = unary(
    "cos", "Cosine of radians.", reference=np.cos, c="cos(x)", accepts=inexact, domain=(-10, 10), ulp=4,
    vjp=lambda g, x: _along(-g, sin(x)),
)  # fmt: skip
tan = unary(
    "tan", "Tangent of radians.", reference=np.tan, c="tan(x)", accepts=inexact, domain=(-1.4, 1.4), ulp=5,
    vjp=lambda g, y: _along(g, 1 + y * y),
)  # fmt: skip
asin = unary(
    "asin", "Inverse sine, in radians.", reference=np.arcsin, c="asin(x)", accepts=inexact, domain=(-0.95, 0.95),
    ulp=4, vjp=lambda g, x: g / _conj(sqrt(1 - x * x)),
)  # fmt: skip
acos = unary(
    "acos", "Inverse cosine, in radians.", reference=np.arccos, c="acos(x)", accepts=inexact, domain=(-0.95, 0.95),
    ulp=4, vjp=lambda g, x: -g / _conj(sqrt(1 - x * x)),
)  # fmt: skip
atan = unary(
    "atan", "Inverse tangent, in radians.", reference=np.arctan, c="atan(x)", accepts=inexact, domain=(-10, 10),
    ulp=4, vjp=lambda g, x: g / _conj(1 + x * x),
)  # fmt: skip
sinh = unary(
    "sinh", "Hyperbolic sine.", reference=np.sinh, c="sinh(x)", accepts=inexact, domain=(-5, 5), ulp=4,
    vjp=lambda g, x: _along(g, cosh(x)),
)  # fmt: skip
cosh = unary(
    "cosh", "Hyperbolic cosine.", reference=np.cosh, c="cosh(x)", accepts=inexact, domain=(-5, 5), ulp=4,
    vjp=lambda g, x: _along(g, sinh(x)),
)  # fmt: skip
tanh = unary(
    "tanh", "Hyperbolic tangent.", reference=np.tanh, c="tanh(x)", accepts=inexact, domain=(-5, 5), ulp=4,
    vjp=lambda g, y: tanh_grad(g, y) if y.dtype in floating else _along(g, 1 - y * y),
)  # fmt: skip
asinh = unary(
    "asinh", "Inverse hyperbolic sine.", reference=np.arcsinh, c="asinh(x)", accepts=inexact, domain=(-10, 10), ulp=4,
    vjp=lambda g, x: g / _conj(sqrt(1 + x * x)),
)  # fmt: skip
acosh = unary(
    "acosh", "Inverse hyperbolic cosine.", reference=np.arccosh, c="acosh(x)", accepts=inexact, domain=(1.1, 10),
    ulp=4, vjp=lambda g, x: g / _conj(sqrt(x - 1) * sqrt(x + 1)),
)  # fmt: skip
atanh = unary(
    "atanh", "Inverse hyperbolic tangent.", reference=np.arctanh, c="atanh(x)", accepts=inexact, domain=(-0.95, 0.95),
    ulp=4, vjp=lambda g, x: g / _conj(1 - x * x),
)  # fmt: skip


def _erf(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(_erf_float64(x.astype(np.float64)), dtype=x.dtype)


_erf_float64 = np.vectorize(math.erf, otypes=[np.float64])


_ERF_NEAR = (
    (
        1.85777706184603153e-1,
        3.16112374387056560,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_ERF_FAR = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
     8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip


def _erf_body(x: Any) -> Any:
    """W. J. Cody, "Rational Chebyshev approximations for the error function" (1969): full double precision."""
    if x.dtype in floating and x.dtype.itemsize == 2:  # the coefficients overflow there
        return astype(_erf_body(astype(x, float32)), x.dtype)
    size = minimum(abs(x), 6.0)  # erf is 1 to the last bit from there on
    near = x * _rational(_ERF_NEAR, x * x)
    far = sign(x) * (1 - exp(-size * size) * _rational(_ERF_FAR, size))
    return where(size < 0.46875, near, far)


def _rational(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Any) -> Any:
    """The quotient of two polynomials, highest power first."""
    top, bottom = (_horner(one, x) for one in coefficients)
    return top / bottom


def _horner(coefficients: tuple[float, ...], x: Any) -> Any:
    value = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        value = value * x + coefficient
    return value


erf = unary(
    "erf", "Error function, `2/sqrt(pi)` times the integral of `exp(-t*t)` from 0 to `x`.", reference=_erf,
    c="erf(x)", accepts=floating, domain=(-4, 4), ulp=4, body=_erf_body,
    vjp=lambda g, x: g * (2 / math.sqrt(math.pi)) * exp(-x * x),
)  # fmt: skip
tanh_grad = binary(
    "tanh_grad", "Gradient of tanh from the incoming gradient `x1` and the output `x2`: `x1 * (1 - x2 * x2)`.",
    reference=lambda g, y: g * (1 - y * y), c="x1 * (T(1) - x2 * x2)", accepts=floating, domain=(-0.95, 0.95), ulp=4,
    body=lambda g, y: g * (1 - y * y), method=False,
    vjp=(lambda g, x2: g * (1 - x2 * x2), lambda g, x1, x2: g * x1 * (-2 * x2)),
)  # fmt: skip


_TRIPLES: list[list[tuple[int, ...]]] = [
    [(3,), (3,), (3,)], [(4, 1), (1, 5), ()], [(), (2, 3), (3,)], [(0, 3), (3,), ()], [(1029,), (1029,), (1029,)],
]  # fmt: skip


@elementwise(
    reference=np.where,
    c="x1 ? x2 : x3",
    promote=("x1", "x2"),
    method=False,
    samples=lambda: [sample(shapes, booleans=["condition"]) for shapes in _TRIPLES],
    vjp=(None, lambda g, condition: where(condition, g, 0), lambda g, condition: where(condition, 0, g)),
)
def where(condition: Any, x1: Any, x2: Any, /) -> Outs:
    """`x1` where `condition` (bool) is true, `x2` elsewhere; the three broadcast.

    >>> import mlcore as ml
    >>> ml.where(ml.asarray([True, False]), 1.0, 2.0).tolist()
    [1.0, 2.0]
    """
    from mlcore.errors import DTypeError

    if condition.dtype not in booleans:
        raise DTypeError(
            f"where: condition is {condition.dtype}, expected bool", fix="compare it, e.g. condition != 0"
        )
    return out(broadcast("where", condition.shape, x1.shape, x2.shape), x1.dtype)


inputs._casts.append(astype)
engine.IDENTITY.append(positive)
engine.PLUS.append(add)
