"""Pools: windows are a strided view of the padded input; gradients are added back window element by element."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from mlcore.dtypes import floating, real
from mlcore_metal.catalog import kernel
from mlcore_metal.elementwise import FLOATS, UNSIGNED, narrow, wide
from mlcore_metal.library import mx

Array = Any
Pairs = tuple[tuple[int, int], ...]


def _lowest(dtype: Any) -> Any:
    if dtype in FLOATS:
        return mx.array(-math.inf, dtype=dtype)
    return mx.array(0 if dtype in UNSIGNED else mx.iinfo(dtype).min, dtype=dtype)


def _padded(x: Array, lead: int, padding: Pairs, value: Array) -> Array:
    if not any(map(any, padding)):
        return x
    return mx.pad(x, ((0, 0),) * lead + tuple(padding), constant_values=value)


def _count(sizes: Any, kernel_: Any, stride: Any, dilation: Any) -> tuple[int, ...]:
    return tuple(
        (d - (k - 1) * e - 1) // s + 1 for d, k, s, e in zip(sizes, kernel_, stride, dilation, strict=True)
    )


def _keys(kernel_: Any, stride: Any, dilation: Any, count: Any) -> Iterator[tuple[Any, ...]]:
    """For each element of the windows, where it is taken from in the padded input."""
    for offset in itertools.product(*map(range, kernel_)):
        yield (..., *(
            slice(o * e, o * e + (n - 1) * s + 1, s)
            for o, e, n, s in zip(offset, dilation, count, stride, strict=True)
        ))  # fmt: skip


@kernel("max_pool", dtypes=real)
def max_pool(x: Array, kernel: Any, stride: Any, padding: Pairs, dilation: Any) -> Array:
    """The largest element of each window: the larger of two, over the windows' elements."""
    lead = x.ndim - len(kernel)
    high = _padded(x, lead, padding, _lowest(x.dtype))
    found = None
    for key in _keys(kernel, stride, dilation, _count(high.shape[lead:], kernel, stride, dilation)):
        found = high[key] if found is None else mx.maximum(found, high[key])
    return found


@kernel("max_pool_grad", dtypes=floating)
def max_pool_grad(
    grad: Array, x: Array, y: Array, kernel: Any, stride: Any, padding: Pairs, dilation: Any
) -> Array:
    """Each window's gradient goes to its first largest element (nan counts as the largest)."""
    lead = x.ndim - len(kernel)
    high = _padded(x, lead, padding, _lowest(x.dtype))
    count = _count(high.shape[lead:], kernel, stride, dilation)
    total = mx.zeros(high.shape, dtype=wide(grad).dtype)
    g, nothing = wide(grad), mx.zeros((), dtype=total.dtype)
    free = None  # the windows whose element has not come yet
    for key in _keys(kernel, stride, dilation, count):
        part = high[key]
        hit = (part == y) | mx.isnan(part)
        first = hit if free is None else hit & free
        free = ~hit if free is None else free & ~hit
        total = total.at[key].add(mx.where(first, g, nothing))
    return narrow(_inside(total, x.shape, lead, padding), grad.dtype)


def _inside(total: Array, shape: Any, lead: int, padding: Pairs) -> Array:
    """What is not padding."""
    return total[(..., *(slice(lo, lo + d) for (lo, _), d in zip(padding, shape[lead:], strict=True)))]


def _share(shape: Any, kernel: Any, stride: Any, padding: Pairs, counted: bool, dtype: Any) -> Any:
    """How many elements each window averages over."""
    if counted or not any(map(any, padding)):
        return float(math.prod(kernel))
    ones = _padded(mx.ones(shape, dtype=dtype), 0, padding, mx.zeros((), dtype=dtype))
    return _window_sum(ones, 0, kernel, stride)


def _window_sum(high: Array, lead: int, kernel: Any, stride: Any) -> Array:
    plain = (1,) * len(kernel)
    found = None
    for key in _keys(kernel, stride, plain, _count(high.shape[lead:], kernel, stride, plain)):
        found = high[key] if found is None else found + high[key]
    return found


@kernel("avg_pool", dtypes=floating)
def avg_pool(x: Array, kernel: Any, stride: Any, padding: Pairs, count_include_pad: bool) -> Array:
    v, lead = wide(x), x.ndim - len(kernel)
    high = _padded(v, lead, padding, mx.zeros((), dtype=v.dtype))
    share = _share(x.shape[lead:], kernel, stride, padding, count_include_pad, v.dtype)
    return narrow(_window_sum(high, lead, kernel, stride) / share, x.dtype)


@kernel("avg_pool_grad", dtypes=floating)
def avg_pool_grad(
    grad: Array, input_shape: Any, kernel: Any, stride: Any, padding: Pairs, count_include_pad: bool
) -> Array:
    """Each window's gradient is shared by its elements."""
    g, lead = wide(grad), len(input_shape) - len(kernel)
    part = g / _share(input_shape[lead:], kernel, stride, padding, count_include_pad, g.dtype)
    sizes = tuple(d + sum(p) for d, p in zip(input_shape[lead:], padding, strict=True))
    total = mx.zeros((*input_shape[:lead], *sizes), dtype=g.dtype)
    for key in _keys(kernel, stride, (1,) * len(kernel), grad.shape[lead:]):
        total = total.at[key].add(part)
    return narrow(_inside(total, input_shape, lead, padding), grad.dtype)
