"""Convolutions of one to three dimensions and their gradients through MLX's, which is channels last.

Layout goes by transposition, which moves nothing: an (N, C, ...) result is MLX's (N, ..., C) memory seen another way,
and the next convolution finds it as it wants it.
"""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import bfloat16, float16, float32
from mlcore_metal.catalog import kernel
from mlcore_metal.library import mx
from mlcore_metal.neural import batch_norm_scale

Array = Any
SINGLE = (float16, bfloat16, float32)  # MLX convolves float64 in float32, where it does: those are composed
Pairs = tuple[tuple[int, int], ...]


def _last(x: Array) -> Array:
    """(N, C, ...) seen as (N, ..., C)."""
    return mx.moveaxis(x, 1, -1)


def _first(x: Array) -> Array:
    """(N, ..., C) seen as (N, C, ...)."""
    return mx.moveaxis(x, -1, 1)


def _conv(x: Array, weight: Array, stride: Any, padding: Pairs, dilation: Any, groups: int) -> Array:
    """MLX's convolution of (N, ..., C) with (O, ..., C / groups); negative padding crops."""
    x, padding = _cropped(x, padding)
    how: dict[str, Any] = dict(
        stride=list(stride),
        padding=([p[0] for p in padding], [p[1] for p in padding]),
        kernel_dilation=list(dilation),
    )
    if groups == 1 or x.ndim < 5:
        return mx.conv_general(x, weight, groups=groups, **how)
    pieces = zip(mx.split(x, groups, axis=-1), mx.split(weight, groups, axis=0), strict=True)
    return mx.concatenate([mx.conv_general(a, b, **how) for a, b in pieces], axis=-1)  # MLX groups up to 2-d


def _cropped(x: Array, padding: Pairs) -> tuple[Array, Pairs]:
    if all(min(p) >= 0 for p in padding):
        return x, padding
    key = [slice(max(0, -lo), d - max(0, -hi)) for d, (lo, hi) in zip(x.shape[1:-1], padding, strict=True)]
    return x[(slice(None), *key)], tuple((max(0, lo), max(0, hi)) for lo, hi in padding)


def _outputs(sizes: Any, kernel: Any, stride: Any, padding: Pairs, dilation: Any) -> tuple[int, ...]:
    return tuple(
        (d + sum(p) - (k - 1) * e - 1) // s + 1
        for d, k, s, p, e in zip(sizes, kernel, stride, padding, dilation, strict=True)
    )


@kernel("convolution", dtypes=SINGLE)
def convolution(
    x: Array, weight: Array, bias: Array, stride: Any, padding: Pairs, dilation: Any, groups: int
) -> Array:
    """Cross-correlation of (N, C, ...) with (O, C / groups, ...)."""
    if not x.size or not weight.size:
        count = _outputs(x.shape[2:], weight.shape[2:], stride, padding, dilation)
        y = mx.zeros((x.shape[0], *count, weight.shape[0]), dtype=x.dtype)
    else:
        y = _conv(_last(x), _last(weight), stride, padding, dilation, groups)
    return _first(y if bias is None else y + bias)


@kernel("convolution_norm", dtypes=SINGLE)
def convolution_norm(
    x: Array, weight: Array, bias: Array, centre: Array, var: Array, gain: Array, offset: Array,
    stride: Any, padding: Pairs, dilation: Any, groups: int, eps: float, activation: str,
) -> Array:  # fmt: skip
    y = convolution(x, weight, bias, stride, padding, dilation, groups)
    return batch_norm_scale(y, centre, var, gain, offset, eps, activation)


@kernel("convolution_grad_input", dtypes=SINGLE)
def convolution_grad_input(
    grad: Array, weight: Array, input_shape: Any, stride: Any, padding: Pairs, dilation: Any, groups: int
) -> Array:
    """A convolution of the gradient, spread out by the stride, with the weight turned round."""
    if not grad.size or not weight.size:
        return mx.zeros(input_shape, dtype=grad.dtype)
    o, c, kernel_ = weight.shape[0], weight.shape[1], weight.shape[2:]
    turned = weight.reshape(groups, o // groups, c, *kernel_)
    turned = mx.swapaxes(turned, 1, 2).reshape(groups * c, o // groups, *kernel_)
    reach = [(k - 1) * e for k, e in zip(kernel_, dilation, strict=True)]
    pads = []
    for d, n, s, (lo, _), r in zip(input_shape[2:], grad.shape[2:], stride, padding, reach, strict=True):
        left = r - lo
        pads.append((left, d + r - ((n - 1) * s + 1) - left))
    y = _spread(_last(grad), stride)
    y = _conv(y, _flipped(_last(turned)), (1,) * len(kernel_), tuple(pads), dilation, groups)
    return _first(y)


def _flipped(weight: Array) -> Array:
    return weight[(slice(None), *(slice(None, None, -1),) * (weight.ndim - 2))]


def _spread(x: Array, stride: Any) -> Array:
    """Zeros between the elements of (N, ..., C), so that the stride is 1."""
    if all(s == 1 for s in stride):
        return x
    sizes = [(d - 1) * s + 1 for d, s in zip(x.shape[1:-1], stride, strict=True)]
    y = mx.zeros((x.shape[0], *sizes, x.shape[-1]), dtype=x.dtype)
    y[(slice(None), *(slice(None, None, s) for s in stride))] = x
    return y


@kernel("convolution_grad_weight", dtypes=SINGLE)
def convolution_grad_weight(
    grad: Array, x: Array, weight_shape: Any, stride: Any, padding: Pairs, dilation: Any, groups: int
) -> Array:
    """A convolution over the batch: the input's channels are its batch, the gradient is its weight."""
    if not grad.size or not x.size:
        return mx.zeros(weight_shape, dtype=grad.dtype)
    c, kernel_ = weight_shape[1], weight_shape[2:]
    n = grad.shape[0]
    x_ = x
    if groups > 1:  # the groups' batches side by side, as groups of channels
        x_ = mx.swapaxes(x_.reshape(n, groups, c, *x.shape[2:]), 0, 1).reshape(groups * n, c, *x.shape[2:])
    left = mx.moveaxis(x_, 0, -1)  # (C, ..., groups * N)
    right = mx.moveaxis(mx.swapaxes(grad, 0, 1), 1, -1)  # (O, ..., N)
    left, padding = _fitted(left, grad.shape[2:], kernel_, stride, padding, dilation)
    y = _conv(left, right, dilation, padding, stride, groups)  # (C, *kernel, O)
    return mx.moveaxis(y, -1, 0)


def _fitted(
    x: Array, count: Any, kernel_: Any, stride: Any, padding: Pairs, dilation: Any
) -> tuple[Array, Pairs]:
    """Without what no window reached at the far end, so that there are as many results as the kernel has elements."""
    fitted = []
    for d, n, k, s, (lo, _), e in zip(x.shape[1:-1], count, kernel_, stride, padding, dilation, strict=True):
        fitted.append((lo, (n - 1) * s + (k - 1) * e + 1 - d - lo))
    return x, tuple(fitted)
