"""Pooling layers, and Fold and Unfold; the functions of their names in `nn.functional` say what they do."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError
from mlcore.nn import functional as F
from mlcore.nn.module import Module
from mlcore.ops.conv import tuples


class _MaxPool(Module):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Any) -> Any:
        pool = getattr(F, self._function)
        return pool(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
                    self.return_indices)  # fmt: skip

    _function = "max_pool1d"

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}, ceil_mode={self.ceil_mode}")  # fmt: skip


class MaxPool1d(_MaxPool):
    """The largest element of each window of (N, C, L) or (C, L)."""


class MaxPool2d(_MaxPool):
    """The largest element of each window of (N, C, H, W) or (C, H, W).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.MaxPool2d(2)(ml.zeros((1, 3, 8, 8))).shape
    (1, 3, 4, 4)
    """

    _function = "max_pool2d"


class MaxPool3d(_MaxPool):
    """The largest element of each window of (N, C, D, H, W) or (C, D, H, W)."""

    _function = "max_pool3d"


class _MaxUnpool(Module):
    rank = 1

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = tuples(f"{name} kernel_size", kernel_size, self.rank)
        self.stride = self.kernel_size if stride is None else tuples(f"{name} stride", stride, self.rank)
        self.padding = tuples(f"{name} padding", padding, self.rank)

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:
        unpool = getattr(F, f"max_unpool{self.rank}d")
        return unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Puts what MaxPool1d found back to where it was."""


class MaxUnpool2d(_MaxUnpool):
    """Puts what MaxPool2d found back to where it was; `functional.max_unpool2d`."""

    rank = 2


class MaxUnpool3d(_MaxUnpool):
    """Puts what MaxPool3d found back to where it was."""

    rank = 3


class AvgPool1d(Module):
    """The mean of each window of (N, C, L) or (C, L)."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = tuples("AvgPool1d kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else tuples("AvgPool1d stride", stride, 1)
        self.padding = tuples("AvgPool1d padding", padding, 1)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Any) -> Any:
        return F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window of (N, C, H, W) or (C, H, W)."""

    _function = "avg_pool2d"

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Any) -> Any:
        return getattr(F, self._function)(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                                          self.count_include_pad, self.divisor_override)  # fmt: skip

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool3d(AvgPool2d):
    """The mean of each window of (N, C, D, H, W) or (C, D, H, W)."""

    _function = "avg_pool3d"


class _LPPool(Module):
    _function = "lp_pool1d"

    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = (
            norm_type,
            kernel_size,
            stride,
            ceil_mode,
        )

    def forward(self, input: Any) -> Any:
        pool = getattr(F, self._function)
        return pool(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return (f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"ceil_mode={self.ceil_mode}")  # fmt: skip


class LPPool1d(_LPPool):
    """`sum(x**p)**(1 / p)` of each window of (N, C, L)."""


class LPPool2d(_LPPool):
    """`sum(x**p)**(1 / p)` of each window of (N, C, H, W)."""

    _function = "lp_pool2d"


class LPPool3d(_LPPool):
    """`sum(x**p)**(1 / p)` of each window of (N, C, D, H, W)."""

    _function = "lp_pool3d"


class _Adaptive(Module):
    _function = "adaptive_avg_pool1d"

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Any:
        return getattr(F, self._function)(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    """Means of windows laid out so that the last dimension becomes `output_size`."""


class AdaptiveAvgPool2d(_Adaptive):
    """Means of windows laid out so that the last two dimensions become `output_size` (None keeps one).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.AdaptiveAvgPool2d(1)(ml.zeros((2, 8, 5, 7))).shape
    (2, 8, 1, 1)
    """

    _function = "adaptive_avg_pool2d"


class AdaptiveAvgPool3d(_Adaptive):
    """Means of windows laid out so that the last three dimensions become `output_size`."""

    _function = "adaptive_avg_pool3d"


class _AdaptiveMax(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Any) -> Any:
        return getattr(F, self._function)(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMax):
    """The largest of windows laid out so that the last dimension becomes `output_size`."""

    _function = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptiveMax):
    """The largest of windows laid out so that the last two dimensions become `output_size`."""

    _function = "adaptive_max_pool2d"


class AdaptiveMaxPool3d(_AdaptiveMax):
    """The largest of windows laid out so that the last three dimensions become `output_size`."""

    _function = "adaptive_max_pool3d"


class FractionalMaxPool2d(Module):
    """Max pooling over windows at random places; `functional.fractional_max_pool2d`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.FractionalMaxPool2d(2, output_ratio=0.6)(ml.zeros((1, 3, 10, 10))).shape
    (1, 3, 6, 6)
    """

    rank = 2

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            raise ArgumentError(
                f"{name}: output_size {output_size}, output_ratio {output_ratio}", fix="give one of them"
            )
        self.kernel_size = tuples(f"{name} kernel_size", kernel_size, self.rank)
        self.output_size = (
            None if output_size is None else tuples(f"{name} output_size", output_size, self.rank)
        )
        self.output_ratio = (output_ratio,) * self.rank if isinstance(output_ratio, float) else output_ratio
        if self.output_ratio is not None and not all(0 < one < 1 for one in self.output_ratio):
            raise ArgumentError(f"{name}: output_ratio {output_ratio}", fix="use ratios between 0 and 1")
        self.return_indices, self._samples = return_indices, _random_samples

    def forward(self, input: Any) -> Any:
        pool = getattr(F, f"fractional_max_pool{self.rank}d")
        return pool(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._samples
        )


class FractionalMaxPool3d(FractionalMaxPool2d):
    """`FractionalMaxPool2d` over three dimensions."""

    rank = 3


class Unfold(Module):
    """The patches of images as columns; `functional.unfold`."""

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input: Any) -> Any:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
                f"stride={self.stride}")  # fmt: skip


class Fold(Unfold):
    """Columns of patches added up to images; `functional.fold`."""

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, input: Any) -> Any:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"
