"""Pooling: by mlcore's where its windows are ONNX's, else over windows that are laid out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ShapeError
from mlcore.ops.pool import avg_pool, max_pool
from mlcore_onnx.ops.conv import many, pads_of
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import ints


class _Windows:
    """Where the windows of a pool lie: its padding, with what a rounded-up count adds behind."""

    def __init__(
        self, x: Any, kernel: Any, strides: Any, dilations: Any, pads: Any, auto_pad: str, ceil_mode: int
    ) -> None:
        rank = len(kernel)
        if x.ndim != rank + 2:
            raise ShapeError(f"a pool of {tuple(kernel)} over {x.shape}", fix=f"use (N, C) and {rank} sizes")
        self.kernel, self.rank, self.sizes = tuple(kernel), rank, x.shape[2:]
        self.strides, self.dilations = many(strides, rank), many(dilations, rank)
        self.given = pads_of(self.sizes, self.kernel, self.strides, self.dilations, pads, auto_pad)
        self.counts: list[int] = []
        self.padding: list[tuple[int, int]] = []
        for n, k, s, d, (low, high) in zip(self.sizes, self.kernel, self.strides, self.dilations, self.given):
            reach = d * (k - 1) + 1
            room = n + low + high - reach
            count = (math.ceil(room / s) if ceil_mode else room // s) + 1
            if ceil_mode and (count - 1) * s >= n + low:
                count -= 1
            if count < 1:
                raise ShapeError(f"a pool of {self.kernel} over {x.shape} has no window")
            self.counts.append(count)
            self.padding.append((low, max((count - 1) * s + reach - n - low, high if not ceil_mode else 0)))
        if not ceil_mode:
            self.padding = list(self.given)

    def plain(self) -> bool:
        """Whether mlcore's pools have these windows."""
        fits = (min(pair) >= 0 and max(pair) <= k // 2 for pair, k in zip(self.padding, self.kernel))
        return self.rank <= 3 and all(fits)

    def parts(self, x: Any, value: float) -> list[Any]:
        """For each place in the kernel, its element of every window."""
        wide = ml.pad(x, ((0, 0), (0, 0), *((a, max(b, 0)) for a, b in self.padding)), value=value)
        found = []
        for place in itertools.product(*map(range, self.kernel)):
            key = tuple(
                slice(p * d, p * d + (c - 1) * s + 1, s)
                for p, d, c, s in zip(place, self.dilations, self.counts, self.strides)
            )
            found.append(wide[(slice(None), slice(None), *key)])
        return found


@onnx_op("MaxPool", 1)
def max_pool_(
    x: Any, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Any = None, pads: Any = None,
    storage_order: int = 0, strides: Any = None, outputs: int,
) -> Any:  # fmt: skip
    where = _Windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    if outputs == 1 and where.plain() and x.dtype.kind == "f":
        return max_pool(
            x,
            kernel=where.kernel,
            stride=where.strides,
            padding=tuple(where.padding),
            dilation=where.dilations,
        )
    lowest = float("-inf") if x.dtype.kind == "f" else ml.iinfo(x.dtype).min
    windows = ml.stack(where.parts(x, lowest), axis=-1)
    values = ml.max(windows, axis=-1)
    return values if outputs == 1 else (values, _places(x, where, windows, storage_order))


def _places(x: Any, where: _Windows, windows: Any, storage_order: int) -> Any:
    """Where each window's largest element lies in the whole tensor, row-major or column-major within an image."""
    best = ml.argmax(windows, axis=-1)
    flat: Any = None
    order = range(where.rank)[::-1] if storage_order else range(where.rank)
    for i in order:
        n, count, s, d, (low, _) = (
            where.sizes[i],
            where.counts[i],
            where.strides[i],
            where.dilations[i],
            where.padding[i],
        )
        inner = math.prod(where.kernel[i + 1 :])
        tap = ml.remainder(ml.floor_divide(best, inner), where.kernel[i])
        line = np.arange(count) * s - low
        line_t = ml.asarray(
            line.reshape(tuple(-1 if i == j else 1 for j in range(where.rank))), device=x.device
        )
        part = tap * d + line_t
        flat = part if flat is None else flat * n + part
    images = ml.reshape(ml.arange(x.shape[0] * x.shape[1], device=x.device) * math.prod(where.sizes),
                        (x.shape[0], x.shape[1], *(1,) * where.rank))  # fmt: skip
    return flat + images


@onnx_op("AveragePool", 1)
def average_pool(
    x: Any, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
    dilations: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    where = _Windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    same = all(tuple(a) == tuple(b) for a, b in zip(where.padding, where.given))
    if where.plain() and set(where.dilations) == {1} and (same or not count_include_pad):
        return avg_pool(x, kernel=where.kernel, stride=where.strides, padding=tuple(where.padding),
                        count_include_pad=bool(count_include_pad))  # fmt: skip
    total = _total(where.parts(x, 0))
    counted = np.zeros(
        (1, 1, *(a + n + max(b, 0) for (a, b), n in zip(where.padding, where.sizes))), np.float32
    )
    inside = where.given if count_include_pad else [(0, 0)] * where.rank
    key = tuple(slice(p[0] - g[0], p[0] + n + g[1]) for p, g, n in zip(where.padding, inside, where.sizes))
    counted[(slice(None), slice(None), *key)] = 1
    flat = _Windows.parts(_bare(where), ml.asarray(counted, device=x.device), 0)
    return total / ml.astype(_total(flat), x.dtype)


def _bare(where: _Windows) -> _Windows:
    found = object.__new__(_Windows)
    found.__dict__.update(where.__dict__)
    found.padding = [(0, 0)] * where.rank
    return found


def _total(parts: list[Any]) -> Any:
    total = parts[0]
    for one in parts[1:]:
        total = total + one
    return total


@onnx_op("LpPool", 2)
def lp_pool(
    x: Any, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Any = None, p: int = 2,
    pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    where = _Windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    return ml.pow(_total([ml.pow(ml.abs(one), p) for one in where.parts(x, 0)]), 1 / p)


def _axes(x: Any) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@onnx_op("GlobalAveragePool", 1)
def global_average_pool(x: Any) -> Any:
    return ml.mean(x, axis=_axes(x), keepdims=True)


@onnx_op("GlobalMaxPool", 1)
def global_max_pool(x: Any) -> Any:
    return ml.max(x, axis=_axes(x), keepdims=True)


@onnx_op("GlobalLpPool", 2)
def global_lp_pool(x: Any, *, p: int = 2) -> Any:
    return ml.pow(ml.sum(ml.pow(ml.abs(x), p), axis=_axes(x), keepdims=True), 1 / p)


@onnx_op("MaxUnpool", 9, host=("output_shape",))
def max_unpool(
    x: Any,
    indices: Any,
    output_shape: Any = None,
    *,
    kernel_shape: Any,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    rank = len(kernel_shape)
    strides = many(strides, rank)
    given = pads_of(x.shape[2:], kernel_shape, strides, (1,) * rank, pads, "NOTSET")
    sizes = [
        (n - 1) * s + k - sum(p) for n, s, k, p in zip(x.shape[2:], strides, kernel_shape, given, strict=True)
    ]
    whole = tuple(ints(output_shape)) if output_shape is not None else (*x.shape[:2], *sizes)
    from mlcore.ops.index import scatter

    # The indices count in the tensor that was pooled, (N, C, *sizes); a larger output has room behind.
    inner = (*x.shape[:2], *sizes)
    flat = ml.reshape(indices, (-1,))
    zero = ml.zeros((math.prod(inner),), dtype=x.dtype, device=x.device)
    made = ml.reshape(scatter(zero, flat, ml.reshape(x, (-1,)), axis=0), inner)
    return (
        made if whole == inner else ml.pad(made, tuple((0, b - a) for a, b in zip(inner, whole, strict=True)))
    )


@onnx_op("MaxRoiPool", 1, host=("rois",))
def max_roi_pool(x: Any, rois: Any, *, pooled_shape: Any, spatial_scale: float = 1.0) -> Any:
    """The largest element in each of a grid of bins over each region (batch, x1, y1, x2, y2); an empty bin has 0."""
    found = []
    for batch, *corners in rois.tolist():
        image = x[int(batch)]
        x1, y1, x2, y2 = (math.floor(one * spatial_scale + 0.5) for one in corners)
        rows, columns = (
            _bins(first, last, count, size)
            for first, last, count, size in zip((y1, x1), (y2, x2), pooled_shape, x.shape[2:], strict=True)
        )
        empty = ml.zeros((x.shape[1],), dtype=x.dtype, device=x.device)
        parts = [
            ml.max(image[:, a:b, c:d], axis=(1, 2)) if b > a and d > c else empty
            for (a, b), (c, d) in itertools.product(rows, columns)
        ]
        found.append(ml.reshape(ml.stack(parts, axis=1), (x.shape[1], *pooled_shape)))
    shape = (0, x.shape[1], *pooled_shape)
    return ml.stack(found, axis=0) if found else ml.zeros(shape, dtype=x.dtype, device=x.device)


def _bins(first: int, last: int, count: int, size: int) -> list[tuple[int, int]]:
    """(start, end) of each bin of a region along one axis."""
    step = max(last - first + 1, 1) / count
    edges = [(math.floor(i * step) + first, math.ceil((i + 1) * step) + first) for i in range(count)]
    return [(min(max(a, 0), size), min(max(b, 0), size)) for a, b in edges]
