"""Numbers in few bits: quantised, computed with as whole numbers, and back."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import mlcore as ml
from mlcore.dtypes import from_numpy
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.conv import convolution
from mlcore.tensor import Tensor
from mlcore_onnx.ops.cast import narrowed, numpy_dtype
from mlcore_onnx.ops.conv import many, pads_of
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import HELD, dtype_of, on_host, to_numpy, together, widest


def spread(scale: Any, x: Any, axis: int, block_size: int) -> Any:
    """A scale or zero point in a shape that broadcasts with `x`: one number, one a place of an axis, or blocks."""
    if scale.ndim == 0 or (scale.ndim == 1 and scale.shape[0] == 1 and not block_size):
        return scale if scale.ndim == 0 else ml.reshape(scale, ())
    axis = axis % x.ndim
    if block_size:
        wide = ml.repeat(scale, block_size, axis=axis)
        return wide[(slice(None),) * axis + (slice(0, x.shape[axis]),)]
    if scale.ndim != 1 or scale.shape[0] != x.shape[axis]:
        raise ShapeError(f"a scale of {scale.shape} for {x.shape} along axis {axis}")
    return ml.reshape(scale, tuple(-1 if i == axis else 1 for i in range(x.ndim)))


def _floats(value: Any) -> Any:
    """Any numbers as a floating tensor (float32, unless they are floating already)."""
    if isinstance(value, Tensor):
        return value if value.dtype.kind == "f" else ml.astype(value, ml.float32)
    return on_host(value.astype(np.float32))


def _range(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]  # it has no types
    return int(info.min), int(info.max)


@onnx_op("QuantizeLinear", 10, raw=True)
def quantize_linear(
    x: Any, scale: Any, zero: Any = None, *, axis: int = 1, saturate: int = 1, block_size: int = 0,
    output_dtype: int = 0, precision: int = 0,
) -> Any:  # fmt: skip
    wanted = (
        numpy_dtype(output_dtype) if output_dtype else np.dtype(np.uint8) if zero is None else dtype_of(zero)
    )
    x, scale = together([_floats(x), _floats(scale)])
    wide = ml.float64 if x.dtype is ml.float64 else ml.float32
    y = ml.astype(x, wide) / ml.astype(spread(scale, x, axis, block_size), wide)
    if wanted.name.startswith("float"):
        return on_host(narrowed(to_numpy(y), wanted, bool(saturate)))
    y = ml.round(y)
    if zero is not None:
        offset = spread(together([x, _floats(zero)])[1], x, axis, block_size)
        y = y + ml.astype(offset, wide)
    low, high = _range(wanted)
    y = ml.minimum(ml.maximum(y, low), high)
    return ml.astype(y, from_numpy(wanted)) if wanted in HELD else on_host(narrowed(to_numpy(y), wanted))


@onnx_op("DequantizeLinear", 10, raw=True)
def dequantize_linear(
    x: Any, scale: Any, zero: Any = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Any:
    kind = from_numpy(numpy_dtype(output_dtype)) if output_dtype else from_numpy(dtype_of(_floats(scale)))
    values = [
        _floats(x) if not isinstance(x, Tensor) or x.dtype.kind == "f" else ml.astype(x, ml.float32),
        _floats(scale),
    ]
    values += [_floats(zero)] if zero is not None else []
    y, s, *z = together(values)
    y, s = ml.astype(y, ml.float32), ml.astype(s, ml.float32)
    if isinstance(x, Tensor) and x.dtype is ml.int32:  # all its bits count
        y = ml.astype(together([x, s])[0], widest(y))
    if z:
        y = y - spread(ml.astype(z[0], y.dtype), y, axis, block_size)
    return ml.astype(y * spread(ml.astype(s, y.dtype), y, axis, block_size), kind)


@onnx_op("DynamicQuantizeLinear", 11)
def dynamic_quantize(x: Any) -> Any:
    low = ml.minimum(ml.min(x), 0)
    high = ml.maximum(ml.max(x), 0)
    scale = (high - low) / 255
    safe = ml.where(ml.equal(scale, 0), 1, scale)
    zero = ml.minimum(ml.maximum(ml.round(ml.negative(low) / safe), 0), 255)
    y = ml.minimum(ml.maximum(ml.round(x / safe) + zero, 0), 255)
    return ml.astype(y, ml.uint8), scale, ml.astype(zero, ml.uint8)


def _centred(x: Any, zero: Any, axis: int | None, dtype: Any) -> Any:
    """Whole numbers less their zero point, which may be one for each place of an axis."""
    wide = ml.astype(x, dtype)
    if zero is None:
        return wide
    zero = ml.astype(zero, dtype)
    if zero.ndim == 1 and zero.shape[0] > 1 and axis is not None:
        zero = ml.reshape(zero, tuple(-1 if i == axis % x.ndim else 1 for i in range(x.ndim)))
    elif zero.ndim == 1 and zero.shape[0] == 1:
        zero = ml.reshape(zero, ())
    return wide - zero


@onnx_op("MatMulInteger", 10, grows=True)
def matmul_integer(a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    """Sums of products of bytes: exact in float64, which most devices multiply fast, else as whole numbers."""
    kind = widest(a) if widest(a) is ml.float64 else ml.int32
    left = _centred(a, a_zero, -2 if a.ndim > 1 else None, kind)
    right = _centred(b, b_zero, -1, kind)
    return ml.astype(ml.matmul(left, right), ml.int32)


@onnx_op("ConvInteger", 10)
def conv_integer(
    x: Any, w: Any, x_zero: Any = None, w_zero: Any = None, *, auto_pad: str = "NOTSET", dilations: Any = None,
    group: int = 1, kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    made = _whole_conv(x, w, x_zero, w_zero, auto_pad, dilations, group, pads, strides)
    return ml.astype(made, ml.int32)


def _whole_conv(
    x: Any,
    w: Any,
    x_zero: Any,
    w_zero: Any,
    auto_pad: str,
    dilations: Any,
    group: int,
    pads: Any,
    strides: Any,
) -> Any:
    rank = w.ndim - 2
    strides, dilations = many(strides, rank), many(dilations, rank)
    padding = pads_of(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    left, right = _centred(x, x_zero, None, widest(x)), _centred(w, w_zero, 0, widest(x))
    return convolution(left, right, stride=strides, padding=padding, dilation=dilations, groups=group)


def _requantised(y: Any, scale: Any, zero: Any) -> Any:
    low, high = _range(dtype_of(zero))
    made = ml.round(y * ml.astype(scale, y.dtype)) + ml.astype(zero, y.dtype)
    return ml.astype(ml.minimum(ml.maximum(made, low), high), zero.dtype)


@onnx_op("QLinearConv", 10)
def qlinear_conv(
    x: Any, x_scale: Any, x_zero: Any, w: Any, w_scale: Any, w_zero: Any, y_scale: Any, y_zero: Any, b: Any = None, *,
    auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1, kernel_shape: Any = None, pads: Any = None,
    strides: Any = None,
) -> Any:  # fmt: skip
    y = _whole_conv(x, w, x_zero, w_zero, auto_pad, dilations, group, pads, strides)
    wide = (1, -1, *(1,) * (y.ndim - 2))
    if b is not None:
        y = y + ml.reshape(ml.astype(b, y.dtype), wide)
    scale = ml.astype(x_scale, y.dtype) * ml.astype(w_scale, y.dtype) / ml.astype(y_scale, y.dtype)
    scale = ml.reshape(scale, wide) if scale.ndim and scale.shape[0] > 1 else ml.reshape(scale, ())
    return _requantised(y, scale, ml.reshape(y_zero, ()))


@onnx_op("QLinearMatMul", 10, raw=True)
def qlinear_matmul(
    a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any, y_zero: Any
) -> Any:
    wanted = dtype_of(y_zero)
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, zero = together(
        [_held(one) for one in (a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)]
    )
    y = ml.matmul(_centred(a, a_zero, -2, widest(a)), _centred(b, b_zero, -1, widest(a)))
    scale = _lined(a_scale, -2, y) * _lined(b_scale, -1, y) / ml.astype(y_scale, y.dtype)
    if wanted.name.startswith("float"):
        return on_host(narrowed(to_numpy(y * scale + ml.astype(zero, y.dtype)), wanted))
    low, high = _range(wanted)
    made = ml.round(y * scale) + ml.astype(zero, y.dtype)
    made = ml.minimum(ml.maximum(made, low), high)
    return (
        ml.astype(made, from_numpy(wanted)) if wanted in HELD else on_host(narrowed(to_numpy(made), wanted))
    )


def _held(value: Any) -> Any:
    return value if isinstance(value, Tensor) else on_host(value.astype(np.float32))


def _lined(scale: Any, axis: int, y: Any) -> Any:
    scale = ml.astype(scale, y.dtype)
    if scale.ndim == 1 and scale.shape[0] > 1:
        return ml.reshape(scale, (-1, 1) if axis == -2 else (1, -1))
    if scale.ndim > 2:
        raise ArgumentError(f"QLinearMatMul: a scale of {scale.shape}")
    return ml.reshape(scale, ()) if scale.size == 1 else scale
