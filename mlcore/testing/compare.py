"""Comparison in units in the last place, and `assert_close` for everybody's tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore import dtypes
from mlcore.dtypes import DType
from mlcore.errors import ArgumentError
from mlcore.tensor import TensorBase

Host = np.ndarray[Any, Any]

# rtol, atol per dtype: what one operation of a well-made kernel keeps, with room for a handful in a row.
_TOLERANCES = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}  # fmt: skip


def host(value: Any) -> Host:
    """A NumPy array of a tensor or of anything array-like."""
    # the methods are attached to Tensor
    return value.numpy() if isinstance(value, TensorBase) else np.asarray(value)  # type: ignore[attr-defined]


def wide(array: Host) -> Host:
    """The values in 64-bit precision (128 for complex): every narrower float is exact in it."""
    if array.dtype.kind == "c":
        return array.astype(np.complex128) if array.dtype.itemsize < 16 else array
    if dtypes.from_numpy(array.dtype).kind == "f" and array.dtype.itemsize < 8:
        return array.astype(np.float64)
    return array


def spacing(values: Host, dtype: DType) -> Host:
    """The distance between neighbouring numbers of `dtype` at each of `values` (its subnormals' near 0)."""
    info = dtypes.finfo(dtype)
    size = np.abs(values).astype(np.float64)
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(np.clip(size, info.smallest_normal, info.max))
        return np.ldexp(info.eps, exponent - 1)  # type: ignore[no-any-return]  # what it comes from is Any


def ulps(got: Any, want: Any, dtype: Any = None) -> float:
    """The largest distance of `got` from `want` in units in the last place of `dtype` (that of `got`).

    >>> ulps(np.float32(1.0), np.float32(1.0) + 2 * np.finfo(np.float32).eps)
    2.0
    """
    a = host(got)
    chosen = dtypes.as_dtype(dtype) if dtype is not None else dtypes.from_numpy(a.dtype)
    a, b = wide(a), wide(host(want))
    with np.errstate(all="ignore"):
        far = np.abs(a - b) / spacing(b, chosen)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    far = np.where(same, 0, far)
    return float(far.max()) if far.size else 0.0


def mismatch(got: Host, want: Host, bound: Any) -> str:
    """What is wrong with `got`, or nothing: within `bound` of `want`, nan where it is nan, the same infinities."""
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    if not got.size:
        return ""
    a, b = wide(got), wide(want)
    with np.errstate(all="ignore"):
        fine = a == b
        if a.dtype.kind in "fc":
            fine |= np.abs(a - b) <= bound
            fine |= np.isnan(a) & np.isnan(b)
            fine &= np.isnan(a) == np.isnan(b)
    if fine.all():
        return ""
    return worst(got, want, a, b, np.asarray(fine), bound)


def worst(got: Host, want: Host, a: Host, b: Host, fine: Host, bound: Any) -> str:
    """The worst element in words."""
    with np.errstate(all="ignore"):
        distance = np.abs(a.astype(np.complex128) - b.astype(np.complex128))
        far = np.where(fine, -1.0, np.nan_to_num(distance, nan=np.inf, posinf=np.inf))
    at = np.unravel_index(int(np.argmax(far)), far.shape)
    limit = np.broadcast_to(np.asarray(bound, dtype=np.float64), far.shape)[at]
    place = tuple(int(i) for i in at)
    return (
        f"{int((~fine).sum())} of {fine.size} elements differ; at {place}: {got[at]!s}, expected {want[at]!s}"
        f" (off by {float(far[at]):.3g}, allowed {float(limit):.3g})"
    )


def assert_close(
    got: Any, want: Any, *, rtol: float | None = None, atol: float | None = None, what: str = "values"
) -> None:
    """Raise AssertionError unless shapes and dtypes are equal and the values close.

    The tolerances follow from the dtype of `want`; integers and bools must be equal. nan equals nan.

    >>> import mlcore as ml
    >>> assert_close(ml.asarray([1.0, 2.0]), np.asarray([1.0, 2.0], dtype=np.float32))
    """
    if (rtol is None) != (atol is None):
        raise ArgumentError("assert_close: only one of rtol and atol is given", fix="give both, or neither")
    a, b = host(got), host(want)
    if a.dtype != b.dtype:
        raise AssertionError(f"{what}: dtype {a.dtype}, expected {b.dtype}")
    name = dtypes.from_numpy(b.dtype).name
    if rtol is None or atol is None:
        rtol, atol = _TOLERANCES.get(name, (0.0, 0.0))
    with np.errstate(all="ignore"):
        bound = atol + rtol * np.abs(wide(b).astype(np.complex128 if b.dtype.kind == "c" else np.float64))
    found = mismatch(a, b, np.where(np.isfinite(bound), bound, 0))
    if found:
        raise AssertionError(f"{what}: {found}")
