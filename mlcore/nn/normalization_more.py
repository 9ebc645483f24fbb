"""GroupNorm, InstanceNorm, LocalResponseNorm and SyncBatchNorm."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.nn import init
from mlcore.nn.module import Module
from mlcore.nn.normalization import _BatchNorm
from mlcore.nn.parameter import Parameter
from mlcore.ops.creation import empty


class GroupNorm(Module):
    """Each of `num_groups` groups of channels normalised by itself (Wu and He 2018); `functional.group_norm`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.GroupNorm(3, 6)(ml.random.normal((2, 6, 4, 4))).shape
    (2, 6, 4, 4)
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
        dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ArgumentError(
                f"GroupNorm: {num_channels} channels in {num_groups} groups",
                fix="a number of groups that divides",
            )
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        how = dict(dtype=dtype, device=device)
        self.weight = Parameter(empty((num_channels,), **how)) if affine else None
        self.bias = Parameter(empty((num_channels,), **how)) if affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Any:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")  # fmt: skip


class _InstanceNorm(_BatchNorm):
    """Each channel of each sample by itself; a sample may come without its batch."""

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Any) -> Any:
        rank = self._ranks[0]
        if input.ndim not in (rank - 1, rank) or input.shape[input.ndim - rank + 1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: expected {self._expected} with {self.num_features} channels,"
                f" got {input.shape}",
                fix="match num_features to the channels",
            )
        single = input.ndim == rank - 1
        own = self.training or not self.track_running_stats
        x = input.reshape((1, *input.shape)) if single else input
        momentum = 0.0 if self.momentum is None else self.momentum
        y = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, own, momentum, self.eps
        )
        return y.reshape(input.shape) if single else y


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L); see `InstanceNorm2d`."""

    _ranks, _expected = (3,), "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each sample of (N, C, H, W) or (C, H, W) normalised by itself (Ulyanov et al. 2016).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.InstanceNorm2d(3)(ml.random.normal((4, 3, 5, 5))).shape
    (4, 3, 5, 5)
    """

    _ranks, _expected = (4,), "(N, C, H, W) or (C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W); see `InstanceNorm2d`."""

    _ranks, _expected = (5,), "(N, C, D, H, W) or (C, D, H, W)"


class LocalResponseNorm(Module):
    """Divide by the power of neighbouring channels (Krizhevsky et al. 2012); `functional.local_response_norm`."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        if size < 1:
            raise ArgumentError(f"{type(self).__name__}: size is {size}", fix="use a size of at least 1")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Any) -> Any:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class SyncBatchNorm(_BatchNorm):
    """BatchNorm of any rank whose statistics are those of all processes; in one process, BatchNorm.

    `process_group` is kept for data-parallel training, which gives this module its other processes.

    >>> from mlcore import nn
    >>> model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
    >>> type(model[1]).__name__
    'SyncBatchNorm'
    """

    _ranks, _expected = (2, 3, 4, 5), "(N, C, *sizes)"

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, process_group: Any = None, device: Any = None, dtype: Any = None, *,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """`module` with every BatchNorm in it replaced; parameters and statistics are shared, not copied."""
        if isinstance(module, _BatchNorm) and not isinstance(module, (SyncBatchNorm, _InstanceNorm)):
            made = cls(
                module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats,
                process_group, bias=module.bias is not None,
            )  # fmt: skip
            made.weight, made.bias = module.weight, module.bias
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                made.register_buffer(name, getattr(module, name))
            made.train(module.training)
            return made
        for name, child in module.named_children():
            setattr(module, name, cls.convert_sync_batchnorm(child, process_group))
        return module
