"""Max pooling that always returns (values, places): PyTorch's second names for `return_indices=True`."""

from __future__ import annotations

from typing import Any

from mlcore.nn.functional import pooling, pooling_adaptive, pooling_indices


def max_pool1d_with_indices(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """`max_pool1d` with the places."""
    return pooling.max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool2d_with_indices(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """`max_pool2d` with the places.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.max_pool2d_with_indices(ml.arange(4.0).reshape(1, 2, 2), 2)[1].tolist()
    [[[3]]]
    """
    return pooling.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def max_pool3d_with_indices(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """`max_pool3d` with the places."""
    return pooling.max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


def adaptive_max_pool1d_with_indices(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool1d` with the places."""
    return pooling_adaptive.adaptive_max_pool1d(input, output_size, True)


def adaptive_max_pool2d_with_indices(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` with the places."""
    return pooling_adaptive.adaptive_max_pool2d(input, output_size, True)


def adaptive_max_pool3d_with_indices(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool3d` with the places."""
    return pooling_adaptive.adaptive_max_pool3d(input, output_size, True)


def fractional_max_pool2d_with_indices(
    input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:  # fmt: skip
    """`fractional_max_pool2d` with the places."""
    return pooling_indices.fractional_max_pool2d(
        input, kernel_size, output_size, output_ratio, True, _random_samples
    )


def fractional_max_pool3d_with_indices(
    input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:  # fmt: skip
    """`fractional_max_pool3d` with the places."""
    return pooling_indices.fractional_max_pool3d(
        input, kernel_size, output_size, output_ratio, True, _random_samples
    )
