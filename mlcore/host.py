"""Host data on its way in: NumPy arrays of our dtypes from numbers, nested lists and anything array-like."""

from __future__ import annotations

from typing import Any, Final, cast

import ml_dtypes
import numpy as np

from mlcore import dtypes
from mlcore.backends import dlpack
from mlcore.dtypes import DType
from mlcore.errors import (
    ArgumentTypeError,
    DTypeError,
    ExchangeError,
    MlcoreError,
    ShapeError,
    ValueRangeError,
)
from mlcore.tensor import TensorBase

HostArray = np.ndarray[Any, Any]


def holds_values(tensor: Any) -> bool:
    """Whether a tensor's values may be looked at: not while only shapes are worked out, and checks are left out."""
    return not getattr(tensor.device.backend, "without_values", False)


def is_captured(tensor: Any) -> bool:
    """Whether what is done with a tensor is written down for whatever values it will have: none may be assumed."""
    return getattr(tensor.device.backend, "captures", False)


def as_numpy(value: Any) -> HostArray:
    """A tensor's values on the host, or NumPy's array of anything else, texts included."""
    if isinstance(value, TensorBase):
        value = value.detach()  # type: ignore[attr-defined]  # the methods are attached to Tensor
    return np.asarray(value)


# The smallest dtype of ours that holds every value of a float8 kind.
_WIDER: Final[dict[np.dtype[Any], DType]] = {
    np.dtype(getattr(ml_dtypes, name)): dtypes.bfloat16 if name == "float8_e8m0fnu" else dtypes.float16
    for name in ("float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz",
                 "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
}  # fmt: skip


def in_our_dtype(array: HostArray) -> HostArray:
    """The array itself; one of a float8 kind in the smallest dtype of ours that holds all its values.

    >>> in_our_dtype(np.array([0.5, 448], ml_dtypes.float8_e4m3fn)).dtype
    dtype('float16')
    """
    wider = _WIDER.get(array.dtype)
    return array if wider is None else array.astype(wider.numpy)


def foreign_array(data: Any) -> HostArray:
    """The values of another library's array or column: through DLPack where it speaks that, else `__array__`."""
    _refuse_nulls(data)
    refused: ExchangeError | None = None
    if hasattr(data, "__dlpack__") and hasattr(data, "__dlpack_device__"):
        try:
            return dlpack.host_view(data)
        except ExchangeError as error:
            refused = error
    if hasattr(data, "__array__"):
        try:
            return np.asarray(data)
        except Exception as error:
            if isinstance(error, MlcoreError):
                raise
            what = f"cannot make a tensor from a {type(data).__name__}: {error}"
            raise refused or ArgumentTypeError(what) from error
    raise refused or ArgumentTypeError(
        f"a {type(data).__name__} speaks of DLPack, but has no __dlpack_device__"
    )


def _refuse_nulls(data: Any) -> None:
    """A column with missing entries would come as NaN, or not at all: whoever wants that says so."""
    count = getattr(data, "null_count", 0)
    count = count() if callable(count) else count
    if not count and hasattr(
        data, "isna"
    ):  # a data frame's own dtypes know of missing entries; NumPy's have NaN
        kinds = [data.dtype] if hasattr(data, "dtype") else list(getattr(data, "dtypes", ()))
        if any(not isinstance(kind, np.dtype) for kind in kinds):
            count = int(np.sum(np.asarray(data.isna())))
    for column in getattr(data, "columns", ()):  # of a table
        found = getattr(column, "null_count", 0)
        count += found if isinstance(found, int) else 0
    if count:
        raise DTypeError(
            f"cannot make a tensor from a {type(data).__name__} with {count} missing entries",
            cause="no dtype of mlcore has a value for what is missing",
            fix="fill them, or leave the rows out (fillna, fill_null, dropna)",
        )


def scalar_array(value: complex, dtype: DType) -> HostArray:
    """A 0-d array of a Python number; it must fit an integer dtype, and is cut down to whole numbers there."""
    if isinstance(value, complex) and dtype.kind not in "cb":
        raise DTypeError(
            f"the complex number {value} is no {dtype}", fix="use value.real, or a complex dtype"
        )
    if dtype.kind in "iu":
        info = dtypes.iinfo(dtype)
        if not info.min <= cast(float, value) <= info.max:
            raise ValueRangeError(
                f"the number {_brief(value)} does not fit {dtype} ({info.min} to {info.max})",
                fix="use a wider dtype, or clip the value",
            )
        return np.asarray(int(cast(float, value)), dtype=dtype.numpy)
    try:
        with np.errstate(all="ignore"):
            return np.asarray(value, dtype=dtype.numpy)
    except OverflowError:
        raise ValueRangeError(
            f"the number {_brief(value)} does not fit {dtype}", fix="use a smaller number"
        ) from None


def _brief(value: complex) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}... ({len(text)} digits)"


def host_array(data: Any, dtype: Any = None) -> HostArray:
    """A NumPy array of one of our dtypes in native byte order from anything array-like."""
    wanted = dtypes.as_dtype(dtype) if dtype is not None else None
    if isinstance(data, (np.ndarray, np.generic)) or hasattr(data, "__array_interface__"):
        host = in_our_dtype(np.asarray(data))
    elif isinstance(data, (bool, int, float, complex)):
        return scalar_array(data, wanted or dtypes.scalar_dtype(data))
    elif hasattr(data, "__array__") or (hasattr(data, "__dlpack__") and not isinstance(data, (list, tuple))):
        host = in_our_dtype(foreign_array(data))
    else:
        host = _from_nested(data, wanted)
    if host.dtype.kind in "OSUVMm" and host.dtype not in dtypes._by_numpy:
        raise DTypeError(
            f"cannot make a tensor from data of NumPy dtype {host.dtype}",
            cause="mlcore holds booleans and numbers only",
            fix="convert the data to a numeric dtype first",
        )
    ours = wanted or dtypes.from_numpy(host.dtype)
    if host.dtype.kind == "c" and ours.kind not in "cb":
        raise DTypeError(f"complex data is no {ours}", fix="take its real part, or use a complex dtype")
    if wanted is not None and wanted.kind in "iu" and host.dtype.kind in "iuf" and host.size:
        _check_fits(host, wanted)
    with np.errstate(all="ignore"):
        return np.asarray(host, dtype=ours.numpy)


def _check_fits(host: HostArray, wanted: DType) -> None:
    info = dtypes.iinfo(wanted)
    low, high = host.min(), host.max()
    if not (low >= info.min and high <= info.max):
        raise ValueRangeError(
            f"values from {low} to {high} do not fit {wanted} ({info.min} to {info.max})",
            fix="use a wider dtype, or clip the values",
        )


def _from_nested(data: Any, wanted: DType | None) -> HostArray:
    """A NumPy array from nested lists: Python floats get the default dtype, not float64."""
    data = _unwrap_nested(data)
    try:
        host = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise ShapeError(
            f"cannot make a tensor from nested data: {_ragged(data) or error}",
            fix="make every row the same length",
        ) from None
    except TypeError as error:
        raise ArgumentTypeError(f"cannot make a tensor from {type(data).__name__}: {error}") from None
    if host.dtype.kind in "ufO" and host.size and not _holds_arrays(data):
        host = _whole_numbers(data, host, wanted)
    if wanted is None and host.dtype.kind in "fc" and not _holds_arrays(data):
        return host.astype(
            (dtypes.default_float() if host.dtype.kind == "f" else dtypes.scalar_dtype(0j)).numpy
        )
    if host.size == 0 and wanted is None:
        return host.astype(dtypes.default_float().numpy)
    return host


def _whole_numbers(data: Any, host: HostArray, wanted: DType | None) -> HostArray:
    """Python integers beyond int64 without a detour through float64, which NumPy takes where only some are."""
    if wanted is not None and wanted is not dtypes.uint64:
        return host
    if host.dtype.kind != "O" and not np.abs(host).max() >= 2**63:
        return host
    exact = np.asarray(data, dtype=object)
    if not all(isinstance(one, int) for one in exact.flat):
        return host
    if wanted is None:
        raise ValueRangeError(
            f"the number {_brief(max(exact.flat, key=abs))} does not fit int64",
            fix="pass dtype=mlcore.uint64, or a floating dtype",
        )
    try:
        return exact.astype(np.uint64)
    except OverflowError:
        return host


def _unwrap_nested(data: Any) -> Any:
    if isinstance(data, TensorBase):
        return np.asarray(data)
    if isinstance(data, (list, tuple)):
        return [_unwrap_nested(one) for one in data]
    return data


def _holds_arrays(data: Any) -> bool:
    if isinstance(data, (np.ndarray, np.generic)):
        return True
    return bool(isinstance(data, (list, tuple)) and data and _holds_arrays(data[0]))


def _ragged(data: Any) -> str:
    if isinstance(data, (list, tuple)):
        lengths = {len(one) if isinstance(one, (list, tuple)) else 0 for one in data}
        if len(lengths) > 1:
            return f"rows of different lengths: {', '.join(map(str, sorted(lengths)))}"
        for one in data:
            if found := _ragged(one):
                return found
    return ""
