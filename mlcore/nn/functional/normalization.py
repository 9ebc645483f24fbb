"""Batch, layer and root-mean-square normalisation."""

from __future__ import annotations

import math
from typing import Any

from mlcore import dispatch, dtypes
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops import norm
from mlcore.ops import rms_norm as rms
from mlcore.ops.elementwise import rsqrt
from mlcore.ops.pool import avg_pool
from mlcore.ops.reduce import mean as mean_
from mlcore.ops.shape import pad, reshape


def layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last dimensions, `normalized_shape` (Ba et al. 2016).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> [round(v, 3) for v in F.layer_norm(ml.asarray([1.0, 3.0]), (2,)).tolist()]
    [-1.0, 1.0]
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ShapeError(f"layer_norm: expected the last dimensions {shape}, got {input.shape}",
                         fix="normalized_shape must be the end of the input's shape")  # fmt: skip
    return norm.layer_norm(input, weight, bias, n_axes=len(shape), eps=eps)[0]


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """`x / sqrt(mean(x * x) + eps) * weight` over the last dimensions, `normalized_shape` (Zhang and Sennrich 2019).

    `eps` None is the dtype's machine epsilon.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> [round(v, 3) for v in F.rms_norm(ml.asarray([3.0, 4.0]), (2,)).tolist()]
    [0.849, 1.131]
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ShapeError(f"rms_norm: expected the last dimensions {shape}, got {input.shape}",
                         fix="normalized_shape must be the end of the input's shape")  # fmt: skip
    eps = float(dtypes.finfo(input.dtype).eps) if eps is None else eps
    return rms.rms_norm(input, weight, n_axes=len(shape), eps=eps)[0]


def batch_norm(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Normalise each channel of `input` (N, C, *sizes) (Ioffe and Szegedy 2015).

    In training by the batch's mean and biased variance; `running_mean` and `running_var` (C,), if given, then take
    `momentum` of the batch's mean and unbiased variance. Otherwise by the running statistics.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> mean, var = ml.zeros((1,)), ml.ones((1,))
    >>> y = F.batch_norm(ml.asarray([[1.0], [3.0]]), mean, var, training=True)
    >>> [round(v, 3) for v in (*y.reshape(-1).tolist(), mean.item(), var.item())]
    [-1.0, 1.0, 0.2, 1.1]
    """
    return normalize(input, running_mean, running_var, weight, bias, training, momentum, eps, "none")


def normalize(
    input: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, training: bool, momentum: float,
    eps: float, activation: str,
) -> Any:  # fmt: skip
    """batch_norm with what follows it: "none", "relu" or "relu6"."""
    if input.ndim < 2:
        raise ShapeError(f"batch_norm: expected (N, C, ...), got {input.shape}")
    channels = input.shape[1]
    for name, one in (("running_mean", running_mean), ("running_var", running_var)):
        if one is not None and one.shape != (channels,):
            raise ShapeError(
                f"batch_norm: {name} of shape {one.shape} for {channels} channels of {input.shape}"
            )
    if not training:
        if running_mean is None or running_var is None:
            raise ArgumentError(
                "batch_norm: training=False without running statistics", fix="pass them, or training=True"
            )
        return _by_running(input, running_mean, running_var, weight, bias, eps, activation)
    count = input.shape[0] * math.prod(input.shape[2:])
    if count <= 1:
        raise ShapeError(f"batch_norm: {count} value per channel in training, got {input.shape}",
                         cause="one value has no variance", fix="use a larger batch, or eval()")  # fmt: skip
    y, mean, rstd = norm.batch_norm(input, weight, bias, eps=eps, activation=activation)
    if running_mean is not None or running_var is not None:
        with dispatch.recording(False):
            _track(running_mean, running_var, mean.detach(), rstd.detach(), momentum, count, eps)
    return y


def _track(
    running_mean: Any, running_var: Any, mean: Any, rstd: Any, momentum: float, count: int, eps: float
) -> None:
    """Move the running statistics, either of which may be missing, towards the batch's."""
    kept = running_var if running_mean is None else running_mean
    if mean.dtype is not kept.dtype:
        mean, rstd = mean.to(kept.dtype), rstd.to(kept.dtype)
    given = (mean if running_mean is None else running_mean, rstd if running_var is None else running_var)
    found = norm.batch_norm_running(*given, mean, rstd, momentum=momentum, count=count, eps=eps)
    for old, new in zip((running_mean, running_var), found, strict=True):
        if old is not None:
            old.rebind(new)


def _by_running(x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float, activation: str) -> Any:
    if all(one is None or one.dtype is x.dtype for one in (mean, var, weight, bias)):
        return norm.batch_norm_scale(x, mean, var, weight, bias, eps=eps, activation=activation)
    wide = (1, -1, *(1,) * (x.ndim - 2))
    scale = rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    y = x * reshape(scale, wide) + reshape(shift, wide)
    return norm.followed(y.to(x.dtype) if y.dtype is not x.dtype else y, activation)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalise each of `num_groups` groups of channels of (N, C, *sizes) by itself (Wu and He 2018).

    `weight` and `bias` (C,) then scale and shift the channels.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> [round(v, 3) for v in F.group_norm(ml.asarray([[1.0, 3.0, 10.0, 20.0]]), 2).reshape(-1).tolist()]
    [-1.0, 1.0, -1.0, 1.0]
    """
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ShapeError(f"group_norm: {num_groups} groups of the channels of {input.shape}",
                         fix="use (N, C, *sizes) with C a multiple of num_groups")  # fmt: skip
    _check_channels("group_norm", input, weight=weight, bias=bias)
    count, channels = input.shape[:2]
    inner = channels // num_groups * math.prod(input.shape[2:])
    rows = reshape(input, (count * num_groups, inner))
    return _affine(
        reshape(norm.layer_norm(rows, None, None, n_axes=1, eps=eps)[0], input.shape), weight, bias
    )


def instance_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Normalise each channel of each sample of (N, C, *sizes) by itself (Ulyanov et al. 2016).

    With `use_input_stats`, given running statistics take `momentum` of the means, over the batch, of mean and unbiased
    variance; without, they are what is normalised by.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> [round(v, 3) for v in F.instance_norm(ml.asarray([[[1.0, 3.0]]])).reshape(-1).tolist()]
    [-1.0, 1.0]
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.ndim < 3:
        raise ShapeError(f"instance_norm: {input.shape}", fix="use (N, C, *sizes)")
    area = math.prod(input.shape[2:])
    if area <= 1:
        raise ShapeError(f"instance_norm: {area} value per channel of {input.shape}",
                         cause="one value has no variance", fix="use larger images, or eval()")  # fmt: skip
    _check_channels(
        "instance_norm", input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    rows = reshape(input, (input.shape[0] * input.shape[1], area))
    y, mean, rstd = norm.layer_norm(rows, None, None, n_axes=1, eps=eps)
    if running_mean is not None or running_var is not None:
        with dispatch.recording(False):
            shape = input.shape[:2]
            means = mean_(reshape(mean.detach(), shape), axis=0)
            spread = reshape(rstd.detach(), shape)
            variances = mean_((1 / (spread * spread) - eps) * (area / (area - 1)), axis=0)
            for old, new in ((running_mean, means), (running_var, variances)):
                if old is not None:
                    old.rebind(old.detach() * (1 - momentum) + new.to(old.dtype) * momentum)
    return _affine(reshape(y, input.shape), weight, bias)


def _check_channels(name: str, input: Any, **given: Any) -> None:
    for what, one in given.items():
        if one is not None and one.shape != (input.shape[1],):
            raise ShapeError(f"{name}: {what} {one.shape} for {input.shape[1]} channels of {input.shape}")


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    """Scale and shift the channels (dimension 1)."""
    wide = (-1, *(1,) * (x.ndim - 2))
    if weight is not None:
        x = x * reshape(weight, wide)
    return x if bias is None else x + reshape(bias, wide)


def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """`x / (k + alpha * mean(x * x over `size` neighbouring channels))**beta` (Krizhevsky et al. 2012).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.local_response_norm(ml.ones((1, 1, 1)), 1, alpha=1.0, beta=1.0).item()
    0.5
    """
    if input.ndim < 3 or size < 1:
        raise ShapeError(
            f"local_response_norm: {input.shape} with size {size}", fix="(N, C, *sizes), and size >= 1"
        )
    if not input.size:
        return input
    squares = reshape(input * input, (input.shape[0], 1, input.shape[1], -1))
    wide = pad(squares, ((0, 0), (0, 0), (size // 2, (size - 1) // 2), (0, 0)))
    near = reshape(avg_pool(wide, kernel=(size, 1), stride=(1, 1)), input.shape)
    return input / (near * alpha + k) ** beta
