"""Convolutions: in one to three dimensions by mlcore's, with pads as ONNX writes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.ops.conv import convolution, convolution_grad_input
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import ints


def many(value: Any, rank: int, default: int = 1) -> tuple[int, ...]:
    """One number for each of `rank` dimensions."""
    found = (default,) * rank if value is None else tuple(value)
    if len(found) != rank:
        raise ArgumentError(f"{found} for {rank} dimensions")
    return found


def pads_of(
    sizes: Any, kernel: Any, strides: Any, dilations: Any, pads: Any, auto_pad: str
) -> tuple[tuple[int, int], ...]:
    """(before, after) of each dimension, from `pads` (all befores, then all afters) or the name of a rule."""
    rank = len(kernel)
    if auto_pad == "NOTSET":
        given = (0,) * (2 * rank) if pads is None else tuple(pads)
        if len(given) != 2 * rank:
            raise ArgumentError(f"pads {given} for {rank} dimensions")
        return tuple((given[i], given[rank + i]) for i in range(rank))
    if auto_pad == "VALID":
        return ((0, 0),) * rank
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise ArgumentError(f"auto_pad {auto_pad!r}", fix="NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    found = []
    for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        more = max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        found.append(
            (more // 2, more - more // 2) if auto_pad == "SAME_UPPER" else (more - more // 2, more // 2)
        )
    return tuple(found)


@onnx_op("Conv", 1)
def conv(
    x: Any, w: Any, b: Any = None, *, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    rank = w.ndim - 2
    strides, dilations = many(strides, rank), many(dilations, rank)
    kernel = w.shape[2:]
    if kernel_shape is not None and tuple(kernel_shape) != kernel:
        raise ShapeError(f"Conv: kernel_shape {tuple(kernel_shape)} with a weight {w.shape}")
    padding = pads_of(x.shape[2:], kernel, strides, dilations, pads, auto_pad)
    if any(one < 0 for pair in padding for one in pair):
        x = ml.pad(x, ((0, 0), (0, 0), *((max(a, 0), max(c, 0)) for a, c in padding)))
        key = (
            slice(None),
            slice(None),
            *(slice(max(-a, 0), n - max(-c, 0)) for (a, c), n in zip(padding, x.shape[2:])),
        )
        x, padding = x[key], ((0, 0),) * rank
    return convolution(x, w, b, stride=strides, padding=padding, dilation=dilations, groups=group)


@onnx_op("ConvTranspose", 1)
def conv_transpose(
    x: Any, w: Any, b: Any = None, *, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, output_padding: Any = None, output_shape: Any = None, pads: Any = None,
    strides: Any = None,
) -> Any:  # fmt: skip
    rank = w.ndim - 2
    strides, dilations, extra = many(strides, rank), many(dilations, rank), many(output_padding, rank, 0)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, w.shape[2:], strict=True)]
    full = [(n - 1) * s + r for n, s, r in zip(x.shape[2:], strides, reach, strict=True)]
    if output_shape is not None or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        shape = output_shape or [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
        shape = list(shape)[-rank:]
        cut = []
        for f, e, o in zip(full, extra, shape, strict=True):
            total = f + e - o
            low = total - total // 2 if auto_pad == "SAME_LOWER" else total // 2
            if auto_pad == "NOTSET":
                low = total - total // 2 if auto_pad != "SAME_UPPER" else total // 2
            cut.append((low, total - low))
    else:
        cut = list(pads_of(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad))
        shape = [f + e - a - c for f, e, (a, c) in zip(full, extra, cut, strict=True)]
    if min(shape) < 1:
        raise ShapeError(f"ConvTranspose: {x.shape} with {w.shape} would have sizes {tuple(shape)}")
    whole = convolution_grad_input(
        x, w, input_shape=(x.shape[0], w.shape[1] * group, *full), stride=strides, padding=((0, 0),) * rank,
        dilation=dilations, groups=group,
    )  # fmt: skip
    grown = [max(o + a - f, 0) for o, f, (a, _) in zip(shape, full, cut, strict=True)]
    before = [max(-a, 0) for a, _ in cut]
    if any(grown) or any(before):
        whole = ml.pad(whole, ((0, 0), (0, 0), *zip(before, grown, strict=True)))
    key = (
        slice(None),
        slice(None),
        *(slice(max(a, 0), max(a, 0) + o) for o, (a, _) in zip(shape, cut, strict=True)),
    )
    y = whole[key]
    return y if b is None else y + ml.reshape(b, (1, -1, *(1,) * rank))


@onnx_op("Col2Im", 18, host=("image_shape", "block_shape"))
def col2im(
    x: Any,
    image_shape: Any,
    block_shape: Any,
    *,
    dilations: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    sizes, kernel = ints(image_shape), ints(block_shape)
    rank = len(sizes)
    strides, dilations = many(strides, rank), many(dilations, rank)
    padding = pads_of(sizes, kernel, strides, dilations, pads, "NOTSET")
    counts = [
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(sizes, padding, dilations, kernel, strides, strict=True)
    ]
    n, channels = x.shape[0], x.shape[1] // math.prod(kernel)
    if rank > 3 or math.prod(counts) != x.shape[2] or channels * math.prod(kernel) != x.shape[1]:
        raise ShapeError(f"Col2Im: {x.shape} for an image {sizes} in blocks {kernel}")
    windows = ml.reshape(x, (n * channels, math.prod(kernel), *counts))
    each = np.eye(math.prod(kernel), dtype=np.float32).reshape(math.prod(kernel), 1, *kernel)
    weight = ml.asarray(each, dtype=x.dtype, device=x.device)
    image = convolution_grad_input(
        windows, weight, input_shape=(n * channels, 1, *sizes), stride=strides, padding=padding, dilation=dilations,
        groups=1,
    )  # fmt: skip
    return ml.reshape(image, (n, channels, *sizes))


@onnx_op("DeformConv", 19)
def deform_conv(
    x: Any, w: Any, offset: Any, b: Any = None, mask: Any = None, *, dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, offset_group: int = 1, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    if x.ndim != 4:
        raise ShapeError(f"DeformConv of {x.shape}", fix="use (N, C, H, W)")
    strides, dilations = many(strides, 2), many(dilations, 2)
    n, c, height, width = x.shape
    kernel = w.shape[2:]
    padding = pads_of((height, width), kernel, strides, dilations, pads, "NOTSET")
    rows, columns = offset.shape[2:]
    taps = kernel[0] * kernel[1]
    moved = ml.reshape(offset, (n, offset_group, taps, 2, rows, columns))
    base = []
    for axis, count in enumerate((rows, columns)):
        tap = np.arange(kernel[axis]) * dilations[axis]
        tap = np.repeat(tap, kernel[1]) if axis == 0 else np.tile(tap, kernel[0])
        line = np.arange(count) * strides[axis] - padding[axis][0]
        line = line[:, None] if axis == 0 else line[None, :]
        base.append(ml.asarray(tap[:, None, None] + line[None], dtype=x.dtype, device=x.device))
    y, h = moved[:, :, :, 0] + base[0], moved[:, :, :, 1] + base[1]
    grid = ml.stack([h * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], axis=-1)
    grid = ml.reshape(grid, (n * offset_group, taps * rows, columns, 2))
    image = ml.reshape(x, (n * offset_group, c // offset_group, height, width))
    if height == 1 or width == 1:  # a grid from -1 to 1 has no extent in a line: pad it to two
        image = ml.pad(image, ((0, 0), (0, 0), (0, int(height == 1)), (0, int(width == 1))))
        grid = ml.stack([h * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], axis=-1)
        grid = ml.reshape(grid, (n * offset_group, taps * rows, columns, 2))
    picked = F.grid_sample(image, grid, align_corners=True)
    picked = ml.reshape(picked, (n, offset_group, c // offset_group, taps, rows, columns))
    if mask is not None:
        picked = picked * ml.reshape(mask, (n, offset_group, 1, taps, rows, columns))
    columns_ = ml.reshape(picked, (n, group, (c // group) * taps, rows * columns))
    weight = ml.reshape(w, (1, group, w.shape[0] // group, w.shape[1] * taps))
    made = ml.reshape(ml.matmul(weight, columns_), (n, w.shape[0], rows, columns))
    return made if b is None else made + ml.reshape(b, (1, -1, 1, 1))
