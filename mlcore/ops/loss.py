"""Losses as one composite: of rows for classes, of all elements for numbers; `nn.functional` adds the rest."""

from __future__ import annotations

from typing import Any

from mlcore import dtypes
from mlcore.dtypes import floating
from mlcore.errors import DTypeError, ShapeError
from mlcore.ops.cases import Sample, sample
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import astype, exp, log, log1p, maximum, where
from mlcore.ops.index import take_along_axis
from mlcore.ops.logic import equal
from mlcore.ops.reduce import logsumexp
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import reshape
from mlcore.ops.spec import Outs, composite, out, outs


def _rule(logits: Any, target: Any, /) -> Outs:
    if logits.ndim != 2 or target.shape != logits.shape[:1]:
        raise ShapeError(
            f"softmax_cross_entropy: logits {logits.shape}, target {target.shape}", fix="use (N, C) and (N,)"
        )
    if target.dtype is not dtypes.int64:
        raise DTypeError(f"softmax_cross_entropy: target is {target.dtype}, expected int64")
    return outs([(target.shape, logits.dtype), (target.shape, logits.dtype)])


def _error_rule(x: Any, target: Any, /, *, scale: float = 1.0) -> Outs:
    if x.shape != target.shape:
        raise ShapeError(
            f"squared_error: {x.shape} with target {target.shape}", fix="the shapes must be equal"
        )
    return out((), x.dtype, float(scale))


def _error_grad_rule(g: Any, x: Any, target: Any, /, *, scale: float = 1.0) -> Outs:
    return out(x.shape, x.dtype, float(scale))


_SHAPES: tuple[tuple[int, ...], ...] = ((5, 7), (), (0, 3), (1029,), (2, 3, 5))


@composite(
    _error_grad_rule, accepts=floating, public=False, ulp=4,
    samples=lambda: [sample([(), s, s], scale=0.5) for s in _SHAPES],
)  # fmt: skip
def squared_error_grad(g: Any, x: Any, target: Any, /, *, scale: float = 1.0) -> Any:
    """`g * 2 * scale * (x - target)`; g is 0-d."""
    return (x - target) * (g * (2 * scale))


def _error_grads(g: Any, x: Any, target: Any, scale: float, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    found = squared_error_grad(g, x, target, scale=scale)
    return found, -found if needs[1] else None


@composite(
    _error_rule, autocast="wide", accepts=floating, public=False, ulp=8, vjp=_error_grads,
    samples=lambda: [sample([s, s], scale=0.25) for s in _SHAPES],
)  # fmt: skip
def squared_error(x: Any, target: Any, /, *, scale: float = 1.0) -> Any:
    """`scale * sum((x - target) ** 2)`, 0-d: one pass, where the parts would write two tensors."""
    if x.dtype.itemsize == 2:  # the sum may overflow where the scaled one does not
        wide = squared_error(astype(x, dtypes.float32), astype(target, dtypes.float32), scale=scale)
        return astype(wide, x.dtype)
    difference = x - target
    return sum_(difference * difference) * scale


def _probability_rule(x: Any, target: Any, /) -> Outs:
    if x.shape != target.shape:
        raise ShapeError(
            f"probability_error: {x.shape} with target {target.shape}", fix="the shapes must be equal"
        )
    return out(x.shape, x.dtype)


def _probability_grads(g: Any, x: Any, target: Any, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    slope = (x - target) / maximum((1 - x) * x, 1e-12)
    return g * slope, g * (_log_rest(x) - _log(x)) if needs[1] else None


def _log(p: Any) -> Any:
    return where(p > 0, maximum(log(where(p > 0, p, 1)), -100), -100)


def _log_rest(p: Any) -> Any:
    return where(p < 1, maximum(log1p(-where(p < 1, p, 0)), -100), -100)


@composite(
    _probability_rule, autocast="wide", accepts=floating, public=False, ulp=32, domain=(0.05, 0.95),
    vjp=_probability_grads, samples=lambda: [sample([s, s]) for s in _SHAPES],
)  # fmt: skip
def probability_error(x: Any, target: Any, /) -> Any:
    """Binary cross-entropy of probabilities, each logarithm at least -100, and a gradient that stays finite."""
    return -(target * _log(x) + (1 - target) * _log_rest(x))


_ROWS: tuple[tuple[int, int], ...] = ((5, 7), (1, 1), (0, 3), (9, 129))


def _samples() -> list[Sample]:
    return [sample([shape, shape[:1]], integers={"target": shape[1]}) for shape in _ROWS]


def _grad_samples() -> list[Sample]:
    lse = {"lse": lambda logits: logsumexp(logits, 1)}
    return [sample([s[:1], s, s[:1], s[:1]], integers={"target": s[1]}, derive=lse) for s in _ROWS]


@composite(
    _rule, autocast="wide",
    accepts=floating, public=False, promote=("logits",), outputs=("y", "lse"), ulp=32, samples=_samples,
    vjp=lambda g, logits, target, lse: (softmax_cross_entropy_grad(g, logits, target, lse), None),
)  # fmt: skip
def softmax_cross_entropy(logits: Any, target: Any, /) -> Any:
    """`logsumexp(logits) - logits[target]` for each row; returns (loss, logsumexp), both (N,). Targets are valid."""
    lse = logsumexp(logits, 1)
    picked = reshape(take_along_axis(logits, reshape(target, (-1, 1)), axis=1), (-1,))
    return lse - picked, lse


def _grad_rule(g: Any, logits: Any, target: Any, lse: Any, /) -> Outs:
    return out(logits.shape, logits.dtype)


@composite(
    _grad_rule, accepts=floating, public=False, promote=("g", "logits", "lse"), ulp=32, samples=_grad_samples
)
def softmax_cross_entropy_grad(g: Any, logits: Any, target: Any, lse: Any, /) -> Any:
    """`g * (softmax(logits) - one_hot(target))`."""
    hot = astype(equal(iota_on(logits, logits.shape[1]), reshape(target, (-1, 1))), logits.dtype)
    return reshape(g, (-1, 1)) * (exp(logits - reshape(lse, (-1, 1))) - hot)
