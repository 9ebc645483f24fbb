"""Activation functions. `inplace` is accepted for PyTorch's sake: tensors are values, the result is a new one."""

from __future__ import annotations

from typing import Any

from mlcore.nn.functional._common import one_axis
from mlcore.ops import activation as ops
from mlcore.ops import nn
from mlcore.ops.elementwise import astype, where
from mlcore.ops.elementwise import tanh as tanh_


def relu(input: Any, inplace: bool = False) -> Any:
    """`max(input, 0)`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.relu(ml.asarray([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return ops.relu(input)


def relu6(input: Any, inplace: bool = False) -> Any:
    """`min(max(input, 0), 6)` (Howard et al. 2017).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.relu6(ml.asarray([-1.0, 2.0, 7.0])).tolist()
    [0.0, 2.0, 6.0]
    """
    return ops.relu6(input)


def gelu(input: Any, approximate: str = "none") -> Any:
    """`x * Phi(x)` (Hendrycks and Gimpel 2016), or its tanh approximation."""
    return ops.gelu(input, approximate=approximate)


def silu(input: Any, inplace: bool = False) -> Any:
    """`x * sigmoid(x)` (Elfwing et al. 2017)."""
    return ops.silu(input)


def sigmoid(input: Any) -> Any:
    """`1 / (1 + exp(-x))`."""
    return ops.sigmoid(input)


def tanh(input: Any) -> Any:
    """Hyperbolic tangent."""
    return tanh_(input)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """`log(1 + exp(beta * x)) / beta`; x itself where `beta * x` is above `threshold`."""
    scaled = input if beta == 1 else input * beta
    soft = ops.softplus(scaled)
    return where(scaled > threshold, input, soft if beta == 1 else soft / beta)


def softmax(input: Any, dim: int | None = None, *, dtype: Any = None, axis: int | None = None) -> Any:
    """`exp(x) / sum(exp(x))` along `dim`, computed in `dtype` if given.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.softmax(ml.zeros((1, 4)), dim=1).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    place = one_axis("softmax", dim, axis)
    return nn.softmax(input if dtype is None else astype(input, dtype), axis=place)


def log_softmax(input: Any, dim: int | None = None, *, dtype: Any = None, axis: int | None = None) -> Any:
    """`log(softmax(x))` along `dim`, without overflow."""
    place = one_axis("log_softmax", dim, axis)
    return nn.log_softmax(input if dtype is None else astype(input, dtype), axis=place)
