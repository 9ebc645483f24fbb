"""Batch, layer and root-mean-square normalisation."""

from __future__ import annotations

import math
from typing import Any

from mlcore import dispatch, dtypes
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops import norm
from mlcore.ops import rms_norm as rms
from mlcore.ops.elementwise import rsqrt
from mlcore.ops.shape import reshape


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
