"""Activation layers. They hold no parameters; each calls the function of its name in `nn.functional`."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.nn import init as initialize
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.ops.activation import relu
from mlcore.ops.creation import full


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


class Softmin(_Along):
    """`softmax(-x)` along `dim`."""

    def forward(self, input: Any) -> Any:
        return F.softmin(input, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Any) -> Any:
        if input.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: {input.shape}", fix="use (N, C, H, W) or (C, H, W)")
        return F.softmax(input, -3)


class LogSigmoid(Module):
    """`log(sigmoid(x))`."""

    def forward(self, input: Any) -> Any:
        return F.logsigmoid(input)


class Softsign(Module):
    """`x / (1 + |x|)`."""

    def forward(self, input: Any) -> Any:
        return F.softsign(input)


class Tanhshrink(Module):
    """`x - tanh(x)`."""

    def forward(self, input: Any) -> Any:
        return F.tanhshrink(input)


class SELU(_InPlace):
    """`functional.selu`: keeps mean 0 and variance 1 from layer to layer."""

    def forward(self, input: Any) -> Any:
        return F.selu(input)


class Mish(_InPlace):
    """`x * tanh(softplus(x))`."""

    def forward(self, input: Any) -> Any:
        return F.mish(input)


class Hardswish(_InPlace):
    """`x * relu6(x + 3) / 6`."""

    def forward(self, input: Any) -> Any:
        return F.hardswish(input)


class Hardsigmoid(_InPlace):
    """`relu6(x + 3) / 6`."""

    def forward(self, input: Any) -> Any:
        return F.hardsigmoid(input)


class _With(Module):
    """An activation with settings, which its `repr` shows; `inplace` is accepted and changes nothing."""

    _settings: tuple[str, ...] = ()

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        shown = [f"{name}={getattr(self, name)}" for name in self._settings]
        return ", ".join([*shown, "inplace=True"] if self.inplace else shown)


class LeakyReLU(_With):
    """x where it is positive, `negative_slope * x` elsewhere.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.LeakyReLU(0.5)(ml.asarray([-2.0, 3.0])).tolist()
    [-1.0, 3.0]
    """

    _settings = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Any) -> Any:
        return F.leaky_relu(input, self.negative_slope)


class RReLU(_With):
    """LeakyReLU with a slope drawn anew for each element in training; `functional.rrelu`."""

    _settings = ("lower", "upper")

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__(inplace)
        if not 0 <= lower <= upper <= 1:
            raise ArgumentError(f"RReLU: lower {lower}, upper {upper}", fix="use 0 <= lower <= upper <= 1")
        self.lower, self.upper = lower, upper

    def forward(self, input: Any) -> Any:
        return F.rrelu(input, self.lower, self.upper, self.training)


class PReLU(_With):
    """LeakyReLU with a learnt slope, or one for each channel: `weight` (num_parameters,) starts at `init`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.PReLU(init=0.5)(ml.asarray([-2.0, 3.0])).tolist()
    [-1.0, 3.0]
    """

    _settings = ("num_parameters",)

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full((num_parameters,), float(init), dtype=dtype, device=device))

    def reset_parameters(self) -> None:
        """Start again from `init`."""
        initialize.constant_(self.weight, self.init)

    def forward(self, input: Any) -> Any:
        return F.prelu(input, self.weight)


class ELU(_With):
    """x where it is positive, `alpha * (exp(x) - 1)` elsewhere."""

    _settings = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Any) -> Any:
        return F.elu(input, self.alpha)


class CELU(ELU):
    """x where it is positive, `alpha * (exp(x / alpha) - 1)` elsewhere."""

    def forward(self, input: Any) -> Any:
        return F.celu(input, self.alpha)


class Hardtanh(_With):
    """x held between `min_val` and `max_val`; `min_value` and `max_value` are PyTorch's old names for them.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Hardtanh(-2.0, 2.0)(ml.asarray([-3.0, 1.0])).tolist()
    [-2.0, 1.0]
    """

    _settings = ("min_val", "max_val")

    def __init__(
        self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False, min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(inplace)
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        if not self.min_val < self.max_val:
            raise ArgumentError(
                f"Hardtanh: from {self.min_val} to {self.max_val}", fix="use min_val < max_val"
            )

    def forward(self, input: Any) -> Any:
        return F.hardtanh(input, self.min_val, self.max_val)


class Threshold(_With):
    """x where it is above `threshold`, `value` elsewhere."""

    _settings = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold, self.value = threshold, value

    def forward(self, input: Any) -> Any:
        return F.threshold(input, self.threshold, self.value)


class Softshrink(Module):
    """x moved towards 0 by `lambd`, and 0 within that distance of it."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        if not lambd >= 0:
            raise ArgumentError(f"{type(self).__name__}: lambd is {lambd}", fix="use lambd >= 0")
        self.lambd = lambd

    def forward(self, input: Any) -> Any:
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(Softshrink):
    """x, but 0 from `-lambd` to `lambd`."""

    def forward(self, input: Any) -> Any:
        return F.hardshrink(input, self.lambd)


class GLU(Module):
    """`a * sigmoid(b)` of the two halves along `dim`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.GLU()(ml.asarray([3.0, 0.0])).tolist()
    [1.5]
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class SwiGLU(GLU):
    """`silu(a) * b` of the two halves along `dim` (Shazeer 2020)."""

    def forward(self, input: Any) -> Any:
        return F.swiglu(input, self.dim)
