"""Pieces of images, sampled at any places; and images out of their files."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, UnsupportedOpError
from mlcore.nn import functional as F
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import HOST, ints


@onnx_op("GridSample", 16)
def grid_sample(
    x: Any, grid: Any, *, align_corners: int = 0, mode: str = "bilinear", padding_mode: str = "zeros"
) -> Any:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    if x.ndim not in (4, 5) or (mode == "bicubic" and x.ndim == 5):
        raise UnsupportedOpError(
            f"GridSample, mode {mode!r}, of {x.shape}", fix="use images (N, C, H, W), or linear volumes"
        )
    return F.grid_sample(x, ml.astype(grid, x.dtype), mode, padding_mode, bool(align_corners))


@onnx_op("AffineGrid", 20, host=("size",))
def affine_grid(theta: Any, size: Any, *, align_corners: int = 0) -> Any:
    return F.affine_grid(theta, ints(size), bool(align_corners))


@onnx_op("RoiAlign", 10, host=("rois", "batches"))
def roi_align(
    x: Any, rois: Any, batches: Any, *, coordinate_transformation_mode: str | None = None, mode: str = "avg",
    output_height: int = 1, output_width: int = 1, sampling_ratio: int = 0, spatial_scale: float = 1.0, since: int,
) -> Any:  # fmt: skip
    if mode not in ("avg", "max"):
        raise ArgumentError(f"RoiAlign: mode {mode!r}", fix="'avg' or 'max'")
    how = coordinate_transformation_mode or ("half_pixel" if since >= 16 else "output_half_pixel")
    shift = 0.5 if how == "half_pixel" else 0.0
    found = []
    for roi, batch in zip(rois, batches, strict=True):
        x1, y1, x2, y2 = (float(one) * spatial_scale - shift for one in roi)
        width, height = x2 - x1, y2 - y1
        if not shift:
            width, height = max(width, 1.0), max(height, 1.0)
        image = x[int(batch)]
        rows = _samples(y1, height, output_height, sampling_ratio, x.shape[2])
        columns = _samples(x1, width, output_width, sampling_ratio, x.shape[3])
        found.append(_sampled(image, rows, columns, mode, output_height, output_width))
    shape = (0, x.shape[1], output_height, output_width)
    return ml.stack(found, axis=0) if found else ml.zeros(shape, dtype=x.dtype, device=x.device)


def _samples(start: float, extent: float, bins: int, ratio: int, size: int) -> tuple[Any, Any]:
    """((samples, 2) places, their weights) along one axis."""
    each = ratio if ratio > 0 else max(math.ceil(extent / bins), 1)
    step = extent / bins
    at = start + (np.arange(bins)[:, None] + (np.arange(each)[None, :] + 0.5) / each) * step
    at = at.reshape(-1)
    valid = (at >= -1.0) & (at <= size)
    at = np.maximum(at, 0)
    low = np.minimum(np.floor(at), size - 1)
    high = np.minimum(low + 1, size - 1)
    part = np.where(low >= size - 1, 0.0, at - low)
    weights = np.stack([1 - part, part], axis=1) * valid[:, None]
    return np.stack([low, high], axis=1).astype(np.int64), weights


def _sampled(image: Any, rows: Any, columns: Any, mode: str, height: int, width: int) -> Any:
    """(C, height, width): the average of the samples in each bin, or their largest corner."""
    parts = []
    for i in (0, 1):
        line = ml.take(image, ml.asarray(np.ascontiguousarray(rows[0][:, i]), device=image.device), axis=1)
        for j in (0, 1):
            picked = ml.take(
                line, ml.asarray(np.ascontiguousarray(columns[0][:, j]), device=image.device), axis=2
            )
            weight = rows[1][:, i][:, None] * columns[1][:, j][None, :]
            parts.append(picked * ml.asarray(weight, dtype=image.dtype, device=image.device))
    shape = (image.shape[0], height, -1, width, len(columns[0]) // width)
    if mode == "avg":
        return ml.mean(ml.reshape(parts[0] + parts[1] + parts[2] + parts[3], shape), axis=(2, 4))
    largest = ml.maximum(ml.maximum(parts[0], parts[1]), ml.maximum(parts[2], parts[3]))
    return ml.max(ml.reshape(largest, shape), axis=(2, 4))


@onnx_op("ImageDecoder", 20, host=("stream",))
def image_decoder(stream: Any, *, pixel_format: str = "RGB") -> Any:
    """By Pillow, where it is installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UnsupportedOpError("ImageDecoder without Pillow", fix="pip install pillow") from error
    mode = {"RGB": "RGB", "BGR": "RGB", "Grayscale": "L"}.get(pixel_format)
    if mode is None:
        raise ArgumentError(f"ImageDecoder: pixel_format {pixel_format!r}", fix="RGB, BGR or Grayscale")
    try:
        with Image.open(io.BytesIO(np.asarray(stream, np.uint8).tobytes())) as image:
            pixels = np.asarray(image.convert(mode))
    except Exception as error:  # Pillow has many; whichever it is, these bytes are no image that it reads
        raise ArgumentError("ImageDecoder: no image that Pillow reads", cause=str(error)[:200]) from error
    pixels = pixels[:, :, None] if mode == "L" else pixels[:, :, ::-1] if pixel_format == "BGR" else pixels
    return ml.asarray(np.ascontiguousarray(pixels), device=HOST)
