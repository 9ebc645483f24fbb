"""Activation functions. `inplace` is accepted for PyTorch's sake: tensors are values, the result is a new one."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.functional._common import one_axis
from mlcore.ops import activation as ops
from mlcore.ops import nn, random
from mlcore.ops.arrange import split
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import abs as abs_
from mlcore.ops.elementwise import astype, expm1, log, minimum, where
from mlcore.ops.elementwise import tanh as tanh_
from mlcore.ops.logic import equal, isnan
from mlcore.ops.reduce import argmax
from mlcore.ops.shape import reshape

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


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


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x where it is positive, `negative_slope * x` elsewhere (Maas et al. 2013).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.leaky_relu(ml.asarray([-2.0, 3.0]), 0.5).tolist()
    [-1.0, 3.0]
    """
    return where(input > 0, input, input * negative_slope)


def rrelu(
    input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Any:
    """`leaky_relu` with a slope drawn for each element from [lower, upper); their mean unless `training` (Xu 2015).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.rrelu(ml.asarray([-2.0, 3.0]), 0.25, 0.75).tolist()
    [-1.0, 3.0]
    """
    if not 0 <= lower <= upper <= 1:
        raise ArgumentError(f"rrelu: lower {lower}, upper {upper}", fix="use 0 <= lower <= upper <= 1")
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    slopes = random.uniform(input.shape, lower, upper, dtype=input.dtype, device=input.device)
    return where(input > 0, input, input * slopes)


def prelu(input: Any, weight: Any) -> Any:
    """`leaky_relu` with learnt slopes: `weight` has one, or one for each channel (dimension 1) (He et al. 2015).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.prelu(ml.asarray([[-2.0, -2.0]]), ml.asarray([0.5, 2.0])).tolist()
    [[-1.0, -4.0]]
    """
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in (1, channels):
        raise ShapeError(f"prelu: weight {weight.shape} for an input {input.shape}",
                         fix=f"use shape (1,) or ({channels},)")  # fmt: skip
    slope = (
        reshape(weight, (-1, *(1,) * (input.ndim - 2)))
        if weight.size > 1
        else reshape(weight, (1,) * input.ndim)
    )
    return where(input > 0, input, input * slope)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x where it is positive, `alpha * (exp(x) - 1)` elsewhere (Clevert et al. 2015).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> [round(v, 4) for v in F.elu(ml.asarray([-1.0, 3.0])).tolist()]
    [-0.6321, 3.0]
    """
    return where(input > 0, input, expm1(minimum(input, 0)) * alpha)


def selu(input: Any, inplace: bool = False) -> Any:
    """`scale * elu(x, alpha)` with the two constants that keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    return elu(input, _SELU_ALPHA) * _SELU_SCALE


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x where it is positive, `alpha * (exp(x / alpha) - 1)` elsewhere (Barron 2017)."""
    if alpha == 0:
        raise ArgumentError("celu: alpha is 0", fix="use another number")
    return where(input > 0, input, expm1(minimum(input, 0) / alpha) * alpha)


def mish(input: Any, inplace: bool = False) -> Any:
    """`x * tanh(softplus(x))` (Misra 2019).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> round(F.mish(ml.asarray(1.0)).item(), 4)
    0.8651
    """
    return input * tanh_(ops.softplus(input))


def softsign(input: Any) -> Any:
    """`x / (1 + |x|)`."""
    return input / (abs_(input) + 1)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x held between `min_val` and `max_val`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.hardtanh(ml.asarray([-3.0, 0.5, 2.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    if not min_val <= max_val:
        raise ArgumentError(f"hardtanh: min_val {min_val}, max_val {max_val}", fix="use min_val <= max_val")
    return where(input <= min_val, min_val, where(input >= max_val, max_val, input))


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """`relu6(x + 3) / 6` (Howard et al. 2019).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.hardsigmoid(ml.asarray([-4.0, 0.0, 3.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return ops.relu6(input + 3) / 6


def hardswish(input: Any, inplace: bool = False) -> Any:
    """`x * relu6(x + 3) / 6` (Howard et al. 2019)."""
    return input * ops.relu6(input + 3) / 6


def tanhshrink(input: Any) -> Any:
    """`x - tanh(x)`."""
    return input - tanh_(input)


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """x moved towards 0 by `lambd`, and 0 within that distance of it.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.softshrink(ml.asarray([-2.0, 0.25, 2.0])).tolist()
    [-1.5, 0.0, 1.5]
    """
    if not lambd >= 0:
        raise ArgumentError(f"softshrink: lambd is {lambd}", fix="use lambd >= 0")
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, input * 0))


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """x, but 0 from `-lambd` to `lambd`."""
    return where((input > lambd) | (input < -lambd) | isnan(input), input, 0)


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where it is above `threshold`, `value` elsewhere.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.threshold(ml.asarray([0.5, 2.0]), 1.0, -7.0).tolist()
    [-7.0, 2.0]
    """
    return where(input <= threshold, value, input)


def logsigmoid(input: Any) -> Any:
    """`log(sigmoid(x))`, without overflow."""
    return -ops.softplus(-input)


def softmin(input: Any, dim: int | None = None, *, dtype: Any = None, axis: int | None = None) -> Any:
    """`softmax(-x)` along `dim`."""
    return softmax(-input, dim, dtype=dtype, axis=axis)


def _halves(name: str, input: Any, dim: int) -> tuple[Any, Any]:
    if not -input.ndim <= dim < input.ndim or input.shape[dim] % 2:
        raise ShapeError(
            f"{name}: dim={dim} of {input.shape} cannot be halved", fix="use a dimension of even size"
        )
    first, second = split(input, input.shape[dim] // 2, axis=dim)
    return first, second


def glu(input: Any, dim: int = -1) -> Any:
    """`a * sigmoid(b)` of the two halves a and b along `dim` (Dauphin et al. 2017).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.glu(ml.asarray([3.0, 0.0])).tolist()
    [1.5]
    """
    first, second = _halves("glu", input, dim)
    return first * ops.sigmoid(second)


def swiglu(input: Any, dim: int = -1) -> Any:
    """`silu(a) * b` of the two halves a and b along `dim` (Shazeer 2020).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.swiglu(ml.asarray([0.0, 3.0])).tolist()
    [0.0]
    """
    first, second = _halves("swiglu", input, dim)
    return ops.silu(first) * second


def gumbel_softmax(
    logits: Any, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Any:
    """A sample of the categorical distribution, made differentiable (Jang et al. 2017, Maddison et al. 2017).

    `hard` gives one-hot rows with the soft ones' gradient. `eps` is accepted and changes nothing.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.gumbel_softmax(ml.zeros((2, 3)), hard=True).sum(axis=1).tolist()
    [1.0, 1.0]
    """
    if not tau > 0:
        raise ArgumentError(f"gumbel_softmax: tau is {tau}", fix="use tau > 0")
    draws = random.uniform(logits.shape, dtype=logits.dtype, device=logits.device)
    noise = -log(-log(where(draws > 0, draws, 2**-25)))
    soft = nn.softmax((logits + noise) / tau, axis=dim)
    if not hard:
        return soft
    winner = argmax(soft.detach(), axis=dim, keepdims=True)
    shape = [1] * soft.ndim
    shape[dim] = soft.shape[dim]
    hot = astype(equal(reshape(iota_on(winner, soft.shape[dim]), tuple(shape)), winner), soft.dtype)
    return hot - soft.detach() + soft
