"""Normalisation: layer_norm and batch_norm as composites that also return their statistics, and their gradients."""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import floating
from mlcore.errors import ShapeError
from mlcore.ops.elementwise import rsqrt
from mlcore.ops.reduce import add_up, mean
from mlcore.ops.shape import reshape
from mlcore.ops.spec import Outs, composite, outs


def _layer_rule(
    x: Any, weight: Any = None, bias: Any = None, /, *, n_axes: int = 1, eps: float = 1e-5
) -> Outs:
    if not 1 <= n_axes <= x.ndim:
        raise ShapeError(f"layer_norm: {n_axes} trailing dimensions of a tensor of shape {x.shape}")
    for name, one in (("weight", weight), ("bias", bias)):
        if one is not None and one.shape != x.shape[-n_axes:]:
            raise ShapeError(
                f"layer_norm: {name} of shape {one.shape} for trailing dimensions {x.shape[-n_axes:]} of {x.shape}"
            )
    stats = (*x.shape[:-n_axes], *(1,) * n_axes)
    return outs([(x.shape, x.dtype), (stats, x.dtype), (stats, x.dtype)], int(n_axes), float(eps))


@composite(
    _layer_rule, accepts=floating, public=False, outputs=("y", "mean", "rstd"), ulp=64, samples=list,
    vjp=lambda g, x, weight, mean, rstd, n_axes: layer_norm_grad(g, x, weight, mean, rstd, n_axes=n_axes),
)  # fmt: skip
def layer_norm(x: Any, weight: Any = None, bias: Any = None, /, *, n_axes: int = 1, eps: float = 1e-5) -> Any:
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last `n_axes` dimensions (Ba et al. 2016).

    Returns (y, mean, rstd), the statistics with those dimensions of size 1.
    """
    axes = tuple(range(x.ndim - n_axes, x.ndim))
    centre = mean(x, axes, keepdims=True)
    shifted = x - centre
    scale = rsqrt(mean(shifted * shifted, axes, keepdims=True) + eps)
    y = shifted * scale
    if weight is not None:
        y = y * weight
    return (y if bias is None else y + bias), centre, scale


def _layer_grad_rule(
    g: Any, x: Any, weight: Any = None, mean: Any = None, rstd: Any = None, /, *, n_axes: int = 1
) -> Outs:
    tail = (x.shape[-n_axes:], x.dtype)
    return outs([(x.shape, x.dtype), tail, tail], int(n_axes))


@composite(
    _layer_grad_rule, accepts=floating, public=False, outputs=("gx", "gw", "gb"), ulp=128, samples=list
)
def layer_norm_grad(
    g: Any, x: Any, weight: Any = None, mean_: Any = None, rstd: Any = None, /, *, n_axes: int = 1
) -> Any:
    """Gradients of layer_norm: of the input, the weight and the bias."""
    axes = tuple(range(x.ndim - n_axes, x.ndim))
    lead = tuple(range(x.ndim - n_axes))
    normal = (x - mean_) * rstd
    inner = g if weight is None else g * weight
    gx = rstd * (
        inner - mean(inner, axes, keepdims=True) - normal * mean(inner * normal, axes, keepdims=True)
    )
    return gx, add_up(g * normal, axis=lead), add_up(g, axis=lead)


def _channels(x: Any, value: Any) -> Any:
    """A (C,) tensor shaped to broadcast against (N, C, *sizes)."""
    return reshape(value, (1, -1, *(1,) * (x.ndim - 2)))


def _batch_rule(x: Any, weight: Any = None, bias: Any = None, /, *, eps: float = 1e-5) -> Outs:
    if x.ndim < 2:
        raise ShapeError(f"batch_norm: expected (N, C, ...), got shape {x.shape}")
    for name, one in (("weight", weight), ("bias", bias)):
        if one is not None and one.shape != (x.shape[1],):
            raise ShapeError(
                f"batch_norm: {name} of shape {one.shape} for {x.shape[1]} channels of {x.shape}"
            )
    stats = ((x.shape[1],), x.dtype)
    return outs([(x.shape, x.dtype), stats, stats], float(eps))


@composite(
    _batch_rule, accepts=floating, public=False, outputs=("y", "mean", "rstd"), ulp=64, samples=list,
    vjp=lambda g, x, weight, mean, rstd: batch_norm_grad(g, x, weight, mean, rstd),
)  # fmt: skip
def batch_norm(x: Any, weight: Any = None, bias: Any = None, /, *, eps: float = 1e-5) -> Any:
    """Normalise each channel of (N, C, *sizes) by the batch's own mean and biased variance (Ioffe and Szegedy 2015).

    Returns (y, mean, rstd), the statistics of shape (C,).
    """
    axes = (0, *range(2, x.ndim))
    centre = mean(x, axes)
    shifted = x - _channels(x, centre)
    scale = rsqrt(mean(shifted * shifted, axes) + eps)
    y = shifted * _channels(x, scale)
    if weight is not None:
        y = y * _channels(x, weight)
    return (y if bias is None else y + _channels(x, bias)), centre, scale


def _batch_grad_rule(g: Any, x: Any, weight: Any = None, mean: Any = None, rstd: Any = None, /) -> Outs:
    channel = ((x.shape[1],), x.dtype)
    return outs([(x.shape, x.dtype), channel, channel])


@composite(
    _batch_grad_rule, accepts=floating, public=False, outputs=("gx", "gw", "gb"), ulp=128, samples=list
)
def batch_norm_grad(g: Any, x: Any, weight: Any = None, mean_: Any = None, rstd: Any = None, /) -> Any:
    """Gradients of batch_norm: of the input, the weight and the bias."""
    axes = (0, *range(2, x.ndim))
    count = x.size // x.shape[1] if x.shape[1] else 1
    normal = (x - _channels(x, mean_)) * _channels(x, rstd)
    gw, gb = add_up(g * normal, axis=axes), add_up(g, axis=axes)
    scale = rstd if weight is None else rstd * weight
    gx = _channels(x, scale) * (g - (_channels(x, gb) + normal * _channels(x, gw)) / count)
    return gx, gw, gb
