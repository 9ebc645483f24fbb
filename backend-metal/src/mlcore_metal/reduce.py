"""Folds and scans in the tensor's own dtype; two-byte floats are added up in float32."""

from __future__ import annotations

import math
from typing import Any

from mlcore.dtypes import everything, floating, inexact, numeric, real
from mlcore_metal.catalog import kernel
from mlcore_metal.elementwise import narrow, wide
from mlcore_metal.library import mx
from mlcore_metal.precise import exp


@kernel("reduce_sum", dtypes=numeric)
def reduce_sum(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """Integers wrap around in their own width, whatever the library adds them up in."""
    return narrow(sum_of(wide(x), axis, keepdims), x.dtype)


def sum_of(x: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """A sum over some axes, or over all with None; of nothing it is 0, where MLX's may be what the memory held."""
    axis = tuple(range(x.ndim)) if axis is None else axis
    if not axis:
        return x
    return mx.sum(x, axis=axis, keepdims=keepdims) if x.size else _of_nothing(x, axis, keepdims, 0, x.dtype)


@kernel("reduce_prod", dtypes=numeric)
def reduce_prod(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    if not axis:
        return x
    if not x.size:
        return _of_nothing(x, axis, keepdims, 1, x.dtype)
    return narrow(mx.prod(wide(x), axis=axis, keepdims=keepdims), x.dtype)


def _of_nothing(x: Any, axis: tuple[int, ...], keepdims: bool, identity: Any, dtype: Any) -> Any:
    """A fold of an empty array, of which MLX's has no identity over all axes."""
    kept = (1 if i in axis else d for i, d in enumerate(x.shape) if keepdims or i not in axis)
    return mx.full(tuple(kept), identity, dtype=dtype)


@kernel("all", dtypes=everything)
def all_(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    return _whether(mx.all, x, axis, keepdims, True)


@kernel("any", dtypes=everything)
def any_(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    return _whether(mx.any, x, axis, keepdims, False)


def _whether(fold: Any, x: Any, axis: tuple[int, ...], keepdims: bool, identity: bool) -> Any:
    """Whether all or any are true, that is not 0."""
    true = x if x.dtype == mx.bool_ else x != mx.zeros((), dtype=x.dtype)
    if not axis:
        return true
    if not x.size:
        return _of_nothing(x, axis, keepdims, identity, mx.bool_)
    return fold(true, axis=axis, keepdims=keepdims)


@kernel("mean", dtypes=inexact)
def mean(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """nan of nothing."""
    return narrow(mean_of(wide(x), axis, keepdims), x.dtype)


def mean_of(x: Any, axis: tuple[int, ...], keepdims: bool = True) -> Any:
    """The sum over the count, which may be 0."""
    count = math.prod(x.shape[i] for i in axis)
    return sum_of(x, axis, keepdims) / count


@kernel("var", dtypes=floating)
def var(x: Any, axis: tuple[int, ...], correction: float, keepdims: bool) -> Any:
    v = wide(x)
    centred = v - mean_of(v, axis)
    count = math.prod(x.shape[i] for i in axis)
    freedom = max(count - correction, 0.0)
    if not axis:
        return narrow(centred * centred / freedom, x.dtype)
    square = sum_of(centred * centred, axis, keepdims)
    rest = sum_of(centred, axis, keepdims)  # what rounding left of the mean
    return narrow((square - rest * (rest / max(count, 1))) / freedom, x.dtype)


@kernel("logsumexp", dtypes=floating)
def logsumexp(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    return narrow(log_sum_exp(wide(x), axis, keepdims), x.dtype)


def log_sum_exp(x: Any, axis: tuple[int, ...], keepdims: bool = True) -> Any:
    """Without overflow; of infinities only what the maximum is."""
    if not axis:
        return x
    if math.prod(x.shape[i] for i in axis) == 0:
        return mx.log(sum_of(exp(x), axis, keepdims))
    top = mx.max(x, axis=axis, keepdims=True)
    top = mx.where(mx.isfinite(top), top, mx.zeros_like(top))
    found = mx.log(mx.sum(exp(x - top), axis=axis, keepdims=True)) + top
    return found if keepdims else mx.squeeze(found, axis)


def _place(pick: Any) -> Any:
    def run(x: Any, axis: int, keepdims: bool) -> Any:
        if not x.size:
            shape = tuple(d for i, d in enumerate(x.shape) if i != axis)
            shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :]) if keepdims else shape
            return mx.zeros(shape, dtype=mx.int64)
        return pick(x, axis=axis, keepdims=keepdims).astype(mx.int64)

    return run


kernel("reduce_argmax", dtypes=real)(_place(mx.argmax))
kernel("reduce_argmin", dtypes=real)(_place(mx.argmin))


@kernel("scan_sum", dtypes=numeric)
def scan_sum(x: Any, axis: int) -> Any:
    return narrow(mx.cumsum(wide(x), axis=axis), x.dtype)


@kernel("scan_prod", dtypes=numeric)
def scan_prod(x: Any, axis: int) -> Any:
    return narrow(mx.cumprod(wide(x), axis=axis), x.dtype)
