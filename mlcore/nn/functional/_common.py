"""What several functions need: one of `dim` and `axis`, valid indices, reductions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mlcore import dispatch, dtypes
from mlcore.dtypes import integers
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, OutOfRangeError
from mlcore.host import holds_values, is_captured
from mlcore.ops.elementwise import astype, where
from mlcore.ops.logic import equal
from mlcore.ops.reduce import mean
from mlcore.ops.reduce import sum as sum_
from mlcore.tensor import TensorBase

_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_FEW = 64  # so many values are looked at one by one: that takes less time than one reduction of NumPy


def one_axis(function: str, dim: int | None, axis: int | None) -> int:
    """The axis meant by PyTorch's `dim` or the standard's `axis`."""
    if dim is None:
        dim = axis
    elif axis is not None and axis != dim:
        raise ArgumentError(f"{function}: dim={dim} and axis={axis}", fix="give one of them")
    if dim is None:
        raise ArgumentTypeError(f"{function}: no dimension given", fix="pass dim=, e.g. dim=-1")
    return dim


def valid_indices(
    function: str, what: str, indices: Any, size: int, kind: str, device: Any, skip: int | None = None
) -> tuple[Any, Any]:
    """Indices from 0 to `size` - 1 as an int64 tensor, and which of them are `skip` (None: no such).

    The values are looked at: one pass over the host's copy, negative ones being huge as unsigned numbers.
    """
    if not isinstance(indices, TensorBase):
        indices = dispatch.from_data(indices, None, device)
    if indices.dtype not in integers:
        raise DTypeError(
            f"{function}: the {what} is {indices.dtype}, expected integers", fix="astype(..., int64)"
        )
    if not holds_values(indices):
        if skip is None or not is_captured(indices):
            return astype(indices, dtypes.int64), None
        found = equal(indices, skip)
        return astype(where(found, 0, indices), dtypes.int64), found
    host = indices.numpy()
    skipped = None
    if host.size and not (host.size <= _FEW and _all_within(host.ravel().tolist(), size, skip)):
        unsigned = host.view(_UNSIGNED[host.dtype.itemsize])
        largest = int(unsigned.max())
        if skip is not None and (0 <= skip < size or largest >= size):
            mask = host == skip
            if mask.any():
                skipped = mask
                unsigned = np.where(mask, unsigned.dtype.type(0), unsigned)
                largest = int(unsigned.max())
        if largest >= size:
            raise _out_of_range(function, what, host, unsigned >= size, size, kind)
    if skipped is not None:
        safe = np.where(skipped, 0, host).astype(np.int64)
        return dispatch.from_data(safe, None, indices.device), dispatch.from_data(
            skipped, None, indices.device
        )
    return (indices if indices.dtype is dtypes.int64 else astype(indices, dtypes.int64)), None


def _all_within(values: list[int], size: int, skip: int | None) -> bool:
    return min(values) >= 0 and max(values) < size and (skip is None or skip not in values)


def _out_of_range(function: str, what: str, host: Any, bad: Any, size: int, kind: str) -> OutOfRangeError:
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    where = "" if not place else f" at row {place[0]}" if len(place) == 1 else f" at {place}"
    count = int(bad.sum())
    return OutOfRangeError(
        f"{function}: {what} {int(host[place])}{where} out of range for {size} {kind}",
        cause=f"{count} of {bad.size} are outside" if count > 1 else None,
        fix=f"use values from 0 to {size - 1}" if size else None,
    )


def tensor_beside(value: Any, like: Any) -> Any:
    """The value as a tensor, made on the device of `like` unless it is one."""
    return value if isinstance(value, TensorBase) else dispatch.from_data(value, None, like.device)


def reduced(function: str, loss: Any, reduction: str) -> Any:
    """The loss as it is, its sum, or its mean."""
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum_(loss)
    check_reduction(function, reduction)
    return loss


def reduction_of(function: str, size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """`reduction`, or what PyTorch's two old arguments for it mean, with a warning."""
    if size_average is None and reduce is None:
        return reduction
    found = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(
        f"{function}: size_average and reduce are old names; use reduction={found!r}",
        DeprecationWarning,
        stacklevel=3,
    )
    return found


def check_reduction(function: str, reduction: str) -> None:
    """Refuse an unknown reduction."""
    if reduction not in ("none", "mean", "sum"):
        raise ArgumentError(f"{function}: reduction={reduction!r}", fix="use 'none', 'mean' or 'sum'")


def probability(function: str, p: float) -> float:
    """Refuse what is no probability, nan included."""
    if not 0 <= p <= 1:
        raise ArgumentError(f"{function}: p is {p}", cause="p is a probability", fix="use 0 <= p <= 1")
    return p
