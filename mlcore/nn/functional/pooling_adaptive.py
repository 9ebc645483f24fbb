"""Pooling with windows laid out so that the result has the sizes asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.functional.pooling import check_rank
from mlcore.nn.functional.pooling_indices import largest_of, window_winners
from mlcore.ops.arrange import moveaxis
from mlcore.ops.linalg import matmul
from mlcore.ops.pool import avg_pool, max_pool
from mlcore.ops.shape import matrix_transpose


def _sizes(name: str, input: Any, rank: int, output_size: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    check_rank(name, input, rank)
    same = isinstance(output_size, int) or output_size is None
    given = (output_size,) * rank if same else tuple(output_size)
    if len(given) != rank or any(one is not None and one < 1 for one in given):
        how = (
            "a size >= 1, or None"
            if rank == 1
            else f"one or {('two', 'three')[rank - 2]} sizes >= 1, or None"
        )
        raise ArgumentError(f"{name}: output_size {output_size}", fix=f"use {how}")
    sizes = input.shape[-rank:]
    if 0 in sizes:
        raise ShapeError(f"{name}: nothing to pool in {input.shape}")
    return sizes, tuple(s if one is None else one for one, s in zip(given, sizes, strict=True))


def _avg(rank: int, input: Any, output_size: Any) -> Any:
    sizes, wanted = _sizes(f"adaptive_avg_pool{rank}d", input, rank, output_size)
    if all(s % w == 0 for s, w in zip(sizes, wanted, strict=True)):
        kernel = tuple(s // w for s, w in zip(sizes, wanted, strict=True))
        return input if set(kernel) == {1} else avg_pool(input, kernel=kernel, stride=kernel)
    for axis, (size, want) in enumerate(zip(sizes, wanted, strict=True), start=input.ndim - rank):
        if size != want:
            matrix = _averages(size, want, input)
            if axis == input.ndim - 1:
                input = matmul(input, matrix_transpose(matrix))
            elif axis == input.ndim - 2:
                input = matmul(matrix, input)
            else:
                input = moveaxis(matmul(moveaxis(input, axis, -1), matrix_transpose(matrix)), -1, axis)
    return input


def _bounds(size: int, wanted: int) -> list[tuple[int, int]]:
    """Window i is from floor(i s / w) to ceil((i + 1) s / w)."""
    return [(i * size // wanted, -((i + 1) * size // -wanted)) for i in range(wanted)]


def _averages(size: int, wanted: int, like: Any) -> Any:
    """The (wanted, size) matrix whose rows average a window each."""
    matrix = np.zeros((wanted, size))
    for row, (start, end) in zip(matrix, _bounds(size, wanted), strict=True):
        row[start:end] = 1 / (end - start)
    return dispatch.from_data(matrix, like.dtype, like.device)


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Any:
    """Means of windows laid out so that the last dimension becomes `output_size`; see `adaptive_avg_pool2d`."""
    return _avg(1, input, output_size)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """Means of windows laid out so that the last two dimensions become `output_size` (None keeps one).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.adaptive_avg_pool2d(ml.ones((1, 8, 7, 5)), (1, None)).shape
    (1, 8, 1, 5)
    """
    return _avg(2, input, output_size)


def adaptive_avg_pool3d(input: Any, output_size: Any) -> Any:
    """Means of windows laid out so that the last three dimensions become `output_size`; see `adaptive_avg_pool2d`."""
    return _avg(3, input, output_size)


def _max(rank: int, input: Any, output_size: Any, return_indices: bool) -> Any:
    sizes, wanted = _sizes(f"adaptive_max_pool{rank}d", input, rank, output_size)
    if all(s % w == 0 for s, w in zip(sizes, wanted, strict=True)):
        kernel = tuple(s // w for s, w in zip(sizes, wanted, strict=True))
        pooled = max_pool(input, kernel=kernel, stride=kernel)
        if not return_indices:
            return pooled
        return pooled, window_winners(input, sizes, wanted, kernel, kernel, (0,) * rank, (1,) * rank)
    windows = []
    for size, want in zip(sizes, wanted, strict=True):
        bounds = _bounds(size, want)
        longest = max(end - start for start, end in bounds)
        windows.append(np.array([[min(start + i, end - 1) for i in range(longest)] for start, end in bounds]))
    values, places = largest_of(input, windows)
    return (values, places) if return_indices else values


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest of windows laid out so that the last dimension becomes `output_size`; see `adaptive_max_pool2d`."""
    return _max(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest of windows laid out so that the last two dimensions become `output_size` (None keeps one).

    With `return_indices` also their places in the flattened H * W.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.adaptive_max_pool2d(ml.arange(6.0).reshape(1, 2, 3), (1, 2)).tolist()
    [[[4.0, 5.0]]]
    """
    return _max(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest of windows laid out so that the last three dimensions become `output_size`."""
    return _max(3, input, output_size, return_indices)
