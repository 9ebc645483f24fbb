"""Normalisation: layer_norm and batch_norm as composites that also return their statistics, and their gradients."""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import floating
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.activation import relu, relu6, relu6_grad, relu_grad
from mlcore.ops.cases import Sample, sample
from mlcore.ops.elementwise import maximum, rsqrt, where
from mlcore.ops.reduce import add_up, mean
from mlcore.ops.shape import reshape
from mlcore.ops.spec import Outs, composite, out, outs

_ROWS: tuple[tuple[tuple[int, ...], int], ...] = (
    ((4, 6), 1), ((2, 3, 5), 1), ((2, 3, 5), 2), ((0, 4), 1), ((7,), 1), ((5, 129), 1), ((3, 1029), 1),
)  # fmt: skip
_BATCHES: tuple[tuple[int, ...], ...] = ((4, 3, 5, 6), (8, 3), (2, 5, 7), (2, 1, 3, 2, 2), (1, 17, 33, 5))
_FOLLOWED = (((4, 3, 5, 6), "relu"), ((2, 17, 9, 3), "relu6"), ((2, 70, 5), "relu"), ((9, 3), "relu6"))
# Values in three groups, of which the activations let the middle one through: rounding moves none past a corner.
_APART: dict[str, Any] = {
    "x": lambda x: 0.05 * x + where(x > 0.4, 1, 0) - where(x < -0.4, 1, 0),
    "weight": lambda weight: 0.1 * weight + 5,
    "bias": lambda bias: 0.1 * bias + 3,
}


def _layer_samples() -> list[Sample]:
    affine = [sample([x, x[-n:], x[-n:]], n_axes=n) for x, n in _ROWS]
    return [*affine, sample([(4, 6), None, None]), sample([(4, 6), (6,), None], eps=1e-3)]


def _layer_grad_samples() -> list[Sample]:
    def case(x: tuple[int, ...], n: int, weight: bool) -> Sample:
        stats = (*x[:-n], *(1,) * n)
        derive = {"mean_": lambda x: layer_norm(x, n_axes=n)[1], "rstd": lambda x: layer_norm(x, n_axes=n)[2]}
        return sample([x, x, x[-n:] if weight else None, stats, stats], derive=derive, n_axes=n)

    return [*(case(x, n, True) for x, n in _ROWS), case((4, 6), 1, False)]


def _batch_samples() -> list[Sample]:
    affine = [sample([x, x[1:2], x[1:2]]) for x in _BATCHES]
    plain = [*affine, sample([(4, 3, 5, 6), None, None]), sample([(4, 3), (3,), None], eps=1e-3)]
    return [*plain, *(sample([x, x[1:2], x[1:2]], derive=_APART, activation=how) for x, how in _FOLLOWED)]


def _batch_grad_samples() -> list[Sample]:
    derive = {"mean_": lambda x: batch_norm(x)[1], "rstd": lambda x: batch_norm(x)[2]}

    def case(x: tuple[int, ...], weight: bool, activation: str = "none") -> Sample:
        c = x[1:2]
        apart = {} if activation == "none" else _APART
        affine = c if weight else None
        return sample([x, x, affine, affine, c, c], derive={**apart, **derive}, activation=activation)

    followed_ = [case(x, True, how) for x, how in _FOLLOWED]
    return [*(case(x, True) for x in _BATCHES), case((4, 3, 5, 6), False), *followed_]


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
    _layer_rule, autocast="wide",
    accepts=floating, public=False, outputs=("y", "mean", "rstd"), ulp=64, samples=_layer_samples,
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
    _layer_grad_rule, accepts=floating, public=False, outputs=("gx", "gw", "gb"), ulp=128, samples=_layer_grad_samples
)  # fmt: skip
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


ACTIVATIONS = ("none", "relu", "relu6")


def followed(y: Any, activation: str) -> Any:
    """`y` after one of ACTIVATIONS, which operations that end in one name as a parameter."""
    return relu(y) if activation == "relu" else relu6(y) if activation == "relu6" else y


def checked_activation(name: str, activation: str) -> str:
    """`activation`, if it is one of ACTIVATIONS."""
    if activation not in ACTIVATIONS:
        raise ArgumentError(f"{name}: activation={activation!r}", fix=f"use one of {', '.join(ACTIVATIONS)}")
    return activation


def _batch_rule(
    x: Any, weight: Any = None, bias: Any = None, /, *, eps: float = 1e-5, activation: str = "none"
) -> Outs:
    if x.ndim < 2:
        raise ShapeError(f"batch_norm: expected (N, C, ...), got shape {x.shape}")
    for name, one in (("weight", weight), ("bias", bias)):
        if one is not None and one.shape != (x.shape[1],):
            raise ShapeError(
                f"batch_norm: {name} of shape {one.shape} for {x.shape[1]} channels of {x.shape}"
            )
    stats = ((x.shape[1],), x.dtype)
    made = [(x.shape, x.dtype), stats, stats]
    return outs(made, float(eps), checked_activation("batch_norm", activation))


@composite(
    _batch_rule, autocast="wide",
    accepts=floating, public=False, outputs=("y", "mean", "rstd"), ulp=64, samples=_batch_samples,
    vjp=lambda g, x, weight, bias, mean, rstd, activation: batch_norm_grad(
        g, x, weight, bias, mean, rstd, activation=activation
    ),
)  # fmt: skip
def batch_norm(
    x: Any, weight: Any = None, bias: Any = None, /, *, eps: float = 1e-5, activation: str = "none"
) -> Any:
    """Normalise each channel of (N, C, *sizes) by the batch's own mean and biased variance (Ioffe and Szegedy 2015).

    An `activation`, "relu" or "relu6", follows. Returns (y, mean, rstd), the statistics of shape (C,).
    """
    axes = (0, *range(2, x.ndim))
    centre = mean(x, axes)
    shifted = x - _channels(x, centre)
    scale = rsqrt(mean(shifted * shifted, axes) + eps)
    y = shifted * _channels(x, scale)
    if weight is not None:
        y = y * _channels(x, weight)
    if bias is not None:
        y = y + _channels(x, bias)
    return followed(y, activation), centre, scale


def _batch_grad_rule(
    g: Any, x: Any, weight: Any = None, bias: Any = None, mean: Any = None, rstd: Any = None, /,
    *, activation: str = "none",
) -> Outs:  # fmt: skip
    channel = ((x.shape[1],), x.dtype)
    return outs([(x.shape, x.dtype), channel, channel], checked_activation("batch_norm_grad", activation))


@composite(
    _batch_grad_rule, accepts=floating, public=False, outputs=("gx", "gw", "gb"), ulp=128, samples=_batch_grad_samples
)  # fmt: skip
def batch_norm_grad(
    g: Any, x: Any, weight: Any = None, bias: Any = None, mean_: Any = None, rstd: Any = None, /,
    *, activation: str = "none",
) -> Any:  # fmt: skip
    """Gradients of batch_norm: of the input, the weight and the bias. `bias` says where the activation was flat."""
    axes = (0, *range(2, x.ndim))
    count = x.size // x.shape[1] if x.shape[1] else 1
    normal = (x - _channels(x, mean_)) * _channels(x, rstd)
    if activation != "none":
        y = normal if weight is None else normal * _channels(x, weight)
        y = y if bias is None else y + _channels(x, bias)
        g = relu_grad(g, y) if activation == "relu" else relu6_grad(g, y)
    gw, gb = add_up(g * normal, axis=axes), add_up(g, axis=axes)
    scale = rstd if weight is None else rstd * weight
    gx = _channels(x, scale) * (g - (_channels(x, gb) + normal * _channels(x, gw)) / count)
    return gx, gw, gb


def _running_rule(
    running_mean: Any, running_var: Any, mean: Any, rstd: Any, /, *, momentum: float, count: int, eps: float
) -> Outs:
    shapes = {one.shape for one in (running_mean, running_var, mean, rstd)}
    if len(shapes) != 1 or running_mean.ndim != 1 or count < 2:
        raise ShapeError(
            f"batch_norm_running: statistics of shapes {shapes} over {count} values; expected one (C,), 2 values"
        )
    stats = [(running_mean.shape, running_mean.dtype), (running_var.shape, running_var.dtype)]
    return outs(stats, float(momentum), int(count), float(eps))


def _running_samples() -> list[Sample]:
    how: dict[str, Any] = dict(momentum=0.1, count=40, eps=1e-5)
    positive = {
        "running_var": lambda running_var: running_var * running_var + 0.5,
        "rstd": lambda rstd: rstd * rstd + 0.5,
    }
    return [sample([(c,)] * 4, gradient=False, special=False, derive=positive, **how) for c in (1, 5, 70)]


@composite(
    _running_rule, accepts=floating, public=False, outputs=("running_mean", "running_var"), ulp=16,
    samples=_running_samples,
)  # fmt: skip
def batch_norm_running(
    running_mean: Any, running_var: Any, mean: Any, rstd: Any, /, *, momentum: float, count: int, eps: float
) -> Any:
    """The running statistics after a batch of `count` values per channel, from what batch_norm returned.

    Each takes `momentum` of the batch's: its mean, and its variance with Bessel's correction.
    """
    var = maximum(1 / (rstd * rstd) - eps, 0)  # rstd is 1 / sqrt(var + eps)
    unbiased = var * (momentum * count / (count - 1))
    return running_mean * (1 - momentum) + mean * momentum, running_var * (1 - momentum) + unbiased


def _scale_rule(
    x: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, /,
    *, eps: float = 1e-5, activation: str = "none",
) -> Outs:  # fmt: skip
    if x.ndim < 2:
        raise ShapeError(f"batch_norm: expected (N, C, ...), got shape {x.shape}")
    for name, one in (("mean", mean), ("var", var), ("weight", weight), ("bias", bias)):
        if one is not None and one.shape != (x.shape[1],):
            raise ShapeError(
                f"batch_norm: {name} of shape {one.shape} for {x.shape[1]} channels of {x.shape}"
            )
    return out(x.shape, x.dtype, float(eps), checked_activation("batch_norm_scale", activation))


def _scale_samples() -> list[Sample]:
    derive = {"var": lambda var: var * var + 0.5}
    full = [sample([x, *(x[1:2],) * 4], derive=derive) for x in _BATCHES]
    full += [sample([x, *(x[1:2],) * 4], derive=derive, activation=how) for x, how in _FOLLOWED]
    stats = [(4, 3, 5, 6), (3,), (3,)]
    return [
        *full,
        sample([*stats, None, None], derive=derive),
        sample([*stats, None, (3,)], derive=derive, eps=1e-3),
    ]


@composite(_scale_rule, accepts=floating, public=False, ulp=64, samples=_scale_samples)
def batch_norm_scale(
    x: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, /,
    *, eps: float = 1e-5, activation: str = "none",
) -> Any:  # fmt: skip
    """Normalise each channel of (N, C, *sizes) by a given mean and variance: batch norm when it is evaluated.

    An `activation`, "relu" or "relu6", follows.
    """
    scale = rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return followed(x * _channels(x, scale) + _channels(x, shift), activation)
