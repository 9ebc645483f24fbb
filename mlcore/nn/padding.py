"""Padding layers, and the layers that move pixels between channels and space.

`padding` is one width for all sides, or (before, after) of the last dimension, then of the one before it, and so on.
"""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.nn.module import Module


class _Pad(Module):
    """Pads the last `rank` dimensions of (N, C, *sizes) or (C, *sizes)."""

    rank = 1
    mode = "constant"
    value: float | None = None

    def __init__(self, padding: Any) -> None:
        super().__init__()
        widths = (padding,) * (2 * self.rank) if isinstance(padding, int) else tuple(padding)
        if len(widths) != 2 * self.rank or not all(isinstance(w, int) for w in widths):
            raise ArgumentError(
                f"{type(self).__name__}: padding {padding!r}",
                fix=f"use an integer, or {2 * self.rank} of them",
            )
        self.padding = widths

    def forward(self, input: Any) -> Any:
        if self.mode != "constant" and input.ndim not in (self.rank + 1, self.rank + 2):
            raise ShapeError(
                f"{type(self).__name__}: {input.shape}",
                fix=f"use {self.rank + 1} or {self.rank + 2} dimensions",
            )
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return str(self.padding)


class ConstantPad1d(_Pad):
    """`value` on both sides of the last dimension.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.ConstantPad1d((1, 2), 7.0)(ml.zeros((1, 2))).tolist()
    [[7.0, 0.0, 0.0, 7.0, 7.0]]
    """

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """`value` around the last two dimensions."""

    rank = 2


class ConstantPad3d(ConstantPad1d):
    """`value` around the last three dimensions."""

    rank = 3


class ZeroPad1d(_Pad):
    """Zeros on both sides of the last dimension."""

    value = 0.0


class ZeroPad2d(ZeroPad1d):
    """Zeros around the last two dimensions."""

    rank = 2


class ZeroPad3d(ZeroPad1d):
    """Zeros around the last three dimensions."""

    rank = 3


class ReflectionPad1d(_Pad):
    """The input mirrored at its ends, which are not repeated.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.ReflectionPad1d(2)(ml.asarray([[1.0, 2.0, 3.0]])).tolist()
    [[3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]]
    """

    mode = "reflect"


class ReflectionPad2d(ReflectionPad1d):
    """The input mirrored at its edges."""

    rank = 2


class ReflectionPad3d(ReflectionPad1d):
    """The input mirrored at its faces."""

    rank = 3


class ReplicationPad1d(_Pad):
    """The outermost elements repeated."""

    mode = "replicate"


class ReplicationPad2d(ReplicationPad1d):
    """The outermost elements repeated."""

    rank = 2


class ReplicationPad3d(ReplicationPad1d):
    """The outermost elements repeated."""

    rank = 3


class CircularPad1d(_Pad):
    """The input goes on from its other end."""

    mode = "circular"


class CircularPad2d(CircularPad1d):
    """The input goes on from its other side."""

    rank = 2


class CircularPad3d(CircularPad1d):
    """The input goes on from its other side."""

    rank = 3


class PixelShuffle(Module):
    """(*, C r r, H, W) to (*, C, H r, W r); `functional.pixel_shuffle`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.PixelShuffle(3)(ml.ones((1, 9, 4, 4))).shape
    (1, 1, 12, 12)
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Any) -> Any:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(*, C, H r, W r) to (*, C r r, H, W); `functional.pixel_unshuffle`."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Any) -> Any:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Deals out the channels of groups in turn; `functional.channel_shuffle`."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Any) -> Any:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
