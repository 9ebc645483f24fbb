"""Activation functions, and the gradients of those that backends fuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore.dtypes import floating, real
from mlcore.errors import ArgumentError
from mlcore.ops.elementwise import abs as abs_
from mlcore.ops.elementwise import erf, exp, log1p, maximum, minimum, tanh, where
from mlcore.ops.spec import Outs, binary, composite, out, unary
from mlcore.shapes import broadcast


def _sigmoid(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)), dtype=x.dtype)


relu = unary(
    "relu", "`max(x, 0)`; nan stays nan.", reference=lambda x: np.maximum(x, x.dtype.type(0)), c="max(x, T(0))",
    accepts=real, body=lambda x: maximum(x, 0), vjp=lambda g, y: relu_grad(g, y),
)  # fmt: skip
relu_grad = binary(
    "relu_grad", "Gradient of relu: `x1` where the output `x2` is positive, else 0.",
    reference=lambda g, y: np.where(y > 0, g, g.dtype.type(0)), c="x2 > 0 ? x1 : T(0)", accepts=floating, method=False,
    body=lambda g, y: where(y > 0, g, 0), vjp=(lambda g, x2: relu_grad(g, x2), lambda g: g * 0),
)  # fmt: skip
relu6 = unary(
    "relu6", "`min(max(x, 0), 6)` (Howard et al. 2017); nan stays nan.", accepts=floating, domain=(-4, 10),
    reference=lambda x: np.minimum(np.maximum(x, x.dtype.type(0)), x.dtype.type(6)), c="min(max(x, T(0)), T(6))",
    method=False, body=lambda x: minimum(maximum(x, 0), 6), vjp=lambda g, y: relu6_grad(g, y),
)  # fmt: skip
relu6_grad = binary(
    "relu6_grad", "Gradient of relu6: `x1` where the output `x2` is between 0 and 6, else 0.",
    reference=lambda g, y: np.where((y > 0) & (y < 6), g, g.dtype.type(0)), c="(x2 > 0) & (x2 < 6) ? x1 : T(0)",
    accepts=floating, method=False, body=lambda g, y: where((y > 0) & (y < 6), g, 0),
    vjp=(lambda g, x2: relu6_grad(g, x2), lambda g: g * 0),
)  # fmt: skip
sigmoid = unary(
    "sigmoid", "`1 / (1 + exp(-x))` without overflow.", reference=_sigmoid, c="sigmoid(x)", accepts=floating,
    domain=(-10, 10), ulp=6, vjp=lambda g, y: sigmoid_grad(g, y),
    body=lambda x: where(x >= 0, 1 / (1 + exp(-abs_(x))), exp(-abs_(x)) / (1 + exp(-abs_(x)))),
)  # fmt: skip
sigmoid_grad = binary(
    "sigmoid_grad", "Gradient of sigmoid from its output: `x1 * x2 * (1 - x2)`.",
    reference=lambda g, y: g * (y * (1 - y)), c="x1 * (x2 * (T(1) - x2))", accepts=floating, domain=(0.05, 0.95), ulp=4,
    method=False, body=lambda g, y: g * (y * (1 - y)),
    vjp=(lambda g, x2: sigmoid_grad(g, x2), lambda g, x1, x2: g * x1 * (1 - 2 * x2)),
)  # fmt: skip
silu = unary(
    "silu", "`x * sigmoid(x)`, also called swish (Elfwing et al. 2017).", reference=lambda x: x * _sigmoid(x),
    c="x * sigmoid(x)", accepts=floating, domain=(-10, 10), ulp=8, body=lambda x: x * sigmoid(x),
    vjp=lambda g, x: silu_grad(g, x),
)  # fmt: skip
silu_grad = binary(
    "silu_grad", "Gradient of silu from its input `x2`.", accepts=floating, domain=(-8, 8), ulp=16, method=False,
    reference=lambda g, x: g * (_sigmoid(x) * (1 + x * (1 - _sigmoid(x)))),
    c="x1 * (sigmoid(x2) * (T(1) + x2 * (T(1) - sigmoid(x2))))",
    body=lambda g, x: g * (sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
    vjp=(lambda g, x2: silu_grad(g, x2), lambda g, x1, x2: g * x1 * _silu_second(x2)),
)  # fmt: skip
softplus = unary(
    "softplus", "`log(1 + exp(x))` without overflow.", accepts=floating, domain=(-10, 10), ulp=8,
    reference=lambda x: (np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))).astype(x.dtype),
    c="max(x, T(0)) + log1p(exp(-fabs(x)))", body=lambda x: maximum(x, 0) + log1p(exp(-abs_(x))),
    vjp=lambda g, x: g * sigmoid(x),
)  # fmt: skip


def _silu_second(x: Any) -> Any:
    s = sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


_ROOT = math.sqrt(2 / math.pi)


def _gelu_rule(x: Any, /, approximate: str = "none") -> Outs:
    return out(x.shape, x.dtype, _kind(approximate))


def _kind(approximate: str) -> str:
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"gelu: approximate={approximate!r}", fix="use 'none' or 'tanh'")
    return approximate


@composite(
    _gelu_rule,
    accepts=floating,
    ulp=16,
    domain=(-6, 6),
    method=True,
    elementwise=True,
    samples=lambda: [{}, dict(approximate="tanh")],
    vjp=lambda g, x, approximate: gelu_grad(g, x, approximate=approximate),
)
def gelu(x: Any, /, approximate: str = "none") -> Any:
    """Gaussian error linear unit, `x * Phi(x)` (Hendrycks and Gimpel 2016); 'tanh' is its usual approximation.

    >>> import mlcore as ml
    >>> round(ml.gelu(ml.asarray(1.0)).item(), 4)
    0.8413
    """
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(_ROOT * (x + 0.044715 * x * x * x)))
    return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))


def _gelu_grad_rule(g: Any, x: Any, /, approximate: str = "none") -> Outs:
    return out(broadcast("gelu_grad", g.shape, x.shape), x.dtype, _kind(approximate))


@composite(
    _gelu_grad_rule, accepts=floating, ulp=32, domain=(-6, 6), public=False, elementwise=True,
    samples=lambda: [{}, dict(approximate="tanh")],
)  # fmt: skip
def gelu_grad(g: Any, x: Any, /, approximate: str = "none") -> Any:
    """Gradient of gelu from its input."""
    if approximate == "tanh":
        t = tanh(_ROOT * (x + 0.044715 * x * x * x))
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (_ROOT * (1 + 0.134145 * x * x)))
    density = exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return g * (0.5 * (1 + erf(x * math.sqrt(0.5))) + x * density)
