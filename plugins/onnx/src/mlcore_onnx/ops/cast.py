"""Changing the type of elements: what tensors hold on their device, texts and the narrow types on the host."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

import mlcore as ml
from mlcore.dtypes import from_numpy
from mlcore.errors import ArgumentError, UnsupportedOpError
from mlcore.tensor import Tensor
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import HELD, cast_to, dtype_of, on_host, to_numpy

_SCALE = getattr(ml_dtypes, "float8_e8m0fnu", None)


def numpy_dtype(code: int) -> np.dtype[Any]:
    """The NumPy type of ONNX's number for it."""
    try:
        if code == TensorProto.STRING:
            return np.dtype(object)
        return np.dtype(helper.tensor_dtype_to_np_dtype(code))
    except (KeyError, TypeError) as error:
        raise ArgumentError(f"element type {code}", cause="ONNX has no such type") from error


@onnx_op("Cast", 6, raw=True)
def cast(x: Any, *, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    return cast_value(x, numpy_dtype(to), bool(saturate), round_mode)


@onnx_op("CastLike", 15, raw=True)
def cast_like(x: Any, like: Any, *, saturate: int = 1, round_mode: str = "up") -> Any:
    return cast_value(x, dtype_of(like), bool(saturate), round_mode)


def cast_value(x: Any, dtype: np.dtype[Any], saturate: bool = True, round_mode: str = "up") -> Any:
    """A tensor or host array in another type."""
    if isinstance(x, Tensor) and dtype in HELD:
        return cast_to(x, dtype)
    array = to_numpy(x)
    if array.dtype.kind in "OUS" and dtype.kind not in "OUS":
        array = _parsed(array, dtype)
    if dtype.kind in "OUS":
        return _printed(array)
    return on_host(narrowed(array, dtype, saturate, round_mode))


def _parsed(texts: Any, dtype: np.dtype[Any]) -> Any:
    try:
        if dtype.kind in "iub" and dtype in HELD:
            return np.asarray([int(one) for one in texts.reshape(-1)]).reshape(texts.shape)
        return np.asarray([float(one) for one in texts.reshape(-1)], np.float64).reshape(texts.shape)
    except ValueError as error:
        raise ArgumentError("Cast of a text that is no number", cause=str(error)) from error


def _printed(array: Any) -> Any:
    """Numbers as texts, as C++ would write them for the type."""
    if array.dtype.kind in "OUS":
        return array.astype(object)
    found = np.empty(array.shape, object)
    if array.dtype.kind in "iub":
        texts = [str(int(one)) for one in array.reshape(-1)]
    else:
        texts = [
            str(one) for one in (array if array.dtype.kind == "f" else array.astype(np.float32)).reshape(-1)
        ]
    found.reshape(-1)[:] = [{"inf": "INF", "-inf": "-INF", "nan": "NaN"}.get(one, one) for one in texts]
    return found


def narrowed(array: Any, dtype: np.dtype[Any], saturate: bool = True, round_mode: str = "up") -> Any:
    """A host array in one of the narrow types, or out of it."""
    array = np.asarray(array)
    if _SCALE is not None and dtype == _SCALE:
        return _scale(array, saturate, round_mode)
    with np.errstate(all="ignore"):
        if array.dtype not in HELD and dtype.kind in "biuf" and dtype in HELD:
            return array.astype(np.float32).astype(dtype)
        if dtype.name.startswith("float8") or dtype.name.startswith("float4"):
            info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]  # it has no types
            wide = array.astype(np.float32)
            narrow = wide.astype(dtype)
            if saturate:
                top = np.float32(info.max)
                narrow = np.where(np.isnan(wide), narrow, np.clip(wide, -top, top).astype(dtype))
            return narrow
        if dtype.name in ("int4", "uint4", "int2", "uint2"):
            low = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]  # it has no types
            whole = array.astype(np.float32) if array.dtype not in HELD else array
            whole = (
                np.trunc(whole).astype(np.int64) if whole.dtype.kind not in "biu" else whole.astype(np.int64)
            )
            bottom, many = int(low.min), int(low.max) - int(low.min) + 1
            return ((whole - bottom) % many + bottom).astype(dtype)  # the low bits, as C++ takes them
        return array.astype(dtype)


def _scale(array: Any, saturate: bool, round_mode: str) -> Any:
    """float8_e8m0fnu: powers of two only, in one of three ways of rounding."""
    if round_mode not in ("up", "down", "nearest"):
        raise ArgumentError(f"Cast: round_mode {round_mode!r}", fix="'up', 'down' or 'nearest'")
    bits = np.abs(array.astype(np.float32)).view(np.uint32)
    exponent, rest = (bits >> 23).astype(np.int64), bits & 0x7FFFFF
    if round_mode == "up":
        up = (rest > 0) & ~((exponent == 0) & (rest <= 0x400000))
    elif round_mode == "nearest":
        up = (rest > 0x400000) | ((rest == 0x400000) & (exponent > 0))
    else:
        up = np.zeros(rest.shape, bool)
    found = exponent + up
    found = np.where(found > 254, 254 if saturate else 255, found)
    found = np.where(np.isnan(array.astype(np.float32)), 255, found)
    if not saturate:
        found = np.where(np.isinf(array.astype(np.float32)), 255, found)
    return found.astype(np.uint8).view(_SCALE)


@onnx_op("BitCast", 26, raw=True)
def bit_cast(x: Any, *, to: int) -> Any:
    wanted = numpy_dtype(to)
    array = np.ascontiguousarray(to_numpy(x))
    if wanted.kind in "OUS" or array.dtype.kind in "OUS" or wanted.itemsize != array.dtype.itemsize:
        raise UnsupportedOpError(
            f"BitCast of {array.dtype} to {wanted}", cause="their elements differ in size"
        )
    return on_host(
        array.reshape(x.shape).view(wanted) if x.ndim else array.reshape(1).view(wanted).reshape(())
    )


@onnx_op("Constant", 1, raw=True)
def constant(
    *, value: Any = None, value_float: Any = None, value_floats: Any = None, value_int: Any = None,
    value_ints: Any = None, value_string: Any = None, value_strings: Any = None,
) -> Any:  # fmt: skip
    if value is not None:
        return on_host(value)
    for one, kind in ((value_float, np.float32), (value_floats, np.float32), (value_int, np.int64),
                      (value_ints, np.int64), (value_string, object), (value_strings, object)):  # fmt: skip
        if one is not None:
            return on_host(np.asarray(one, kind))
    raise ArgumentError("Constant without a value")


def as_dtype(code: int | None, default: Any) -> Any:
    """mlcore's type of ONNX's number for it."""
    if not code:
        return default
    found = numpy_dtype(code)
    if found not in HELD:
        raise UnsupportedOpError(f"a tensor of {found}", fix="use a type that tensors have, such as float32")
    return from_numpy(found)


__all__ = ["as_dtype", "cast_value", "ml", "narrowed", "numpy_dtype"]
