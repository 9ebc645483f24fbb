"""Resize and Upsample: each axis by itself, as a few taps or a small matrix that NumPy works out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, ShapeError
from mlcore_onnx.ops.declare import onnx_op

_ROUND: Final[dict[str, Callable[[Any], Any]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


class _How:
    """What a node asks for, of every axis alike."""

    def __init__(
        self, mode: str = "nearest", coordinates: str = "half_pixel", nearest: str = "round_prefer_floor",
        cubic: float = -0.75, exclude_outside: int = 0, extrapolation: float = 0.0, antialias: int = 0,
    ) -> None:  # fmt: skip
        if mode not in ("nearest", "linear", "cubic") or nearest not in _ROUND:
            raise ArgumentError(
                f"Resize: mode {mode!r}, nearest_mode {nearest!r}", fix="nearest, linear or cubic"
            )
        self.mode, self.coordinates, self.nearest = mode, coordinates, nearest
        self.cubic, self.exclude_outside = cubic, bool(exclude_outside)
        self.extrapolation, self.antialias = extrapolation, bool(antialias)

    def places(self, size: int, wanted: int, scale: float, roi: tuple[float, float]) -> Any:
        """Where each element of the result lies among the `size` given ones.

        In float32, as the definition has it: where a place is whole, it is so in float32 only.
        """
        return self._places(np.arange(wanted, dtype=np.float32), size, wanted, np.float32(scale), roi)

    def _places(self, at: Any, size: int, wanted: int, scale: Any, roi: tuple[float, float]) -> Any:
        kind = self.coordinates
        if kind == "half_pixel" or (kind == "pytorch_half_pixel" and wanted > 1):
            return (at + 0.5) / scale - 0.5
        if kind == "pytorch_half_pixel":
            return at * 0
        if kind == "half_pixel_symmetric":
            adjustment = np.float32(wanted) / (scale * np.float32(size))
            return size / 2 * (1 - adjustment) + (at + 0.5) / scale - 0.5
        if kind == "align_corners":
            exact = scale * np.float32(size)  # what the scale says, not rounded
            return at * ((size - 1) / (exact - 1)) if wanted > 1 and exact != 1 else at * 0
        if kind == "asymmetric":
            return at / scale
        if kind == "tf_half_pixel_for_nn":
            return (at + 0.5) / scale
        if kind == "tf_crop_and_resize":
            start, end = roi
            if wanted > 1:
                return start * (size - 1) + at * ((end - start) * (size - 1) / (wanted - 1))
            return at * 0 + 0.5 * (start + end) * (size - 1)
        raise ArgumentError(f"Resize: coordinate_transformation_mode {kind!r}")

    def taps(self, at: Any, size: int, scale: float) -> tuple[Any, Any]:
        """(places, weights), each (wanted, taps), of the elements that make each result."""
        low = np.floor(at)
        narrow = min(scale, 1.0) if self.antialias else 1.0
        reach = 1 if self.mode == "linear" else 2
        first = math.floor(-reach / narrow) + 1
        offsets = np.arange(first, 2 - first)
        distance = np.abs((offsets[None, :] - (at - low)[:, None]) * narrow)
        weights = np.clip(1 - distance, 0, 1) if self.mode == "linear" else self._cubic(distance)
        places = low[:, None].astype(np.int64) + offsets[None, :]
        if self.exclude_outside:
            weights = np.where((places < 0) | (places >= size), 0, weights)
        if self.antialias or self.exclude_outside:
            weights = weights / weights.sum(axis=1, keepdims=True)
        return np.clip(places, 0, size - 1), weights

    def _cubic(self, d: Any) -> Any:
        a = self.cubic
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _axis(x: Any, axis: int, wanted: int, scale: float, roi: tuple[float, float], how: _How) -> Any:
    size = x.shape[axis]
    if size == 0 and wanted:
        raise ShapeError(f"Resize of {x.shape}: nothing to resize along axis {axis}")
    at = how.places(size, wanted, scale, roi)
    if how.mode == "nearest":
        at_scaled = np.clip(_ROUND[how.nearest](at), 0, size - 1).astype(np.int64)
        made = ml.take(x, ml.asarray(at_scaled, device=x.device), axis=axis)
    else:
        places, weights = how.taps(at, size, scale)
        made = _combined(x, axis, places, weights)
    outside = (at < 0) | (at > size - 1)
    if how.coordinates == "tf_crop_and_resize" and outside.any():
        lies = ml.asarray(
            outside.reshape(tuple(-1 if i == axis else 1 for i in range(x.ndim))), device=x.device
        )
        made = ml.where(lies, how.extrapolation, made)
    return made


def _combined(x: Any, axis: int, places: Any, weights: Any) -> Any:
    """Weighted sums along an axis: tap by tap where there are few, else through a matrix."""
    wide = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    if places.shape[1] <= 4:
        total: Any = None
        for place, weight in zip(places.T, weights.T, strict=True):
            if weight.any():
                scale = ml.reshape(
                    ml.asarray(np.ascontiguousarray(weight), dtype=x.dtype, device=x.device), wide
                )
                part = ml.take(x, ml.asarray(np.ascontiguousarray(place), device=x.device), axis=axis) * scale
                total = part if total is None else total + part
        return total
    matrix = np.zeros((places.shape[0], x.shape[axis]))
    np.add.at(matrix, (np.arange(len(places))[:, None], places), weights)
    through = ml.asarray(matrix.T, dtype=x.dtype, device=x.device)
    return ml.moveaxis(ml.matmul(ml.moveaxis(x, axis, -1), through), -1, axis)


def resized(x: Any, wanted: list[int], scales: list[float], roi: list[tuple[float, float]], how: _How) -> Any:
    """`x` with every axis at its wanted size."""
    kind = x.dtype
    if how.mode != "nearest" and kind.kind != "f":
        x = ml.astype(x, ml.float32)
    for axis, (size, scale) in enumerate(zip(wanted, scales, strict=True)):
        if size != x.shape[axis] or scale != 1 or how.coordinates == "tf_crop_and_resize":
            x = _axis(x, axis, size, scale, roi[axis], how)
    return x if x.dtype is kind else ml.astype(x, kind)


@onnx_op("Resize", 11, host=("roi", "scales", "sizes"), grows=True)
def resize(
    x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, *, antialias: int = 0, axes: Any = None,
    coordinate_transformation_mode: str = "half_pixel", cubic_coeff_a: float = -0.75, exclude_outside: int = 0,
    extrapolation_value: float = 0.0, keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Any:  # fmt: skip
    how = _How(mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, exclude_outside, extrapolation_value,
               antialias)  # fmt: skip
    chosen = [a % x.ndim for a in (range(x.ndim) if axes is None else axes)]
    wanted, factors, bounds = list(x.shape), [1.0] * x.ndim, [(0.0, 1.0)] * x.ndim
    if roi is not None and roi.size:
        for i, axis in enumerate(chosen):
            bounds[axis] = (float(roi[i]), float(roi[len(chosen) + i]))
    if sizes is not None and sizes.size:
        _by_sizes(x, chosen, [int(one) for one in sizes], keep_aspect_ratio_policy, wanted, factors)
    elif scales is not None and scales.size:
        for axis, factor in zip(chosen, scales.tolist(), strict=True):
            start, end = bounds[axis]
            span = end - start if coordinate_transformation_mode == "tf_crop_and_resize" else 1.0
            factors[axis], wanted[axis] = factor, math.floor(x.shape[axis] * span * factor)
    else:
        raise ArgumentError("Resize without sizes and without scales")
    return resized(x, wanted, factors, bounds, how)


def _by_sizes(
    x: Any, chosen: list[int], sizes: list[int], policy: str, wanted: list[int], factors: list[float]
) -> None:
    ratios = [size / x.shape[axis] for axis, size in zip(chosen, sizes, strict=True)]
    if policy in ("not_larger", "not_smaller"):
        one = min(ratios) if policy == "not_larger" else max(ratios)
        ratios = [one] * len(ratios)
        sizes = [math.floor(one * x.shape[axis] + 0.5) for axis in chosen]
    elif policy != "stretch":
        raise ArgumentError(f"Resize: keep_aspect_ratio_policy {policy!r}")
    for axis, size, ratio in zip(chosen, sizes, ratios, strict=True):
        wanted[axis], factors[axis] = size, ratio


@onnx_op("Resize", 10, 10, host=("scales",), grows=True)
def resize_10(x: Any, scales: Any, *, mode: str = "nearest") -> Any:
    """Which element is the nearest is left open: ONNX Runtime takes the one below, and when shrinking the one above."""
    down = mode == "nearest" and any(one < 1 for one in scales)
    return _upsampled(x, scales, mode, "ceil" if down else "floor")


@onnx_op("Upsample", 9, 9, host=("scales",), grows=True)
def upsample_9(x: Any, scales: Any, *, mode: str = "nearest") -> Any:
    return _upsampled(x, scales, mode)


@onnx_op("Upsample", 7, 8)
def upsample_7(x: Any, *, scales: Any, mode: str = "nearest") -> Any:
    return _upsampled(x, np.asarray(scales), mode)


def _upsampled(x: Any, scales: Any, mode: str, nearest: str = "floor") -> Any:
    factors = [float(one) for one in scales]
    how = _How("linear" if mode in ("linear", "bilinear") else mode, "asymmetric", nearest)
    wanted = [math.floor(n * f) for n, f in zip(x.shape, factors, strict=True)]
    return resized(x, wanted, factors, [(0.0, 1.0)] * x.ndim, how)
