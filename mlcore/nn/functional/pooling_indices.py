"""Where the largest element of each window is, what puts it back, and windows that are drawn at random."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.dtypes import int64, integers
from mlcore.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from mlcore.host import holds_values, is_captured
from mlcore.ops import random
from mlcore.ops.conv import _unfold, tuples
from mlcore.ops.creation import zeros
from mlcore.ops.elementwise import astype
from mlcore.ops.index import scatter, take_along_axis
from mlcore.ops.reduce import argmax
from mlcore.ops.shape import broadcast_to, reshape


def _places(flat: Any, like: Any) -> Any:
    return dispatch.from_data(np.ascontiguousarray(flat, dtype=np.int64), None, like.device)


def window_winners(
    wide: Any, sizes: tuple[int, ...], count: tuple[int, ...], kernel: Any, stride: Any, padding: Any, dilation: Any
) -> Any:  # fmt: skip
    """The place, in the flattened `sizes`, of the first largest element of each window: (*lead, *count) int64."""
    rank, lead = len(kernel), wide.ndim - len(kernel)
    parts = _unfold(
        wide.detach(), kernel, stride, tuple((p, p) for p in padding), dilation, count, float("-inf")
    )
    winner = argmax(parts, axis=lead, keepdims=True)
    flat = np.zeros((1,) * rank, dtype=np.int64)
    for axis in range(rank):
        offsets = np.arange(kernel[axis]) * dilation[axis]
        starts = np.arange(count[axis]) * stride[axis] - padding[axis]
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = kernel[axis], count[axis]
        place = (offsets[:, None] + starts[None]).reshape(shape)
        flat = flat * sizes[axis] + place if axis else place
    table = _places(flat.reshape(math.prod(kernel), *count)[(None,) * lead], wide)
    found = take_along_axis(
        broadcast_to(table, (*wide.shape[:lead], math.prod(kernel), *count)), winner, axis=lead
    )
    return reshape(found, (*wide.shape[:lead], *count))


def at_places(input: Any, places: Any, rank: int) -> Any:
    """The elements at flattened places of the last `rank` dimensions; the gradient goes to each."""
    lead = input.shape[: input.ndim - rank]
    rows = reshape(input, (*lead, math.prod(input.shape[input.ndim - rank :])))
    flat = reshape(places, (*lead, math.prod(places.shape[input.ndim - rank :])))
    return reshape(take_along_axis(rows, flat, axis=-1), places.shape)


def largest_of(input: Any, windows: list[Any]) -> tuple[Any, Any]:
    """(values, places) of the largest in windows given as (count, length) indices for each trailing dimension."""
    rank, lead = len(windows), input.ndim - len(windows)
    sizes = input.shape[lead:]
    flat = np.zeros((), dtype=np.int64)
    for axis, window in enumerate(windows):
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = window.shape
        flat = flat * sizes[axis] + window.reshape(shape)
    count = tuple(len(window) for window in windows)
    candidates = flat.reshape(math.prod(count), -1)
    rows = reshape(input.detach(), (*input.shape[:lead], math.prod(sizes)))
    every = rows[(..., _places(candidates.reshape(-1), input))]
    every = reshape(every, (*input.shape[:lead], *candidates.shape))
    winner = argmax(every, axis=-1)
    table = _places(candidates + 0, input)
    own = np.arange(candidates.shape[0])
    places = table[(_places(np.broadcast_to(own, winner.shape), input), winner)]
    places = reshape(places, (*input.shape[:lead], *count))
    return at_places(input, places, rank), places


def _unpool(
    rank: int, input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Any:
    name = f"max_unpool{rank}d"
    if input.ndim not in (rank + 1, rank + 2) or indices.shape != input.shape:
        raise ShapeError(
            f"{name}: input {input.shape} with indices {indices.shape}", fix="what max_pool gave"
        )
    if indices.dtype not in integers:
        raise DTypeError(f"{name}: the indices are {indices.dtype}", fix="use what return_indices gives")
    kernel = tuples(f"{name} kernel_size", kernel_size, rank)
    stride = kernel if stride is None else tuples(f"{name} stride", stride, rank)
    padding = tuples(f"{name} padding", padding, rank)
    sizes = tuple(
        (n - 1) * s + k - 2 * p
        for n, s, k, p in zip(input.shape[-rank:], stride, kernel, padding, strict=True)
    )
    if output_size is not None:
        wanted = tuple(int(one) for one in output_size)[-rank:]
        for want, size, s in zip(wanted, sizes, stride, strict=True):
            if not size - s < want < size + s:
                raise ShapeError(
                    f"{name}: output_size {wanted} for a default of {sizes}",
                    fix="sizes within one stride of the default",
                )
        sizes = wanted
    lead, area = input.shape[: input.ndim - rank], math.prod(sizes)
    host = indices.numpy() if holds_values(indices) else np.zeros((0,))
    if host.size and not (int(host.min()) >= 0 and int(host.max()) < area):
        bad = host[(host < 0) | (host >= area)]
        raise OutOfRangeError(f"{name}: index {int(bad[0])} for an output of {sizes}")
    rows = math.prod(lead)
    offsets = (np.arange(rows) * area).reshape(*lead, *(1,) * rank)
    flat = reshape(astype(indices, int64) + _places(offsets, input), (-1,))
    blank = zeros((rows * area,), dtype=input.dtype, device=input.device)
    return reshape(scatter(blank, flat, reshape(input, (-1,)), axis=0), (*lead, *sizes))


def max_unpool1d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """The inverse of `max_pool1d` with zeros for what was not the largest; see `max_unpool2d`."""
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Each element at its index of the flattened result, zeros elsewhere (Zeiler and Fergus 2014).

    `indices` are those of `max_pool2d(..., return_indices=True)`; `output_size` tells apart the sizes that pool alike.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> y, i = F.max_pool2d(ml.arange(4.0).reshape(1, 2, 2), 2, return_indices=True)
    >>> F.max_unpool2d(y, i, 2).tolist()
    [[[0.0, 0.0], [0.0, 3.0]]]
    """
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """The inverse of `max_pool3d`; see `max_unpool2d`."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _fractional(
    rank: int, input: Any, kernel_size: Any, output_size: Any, output_ratio: Any, return_indices: bool, samples: Any
) -> Any:  # fmt: skip
    name = f"fractional_max_pool{rank}d"
    if input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(f"{name}: input {input.shape}", fix="use (N, C, *sizes) or (C, *sizes)")
    if (output_size is None) == (output_ratio is None):
        raise ArgumentError(
            f"{name}: output_size {output_size}, output_ratio {output_ratio}", fix="give one of them"
        )
    kernel, sizes = tuples(f"{name} kernel_size", kernel_size, rank), input.shape[-rank:]
    if output_size is None:
        ratios = (output_ratio,) * rank if isinstance(output_ratio, float) else tuple(output_ratio)
        if len(ratios) != rank or not all(0 < one < 1 for one in ratios):
            raise ArgumentError(f"{name}: output_ratio {output_ratio}", fix="use ratios between 0 and 1")
        output_size = tuple(int(n * one) for n, one in zip(sizes, ratios, strict=True))
    count = tuples(f"{name} output_size", output_size, rank)
    for n, k, c in zip(sizes, kernel, count, strict=True):
        if c < 1 or c + k - 1 > n:
            raise ShapeError(
                f"{name}: {count} windows of {kernel} in {sizes}", fix="fewer or smaller windows"
            )
    lead = input.shape[: input.ndim - rank]
    drawn = random.uniform((*lead, rank)) if samples is None else reshape(samples, (*lead, rank))
    host = drawn.numpy() if holds_values(drawn) or is_captured(drawn) else np.zeros(drawn.shape)
    host = host.astype(np.float64).reshape(-1, rank)
    flat = np.zeros((len(host), *(1,) * (2 * rank)), dtype=np.int64)
    for axis in range(rank):
        drawn_for = 1 - axis if rank == 2 else axis  # PyTorch's order of the draws
        starts = _starts(host[:, drawn_for], sizes[axis], count[axis], kernel[axis])
        window = starts[:, :, None] + np.arange(kernel[axis])
        shape = [len(host), *(1,) * (2 * rank)]
        shape[1 + axis], shape[1 + rank + axis] = count[axis], kernel[axis]
        flat = flat * sizes[axis] + window.reshape(shape)
    candidates = _places(flat.reshape(*lead, math.prod(count), math.prod(kernel)), input)
    rows = reshape(input.detach(), (*lead, math.prod(sizes)))
    wide = (*lead, math.prod(count) * math.prod(kernel))
    every = reshape(take_along_axis(rows, reshape(candidates, wide), axis=-1), candidates.shape)
    winner = argmax(every, axis=-1, keepdims=True)
    places = reshape(take_along_axis(candidates, winner, axis=-1), (*lead, *count))
    values = at_places(input, places, rank)
    return (values, places) if return_indices else values


def _starts(samples: Any, size: int, count: int, kernel: int) -> Any:
    """Where the windows of one dimension start, one row for each sample (Graham 2014, pseudorandom)."""
    last = size - kernel
    if count == 1:
        return np.full((len(samples), 1), last)
    alpha = last / (count - 1)
    steps = np.arange(count)
    found = ((steps + samples[:, None]) * alpha).astype(np.int64) - (samples[:, None] * alpha).astype(
        np.int64
    )
    found[:, -1] = last
    return found


def fractional_max_pool2d(
    input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:  # fmt: skip
    """Max pooling over windows at random places that make the output any size (Graham 2014).

    Give `output_size`, or `output_ratio` between 0 and 1. `_random_samples` (N, C, 2) takes the place of the draws.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.fractional_max_pool2d(ml.ones((1, 1, 9, 9)), 2, output_size=5).shape
    (1, 1, 5, 5)
    """
    return _fractional(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool3d(
    input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:  # fmt: skip
    """`fractional_max_pool2d` over three dimensions."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)
