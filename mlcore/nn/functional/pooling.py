"""Max, average and power-average pooling over the last one, two or three dimensions, with PyTorch's windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.functional.pooling_indices import window_winners
from mlcore.ops.activation import relu
from mlcore.ops.conv import tuples
from mlcore.ops.elementwise import abs as abs_
from mlcore.ops.elementwise import sign
from mlcore.ops.pool import avg_pool, max_pool
from mlcore.ops.shape import pad


def check_rank(name: str, x: Any, rank: int) -> None:
    """Refuse what is neither (N, C, *sizes) nor (C, *sizes)."""
    if x.ndim not in (rank + 1, rank + 2):
        sizes = "L" if rank == 1 else ", ".join("DHW"[3 - rank :])
        raise ShapeError(
            f"{name}: expected (N, C, {sizes}) or (C, {sizes}), got {x.shape}", fix="reshape the input"
        )


def _extra(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Further elements at the end that ceil_mode lets a last, partly outside window have."""
    reach = dilation * (kernel - 1) + 1
    count = -((size + 2 * padding - reach) // -stride) + 1
    if (count - 1) * stride >= size + padding:  # PyTorch: the last window must start inside
        count -= 1
    return max(0, (count - 1) * stride + reach - size - 2 * padding)


def _max(
    rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool,
) -> Any:  # fmt: skip
    name = f"max_pool{rank}d"
    check_rank(name, input, rank)
    kernel = tuples(f"{name} kernel_size", kernel_size, rank)
    stride = kernel if stride is None else tuples(f"{name} stride", stride, rank)
    padding, dilation = tuples(f"{name} padding", padding, rank), tuples(f"{name} dilation", dilation, rank)
    more = (0,) * rank
    if ceil_mode and min(*kernel, *stride, *dilation) > 0:
        sizes = input.shape[-rank:]
        more = tuple(_extra(*one) for one in zip(sizes, kernel, stride, padding, dilation, strict=True))
    wide = input
    if any(more):
        room = ((0, 0),) * (input.ndim - rank) + tuple((0, one) for one in more)
        wide = pad(input, room, value=float("-inf"))
    pooled = max_pool(wide, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    if not return_indices:
        return pooled
    return pooled, window_winners(
        wide, input.shape[-rank:], pooled.shape[-rank:], kernel, stride, padding, dilation
    )


def max_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of (N, C, L) or (C, L); see `max_pool2d`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.max_pool1d(ml.asarray([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
    [[3.0, 2.0]]
    """
    return _max(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of (N, C, H, W) or (C, H, W); `stride` is the kernel's size unless given.

    `ceil_mode` has a last window that is partly outside. With `return_indices` also where each came from, as
    int64 places in the flattened H * W (which `max_unpool2d` wants).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.max_pool2d(ml.arange(16, dtype=ml.float32).reshape(1, 4, 4), 2).tolist()
    [[[5.0, 7.0], [13.0, 15.0]]]
    """
    return _max(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of (N, C, D, H, W) or (C, D, H, W); see `max_pool2d`."""
    return _max(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _avg(
    rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None,
) -> Any:  # fmt: skip
    name = f"avg_pool{rank}d"
    check_rank(name, input, rank)
    kernel = tuples(f"{name} kernel_size", kernel_size, rank)
    stride = kernel if stride is None else tuples(f"{name} stride", stride, rank)
    padding = tuples(f"{name} padding", padding, rank)
    if divisor_override is not None and divisor_override == 0:
        raise ArgumentError(f"{name}: divisor_override is 0", fix="use another number")
    sizes, more = input.shape[-rank:], (0,) * rank
    if ceil_mode and min(*kernel, *stride) > 0:
        more = tuple(_extra(*one, 1) for one in zip(sizes, kernel, stride, padding, strict=True))
    if not any(more) and divisor_override is None:
        return avg_pool(
            input, kernel=kernel, stride=stride, padding=padding, count_include_pad=count_include_pad
        )
    wide = pad(input, ((0, 0),) * (input.ndim - rank) + tuple((0, one) for one in more))
    total = avg_pool(wide, kernel=kernel, stride=stride, padding=padding) * float(math.prod(kernel))
    if divisor_override is not None:
        return total / divisor_override
    divisor = np.ones(())
    for one in zip(total.shape[-rank:], sizes, kernel, stride, padding, strict=True):
        divisor = np.multiply.outer(divisor, _inside(*one, count_include_pad))
    return total / dispatch.from_data(divisor, total.dtype, total.device)


def _inside(count: int, size: int, kernel: int, stride: int, padding: int, include: bool) -> Any:
    """How many elements of one axis each window covers."""
    start = np.arange(count) * stride - padding
    end = np.minimum(start + kernel, size + padding)
    return end - start if include else np.minimum(end, size) - np.maximum(start, 0)


def avg_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:  # fmt: skip
    """The mean of each window of (N, C, L) or (C, L); see `avg_pool2d`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.avg_pool1d(ml.asarray([[1.0, 3.0, 2.0, 0.0]]), 2).tolist()
    [[2.0, 1.0]]
    """
    return _avg(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window of (N, C, H, W) or (C, H, W), or its sum divided by `divisor_override`.

    Padding counts as zeros unless `count_include_pad` is false.
    """
    return _avg(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window of (N, C, D, H, W) or (C, D, H, W); see `avg_pool2d`."""
    return _avg(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _lp(rank: int, input: Any, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Any:
    name = f"lp_pool{rank}d"
    power = float(norm_type)
    if power == 0:
        raise ArgumentError(f"{name}: norm_type is 0", fix="use another number")
    kernel = tuples(f"{name} kernel_size", kernel_size, rank)
    mean = _avg(rank, input**power, kernel, stride, 0, ceil_mode, True, None)
    return (sign(mean) * relu(abs_(mean)) * float(math.prod(kernel))) ** (1 / power)


def lp_pool1d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """`sum(x**p)**(1 / p)` of each window of (N, C, L) or (C, L), p being `norm_type`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.lp_pool1d(ml.asarray([[3.0, 4.0]]), 2, 2).tolist()
    [[5.0]]
    """
    return _lp(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """`sum(x**p)**(1 / p)` of each window of (N, C, H, W) or (C, H, W)."""
    return _lp(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """`sum(x**p)**(1 / p)` of each window of (N, C, D, H, W) or (C, D, H, W)."""
    return _lp(3, input, norm_type, kernel_size, stride, ceil_mode)
