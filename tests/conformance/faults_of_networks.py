"""Faults of products, convolutions, attention and layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from faulty import (
    Kernel,
    as_if_contiguous,
    composed,
    kernel_fault,
)

# -- products and networks -----------------------------------------------------------------------------------------


@kernel_fault("transposed operand of a product ignored", "contract")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, y: right(x, as_if_contiguous(y))


@kernel_fault("unstable softmax", "softmax")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, axis: (np.exp(x) / np.sum(np.exp(x), axis=axis, keepdims=True)).astype(x.dtype)


@kernel_fault("cross entropy off by a little", "softmax_cross_entropy")
def _(op: Any, right: Kernel) -> Kernel:
    def run(logits: Any, target: Any) -> Any:
        loss, lse = composed(op)(logits, target)
        return (loss * logits.dtype.type(1.05)).astype(logits.dtype), lse

    return run


@kernel_fault("a masked row gives nan", "scaled_dot_product_attention")
def _(op: Any, right: Kernel) -> Kernel:
    def run(q: Any, k: Any, v: Any, mask: Any, is_causal: bool, scale: float) -> Any:
        if mask is None or mask.dtype.kind != "b":
            return composed(op)(q, k, v, mask, is_causal, scale)
        scores = np.where(mask, q @ np.swapaxes(k, -1, -2) * q.dtype.type(scale), -np.inf)
        e = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
        return ((e / np.sum(e, axis=-1, keepdims=True)) @ v).astype(q.dtype)

    return run


def _resized(made: Any, shape: tuple[int, ...]) -> Any:
    """A result cut or filled up to the shape that it should have had."""
    whole = np.zeros(shape, dtype=made.dtype)
    key = tuple(slice(0, min(a, b)) for a, b in zip(made.shape, shape, strict=True))
    whole[key] = made[key]
    return whole


@kernel_fault("convolution ignores dilation", "convolution")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        good = composed(op)(x, w, b, stride, padding, dilation, groups)
        return _resized(composed(op)(x, w, b, stride, padding, (1,) * len(dilation), groups), good.shape)

    return run


@kernel_fault("convolution ignores padding", "convolution")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        good = composed(op)(x, w, b, stride, padding, dilation, groups)
        if not any(map(any, padding)):
            return good
        return _resized(composed(op)(x, w, b, stride, ((0, 0),) * len(padding), dilation, groups), good.shape)

    return run


@kernel_fault("convolution mixes up groups", "convolution")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        if groups > 1:
            parts = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
            x = np.ascontiguousarray(parts[:, ::-1]).reshape(x.shape)
        return composed(op)(x, w, b, stride, padding, dilation, groups)

    return run


@kernel_fault("the gradient of a pool goes to the last of equals", "max_pool_grad")
def _(op: Any, right: Kernel) -> Kernel:
    def run(g: Any, x: Any, y: Any, *how: Any) -> Any:
        later = np.arange(x.size, dtype=np.float64).reshape(x.shape) * 1e-4
        return composed(op)(g, (x + later).astype(x.dtype), y, *how)

    return run


@kernel_fault("average pool counts the padding", "avg_pool")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda x, kernel, stride, padding, count: composed(op)(x, kernel, stride, padding, True)


@kernel_fault("layer_norm with the unbiased variance", "layer_norm")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, weight: Any, bias: Any, n_axes: int, eps: float) -> Any:
        _, mean, _ = composed(op)(x, weight, bias, n_axes, eps)
        axes = tuple(range(x.ndim - n_axes, x.ndim))
        scale = 1 / np.sqrt(np.var(x, axis=axes, keepdims=True, ddof=1) + eps)
        made = (x - mean) * scale
        made = made if weight is None else made * weight
        return (made if bias is None else made + bias).astype(x.dtype), mean, scale.astype(x.dtype)

    return run


@kernel_fault("batch_norm over the wrong axes", "batch_norm")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, weight: Any, bias: Any, eps: float) -> Any:
        _, mean, rstd = composed(op)(x, weight, bias, eps)
        centre = x.mean(axis=0, keepdims=True)
        made = (x - centre) / np.sqrt(x.var(axis=0, keepdims=True) + eps)
        return made.astype(x.dtype), mean, rstd

    return run


@kernel_fault("dropout scaled wrongly", "dropout_mask")
def _(op: Any, right: Kernel) -> Kernel:
    def run(x: Any, p: float, key: Any, offset: int) -> Any:
        return (composed(op)(x, p, key, offset) * x.dtype.type(1 - p)).astype(x.dtype)

    return run


@kernel_fault("bits of the counter after", "random_bits")
def _(op: Any, right: Kernel) -> Kernel:
    return lambda key, offset, shape: right(key, offset + 1, shape)


@kernel_fault("weight decay coupled to the gradient", "adam_step")
def _(op: Any, right: Kernel) -> Kernel:
    def run(*args: Any) -> Any:
        return composed(op)(*args[:-2], False, args[-1])

    return run
