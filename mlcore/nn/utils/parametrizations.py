"""Ready-made parametrizations: weight norm and spectral norm."""

from __future__ import annotations

from typing import Any

from mlcore import dispatch
from mlcore.errors import ArgumentError
from mlcore.nn.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from mlcore.nn.functional.dense import normalize
from mlcore.nn.module import Module
from mlcore.nn.utils.parametrize import register_parametrization
from mlcore.ops import random
from mlcore.ops.arrange import moveaxis
from mlcore.ops.linalg import matmul
from mlcore.ops.reduce import norm
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import matrix_transpose, reshape


def norm_except(v: Any, dim: int | None) -> Any:
    """The 2-norm over all dimensions but `dim` (None or -1: over all), which are kept with size 1."""
    if dim is None or dim == -1:
        return norm(v)
    axes = tuple(i for i in range(v.ndim) if i != dim % v.ndim)
    return norm(v, axis=axes, keepdims=True) if axes else abs(v)


class WeightNorm(Module):
    """From magnitude and direction to the weight."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Any, weight_v: Any) -> Any:
        return weight_v * (weight_g / norm_except(weight_v, self.dim))

    def right_inverse(self, weight: Any) -> tuple[Any, Any]:
        """The magnitude, and the weight itself as the direction."""
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """The weight as magnitude times direction (Salimans and Kingma 2016), one magnitude for each index of `dim`.

    They are trained as `parametrizations.<name>.original0` and `original1`.

    >>> from mlcore import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(20, 40))
    >>> layer.parametrizations.weight.original0.shape
    (40, 1)
    """
    return register_parametrization(module, name, WeightNorm(dim), unsafe=True)


class SpectralNorm(Module):
    """The weight divided by its largest singular value, which power iteration finds step by step in training."""

    v_first = False  # PyTorch's older form takes the two halves of a step the other way round

    def __init__(self, weight: Any, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if n_power_iterations < 1:
            raise ArgumentError(
                f"spectral_norm: n_power_iterations is {n_power_iterations}", fix="use at least 1"
            )
        if not -weight.ndim <= dim < weight.ndim:
            raise ArgumentError(f"spectral_norm: dim={dim} of a weight {weight.shape}")
        self.dim, self.eps, self.n_power_iterations = dim % weight.ndim, eps, n_power_iterations
        self._u: Any
        self._v: Any
        if weight.ndim > 1:
            matrix = self._matrix(weight.detach())
            how: dict[str, Any] = dict(dtype=weight.dtype, device=weight.device)
            self.register_buffer("_u", normalize(random.normal((matrix.shape[0],), **how), dim=0, eps=eps))
            self.register_buffer("_v", normalize(random.normal((matrix.shape[1],), **how), dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Any) -> Any:
        front = moveaxis(weight, self.dim, 0) if self.dim else weight
        return reshape(front, (front.shape[0], -1))

    def _iterate(self, matrix: Any, steps: int) -> None:
        with dispatch.recording(False):
            for _ in range(steps):
                if not self.v_first:
                    self._u = normalize(matmul(matrix, self._v), dim=0, eps=self.eps)
                self._v = normalize(matmul(matrix_transpose(matrix), self._u), dim=0, eps=self.eps)
                if self.v_first:
                    self._u = normalize(matmul(matrix, self._v), dim=0, eps=self.eps)

    def forward(self, weight: Any) -> Any:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        return weight / sum_(self._u * matmul(matrix, self._v))

    def right_inverse(self, value: Any) -> Any:
        """The value itself: assigning a weight whose norm is not 1 changes it."""
        return value


def transposed(module: Module) -> bool:
    """Whether the weight's outputs are in dimension 1."""
    return isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d))


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """The weight divided by its largest singular value (Miyato et al. 2018).

    Power iteration finds that with `n_power_iterations` steps a call in training; its vectors are buffers. `dim` is
    that of the outputs (1 for transposed convolutions, else 0).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(20, 40))
    >>> abs(float(ml.norm(layer.weight)) - 1) < 10
    True
    """
    weight = getattr(module, name, None)
    if weight is None:
        raise ArgumentError(f"spectral_norm: {type(module).__name__} has no {name!r}")
    place = (1 if transposed(module) else 0) if dim is None else dim
    return register_parametrization(module, name, SpectralNorm(weight, n_power_iterations, place, eps))
