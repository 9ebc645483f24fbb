"""dtypes and their promotion: the Python Array API standard's rules, extended across kinds.

Within a kind the standard decides. Across kinds, where it leaves the result open, a tensor of the higher
kind wins (int64 with float32 is float32, as in PyTorch and JAX). Python scalars are weak: they take the
tensor's dtype unless their kind is higher.
"""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np

from mlcore.dtype import DType as DType  # noqa: PLC0414  (the public place of it)
from mlcore.errors import DTypeError, did_you_mean

KINDS: Final = "biufc"


_TABLE: Final = [
    ("bool", "b", np.bool_), ("int8", "i", np.int8), ("int16", "i", np.int16), ("int32", "i", np.int32),
    ("int64", "i", np.int64), ("uint8", "u", np.uint8), ("uint16", "u", np.uint16), ("uint32", "u", np.uint32),
    ("uint64", "u", np.uint64), ("float16", "f", np.float16), ("bfloat16", "f", ml_dtypes.bfloat16),
    ("float32", "f", np.float32), ("float64", "f", np.float64), ("complex64", "c", np.complex64),
    ("complex128", "c", np.complex128),
]  # fmt: skip

all_dtypes: Final[tuple[DType, ...]] = tuple(
    DType(name, kind, numpy, index) for index, (name, kind, numpy) in enumerate(_TABLE)
)
_by_name: Final = {dtype.name: dtype for dtype in all_dtypes}
_by_numpy: Final = {dtype.numpy: dtype for dtype in all_dtypes}

(
    bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
    float16, bfloat16, float32, float64, complex64, complex128,
) = all_dtypes  # fmt: skip

booleans: Final = frozenset({bool_})
signed: Final = frozenset(d for d in all_dtypes if d.kind == "i")
unsigned: Final = frozenset(d for d in all_dtypes if d.kind == "u")
floating: Final = frozenset(d for d in all_dtypes if d.kind == "f")
complexes: Final = frozenset(d for d in all_dtypes if d.kind == "c")
integers: Final = signed | unsigned
real: Final = integers | floating
inexact: Final = floating | complexes
numeric: Final = real | complexes
everything: Final = frozenset(all_dtypes)

_KIND_SETS: Final = {
    "bool": booleans, "signed integer": signed, "unsigned integer": unsigned, "integral": integers,
    "real floating": floating, "complex floating": complexes, "numeric": numeric,
}  # fmt: skip

default_int: Final = int64
default_complex: Final = complex64
_default_float = float32


def default_float() -> DType:
    """The dtype that Python floats get: float32 unless `set_default_dtype` changed it."""
    return _default_float


def set_default_dtype(dtype: Any) -> None:
    """Make `dtype` (a real floating dtype) the one that Python floats and creation functions use."""
    global _default_float
    chosen = as_dtype(dtype)
    if chosen not in floating:
        raise DTypeError(
            f"set_default_dtype: expected a floating dtype, got {chosen}", fix="use e.g. float32"
        )
    _default_float = chosen


def from_numpy(dtype: Any) -> DType:
    """The mlcore dtype of a NumPy dtype, whatever its byte order.

    >>> from_numpy(np.dtype(">f4"))
    float32
    """
    numpy_dtype = np.dtype(dtype)
    found = _by_numpy.get(numpy_dtype) or _by_numpy.get(numpy_dtype.newbyteorder("="))
    if found is None:
        names = ", ".join(_by_name)
        raise DTypeError(
            f"NumPy dtype {numpy_dtype} has no mlcore counterpart", fix=f"convert to one of {names}"
        )
    return found


def as_dtype(value: Any) -> DType:
    """Turn a DType, name, NumPy dtype or Python type into a DType.

    >>> as_dtype("int8"), as_dtype(float), as_dtype(np.float64)
    (int8, float32, float64)
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str):
        found = _by_name.get(value)
        if found is None:
            raise DTypeError(
                f"unknown dtype {value!r}{did_you_mean(value, _by_name)}", known=", ".join(_by_name)
            )
        return found
    if isinstance(value, type) and value in (bool, int, float, complex):
        return scalar_dtype(value(0))
    try:
        if value is None:  # NumPy reads it as float64
            raise TypeError
        return from_numpy(value)
    except TypeError as error:
        if isinstance(error, DTypeError):
            raise
        raise DTypeError(
            f"not a dtype: {value!r}", fix="pass a dtype such as mlcore.float32 or its name"
        ) from None


def scalar_dtype(value: bool | int | float | complex) -> DType:
    """The dtype a Python scalar gets when nothing else decides."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return default_int
    if isinstance(value, float):
        return _default_float
    return default_complex if _default_float.itemsize <= 4 else complex128


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether `dtype` is, or belongs to, `kind` (a dtype, a kind's name, or a tuple of those).

    >>> isdtype(uint8, "integral"), isdtype(float32, ("bool", "complex floating"))
    (True, False)
    """
    found = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(found, one) for one in kind)
    if isinstance(kind, str) and kind in _KIND_SETS:
        return found in _KIND_SETS[kind]
    if isinstance(kind, DType):
        return found is kind
    raise DTypeError(f"isdtype: unknown kind {kind!r}", known=", ".join(_KIND_SETS))


def _promote(a: DType, b: DType) -> DType | None:
    """The promotion of two dtypes, or None where no dtype holds both."""
    if a is b:
        return a
    if KINDS.index(a.kind) > KINDS.index(b.kind):
        a, b = b, a
    if a.kind == "b":
        return b
    if a.kind == b.kind:
        if {a, b} == {float16, bfloat16}:
            return float32
        return a if a.itemsize > b.itemsize else b
    if a.kind == "i" and b.kind == "u":
        if b.itemsize < a.itemsize:
            return a
        return {1: int16, 2: int32, 4: int64}.get(b.itemsize)
    if b.kind == "c" and a is float64:
        return complex128
    return b


_promotions: Final = [[_promote(a, b) for b in all_dtypes] for a in all_dtypes]


def promote_types(a: DType, b: DType) -> DType:
    """The dtype that holds values of both.

    >>> promote_types(int8, uint8), promote_types(int64, float32), promote_types(float16, bfloat16)
    (int16, float32, float32)
    """
    found = _promotions[a.index][b.index]
    if found is None:
        raise DTypeError(
            f"{a} and {b} do not promote: no integer dtype holds both",
            fix="astype one of them, e.g. to int64",
        )
    return found


def promote_scalar(dtype: DType, value: bool | int | float | complex) -> DType:
    """The dtype of an operation between a tensor of `dtype` and a (weak) Python scalar.

    >>> promote_scalar(float16, 2.5), promote_scalar(int32, 2.5), promote_scalar(int8, 3)
    (float16, float32, int8)
    """
    scalar = scalar_dtype(value)
    if KINDS.index(scalar.kind) <= KINDS.index(dtype.kind) or (scalar.kind == "i" and dtype.kind == "u"):
        return dtype
    if scalar.kind == "c":
        return complex128 if dtype is float64 else complex64
    return scalar


def _dtype_in(value: Any) -> DType:
    """The dtype of a tensor or array, or what as_dtype makes of anything else."""
    named = isinstance(value, (DType, np.dtype, type, str))
    return as_dtype(value if named else getattr(value, "dtype", value))


class finfo:
    """Limits of a floating dtype: bits, eps, max, min, smallest_normal, dtype.

    >>> finfo(float16).max
    65504.0
    """

    __slots__ = ("bits", "dtype", "eps", "max", "min", "smallest_normal")

    def __init__(self, type: Any, /) -> None:
        chosen = _dtype_in(type)
        if chosen not in inexact:
            raise DTypeError(f"finfo: {chosen} is not a floating dtype", fix="use iinfo for integers")
        info: Any = ml_dtypes.finfo(chosen.numpy)  # type: ignore[no-untyped-call]  # its stub forgot
        self.dtype = {complex64: float32, complex128: float64}.get(chosen, chosen)
        self.bits = self.dtype.bits
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.smallest_normal = float(info.smallest_normal)


class iinfo:
    """Limits of an integer dtype: bits, max, min, dtype.

    >>> iinfo("uint8").max
    255
    """

    __slots__ = ("bits", "dtype", "max", "min")

    def __init__(self, type: Any, /) -> None:
        chosen = _dtype_in(type)
        if chosen not in integers:
            raise DTypeError(f"iinfo: {chosen} is not an integer dtype", fix="use finfo for floating dtypes")
        info = np.iinfo(chosen.numpy)
        self.dtype, self.bits, self.max, self.min = chosen, chosen.bits, int(info.max), int(info.min)
