"""The arithmetic of the transforms: NumPy arrays (..., H, W) in, new arrays out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from PIL import Image

import mlcore as ml
from mlcore import dtypes
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError
from mlcore.tensor import Tensor
from mlcore_vision.images import to_array

Array = np.ndarray[Any, Any]
Size = int | tuple[int, int]
WHITE: Final = {"uint8": 255, "uint16": 65535}


def on_arrays(image: Any, work: Callable[[Array], Array], who: str, *, pil: bool = False) -> Any:
    """Apply `work` to the array of an ndarray, a Tensor (the result goes back to its device) or a PIL image."""
    if isinstance(image, Tensor):
        return ml.asarray(work(check(image.numpy(), who)), device=image.device)
    if isinstance(image, np.ndarray):
        return work(check(image, who))
    if pil and isinstance(image, Image.Image):
        return Image.fromarray(_channels_last(work(to_array(image))))
    kinds = "an array, a Tensor or a PIL image" if pil else "an array or a Tensor"
    raise ArgumentTypeError(
        f"{who}: expected {kinds}, got {type(image).__name__}", fix="use ToTensor() first"
    )


def _channels_last(array: Array) -> Array:
    return np.ascontiguousarray(array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1))


def check(array: Array, who: str) -> Array:
    """An image or a batch of them, or a ShapeError."""
    if array.ndim not in (3, 4):
        raise ShapeError(
            f"{who}: expected (C, H, W) or (N, C, H, W), got {array.shape}", fix="add the channel axis"
        )
    return array


def as_float(array: Array) -> Array:
    """float32, or the floating dtype it has; numbers unchanged."""
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def as_before(array: Array, dtype: np.dtype[Any]) -> Array:
    """Back to `dtype`: integers are rounded and clipped."""
    if dtype.kind not in "iu":
        return array.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(array), limits.min, limits.max).astype(dtype)


def convert_dtype(array: Array, dtype: Any, scale: bool = True) -> Array:
    """To another dtype; with `scale`, unsigned 0..max and floating 0..1 map onto each other."""
    wanted = dtypes.as_dtype(dtype)
    target = wanted.numpy
    if not scale or target == array.dtype:
        return array.astype(target)
    here = dtypes.from_numpy(array.dtype)
    if here in dtypes.floating and wanted in dtypes.floating:
        return array.astype(target)
    if here.name in WHITE and wanted in dtypes.floating:
        return (array.astype(np.float32) / np.float32(WHITE[here.name])).astype(target)
    if here in dtypes.floating and wanted.name in WHITE:
        return as_before(array.astype(np.float64) * WHITE[wanted.name], target)
    if here.name in WHITE and wanted.name in WHITE:
        return as_before(array.astype(np.float64) * (WHITE[wanted.name] / WHITE[here.name]), target)
    raise DTypeError(
        f"ConvertDtype: no scale between {here} and {wanted}", fix="pass scale=False, or go through float32"
    )


def pair(size: Size | list[int], who: str, least: int = 1) -> tuple[int, int]:
    """(height, width), both at least `least`."""
    both = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or not all(isinstance(n, int) and n >= least for n in both):
        raise ArgumentError(f"{who}: size {size!r}", expected=f"one or two integers of at least {least}")
    return both[0], both[1]


def resize(array: Array, size: tuple[int, int], antialias: bool = True) -> Array:
    """Bilinear resizing of the last two axes; with `antialias`, the filter widens when shrinking, as Pillow's does.

    >>> resize(np.array([[[0.0, 2.0]]]), (1, 4)).tolist()
    [[[0.0, 0.5, 1.5, 2.0]]]
    """
    height, width = array.shape[-2:]
    work = as_float(array).astype(np.float64 if array.dtype == np.float64 else np.float32)
    if (height, width) != size:
        down = triangle_weights(height, size[0], antialias).astype(work.dtype)
        across = triangle_weights(width, size[1], antialias).astype(work.dtype)
        work = down @ work @ across.T
    return as_before(work, array.dtype)


def triangle_weights(here: int, there: int, antialias: bool) -> Array:
    """The matrix (there, here) of linear interpolation between pixel centres; rows sum to 1."""
    if here < 1:
        raise ShapeError("Resize: the image has no pixels")
    step = here / there
    reach = max(step, 1.0) if antialias else 1.0
    centres = (np.arange(there) + 0.5) * step
    if not antialias:
        centres = np.clip(centres, 0.5, here - 0.5)
    distance = np.abs(np.arange(here) + 0.5 - centres[:, None]) / reach
    weights = np.maximum(1 - distance, 0)
    weights /= weights.sum(1, keepdims=True)
    return weights


def crop(array: Array, top: int, left: int, height: int, width: int) -> Array:
    """A part of the image."""
    return array[..., top : top + height, left : left + width].copy()


def pad(array: Array, up: int, down: int, left: int, right: int, fill: float = 0) -> Array:
    """`fill` around the image."""
    widths = [(0, 0)] * (array.ndim - 2) + [(up, down), (left, right)]
    return np.pad(array, widths, constant_values=fill)


def normalize(array: Array, mean: Array, std: Array) -> Array:
    """(x - mean) / std for each channel."""
    if array.dtype.kind != "f":
        raise DTypeError(
            f"Normalize: expected a floating image, got {array.dtype}", fix="use ConvertDtype() first"
        )
    channels = array.shape[-3]
    if mean.size not in (1, channels):
        raise ShapeError(f"Normalize: {mean.size} means for {channels} channels")
    return ((array - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)).astype(array.dtype)


def affine(array: Array, matrices: Array, fill: float = 0.0) -> Array:
    """Images (N, C, H, W) moved by matrices (N, 2, 3), bilinearly; outside of the image there is `fill`.

    A matrix maps a place of the result to its source, as (x, y, 1) from the centre of the image, in pixels.
    """
    count, _, height, width = array.shape
    ys, xs = np.meshgrid(
        np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij"
    )
    places = np.stack([xs.ravel(), ys.ravel(), np.ones(height * width)]).astype(np.float32)
    source = matrices.astype(np.float32) @ places
    x = (source[:, 0] + np.float32((width - 1) / 2)).reshape(count, height, width)
    y = (source[:, 1] + np.float32((height - 1) / 2)).reshape(count, height, width)
    return as_before(_bilinear(as_float(array), y, x, fill), array.dtype)


def _bilinear(array: Array, y: Array, x: Array, fill: float) -> Array:
    height, width = array.shape[-2:]
    # Two pixels of `fill` all around: a place outside reads nothing else, and no index needs a mask.
    framed = pad(array, 2, 2, 2, 2, fill)
    y, x = np.clip(y, -1.5, height + 0.5) + 2, np.clip(x, -1.5, width + 0.5) + 2
    top, left = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    dy, dx = (y - top).astype(np.float32)[:, None], (x - left).astype(np.float32)[:, None]
    rows = np.arange(len(array))[:, None, None]
    images = np.moveaxis(framed, 1, -1)  # one gather for all channels

    def at(down: int, right: int) -> Array:
        return np.moveaxis(images[rows, top + down, left + right], -1, 1)

    upper = at(0, 0) * (1 - dx) + at(0, 1) * dx
    lower = at(1, 0) * (1 - dx) + at(1, 1) * dx
    result: Array = upper * (1 - dy) + lower * dy
    return result
