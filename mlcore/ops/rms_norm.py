"""Root-mean-square normalisation as a composite that also returns its statistic, and its gradient."""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import floating
from mlcore.errors import ShapeError
from mlcore.ops.cases import Sample, sample
from mlcore.ops.elementwise import rsqrt
from mlcore.ops.reduce import add_up, mean
from mlcore.ops.spec import Outs, composite, outs

_ROWS: tuple[tuple[tuple[int, ...], int], ...] = (
    ((4, 6), 1), ((2, 3, 5), 1), ((2, 3, 5), 2), ((0, 4), 1), ((7,), 1), ((5, 129), 1), ((3, 1029), 1), ((67, 9), 1),
)  # fmt: skip


def _samples() -> list[Sample]:
    return [*(sample([x, x[-n:]], n_axes=n) for x, n in _ROWS), sample([(4, 6), None], eps=1e-3)]


def _grad_samples() -> list[Sample]:
    def case(x: tuple[int, ...], n: int, weight: bool) -> Sample:
        stats = (*x[:-n], *(1,) * n)
        derive = {"rstd": lambda x: rms_norm(x, n_axes=n)[1]}
        return sample([x, x, x[-n:] if weight else None, stats], derive=derive, n_axes=n)

    return [*(case(x, n, True) for x, n in _ROWS), case((4, 6), 1, False)]


def _rule(x: Any, weight: Any = None, /, *, n_axes: int = 1, eps: float = 1e-5) -> Outs:
    if not 1 <= n_axes <= x.ndim:
        raise ShapeError(f"rms_norm: {n_axes} trailing dimensions of a tensor of shape {x.shape}")
    if weight is not None and weight.shape != x.shape[-n_axes:]:
        raise ShapeError(
            f"rms_norm: weight of shape {weight.shape} for trailing dimensions {x.shape[-n_axes:]} of {x.shape}"
        )
    stats = (*x.shape[:-n_axes], *(1,) * n_axes)
    return outs([(x.shape, x.dtype), (stats, x.dtype)], int(n_axes), float(eps))


@composite(
    _rule, autocast="wide", accepts=floating, public=False, outputs=("y", "rstd"), ulp=64, samples=_samples,
    vjp=lambda g, x, weight, rstd, n_axes: rms_norm_grad(g, x, weight, rstd, n_axes=n_axes),
)  # fmt: skip
def rms_norm(x: Any, weight: Any = None, /, *, n_axes: int = 1, eps: float = 1e-5) -> Any:
    """`x / sqrt(mean(x * x) + eps) * weight` over the last `n_axes` dimensions (Zhang and Sennrich 2019).

    Returns (y, rstd), the statistic with those dimensions of size 1.
    """
    scale = rsqrt(mean(x * x, tuple(range(x.ndim - n_axes, x.ndim)), keepdims=True) + eps)
    y = x * scale
    return (y if weight is None else y * weight), scale


def _grad_rule(g: Any, x: Any, weight: Any = None, rstd: Any = None, /, *, n_axes: int = 1) -> Outs:
    return outs([(x.shape, x.dtype), (x.shape[-n_axes:], x.dtype)], int(n_axes))


@composite(_grad_rule, accepts=floating, public=False, outputs=("gx", "gw"), ulp=128, samples=_grad_samples)
def rms_norm_grad(g: Any, x: Any, weight: Any = None, rstd: Any = None, /, *, n_axes: int = 1) -> Any:
    """Gradients of rms_norm: of the input and the weight."""
    normal = x * rstd
    inner = g if weight is None else g * weight
    gx = rstd * (inner - normal * mean(inner * normal, tuple(range(x.ndim - n_axes, x.ndim)), keepdims=True))
    return gx, add_up(g * normal, axis=tuple(range(x.ndim - n_axes)))
