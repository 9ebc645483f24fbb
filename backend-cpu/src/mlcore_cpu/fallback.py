"""Convolutions by im2col and matrix products: for float64, and where oneDNN is not there."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from mlcore_cpu.loader import kernels

Array = np.ndarray[Any, Any]
matmul = kernels.matmul  # not NumPy's: its threads would stand beside ours
Pairs = tuple[tuple[int, int], ...]


def _padded(x: Array, padding: Pairs) -> Array:
    if any(low or high for low, high in padding):
        return np.pad(x, ((0, 0), (0, 0), *padding))
    return x


def _taps(kernel: Any, stride: Any, dilation: Any, count: Any) -> Any:
    """For each kernel element, the slices of a padded input that it meets, over all windows."""
    for offset in itertools.product(*map(range, kernel)):
        starts = [o * d for o, d in zip(offset, dilation, strict=True)]
        yield tuple(slice(b, b + (n - 1) * s + 1, s) for b, n, s in zip(starts, count, stride, strict=True))


def _columns(
    x: Array, kernel: Any, stride: Any, padding: Pairs, dilation: Any, count: Any, groups: int
) -> Array:
    """(N, groups, C / groups * prod(kernel), windows)."""
    wide = _padded(x, padding)
    n, c = x.shape[:2]
    columns = np.empty((n, c, math.prod(kernel), *count), x.dtype)
    for i, key in enumerate(_taps(kernel, stride, dilation, count)):
        columns[:, :, i] = wide[(slice(None), slice(None), *key)]
    return columns.reshape(n, groups, c // groups * math.prod(kernel), math.prod(count))


def _count(sizes: Any, kernel: Any, stride: Any, padding: Pairs, dilation: Any) -> tuple[int, ...]:
    return tuple(
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True)
    )


def convolution(
    x: Array, weight: Array, bias: Array | None, stride: Any, padding: Pairs, dilation: Any, groups: int
) -> Array:
    """Cross-correlation of x (N, C, *S) with weight (O, C / groups, *K), plus bias (O,)."""
    kernel, o = weight.shape[2:], weight.shape[0]
    count = _count(x.shape[2:], kernel, stride, padding, dilation)
    columns = _columns(x, kernel, stride, padding, dilation, count, groups)
    y: Array = matmul(weight.reshape(groups, o // groups, -1), columns).reshape(x.shape[0], o, *count)
    return y if bias is None else y + bias.reshape(1, o, *(1,) * len(count))


def grad_input(
    g: Array, weight: Array, input_shape: Any, stride: Any, padding: Pairs, dilation: Any, groups: int
) -> Array:
    """Gradient of a convolution with respect to its input."""
    kernel, count, n = weight.shape[2:], g.shape[2:], g.shape[0]
    rows = (
        g.reshape(n, groups, g.shape[1] // groups, -1)
        if g.size
        else np.zeros((n, groups, g.shape[1] // groups, 0), g.dtype)
    )
    parts = matmul(weight.reshape(groups, weight.shape[0] // groups, -1).transpose(0, 2, 1), rows)
    parts = parts.reshape(n, input_shape[1], math.prod(kernel), *count)
    total = np.zeros(
        (*input_shape[:2], *[d + sum(p) for d, p in zip(input_shape[2:], padding, strict=True)]), g.dtype
    )
    for i, key in enumerate(_taps(kernel, stride, dilation, count)):
        total[(slice(None), slice(None), *key)] += parts[:, :, i]
    crop = tuple(slice(p[0], p[0] + d) for d, p in zip(input_shape[2:], padding, strict=True))
    return np.ascontiguousarray(total[(slice(None), slice(None), *crop)])


def grad_weight(
    g: Array, x: Array, weight_shape: Any, stride: Any, padding: Pairs, dilation: Any, groups: int
) -> Array:
    """Gradient of a convolution with respect to its weight."""
    n, kernel, count = g.shape[0], weight_shape[2:], g.shape[2:]
    columns = _columns(x, kernel, stride, padding, dilation, count, groups)
    rows = g.reshape(n, groups, weight_shape[0] // groups, math.prod(count))
    found: Array = matmul(rows, columns.transpose(0, 1, 3, 2)).sum(axis=0).reshape(weight_shape)
    return found
