"""Activation layers. They hold no parameters; each calls the function of its name in `nn.functional`."""

from __future__ import annotations

from typing import Any

from mlcore.nn import functional as F
from mlcore.nn.module import Module
from mlcore.ops.activation import relu


class _InPlace(Module):
    """`inplace` is accepted for PyTorch's sake: tensors are values, so the result is always a new one."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_InPlace):
    """`max(x, 0)`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.ReLU()(ml.asarray([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, input: Any) -> Any:
        return relu(input)


class ReLU6(_InPlace):
    """`min(max(x, 0), 6)`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.ReLU6()(ml.asarray([-1.0, 2.0, 7.0])).tolist()
    [0.0, 2.0, 6.0]
    """

    def forward(self, input: Any) -> Any:
        return F.relu6(input)


class SiLU(_InPlace):
    """`x * sigmoid(x)`."""

    def forward(self, input: Any) -> Any:
        return F.silu(input)


class GELU(Module):
    """`x * Phi(x)`, or its 'tanh' approximation."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Any) -> Any:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Sigmoid(Module):
    """`1 / (1 + exp(-x))`."""

    def forward(self, input: Any) -> Any:
        return F.sigmoid(input)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, input: Any) -> Any:
        return F.tanh(input)


class Softplus(Module):
    """`log(1 + exp(beta * x)) / beta`."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Any) -> Any:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class _Along(Module):
    """A function along one dimension, which must be given here or is missed at the call."""

    def __init__(self, dim: int | None = None, *, axis: int | None = None) -> None:
        super().__init__()
        self.dim = axis if dim is None else dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_Along):
    """`exp(x) / sum(exp(x))` along `dim`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Softmax(dim=-1)(ml.zeros((2,))).tolist()
    [0.5, 0.5]
    """

    def forward(self, input: Any) -> Any:
        return F.softmax(input, self.dim)


class LogSoftmax(_Along):
    """`log(softmax(x))` along `dim`."""

    def forward(self, input: Any) -> Any:
        return F.log_softmax(input, self.dim)
