"""Convolutions of 1 to 3 dimensions."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.conv import convolution, tuples
from mlcore.ops.shape import expand_dims, permute_dims, squeeze

_NAMES = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}


def convolve(
    rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """What conv1d, conv2d and conv3d do."""
    if weight.ndim != rank + 2:
        raise ShapeError(
            f"conv{rank}d: weight of shape {weight.shape}",
            cause=f"expected (out, in / groups, *{rank} sizes)",
        )
    if input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"conv{rank}d: expected {_NAMES[rank]} or without N, got {input.shape}", fix="reshape the input"
        )
    if isinstance(padding, str):
        padding = _named_padding(rank, padding, weight.shape[2:], stride, dilation)
    single = input.ndim == rank + 1
    made = convolution(
        expand_dims(input, axis=0) if single else input, weight, bias, stride=stride, padding=padding,
        dilation=dilation, groups=groups,
    )  # fmt: skip
    return squeeze(made, 0) if single else made


def _named_padding(rank: int, padding: str, kernel: Any, stride: Any, dilation: Any) -> Any:
    if padding == "valid":
        return 0
    if padding != "same":
        raise ArgumentError(f"conv{rank}d: padding={padding!r}", fix="use numbers, 'valid' or 'same'")
    if any(s != 1 for s in tuples("stride", stride, rank)):
        raise ArgumentError(
            f"conv{rank}d: padding='same' with stride {stride}", fix="use stride 1, or padding in numbers"
        )
    reach = [d * (k - 1) for k, d in zip(kernel, tuples("dilation", dilation, rank), strict=True)]
    return tuple((one // 2, one - one // 2) for one in reach)


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Cross-correlation of `input` (N, C, L) with `weight` (O, C / groups, K); see `conv2d`."""
    return convolve(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Cross-correlation of `input` (N, C, H, W), or without N, with `weight` (O, C / groups, KH, KW), plus `bias` (O,).

    `padding` is an int, one per dimension, 'same' or 'valid'.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.conv2d(ml.ones((1, 1, 3, 3)), ml.ones((1, 1, 2, 2))).tolist()
    [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    return convolve(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Cross-correlation of `input` (N, C, D, H, W) with `weight` (O, C / groups, KD, KH, KW); see `conv2d`."""
    return convolve(3, input, weight, bias, stride, padding, dilation, groups)


def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    """`conv1d` of (T, B, C_in) with weight (kernel, C_in, C_out) and bias (C_out,): (T', B, C_out).

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.conv_tbc(ml.ones((5, 2, 3)), ml.ones((3, 3, 4)), ml.zeros((4,)), pad=1).shape
    (5, 2, 4)
    """
    if input.ndim != 3 or weight.ndim != 3:
        raise ShapeError(
            f"conv_tbc: input {input.shape}, weight {weight.shape}", fix="(T, B, C) and (K, C, C_out)"
        )
    y = conv1d(permute_dims(input, (1, 2, 0)), permute_dims(weight, (2, 1, 0)), bias, padding=pad)
    return permute_dims(y, (2, 0, 1))
