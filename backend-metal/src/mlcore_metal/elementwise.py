"""Scalar formulas that MLX lacks, or means otherwise: division of integers, signs and bits of floats, activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore.dtypes import complexes, floating, integers, numeric, real
from mlcore_metal.catalog import kernel
from mlcore_metal.library import mx
from mlcore_metal.precise import erf, exp, sigmoid

SIGNED = (mx.int8, mx.int16, mx.int32, mx.int64)
UNSIGNED = (mx.uint8, mx.uint16, mx.uint32, mx.uint64)
INTEGERS = SIGNED + UNSIGNED
HALVES = (mx.float16, mx.bfloat16)
FLOATS = (*HALVES, mx.float32, mx.float64)
BITS_OF = {2: (mx.uint16, mx.int16), 4: (mx.uint32, mx.int32), 8: (mx.uint64, mx.int64)}


def scalar(value: Any, like: Any) -> Any:
    """A 0-d array of another's dtype."""
    return mx.array(value, dtype=like.dtype)


def narrow(x: Any, dtype: Any) -> Any:
    """`x` in `dtype`, by rounding once."""
    return x if x.dtype == dtype else x.astype(dtype)


def wide(x: Any) -> Any:
    """Two-byte floats as float32, in which formulas of several steps are computed; others as they are."""
    return x.astype(mx.float32) if x.dtype in HALVES else x


def in_float32(call: Any) -> Any:
    """A formula computed in float32 for two-byte floats, and rounded once."""

    def run(*inputs: Any) -> Any:
        dtype = inputs[0].dtype
        if dtype not in HALVES:
            return call(*inputs)
        return call(*[one.astype(mx.float32) for one in inputs]).astype(dtype)

    return run


# -- division ----------------------------------------------------------------------------------------------------


def _safe(x2: Any) -> Any:
    """A divisor without 0 and -1, of which the one and the least integer over the other end a process."""
    bad = x2 == scalar(0, x2)
    if x2.dtype in SIGNED:
        bad = bad | (x2 == scalar(-1, x2))
    return mx.where(bad, scalar(1, x2), x2)


@kernel("floor_divide", dtypes=real)
def floor_divide(x1: Any, x2: Any) -> Any:
    """Rounded down; by the integer 0, which the core refuses before, it is 0."""
    if x1.dtype in UNSIGNED:
        return mx.where(x2 == scalar(0, x2), scalar(0, x1), mx.divmod(x1, _safe(x2))[0])
    if x1.dtype in SIGNED:
        divisor = _safe(x2)
        quotient = mx.divmod(x1, divisor)[0]
        rest = x1 - quotient * divisor
        zero = scalar(0, x1)
        off = (rest != zero) & ((rest < zero) != (divisor < zero))  # the library rounds towards zero or down
        found = quotient - off.astype(x1.dtype)
        found = mx.where(x2 == scalar(-1, x2), -x1, found)
        return mx.where(x2 == zero, zero, found)
    return _floor_divide_floats(x1, x2)


@in_float32
def _floor_divide_floats(x1: Any, x2: Any) -> Any:
    """NumPy's: from the exact remainder, so that the quotient of multiples is exact; x1 / 0 is x1 / 0."""
    rest = _fmod(x1, x2)
    zero = scalar(0, x1)
    quotient = (x1 - rest) / x2
    off = (rest != zero) & ((rest < zero) != (x2 < zero))
    quotient = mx.where(off, quotient - scalar(1, x1), quotient)
    down = mx.floor(quotient)
    down = mx.where(quotient - down > scalar(0.5, x1), down + scalar(1, x1), down)
    signed_zero = mx.where(_negative(x1) != _negative(x2), scalar(-0.0, x1), zero)
    found = mx.where(quotient == zero, signed_zero, down)
    return mx.where(x2 == zero, x1 / x2, found)


@in_float32
def _fmod(x1: Any, x2: Any) -> Any:
    """The remainder of the quotient cut towards zero, with the sign of `x1`; nan for infinite x1 and for x2 0."""
    size, step = mx.abs(x1), mx.abs(x2)
    rest = mx.remainder(size, step)  # of numbers that are not negative both conventions agree
    rest = mx.where(mx.isinf(step) & mx.isfinite(size), size, rest)
    bad = mx.isinf(x1) | (x2 == scalar(0, x2)) | mx.isnan(x1) | mx.isnan(x2)
    rest = mx.where(bad, scalar(math.nan, x1), rest)
    return mx.where(_negative(x1), -rest, rest)


@kernel("remainder", dtypes=real)
def remainder(x1: Any, x2: Any) -> Any:
    """With the sign of `x2`; of integers by 0, which the core refuses before, it is 0."""
    if x1.dtype in INTEGERS:
        zero = scalar(0, x1)
        divisor = _safe(x2)
        rest = mx.remainder(x1, divisor)
        whole = (x2 == scalar(-1, x2)) | (x2 == zero) if x1.dtype in SIGNED else x2 == zero
        return mx.where(whole, zero, rest)
    return _remainder_floats(x1, x2)


@in_float32
def _remainder_floats(x1: Any, x2: Any) -> Any:
    rest = _fmod(x1, x2)
    zero = scalar(0, x1)
    moved = mx.where((rest < zero) != (x2 < zero), rest + x2, rest)
    none = mx.where(_negative(x2), scalar(-0.0, x1), zero)
    return mx.where(rest == zero, none, moved)


# -- signs and bits ------------------------------------------------------------------------------------------------


def _bits(x: Any) -> Any:
    return x.view(BITS_OF[x.dtype.size][0])


def _negative(x: Any) -> Any:
    """Whether the sign bit is set, of -0.0 and nan too."""
    return x.view(BITS_OF[x.dtype.size][1]) < 0


def _top_bit(x: Any) -> Any:
    """The integer of which only the first bit is set."""
    return mx.array(
        np.array(1, dtype=f"u{x.dtype.size}") << np.array(8 * x.dtype.size - 1, dtype=f"u{x.dtype.size}")
    )


@kernel("signbit", dtypes=floating)
def signbit(x: Any) -> Any:
    """The first bit."""
    return _negative(x)


@kernel("copysign", dtypes=floating)
def copysign(x1: Any, x2: Any) -> Any:
    """The bits of one, the first bit of the other."""
    top = _top_bit(x1)
    return ((_bits(x1) & ~top) | (_bits(x2) & top)).view(x1.dtype)


@kernel("nextafter", dtypes=floating)
def nextafter(x1: Any, x2: Any) -> Any:
    """Neighbours of floats are neighbours as integers."""
    x1, x2 = mx.broadcast_arrays(x1, x2)
    top = _top_bit(x1)
    one = scalar(1, top)
    bits = _bits(x1)
    away = (x1 < x2) != _negative(x1)  # from 0
    stepped = mx.where(away, bits + one, bits - one)
    least = mx.where(_negative(x2), top | one, one)
    found = mx.where(x1 == scalar(0, x1), least, stepped).view(x1.dtype)
    found = mx.where(x1 == x2, x2, found)
    return mx.where(mx.isnan(x1) | mx.isnan(x2), scalar(math.nan, x1), found)


@kernel("hypot", dtypes=floating)
@in_float32
def hypot(x1: Any, x2: Any) -> Any:
    """Scaled by the larger, so that nothing overflows on the way; infinite where either is."""
    a, b = mx.abs(x1), mx.abs(x2)
    large, small = mx.maximum(a, b), mx.minimum(a, b)
    ratio = small / mx.where(large == scalar(0, large), scalar(1, large), large)
    found = large * mx.sqrt(scalar(1, large) + ratio * ratio)
    return mx.where(mx.isinf(a) | mx.isinf(b), scalar(math.inf, large), found)


@kernel("sign", dtypes=numeric)
def sign(x: Any) -> Any:
    """nan of nan."""
    found = mx.sign(x)
    return mx.where(mx.isnan(x), x, found) if x.dtype in FLOATS else found


@kernel("bitwise_left_shift", dtypes=integers)
def left_shift(x: Any, count: Any) -> Any:
    """By the width or more, or by less than 0, every bit moves out."""
    return mx.where(_within(count), mx.left_shift(x, count), scalar(0, x))


@kernel("bitwise_right_shift", dtypes=integers)
def right_shift(x: Any, count: Any) -> Any:
    """By the width or more, or by less than 0, the sign is all that stays."""
    gone = mx.where(x < scalar(0, x), scalar(-1, x), scalar(0, x)) if x.dtype in SIGNED else scalar(0, x)
    return mx.where(_within(count), mx.right_shift(x, count), gone)


def _within(count: Any) -> Any:
    found = count < scalar(8 * count.dtype.size, count)
    return found & (count >= scalar(0, count)) if count.dtype in SIGNED else found


# -- powers, sums of exponentials -----------------------------------------------------------------------------------


@kernel("pow", dtypes=numeric)
def pow_(x1: Any, x2: Any) -> Any:
    """Anything to the power 0 is 1, of complex numbers too."""
    found = mx.power(x1, x2)
    return mx.where(x2 == scalar(0, x2), scalar(1, x1), found) if x1.dtype == mx.complex64 else found


@kernel("expm1", dtypes=floating | complexes)
def expm1(x: Any) -> Any:
    """Of complex numbers by parts: e**a cos b - 1 is expm1(a) cos b + (cos b - 1)."""
    if x.dtype != mx.complex64:
        return mx.expm1(x)
    a, b = mx.real(x), mx.imag(x)
    half = mx.sin(b * 0.5)
    real_part = mx.expm1(a) * mx.cos(b) - 2 * half * half
    return real_part + mx.array(1j) * (mx.exp(a) * mx.sin(b))


@kernel("logaddexp", dtypes=floating)
@in_float32
def logaddexp(x1: Any, x2: Any) -> Any:
    """The larger, and what the smaller adds; two equal infinities add nothing."""
    top = mx.maximum(x1, x2)
    more = mx.log1p(exp(-mx.abs(x1 - x2)))
    return mx.where(x1 == x2, x1 + scalar(math.log(2), x1), top + more)


# -- activations -----------------------------------------------------------------------------------------------------


@kernel("relu", dtypes=real)
def relu(x: Any) -> Any:
    return mx.maximum(x, scalar(0, x))


@kernel("relu_grad", dtypes=floating)
def relu_grad(g: Any, y: Any) -> Any:
    return mx.where(y > scalar(0, y), g, scalar(0, g))


@kernel("relu6", dtypes=floating)
def relu6(x: Any) -> Any:
    return mx.minimum(mx.maximum(x, scalar(0, x)), scalar(6, x))


@kernel("relu6_grad", dtypes=floating)
def relu6_grad(g: Any, y: Any) -> Any:
    return mx.where((y > scalar(0, y)) & (y < scalar(6, y)), g, scalar(0, g))


@kernel("tanh_grad", dtypes=floating)
@in_float32
def tanh_grad(g: Any, y: Any) -> Any:
    return g * (1 - y * y)


@kernel("sigmoid_grad", dtypes=floating)
@in_float32
def sigmoid_grad(g: Any, y: Any) -> Any:
    return g * (y * (1 - y))


@kernel("silu", dtypes=floating)
@in_float32
def silu(x: Any) -> Any:
    return x * sigmoid(x)


@kernel("silu_grad", dtypes=floating)
@in_float32
def silu_grad(g: Any, x: Any) -> Any:
    s = sigmoid(x)
    return g * (s * (1 + x * (1 - s)))


@kernel("softplus", dtypes=floating)
@in_float32
def softplus(x: Any) -> Any:
    return mx.maximum(x, scalar(0, x)) + mx.log1p(exp(-mx.abs(x)))


_ROOT = math.sqrt(2 / math.pi)


@kernel("gelu", dtypes=floating)
def gelu(x: Any, approximate: str) -> Any:
    """The one with erf, or its approximation by tanh."""
    v = wide(x)
    if approximate == "tanh":
        found = 0.5 * v * (1 + mx.tanh(_ROOT * (v + 0.044715 * v * v * v)))
    else:
        found = v * (0.5 * (1 + erf(v * math.sqrt(0.5))))
    return narrow(found, x.dtype)


@kernel("gelu_grad", dtypes=floating)
def gelu_grad(g: Any, x: Any, approximate: str) -> Any:
    v, w = wide(x), wide(g)
    if approximate == "tanh":
        t = mx.tanh(_ROOT * (v + 0.044715 * v * v * v))
        slope = 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * (_ROOT * (1 + 0.134145 * v * v))
    else:
        density = exp(v * v * -0.5) * (1 / math.sqrt(2 * math.pi))
        slope = 0.5 * (1 + erf(v * math.sqrt(0.5))) + v * density
    return narrow(w * slope, x.dtype)
