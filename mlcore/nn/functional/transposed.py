"""Transposed convolutions of 1 to 3 dimensions: the gradient of a convolution's input, as an operation of its own."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.conv import convolution_grad_input, tuples
from mlcore.ops.shape import expand_dims, pad, reshape, squeeze


def transposed(
    rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int,
    dilation: Any,
) -> Any:  # fmt: skip
    """What conv_transpose1d, 2d and 3d do."""
    name = f"conv_transpose{rank}d"
    if weight.ndim != rank + 2 or input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}: input {input.shape}, weight {weight.shape}",
            cause=f"expected (N, C, *{rank} sizes) or without N, and (C, out / groups, *{rank} sizes)",
        )
    single = input.ndim == rank + 1
    x = expand_dims(input, axis=0) if single else input
    if groups < 1 or x.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ShapeError(
            f"{name}: input {input.shape}, weight {weight.shape}, groups {groups}",
            cause="the weight's first dimension is the input's channels, a multiple of groups",
        )
    channels = weight.shape[1] * groups
    if bias is not None and bias.shape != (channels,):
        raise ShapeError(f"{name}: bias of shape {bias.shape} for {channels} output channels")
    stride, dilation = tuples(f"{name} stride", stride, rank), tuples(f"{name} dilation", dilation, rank)
    padding = tuples(f"{name} padding", padding, rank)
    extra = tuples(f"{name} output_padding", output_padding, rank)
    sizes = []
    for n, k, s, p, d, more in zip(
        x.shape[2:], weight.shape[2:], stride, padding, dilation, extra, strict=True
    ):
        if not 0 <= more < max(s, d):
            raise ArgumentError(
                f"{name}: output_padding {extra} with stride {stride} and dilation {dilation}",
                fix="it must be at least 0 and smaller than stride or dilation",
            )
        sizes.append((n - 1) * s - 2 * p + d * (k - 1) + more + 1)
    if min(sizes) < 1:
        raise ShapeError(
            f"{name}: input {input.shape} and kernel {weight.shape[2:]} would give sizes {tuple(sizes)}",
            fix="use less padding",
        )
    # Within a stride the extra elements belong to the same windows. Beyond it less is cut off as padding, and what lies
    # past the last window is 0.
    beyond = tuple(
        max(more - p, 0) if more >= s else 0 for p, s, more in zip(padding, stride, extra, strict=True)
    )
    pads = tuple(
        (p, p if more < s else max(p - more, 0)) for p, s, more in zip(padding, stride, extra, strict=True)
    )
    shape = (x.shape[0], channels, *(n - more for n, more in zip(sizes, beyond, strict=True)))
    y = convolution_grad_input(
        x, weight, input_shape=shape, stride=stride, padding=pads, dilation=dilation, groups=int(groups)
    )
    if any(beyond):
        y = pad(y, ((0, 0), (0, 0), *((0, more) for more in beyond)))
    if bias is not None:
        y = y + reshape(bias, (1, -1, *(1,) * rank))
    return squeeze(y, 0) if single else y


def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """Transposed convolution of `input` (N, C, L) with `weight` (C, O / groups, K); see `conv_transpose2d`."""
    return transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """Transposed convolution of `input` (N, C, H, W), or without N, with `weight` (C, O / groups, KH, KW).

    The gradient of a convolution with this weight with respect to its input (Zeiler et al. 2010), plus `bias` (O,). The
    sizes are `(n - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1`.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.conv_transpose2d(ml.ones((1, 1, 2, 2)), ml.ones((1, 1, 2, 2))).tolist()
    [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]
    """
    return transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """Transposed convolution of `input` (N, C, D, H, W) with `weight` (C, O / groups, KD, KH, KW)."""
    return transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)
