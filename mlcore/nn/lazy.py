"""Layers whose input size is left out: the first input, or the first state_dict, tells it.

Until then their parameters are `UninitializedParameter`s; an optimizer may hold them already. With the first call the
layer becomes an ordinary one, class and all.
"""

from __future__ import annotations

from typing import Any, ClassVar

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import conv, conv_transpose, linear, normalization, normalization_more
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.ops.creation import zeros
from mlcore.tensor import Tensor, assign


class _Uninitialized(Tensor):
    """A tensor without shape and values; `materialize` gives it both, in place."""

    __slots__ = ()
    cls_to_become: ClassVar[type] = Tensor

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Give it a shape, and zeros; it is an ordinary tensor from then on."""
        made = zeros(shape, dtype=dtype or self.dtype, device=device or self.device)
        self.become(made)

    def become(self, value: Any) -> None:
        """Become an ordinary tensor with this value."""
        wanted = self.requires_grad
        self.__class__ = self.cls_to_become
        assign(self, value.array, value.device, value.dtype, value.shape, None, wanted)

    def detach(self) -> Any:
        raise _unknown()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def _unknown() -> ArgumentError:
    return ArgumentError(
        "a parameter has no shape yet",
        cause="its lazy layer has not seen an input",
        fix="call the model once first",
    )


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter whose shape is not known yet.

    >>> from mlcore import nn
    >>> p = nn.UninitializedParameter(); p.materialize((2, 3)); type(p).__name__, p.shape
    ('Parameter', (2, 3))
    """

    __slots__ = ()
    cls_to_become = Parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        Parameter.__init__(self, zeros((0,), dtype=dtype, device=device), requires_grad)


class UninitializedBuffer(_Uninitialized):
    """A buffer whose shape is not known yet."""

    __slots__ = ()

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> None:
        made = zeros((0,), dtype=dtype, device=device)
        assign(self, made.array, made.device, made.dtype, made.shape, None, requires_grad)


def is_lazy(tensor: Any) -> bool:
    """Whether a tensor is uninitialized."""
    return isinstance(tensor, _Uninitialized)


class _Lazy(Module):
    """What lazy layers share. `_inferred` is the argument that is left out, the first of the real class."""

    cls_to_become: ClassVar[Any]
    _inferred: ClassVar[str] = "in_channels"
    _how: tuple[tuple[Any, ...], dict[str, Any]]

    def _prepare(self, args: tuple[Any, ...], how: dict[str, Any]) -> None:
        """Everything as in a real layer of the least size, but for the parameters."""
        least = how.get("groups", 1)
        probe = self.cls_to_become(max(1, least if isinstance(least, int) else 1), *args, **how)
        self.__dict__.update({name: one for name, one in probe.__dict__.items() if name != "_made"})
        for name, one in probe._own_parameters():
            self.__dict__[name] = UninitializedParameter(one.requires_grad, one.device, one.dtype)
        for name, held in probe._own_buffers():
            if held.ndim:
                self.__dict__[name] = UninitializedBuffer(False, held.device, held.dtype)
        self.__dict__[self._inferred] = 0
        self._how = (args, how)

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(is_lazy(one) for one in self.__dict__.values())

    def _size(self, input: Any) -> int:
        return int(input.shape[-1])

    def initialize_parameters(self, input: Any) -> None:
        """Draw the parameters for this input, where no state_dict gave them, and become the real class."""
        args, how = self._how
        if not input.ndim:
            raise ShapeError(f"{type(self).__name__}: an input of shape {input.shape}")
        size = self._size(input)
        made = self.cls_to_become(size, *args, **how)
        mine = self.__dict__
        for name, one in made.__dict__.items():
            held: Any = mine.get(name)
            if is_lazy(held):
                held.become(one.to(held.device, held.dtype))
            elif not isinstance(one, Tensor) and name not in ("training", "_hooks", "_buffers"):
                mine[name] = one
            elif isinstance(one, Tensor) and held.shape != one.shape:
                raise ShapeError(
                    f"{type(self).__name__}: {name} of shape {held.shape} was loaded, the input {input.shape} needs"
                    f" {one.shape}"
                )
        del mine["_how"]
        self.__class__ = self.cls_to_become

    def forward(self, *args: Any, **how: Any) -> Any:
        self.initialize_parameters(args[0])
        return self.forward(*args, **how)

    def reset_parameters(self) -> None:
        """Nothing, until there are parameters."""
        if not self.has_uninitialized_params():
            self.cls_to_become.reset_parameters(self)


class LazyLinear(_Lazy, linear.Linear):
    """Linear without `in_features`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> layer = nn.LazyLinear(4)
    >>> layer(ml.ones((2, 7))).shape, layer
    ((2, 4), Linear(in_features=7, out_features=4, bias=True))
    """

    cls_to_become = linear.Linear
    _inferred = "in_features"

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        Module.__init__(self)
        self._prepare((out_features, bias, device, dtype), {})


class _LazyConv(_Lazy):
    _rank: ClassVar[int]

    def _size(self, input: Any) -> int:
        if input.ndim not in (self._rank + 1, self._rank + 2):
            raise ShapeError(
                f"{type(self).__name__}: an input of shape {input.shape}", fix="use (N, C, *sizes)"
            )
        return int(input.shape[-self._rank - 1])

    def _keep(self, out_channels: int, args: tuple[Any, ...], how: dict[str, Any]) -> None:
        Module.__init__(self)
        self._prepare((out_channels, *args), how)


class _Conv(_LazyConv):
    """Convolutions: PyTorch's arguments without the first."""

    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        how = dict(stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias,
                   padding_mode=padding_mode, device=device, dtype=dtype)  # fmt: skip
        self._keep(out_channels, (kernel_size,), how)


class _ConvTranspose(_LazyConv):
    """Transposed convolutions: PyTorch's arguments without the first."""

    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        how = dict(stride=stride, padding=padding, output_padding=output_padding, groups=groups, bias=bias,
                   dilation=dilation, padding_mode=padding_mode, device=device, dtype=dtype)  # fmt: skip
        self._keep(out_channels, (kernel_size,), how)


class LazyConv1d(_Conv, conv.Conv1d):
    """Conv1d without `in_channels`."""

    cls_to_become = conv.Conv1d


class LazyConv2d(_Conv, conv.Conv2d):
    """Conv2d without `in_channels`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.LazyConv2d(4, 3)(ml.ones((1, 3, 8, 8))).shape
    (1, 4, 6, 6)
    """

    cls_to_become = conv.Conv2d


class LazyConv3d(_Conv, conv.Conv3d):
    """Conv3d without `in_channels`."""

    cls_to_become = conv.Conv3d


class LazyConvTranspose1d(_ConvTranspose, conv_transpose.ConvTranspose1d):
    """ConvTranspose1d without `in_channels`."""

    cls_to_become = conv_transpose.ConvTranspose1d


class LazyConvTranspose2d(_ConvTranspose, conv_transpose.ConvTranspose2d):
    """ConvTranspose2d without `in_channels`."""

    cls_to_become = conv_transpose.ConvTranspose2d


class LazyConvTranspose3d(_ConvTranspose, conv_transpose.ConvTranspose3d):
    """ConvTranspose3d without `in_channels`."""

    cls_to_become = conv_transpose.ConvTranspose3d


class _LazyNorm(_Lazy):
    """BatchNorm and InstanceNorm: PyTorch's arguments without the first."""

    _inferred = "num_features"
    _ranks: Any
    _single: ClassVar[bool] = False  # whether a sample may come without its batch

    def __init__(
        self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track_running_stats: bool = True,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        Module.__init__(self)
        self._prepare((eps, momentum, affine, track_running_stats, device, dtype), dict(bias=bias))

    def _size(self, input: Any) -> int:
        least = self._ranks[0] - 1 if self._single else min(self._ranks)
        if input.ndim not in (least, *self._ranks):
            raise ShapeError(f"{type(self).__name__}: an input of shape {input.shape}")
        return int(input.shape[0 if self._single and input.ndim == least else 1])


class _InstanceNorm(_LazyNorm):
    _single = True


class LazyBatchNorm1d(_LazyNorm, normalization.BatchNorm1d):
    """BatchNorm1d without `num_features`."""

    cls_to_become = normalization.BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, normalization.BatchNorm2d):
    """BatchNorm2d without `num_features`."""

    cls_to_become = normalization.BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, normalization.BatchNorm3d):
    """BatchNorm3d without `num_features`."""

    cls_to_become = normalization.BatchNorm3d


class LazyInstanceNorm1d(_InstanceNorm, normalization_more.InstanceNorm1d):
    """InstanceNorm1d without `num_features`."""

    cls_to_become = normalization_more.InstanceNorm1d


class LazyInstanceNorm2d(_InstanceNorm, normalization_more.InstanceNorm2d):
    """InstanceNorm2d without `num_features`."""

    cls_to_become = normalization_more.InstanceNorm2d


class LazyInstanceNorm3d(_InstanceNorm, normalization_more.InstanceNorm3d):
    """InstanceNorm3d without `num_features`."""

    cls_to_become = normalization_more.InstanceNorm3d
