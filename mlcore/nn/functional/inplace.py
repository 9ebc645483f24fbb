"""The functions whose names end in an underscore: the tensor itself takes the result as its new value.

No memory is saved by that, since tensors are values here. A leaf that requires a gradient refuses it, as in PyTorch.
"""

from __future__ import annotations

from typing import Any

from mlcore.nn.functional import activation


def relu_(input: Any) -> Any:
    """`relu` in place; returns the tensor.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> x = ml.asarray([-1.0, 2.0]); _ = F.relu_(x); x.tolist()
    [0.0, 2.0]
    """
    return input.rebind(activation.relu(input))


def elu_(input: Any, alpha: float = 1.0) -> Any:
    """`elu` in place."""
    return input.rebind(activation.elu(input, alpha))


def selu_(input: Any) -> Any:
    """`selu` in place."""
    return input.rebind(activation.selu(input))


def celu_(input: Any, alpha: float = 1.0) -> Any:
    """`celu` in place."""
    return input.rebind(activation.celu(input, alpha))


def leaky_relu_(input: Any, negative_slope: float = 0.01) -> Any:
    """`leaky_relu` in place."""
    return input.rebind(activation.leaky_relu(input, negative_slope))


def hardtanh_(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """`hardtanh` in place."""
    return input.rebind(activation.hardtanh(input, min_val, max_val))


def threshold_(input: Any, threshold: float, value: float) -> Any:
    """`threshold` in place."""
    return input.rebind(activation.threshold(input, threshold, value))


def rrelu_(input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Any:
    """`rrelu` in place."""
    return input.rebind(activation.rrelu(input, lower, upper, training))
