"""Pooling over the last two dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.conv import tuples
from mlcore.ops.linalg import matmul
from mlcore.ops.pool import avg_pool, max_pool
from mlcore.ops.shape import matrix_transpose, pad


def _check(name: str, x: Any) -> None:
    if x.ndim not in (3, 4):
        raise ShapeError(
            f"{name}: expected (N, C, H, W) or (C, H, W), got {x.shape}", fix="reshape the input"
        )


def _extra(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Further elements at the end that ceil_mode lets a last, partly outside window have."""
    reach = dilation * (kernel - 1) + 1
    count = -((size + 2 * padding - reach) // -stride) + 1
    if (count - 1) * stride >= size + padding:  # PyTorch: the last window must start inside
        count -= 1
    return max(0, (count - 1) * stride + reach - size - 2 * padding)


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    """The largest element of each window of (..., H, W); `stride` is the kernel's size unless given.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.max_pool2d(ml.arange(16, dtype=ml.float32).reshape(1, 4, 4), 2).tolist()
    [[[5.0, 7.0], [13.0, 15.0]]]
    """
    _check("max_pool2d", input)
    kernel = tuples("max_pool2d kernel_size", kernel_size, 2)
    stride = kernel if stride is None else tuples("max_pool2d stride", stride, 2)
    padding, dilation = tuples("max_pool2d padding", padding, 2), tuples("max_pool2d dilation", dilation, 2)
    if ceil_mode and min(*kernel, *stride, *dilation) > 0:
        more = [_extra(*one) for one in zip(input.shape[-2:], kernel, stride, padding, dilation, strict=True)]
        input = pad(
            input, ((0, 0),) * (input.ndim - 2) + tuple((0, one) for one in more), value=float("-inf")
        )
    return max_pool(input, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def avg_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window of (..., H, W), or its sum divided by `divisor_override`."""
    _check("avg_pool2d", input)
    kernel = tuples("avg_pool2d kernel_size", kernel_size, 2)
    stride = kernel if stride is None else tuples("avg_pool2d stride", stride, 2)
    padding = tuples("avg_pool2d padding", padding, 2)
    if divisor_override is not None and divisor_override == 0:
        raise ArgumentError("avg_pool2d: divisor_override is 0", fix="use another number")
    sizes = input.shape[-2:]
    more = [0, 0]
    if ceil_mode and min(*kernel, *stride) > 0:
        more = [_extra(*one, 1) for one in zip(sizes, kernel, stride, padding, strict=True)]
    if not any(more) and divisor_override is None:
        return avg_pool(
            input, kernel=kernel, stride=stride, padding=padding, count_include_pad=count_include_pad
        )
    wide = pad(input, ((0, 0),) * (input.ndim - 2) + tuple((0, one) for one in more))
    total = avg_pool(wide, kernel=kernel, stride=stride, padding=padding) * float(math.prod(kernel))
    if divisor_override is not None:
        return total / divisor_override
    lengths = [
        _inside(n, s, k, t, p, count_include_pad)
        for n, s, k, t, p in zip(total.shape[-2:], sizes, kernel, stride, padding, strict=True)
    ]
    divisor = dispatch.from_data(np.outer(*lengths), total.dtype, total.device)
    return total / divisor


def _inside(count: int, size: int, kernel: int, stride: int, padding: int, include: bool) -> Any:
    """How many elements of one axis each window covers."""
    start = np.arange(count) * stride - padding
    end = np.minimum(start + kernel, size + padding)
    return end - start if include else np.minimum(end, size) - np.maximum(start, 0)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """Means of windows laid out so that the last two dimensions become `output_size` (None keeps one).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.adaptive_avg_pool2d(ml.ones((1, 8, 7, 5)), (1, None)).shape
    (1, 8, 1, 5)
    """
    _check("adaptive_avg_pool2d", input)
    given = (
        (output_size, output_size)
        if isinstance(output_size, int) or output_size is None
        else tuple(output_size)
    )
    if len(given) != 2 or any(one is not None and one < 1 for one in given):
        raise ArgumentError(
            f"adaptive_avg_pool2d: output_size {output_size}", fix="use one or two sizes >= 1, or None"
        )
    sizes = input.shape[-2:]
    wanted = tuple(s if one is None else one for one, s in zip(given, sizes, strict=True))
    if 0 in sizes:
        raise ShapeError(f"adaptive_avg_pool2d: nothing to average in {input.shape}")
    if all(s % w == 0 for s, w in zip(sizes, wanted, strict=True)):
        kernel = tuple(s // w for s, w in zip(sizes, wanted, strict=True))
        return input if kernel == (1, 1) else avg_pool(input, kernel=kernel, stride=kernel)
    rows, columns = (_averages(s, w, input) for s, w in zip(sizes, wanted, strict=True))
    return matmul(matmul(rows, input), matrix_transpose(columns))


def _averages(size: int, wanted: int, like: Any) -> Any:
    """The (wanted, size) matrix whose rows average from floor(i s / w) to ceil((i + 1) s / w)."""
    matrix = np.zeros((wanted, size))
    for i in range(wanted):
        start, end = i * size // wanted, -((i + 1) * size // -wanted)
        matrix[i, start:end] = 1 / (end - start)
    return dispatch.from_data(matrix, like.dtype, like.device)
