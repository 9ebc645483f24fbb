"""Transposed convolution layers: one class, three ranks."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import init
from mlcore.nn.functional.transposed import transposed
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.ops.conv import tuples
from mlcore.ops.creation import empty


class _ConvTranspose(Module):
    """What the three ranks share."""

    _rank: ClassVar[int]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if in_channels < 1 or out_channels < 1 or groups < 1 or in_channels % groups or out_channels % groups:
            raise ArgumentError(f"{name}: {in_channels} to {out_channels} channels in {groups} groups",
                                fix="channels must be at least 1 and multiples of groups")  # fmt: skip
        if padding_mode != "zeros":
            raise ArgumentError(
                f"{name}: padding_mode={padding_mode!r}", fix="only 'zeros' has a meaning here"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.padding_mode = padding_mode
        self.kernel_size = tuples(f"{name} kernel_size", kernel_size, self._rank)
        self.stride = tuples(f"{name} stride", stride, self._rank)
        self.padding = tuples(f"{name} padding", padding, self._rank)
        self.output_padding = tuples(f"{name} output_padding", output_padding, self._rank)
        self.dilation = tuples(f"{name} dilation", dilation, self._rank)
        if min(*self.kernel_size, *self.stride, *self.dilation) < 1:
            raise ArgumentError(
                f"{name}: kernel_size {self.kernel_size}, stride {self.stride}, dilation {self.dilation}",
                fix="each must be at least 1",
            )
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        self.weight = Parameter(empty(shape, dtype=dtype, device=device))
        self.bias = Parameter(empty((out_channels,), dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any, output_size: Any = None) -> Any:
        extra = self.output_padding if output_size is None else self._extra(input, tuple(output_size))
        return transposed(
            self._rank,
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
        )

    def _extra(self, input: Any, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """The output_padding that gives an output of these sizes (the last ones of `wanted`)."""
        sizes, wanted = input.shape[-self._rank :], wanted[-self._rank :]
        found = []
        for i, size in enumerate(sizes):
            reach = self.dilation[i] * (self.kernel_size[i] - 1)
            least = (size - 1) * self.stride[i] - 2 * self.padding[i] + reach + 1
            if i >= len(wanted) or not 0 <= wanted[i] - least < self.stride[i]:
                raise ShapeError(
                    f"{type(self).__name__}: output_size {wanted} for an input {input.shape}",
                    cause=f"dimension {i} can have {least} to {least + self.stride[i] - 1}",
                )
            found.append(wanted[i] - least)
        return tuple(found)

    def extra_repr(self) -> str:
        none = (0,) * self._rank
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        ]
        if self.padding != none:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self._rank:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != none:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of (N, C, L), or (C, L); see `ConvTranspose2d`."""

    _rank = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of (N, in_channels, H, W), or without N, to (N, out_channels, H', W').

    `weight` (in, out / groups, KH, KW) and `bias` (out,) start uniform in ±1 / sqrt(out / groups * KH * KW).
    `output_padding` makes one side of the output longer; `output_size` in a call chooses it.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.ConvTranspose2d(16, 4, 3, stride=2, padding=1, output_padding=1)(ml.zeros((2, 16, 8, 8))).shape
    (2, 4, 16, 16)
    """

    _rank = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of (N, C, D, H, W), or without N; see `ConvTranspose2d`."""

    _rank = 3
