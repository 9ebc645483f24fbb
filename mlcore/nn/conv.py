"""Convolution layers: one class, three ranks."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from mlcore.errors import ArgumentError
from mlcore.nn import functional as F
from mlcore.nn import init
from mlcore.nn.functional.convolution import convolve
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.ops.conv import tuples
from mlcore.ops.creation import empty

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What the three ranks share."""

    _rank: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if in_channels < 1 or out_channels < 1 or groups < 1 or in_channels % groups or out_channels % groups:
            raise ArgumentError(f"{name}: {in_channels} to {out_channels} channels in {groups} groups",
                                fix="channels must be at least 1 and multiples of groups")  # fmt: skip
        if padding_mode not in _MODES:
            raise ArgumentError(
                f"{name}: padding_mode={padding_mode!r}", fix=f"use one of {', '.join(_MODES)}"
            )
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ArgumentError(f"{name}: padding={padding!r}", fix="use numbers, 'same' or 'valid'")
        self.in_channels, self.out_channels, self.groups, self.padding_mode = (
            in_channels,
            out_channels,
            groups,
            padding_mode,
        )
        self.kernel_size = tuples(f"{name} kernel_size", kernel_size, self._rank)
        self.stride = tuples(f"{name} stride", stride, self._rank)
        self.padding: Any = (
            padding if isinstance(padding, str) else tuples(f"{name} padding", padding, self._rank)
        )
        self.dilation = tuples(f"{name} dilation", dilation, self._rank)
        if min(*self.kernel_size, *self.stride, *self.dilation) < 1:
            raise ArgumentError(
                f"{name}: kernel_size {self.kernel_size}, stride {self.stride}, dilation {self.dilation}",
                fix="each must be at least 1",
            )
        if padding == "same" and max(self.stride) > 1:
            raise ArgumentError(f"{name}: padding='same' with stride {self.stride}", fix="use stride 1")
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(empty(shape, dtype=dtype, device=device))
        self.bias = Parameter(empty((out_channels,), dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any) -> Any:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._widths(), mode=self.padding_mode), 0
        return convolve(
            self._rank, input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def _widths(self) -> tuple[int, ...]:
        """The padding as F.pad takes it."""
        if self.padding == "valid":
            return (0,) * (2 * self._rank)
        found: list[int] = []
        for i in reversed(range(self._rank)):
            if self.padding == "same":
                reach = self.dilation[i] * (self.kernel_size[i] - 1)
                found += [reach // 2, reach - reach // 2]
            else:
                found += [self.padding[i]] * 2
        return tuple(found)

    def extra_repr(self) -> str:
        none = (0,) * self._rank
        parts = [
            str(self.in_channels),
            str(self.out_channels),
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        if self.padding != none:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self._rank:
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class Conv1d(_Conv):
    """Convolution of (N, C, L), or (C, L); see `Conv2d`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Conv1d(4, 8, 3, padding="same")(ml.zeros((2, 4, 10))).shape
    (2, 8, 10)
    """

    _rank = 1


class Conv2d(_Conv):
    """Convolution of (N, in_channels, H, W), or without N, to (N, out_channels, H', W').

    `weight` (out, in / groups, KH, KW) and `bias` (out,) start uniform in ±1 / sqrt(in / groups * KH * KW).
    `padding` is an int, one per dimension, 'same' or 'valid'; `padding_mode` 'zeros', 'reflect',
    'replicate' or 'circular'.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.Conv2d(1, 16, 3, padding=1)(ml.zeros((2, 1, 8, 8))).shape
    (2, 16, 8, 8)
    """

    _rank = 2


class Conv3d(_Conv):
    """Convolution of (N, C, D, H, W), or without N; see `Conv2d`."""

    _rank = 3
