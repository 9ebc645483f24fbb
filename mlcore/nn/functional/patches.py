"""Patches of images as columns, and back: unfold and fold."""

from __future__ import annotations

import math
from typing import Any

from mlcore.errors import ShapeError
from mlcore.ops.conv import _counts, _fold, _unfold, pairs, tuples
from mlcore.ops.shape import reshape


def _how(name: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple[Any, ...]:
    return (
        tuples(f"{name} kernel_size", kernel_size, 2),
        tuples(f"{name} stride", stride, 2),
        pairs(tuples(f"{name} padding", padding, 2), 2),
        tuples(f"{name} dilation", dilation, 2),
    )


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """The patches of (N, C, H, W) as (N, C * kernel, number of patches); without N too.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.unfold(ml.ones((2, 3, 10, 12)), (4, 5)).shape
    (2, 60, 56)
    """
    if input.ndim not in (3, 4):
        raise ShapeError(f"unfold: {input.shape}", fix="use (N, C, H, W) or (C, H, W)")
    kernel, stride, padding, dilation = _how("unfold", kernel_size, dilation, padding, stride)
    count = _counts("unfold", input.shape[-2:], kernel, stride, padding, dilation)
    parts = _unfold(input, kernel, stride, padding, dilation, count)
    lead = input.shape[:-3]
    return reshape(parts, (*lead, input.shape[-3] * math.prod(kernel), math.prod(count)))


def fold(
    input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    """Patches (N, C * kernel, number) added up where they come from: (N, C, *output_size); without N too.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.fold(ml.ones((1, 4, 4)), (3, 3), 2).tolist()[0][0]
    [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]
    """
    sizes = tuples("fold output_size", output_size, 2)
    kernel, stride, padding, dilation = _how("fold", kernel_size, dilation, padding, stride)
    count = _counts("fold", sizes, kernel, stride, padding, dilation)
    area = math.prod(kernel)
    if input.ndim not in (2, 3) or input.shape[-2] % area or input.shape[-1] != math.prod(count):
        raise ShapeError(
            f"fold: {input.shape} into {sizes} with patches of {kernel}",
            cause=f"that takes {math.prod(count)} patches of a multiple of {area}",
            fix="use (N, C * kernel, number of patches)",
        )
    lead, channels = input.shape[:-2], input.shape[-2] // area
    parts = reshape(input, (*lead, channels, area, *count))
    return _fold(parts, (*lead, channels, *sizes), kernel, stride, padding, dilation, count)
