"""BatchNorm, LayerNorm and RMSNorm."""

from __future__ import annotations

from typing import Any, ClassVar

from mlcore import dtypes
from mlcore.errors import ShapeError
from mlcore.nn import functional as F
from mlcore.nn import init
from mlcore.nn.functional.normalization import normalize
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.ops.creation import empty, ones, zeros


class _BatchNorm(Module):
    """What the ranks share."""

    _ranks: ClassVar[tuple[int, ...]]
    _expected: ClassVar[str]

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        how = dict(dtype=dtype, device=device)
        self.weight = Parameter(empty((num_features,), **how)) if affine else None
        self.bias = Parameter(empty((num_features,), **how)) if affine and bias else None
        self.running_mean: Any
        self.running_var: Any
        self.num_batches_tracked: Any
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros((num_features,), **how) if tracked else None)
        self.register_buffer("running_var", ones((num_features,), **how) if tracked else None)
        self.register_buffer(
            "num_batches_tracked", zeros((), dtype=dtypes.int64, device=device) if tracked else None
        )
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what the batches so far looked like."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Scale 1, shift 0, running statistics as at first."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        return self.followed(input, "none")

    def evaluates(self) -> bool:
        """Whether it normalises by the running statistics."""
        return not self.training and self.running_mean is not None and self.running_var is not None

    def followed(self, input: Any, activation: str) -> Any:
        """`forward`, and an activation ("none", "relu" or "relu6") in the same pass."""
        if len(input.shape) not in self._ranks or input.shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: expected {self._expected} with {self.num_features} channels,"
                f" got {input.shape}",
                fix="match num_features to the channels (dimension 1)",
            )
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked = self.num_batches_tracked + 1
            if self.momentum is None:  # the plain average over all batches
                factor = 1.0 / self.num_batches_tracked.item()
        batch = self.training or self.running_mean is None
        # In training without tracking, and in eval without statistics, nothing is updated.
        keep = not self.training or self.track_running_stats
        return normalize(
            input,
            self.running_mean if keep else None,
            self.running_var if keep else None,
            self.weight,
            self.bias,
            batch,
            factor,
            self.eps,
            activation,
        )

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")  # fmt: skip


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); see `BatchNorm2d`."""

    _ranks, _expected = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W) (Ioffe and Szegedy 2015).

    In training each channel is normalised by the batch's mean and biased variance, and `running_mean`, `running_var`
    move by `momentum` towards the batch's (the unbiased variance); None averages over all batches. In eval mode the
    running statistics are used.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.BatchNorm2d(3)(ml.random.normal((4, 3, 5, 5))).shape
    (4, 3, 5, 5)
    """

    _ranks, _expected = (4,), "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W); see `BatchNorm2d`."""

    _ranks, _expected = (5,), "(N, C, D, H, W)"


class LayerNorm(Module):
    """Normalise over the last dimensions, `normalized_shape`, then scale and shift (Ba et al. 2016).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.LayerNorm(8)(ml.random.normal((2, 4, 8))).shape
    (2, 4, 8)
    """

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        how = dict(dtype=dtype, device=device)
        self.weight = Parameter(empty(shape, **how)) if elementwise_affine else None
        self.bias = Parameter(empty(shape, **how)) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class RMSNorm(Module):
    """Divide by the root mean square over the last dimensions, `normalized_shape`, then scale.

    Zhang and Sennrich 2019. `eps` None is the dtype's machine epsilon.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.RMSNorm(8)(ml.random.normal((2, 4, 8))).shape
    (2, 4, 8)
    """

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self.weight = Parameter(empty(shape, dtype=dtype, device=device)) if elementwise_affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Any) -> Any:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
