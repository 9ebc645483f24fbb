"""Arithmetic and logic, element by element, where ONNX differs from mlcore's operation of that name or has more."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import on_host, to_numpy, together, widest


def whole_quotient(a: Any, b: Any) -> Any:
    """Integer division that rounds towards zero, as C does."""
    quotient = ml.floor_divide(a, b)
    if a.dtype.kind == "u":
        return quotient
    inexact = ml.not_equal(quotient * b, a)
    return ml.where(ml.logical_and(inexact, ml.less(quotient, 0)), quotient + 1, quotient)


@onnx_op("Div", 7)
def div(a: Any, b: Any) -> Any:
    return whole_quotient(a, b) if a.dtype.kind in "iu" else ml.divide(a, b)


@onnx_op("Mod", 10)
def mod(a: Any, b: Any, *, fmod: int = 0) -> Any:
    if not fmod:
        return ml.remainder(a, b)
    if a.dtype.kind == "u":
        return ml.remainder(a, b)
    if a.dtype.kind == "i":
        return a - whole_quotient(a, b) * b
    rest = ml.remainder(ml.abs(a), ml.abs(b))
    return ml.where(ml.less(a, 0), ml.negative(rest), rest)


@onnx_op("Pow", 7)
def pow_(base: Any, exponent: Any) -> Any:
    if base.dtype is exponent.dtype:
        if base.dtype.kind == "f":
            return ml.pow(base, exponent)
        wide = ml.pow(ml.astype(base, widest(base)), ml.astype(exponent, widest(base)))
        return ml.astype(wide, base.dtype) if bool(ml.any(ml.less(exponent, 0))) else ml.pow(base, exponent)
    if base.dtype.kind == "f":
        return ml.pow(base, ml.astype(exponent, base.dtype))
    return ml.astype(ml.pow(ml.astype(base, widest(base)), ml.astype(exponent, widest(base))), base.dtype)


@onnx_op("Equal", 7, raw=True)
def equal(a: Any, b: Any) -> Any:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return on_host(np.asarray(to_numpy(a) == to_numpy(b), bool))
    return ml.equal(*together([a, b]))


@onnx_op("Sum", 6)
def sum_(*xs: Any) -> Any:
    return reduce(ml.add, xs)


@onnx_op("Mean", 6)
def mean(*xs: Any) -> Any:
    return reduce(ml.add, xs) / len(xs)


@onnx_op("Max", 6)
def max_(*xs: Any) -> Any:
    return reduce(ml.maximum, xs)


@onnx_op("Min", 6)
def min_(*xs: Any) -> Any:
    return reduce(ml.minimum, xs)


@onnx_op("Clip", 6, 10)
def clip_6(x: Any, *, min: float = -3.4028234663852886e38, max: float = 3.4028234663852886e38) -> Any:
    return _clip(x, min if min > -3e38 else None, max if max < 3e38 else None)


@onnx_op("Clip", 11, host=("min", "max"))
def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    return _clip(x, None if min is None else min.item(), None if max is None else max.item())


def _clip(x: Any, low: Any, high: Any) -> Any:
    if low == 0 and high == 6 and x.dtype.kind == "f":
        return ml.relu6(x)
    if low is not None:
        x = ml.maximum(x, low)
    return x if high is None else ml.minimum(x, high)


@onnx_op("Relu", 6)
def relu(x: Any) -> Any:
    return ml.relu(x) if x.dtype.kind == "f" else ml.maximum(x, 0)


@onnx_op("IsInf", 10)
def is_inf(x: Any, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    found = ml.isinf(x)
    if not detect_negative:
        found = ml.logical_and(found, ml.greater(x, 0))
    if not detect_positive:
        found = ml.logical_and(found, ml.less(x, 0))
    return found


@onnx_op("BitShift", 11)
def bit_shift(x: Any, y: Any, *, direction: str) -> Any:
    if direction not in ("LEFT", "RIGHT"):
        raise ArgumentError(f"BitShift: direction {direction!r}", fix="'LEFT' or 'RIGHT'")
    shifted = ml.bitwise_left_shift(x, y) if direction == "LEFT" else ml.bitwise_right_shift(x, y)
    wide = x.dtype.itemsize * 8
    past = ml.zeros_like(x)
    if x.dtype.kind == "i" and direction == "RIGHT":
        past = ml.where(ml.less(x, 0), ml.full_like(x, -1), past)
    return ml.where(ml.greater_equal(y, wide), past, shifted)


@onnx_op("Where", 9, moves=True)
def where(condition: Any, x: Any, y: Any) -> Any:
    return ml.where(condition, x, y)


@onnx_op("Identity", 1, raw=True)
def identity(x: Any) -> Any:
    return x
