"""Composites of neural networks that are not convolutions, norms or losses: linear, softmax, attention."""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import floating
from mlcore.errors import ShapeError
from mlcore.modes import is_recording
from mlcore.ops.cases import Sample, sample
from mlcore.ops.elementwise import exp, log, where
from mlcore.ops.linalg import contract, matmul
from mlcore.ops.logic import equal, isfinite
from mlcore.ops.reduce import add_up
from mlcore.ops.reduce import max as max_
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import as_rows, matrix_transpose, reshape
from mlcore.ops.spec import Outs, composite, out, outs
from mlcore.shapes import normalize_axis


def _axis_rule(name: str) -> Any:
    def rule(x: Any, /, *, axis: int = -1) -> Outs:
        return out(x.shape, x.dtype, normalize_axis(name, axis, x.ndim))

    return rule


def _axis_grad_rule(g: Any, y: Any, /, *, axis: int = -1) -> Outs:
    return out(y.shape, y.dtype, normalize_axis("softmax", axis, y.ndim))


def _last_and_first() -> list[dict[str, Any]]:
    return [dict(axis=-1), dict(axis=0)]


@composite(
    _axis_grad_rule, accepts=floating, ulp=16, public=False, samples=_last_and_first, domain=((-2, 2), (0, 1))
)
def softmax_grad(g: Any, y: Any, /, *, axis: int = -1) -> Any:
    """Gradient of softmax from its output."""
    return y * (g - sum_(g * y, axis=axis, keepdims=True))


@composite(
    _axis_grad_rule,
    accepts=floating,
    ulp=16,
    public=False,
    samples=_last_and_first,
    domain=((-2, 2), (-6, 0)),
)
def log_softmax_grad(g: Any, y: Any, /, *, axis: int = -1) -> Any:
    """Gradient of log_softmax from its output."""
    return g - exp(y) * sum_(g, axis=axis, keepdims=True)


def _top(x: Any, axis: int) -> Any:
    """The maximum as a constant shift; 0 where a whole row is -inf, so that it does not turn into nan."""
    top = max_(x.detach(), axis=axis, keepdims=True)
    return where(isfinite(top), top, 0)


@composite(
    _axis_rule("softmax"), autocast="wide",
    accepts=floating, ulp=16, method=True, samples=_last_and_first, domain=(-10, 10),
    vjp=lambda g, y, axis: softmax_grad(g, y, axis=axis),
)  # fmt: skip
def softmax(x: Any, /, *, axis: int = -1) -> Any:
    """`exp(x) / sum(exp(x))` along `axis`, without overflow. A row of -inf only gives zeros.

    >>> import mlcore as ml
    >>> ml.softmax(ml.zeros((2,))).tolist()
    [0.5, 0.5]
    """
    if x.shape[axis] == 0:
        return x * 1
    e = exp(x - _top(x, axis))
    total = sum_(e, axis=axis, keepdims=True)
    return e / where(equal(total, 0), 1, total)


@composite(
    _axis_rule("log_softmax"), autocast="wide",
    accepts=floating, ulp=16, method=True, samples=_last_and_first, domain=(-10, 10),
    vjp=lambda g, y, axis: log_softmax_grad(g, y, axis=axis),
)  # fmt: skip
def log_softmax(x: Any, /, *, axis: int = -1) -> Any:
    """`x - logsumexp(x)` along `axis`.

    >>> import mlcore as ml
    >>> round(ml.log_softmax(ml.zeros((2,)))[0].item(), 4)
    -0.6931
    """
    if x.shape[axis] == 0:
        return x * 1
    shifted = x - _top(x, axis)
    return shifted - log(sum_(exp(shifted), axis=axis, keepdims=True))


def _linear_rule(x: Any, weight: Any, bias: Any = None, /) -> Outs:
    if weight.ndim != 2:
        raise ShapeError(f"linear: weight must be (out, in), got shape {weight.shape}")
    if x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"linear: expected a last dimension of {weight.shape[1]}, got {x.shape}",
                         cause=f"the weight is {weight.shape}: (out features, in features)")  # fmt: skip
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ShapeError(f"linear: bias of shape {bias.shape} for {weight.shape[0]} outputs")
    return out((*x.shape[:-1], weight.shape[0]), x.dtype)


def _linear_samples() -> list[Sample]:
    rows: list[tuple[tuple[int, ...], int]] = [
        ((5, 4), 3),
        ((2, 3, 4), 6),
        ((4,), 3),
        ((0, 4), 3),
        ((129, 65), 33),
        ((3, 0), 2),
        ((2, 3), 0),
    ]
    return [sample([x, (n, x[-1]), bias]) for x, n in rows for bias in (None, (n,))]


def _linear_vjp(g: Any, x: Any, weight: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    needs = needs if len(needs) == 3 else (*needs, False)
    if is_recording():  # a gradient of this gradient is wanted: of all three, not of the first output only
        found = iter(_linear_grads(g, x, weight, needs))
    else:
        found = iter(linear_grad(g, x, weight, needs=needs))
    return tuple([next(found) if need else None for need in needs])


def _linear_grads(g: Any, x: Any, weight: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    rows = as_rows(g)
    found = []
    if needs[0]:
        found.append(reshape(contract(rows, weight), x.shape))
    if needs[1]:
        found.append(contract(matrix_transpose(rows), as_rows(x)))
    if needs[2]:
        found.append(add_up(rows, axis=0))
    return tuple(found)


def _linear_grad_rule(
    g: Any, x: Any, weight: Any, /, *, needs: tuple[bool, ...] = (True, True, True)
) -> Outs:
    shapes = (x.shape, weight.shape, weight.shape[:1])
    return outs([(one, x.dtype) for one, need in zip(shapes, needs, strict=True) if need], tuple(needs))


def _linear_grad_samples() -> list[Sample]:
    rows: list[tuple[tuple[int, ...], int]] = [
        ((5, 4), 3),
        ((2, 3, 4), 6),
        ((4,), 3),
        ((0, 4), 3),
        ((129, 65), 33),
        ((3, 0), 2),
        ((2, 3), 0),
    ]
    chosen = [(True, True, True), (False, True, True), (True, False, False), (False, False, True)]
    return [sample([(*x[:-1], n), x, (n, x[-1])], needs=needs) for x, n in rows for needs in chosen]


@composite(
    _linear_grad_rule, accepts=floating, ulp=32, public=False, listed=True, outputs=("gx", "gw", "gb"),
    samples=_linear_grad_samples,
)  # fmt: skip
def linear_grad(g: Any, x: Any, weight: Any, /, *, needs: tuple[bool, ...] = (True, True, True)) -> Any:
    """The gradients of linear that `needs` names: of the input, the weight, the bias, in one call."""
    return _linear_grads(g, x, weight, needs)


@composite(
    _linear_rule,
    autocast="low",
    accepts=floating,
    ulp=16,
    public=False,
    vjp=_linear_vjp,
    samples=_linear_samples,
)
def linear(x: Any, weight: Any, bias: Any = None, /) -> Any:
    """`x @ weight.mT + bias`: `x` (..., in), `weight` (out, in), `bias` (out,) or None."""
    y = matmul(x, matrix_transpose(weight))
    return y if bias is None else y + bias
