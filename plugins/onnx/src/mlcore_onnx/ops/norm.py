"""Normalisation."""

from __future__ import annotations

import math
from typing import Any

import mlcore as ml
from mlcore.errors import ShapeError
from mlcore.nn import functional as F
from mlcore.ops.norm import batch_norm_scale, layer_norm
from mlcore.ops.rms_norm import rms_norm
from mlcore_onnx.ops.cast import as_dtype
from mlcore_onnx.ops.declare import onnx_op


@onnx_op("BatchNormalization", 14, state=("mean", "var"))
def batch_norm(
    x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, outputs: int,
) -> Any:  # fmt: skip
    """The file says whether the batch's statistics are used, not the module's mode."""
    if not training_mode:
        return normalised(x, mean, var, scale, bias, epsilon)
    axes = (0, *range(2, x.ndim))
    now_mean, now_var = ml.mean(x, axis=axes), ml.var(x, axis=axes)
    y = normalised(x, now_mean, now_var, scale, bias, epsilon)
    kept = [
        old * momentum + ml.astype(now, old.dtype) * (1 - momentum)
        for old, now in ((mean, now_mean), (var, now_var))
    ]
    return (y, *kept)[:outputs] if outputs > 1 else y


def normalised(x: Any, mean: Any, var: Any, scale: Any, bias: Any, epsilon: float) -> Any:
    """`(x - mean) / sqrt(var + epsilon) * scale + bias`, channel by channel."""
    if x.ndim >= 2 and len({one.dtype for one in (x, mean, var, scale, bias)}) == 1:
        return batch_norm_scale(x, mean, var, scale, bias, eps=epsilon)
    wide = (1, -1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (-1,)
    scale, bias, mean, var = (ml.reshape(one, wide) for one in (scale, bias, mean, var))
    return ml.astype((x - mean) * ml.rsqrt(var + epsilon) * scale + bias, x.dtype)


@onnx_op("BatchNormalization", 7, 13, state=("mean", "var"))
def batch_norm_7(
    x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, epsilon: float = 1e-5, momentum: float = 0.9,
    spatial: int = 1,
) -> Any:  # fmt: skip
    if not spatial:
        return (x - mean) * ml.rsqrt(var + epsilon) * scale + bias
    return normalised(x, mean, var, scale, bias, epsilon)


@onnx_op("InstanceNormalization", 6)
def instance_norm(x: Any, scale: Any, bias: Any, *, epsilon: float = 1e-5) -> Any:
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@onnx_op("LayerNormalization", 17)
def layer_normalization(
    x: Any,
    scale: Any,
    bias: Any = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int,
) -> Any:
    axis = axis % x.ndim
    shape = x.shape[axis:]
    plain = scale.shape == shape and (bias is None or bias.shape == shape)
    if (
        outputs == 1
        and plain
        and x.dtype.kind == "f"
        and {scale.dtype, *([bias.dtype] if bias is not None else [])} == {x.dtype}
    ):
        return layer_norm(x, scale, bias, n_axes=len(shape), eps=epsilon)
    wide = ml.astype(x, as_dtype(stash_type, ml.float32))
    axes = tuple(range(axis, x.ndim))
    mean = ml.mean(wide, axis=axes, keepdims=True)
    shifted = wide - mean
    inverse = ml.rsqrt(ml.mean(shifted * shifted, axis=axes, keepdims=True) + epsilon)
    y = ml.astype(shifted * inverse, x.dtype) * scale
    return (y if bias is None else y + bias, mean, inverse)[:outputs]


@onnx_op("RMSNormalization", 23)
def rms_normalization(
    x: Any, scale: Any, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    axis = axis % x.ndim
    shape = x.shape[axis:]
    if scale.shape == shape and scale.dtype is x.dtype and x.dtype is ml.float32:
        return rms_norm(x, scale, n_axes=len(shape), eps=epsilon)
    wide = ml.astype(x, as_dtype(stash_type, ml.float32))
    axes = tuple(range(axis, x.ndim))
    inverse = ml.rsqrt(ml.mean(wide * wide, axis=axes, keepdims=True) + epsilon)
    return ml.astype(wide * inverse, scale.dtype) * scale


@onnx_op("GroupNormalization", 21)
def group_norm(
    x: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    return F.group_norm(x, num_groups, scale, bias, epsilon)


@onnx_op("LpNormalization", 1)
def lp_normalization(x: Any, *, axis: int = -1, p: int = 2) -> Any:
    size = (
        ml.sum(ml.abs(x), axis=axis, keepdims=True)
        if p == 1
        else ml.sqrt(ml.sum(x * x, axis=axis, keepdims=True))
    )
    zero = ml.equal(size, 0)
    return ml.where(zero, ml.zeros_like(x), x / ml.where(zero, ml.ones_like(size), size))


@onnx_op("MeanVarianceNormalization", 9)
def mean_variance(x: Any, *, axes: Any = (0, 2, 3)) -> Any:
    axes = tuple(axes)
    shifted = x - ml.mean(x, axis=axes, keepdims=True)
    return shifted / (ml.sqrt(ml.mean(shifted * shifted, axis=axes, keepdims=True)) + 1e-9)


@onnx_op("LRN", 1)
def lrn(x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Any:
    """Across channels; an even window has its longer half behind."""
    if x.ndim < 3:
        raise ShapeError(f"LRN of {x.shape}", fix="use (N, C, ...)")
    square = ml.reshape(x * x, (x.shape[0], x.shape[1], math.prod(x.shape[2:])))
    before = (size - 1) // 2
    wide = ml.pad(square, ((0, 0), (before, size - 1 - before), (0, 0)))
    total = wide[:, : x.shape[1]]
    for i in range(1, size):
        total = total + wide[:, i : i + x.shape[1]]
    scale = ml.pow(ml.reshape(total, x.shape) * (alpha / size) + bias, beta)
    return x / scale
