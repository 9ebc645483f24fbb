"""Initialisation: each function gives the tensor it is passed a new value, drawn from mlcore's generator.

The same seed gives the same values on every device. Names, arguments and formulas are PyTorch's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore import dispatch, dtypes
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.old_names import old_name
from mlcore.ops import random
from mlcore.ops.creation import full
from mlcore.ops.elementwise import astype, maximum, minimum, where


def _set(tensor: Any, value: Any) -> Any:
    with dispatch.recording(False):
        return tensor.rebind(value if value.dtype is tensor.dtype else astype(value, tensor.dtype))


def constant_(tensor: Any, val: float) -> Any:
    """Every element `val`."""
    return _set(tensor, full(tensor.shape, val, dtype=tensor.dtype, device=tensor.device))


def zeros_(tensor: Any) -> Any:
    """Every element 0."""
    return constant_(tensor, 0)


def ones_(tensor: Any) -> Any:
    """Every element 1."""
    return constant_(tensor, 1)


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Any:
    """Uniform on [a, b).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> bool((nn.init.uniform_(ml.zeros((100,)), 2, 3) >= 2).all())
    True
    """
    return _set(
        tensor,
        random.uniform(tensor.shape, a, b, dtype=tensor.dtype, device=tensor.device, generator=generator),
    )


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Any:
    """Normal with this mean and standard deviation."""
    return _set(
        tensor,
        random.normal(tensor.shape, mean, std, dtype=tensor.dtype, device=tensor.device, generator=generator),
    )


def trunc_normal_(
    tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Any:
    """Normal, cut to [a, b] by drawing again what lies outside (at most 64 times, then clipped)."""
    if not a < b or not std > 0:
        raise ArgumentError(f"trunc_normal_: std {std}, bounds [{a}, {b}]", fix="use std > 0 and a < b")
    if min(abs(mean - a), abs(mean - b)) > 2 * std and not a <= mean <= b:
        raise ArgumentError(f"trunc_normal_: mean {mean} is more than 2 std ({std}) outside [{a}, {b}]",
                            fix="use bounds around the mean")  # fmt: skip
    wide = tensor.dtype if tensor.dtype.itemsize >= 4 else dtypes.float32
    how = dict(mean=mean, std=std, dtype=wide, device=tensor.device, generator=generator)
    value = random.normal(tensor.shape, **how)
    for _ in range(64):
        outside = (value < a).logical_or(value > b)
        if not outside.any().item():
            break
        value = where(outside, random.normal(tensor.shape, **how), value)
    return _set(tensor, minimum(maximum(value, a), b))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps a layer's output variance through this nonlinearity.

    >>> from mlcore import nn
    >>> round(nn.init.calculate_gain("relu"), 4)
    1.4142
    """
    fixed = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 0.75}
    fixed.update(
        dict.fromkeys(
            ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1.0
        )
    )
    if nonlinearity in fixed:
        return fixed[nonlinearity]
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1 + slope**2))
    raise ArgumentError(
        f"calculate_gain: unknown nonlinearity {nonlinearity!r}", known=", ".join([*fixed, "leaky_relu"])
    )


def fans(tensor: Any) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"init: a tensor of shape {tensor.shape} has no fan in and fan out",
            fix="needs at least 2 dimensions",
        )
    area = math.prod(tensor.shape[2:])
    return tensor.shape[1] * area, tensor.shape[0] * area


def _fan(tensor: Any, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"init: mode={mode!r}", fix="use 'fan_in' or 'fan_out'")
    return max(1, fans(tensor)[mode == "fan_out"])


def kaiming_uniform_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Any:
    """Uniform with variance gain² / fan (He et al. 2015); `a` is the slope of leaky_relu."""
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Any:
    """Normal with variance gain² / fan (He et al. 2015)."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), generator)


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Uniform with variance 2 gain² / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / max(1, sum(fans(tensor))))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Normal with variance 2 gain² / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(1, sum(fans(tensor)))), generator)


def eye_(tensor: Any) -> Any:
    """A matrix with ones on its diagonal, zeros elsewhere."""
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: a tensor of shape {tensor.shape}", fix="use a matrix")
    return _from_host(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Any, groups: int = 1) -> Any:
    """A convolution's weight (out, in, *kernel) that passes as many channels as it can through unchanged.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.init.dirac_(ml.zeros((1, 1, 3))).tolist()
    [[[0.0, 1.0, 0.0]]]
    """
    if not 3 <= tensor.ndim <= 5 or groups < 1 or tensor.shape[0] % groups:
        raise ShapeError(
            f"dirac_: a tensor of shape {tensor.shape} in {groups} groups",
            fix="3 to 5 dimensions, the first a multiple of groups",
        )
    value = np.zeros(tensor.shape)
    out = tensor.shape[0] // groups
    middle = tuple(k // 2 for k in tensor.shape[2:])
    for group in range(groups):
        for i in range(min(out, tensor.shape[1])):
            value[(group * out + i, i, *middle)] = 1
    return _from_host(tensor, value)


def orthogonal_(tensor: Any, gain: float = 1, generator: Any = None) -> Any:
    """A (semi-)orthogonal matrix times `gain`; further dimensions count as columns (Saxe et al. 2013).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> w = nn.init.orthogonal_(ml.zeros((2, 3)))
    >>> [[round(abs(v), 5) for v in row] for row in (w @ w.mT).tolist()]
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: a tensor of shape {tensor.shape}", fix="needs at least 2 dimensions")
    if not tensor.size:
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    drawn = random.normal(
        (rows, columns), dtype=dtypes.float64, device="reference", generator=generator
    ).numpy()
    q, r = np.linalg.qr(drawn.T if rows < columns else drawn)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # makes it uniform over all such matrices
    return _from_host(tensor, (q.T if rows < columns else q).reshape(tensor.shape) * gain)


def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Any = None) -> Any:
    """A matrix with this share of each column zero, the rest normal (Martens 2010)."""
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_: a tensor of shape {tensor.shape}", fix="use a matrix")
    if not 0 <= sparsity <= 1:
        raise ArgumentError(f"sparse_: sparsity is {sparsity}", fix="use a share from 0 to 1")
    rows, columns = tensor.shape
    normal_(tensor, 0.0, std, generator)
    order = random.uniform((rows, columns), device="reference", generator=generator).numpy().argsort(axis=0)
    value = tensor.detach().numpy().copy()
    np.put_along_axis(value, order[: math.ceil(sparsity * rows)], 0, axis=0)
    return _from_host(tensor, value)


def _from_host(tensor: Any, value: Any) -> Any:
    return _set(tensor, dispatch.from_data(np.ascontiguousarray(value), tensor.dtype, tensor.device))


# PyTorch's deprecated names.
constant = old_name(constant_)
dirac = old_name(dirac_)
eye = old_name(eye_)
kaiming_normal = old_name(kaiming_normal_)
kaiming_uniform = old_name(kaiming_uniform_)
normal = old_name(normal_)
orthogonal = old_name(orthogonal_)
sparse = old_name(sparse_)
uniform = old_name(uniform_)
xavier_normal = old_name(xavier_normal_)
xavier_uniform = old_name(xavier_uniform_)
