"""Fourier transforms by a matrix of the device's own, windows, and the mel scale."""

from __future__ import annotations

from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, ShapeError
from mlcore_onnx.ops.cast import as_dtype
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.values import on_host, place_for


def _transform(x: Any, axis: int, length: int | None, inverse: bool, onesided: bool) -> Any:
    """The discrete Fourier transform along `axis`; the last dimension is (real,) or (real, imaginary)."""
    rank = x.ndim
    axis = axis % rank if axis >= 0 else axis + rank
    if rank < 2 or x.shape[-1] not in (1, 2) or axis == rank - 1:
        raise ShapeError(
            f"DFT of {x.shape} along axis {axis}", fix="(..., 1) for real numbers, (..., 2) for complex"
        )
    spectrum_in = inverse and onesided
    count = length or (x.shape[axis] if not spectrum_in else 2 * (x.shape[axis] - 1))
    wanted = count // 2 + 1 if spectrum_in else count
    if wanted != x.shape[axis]:
        if wanted < x.shape[axis]:
            x = x[(slice(None),) * axis + (slice(0, wanted),)]
        else:
            x = ml.pad(x, tuple((0, wanted - x.shape[axis] if i == axis else 0) for i in range(rank)))
    real, imag = x[..., 0], x[..., 1] if x.shape[-1] == 2 else None
    if _COMPLEX.get(x.dtype) in x.device.backend.dtypes:
        return _by_library(real, imag, axis, count, inverse, onesided)
    if spectrum_in:
        return _back_to_real(real, imag, axis, count)
    kept = count // 2 + 1 if onesided else count
    turns = np.outer(np.arange(count), np.arange(kept)) % count * (2 * np.pi / count)
    cos = ml.asarray(np.cos(turns), dtype=x.dtype, device=x.device)
    sin = ml.asarray(np.sin(turns) * (-1 if inverse else 1), dtype=x.dtype, device=x.device)
    real = ml.moveaxis(real, axis, -1)
    a, b = ml.matmul(real, cos), ml.negative(ml.matmul(real, sin))
    if imag is not None:
        imag = ml.moveaxis(imag, axis, -1)
        a, b = a + ml.matmul(imag, sin), b + ml.matmul(imag, cos)
    made = ml.stack([ml.moveaxis(a, -1, axis), ml.moveaxis(b, -1, axis)], axis=-1)
    return made / count if inverse else made


_COMPLEX = {ml.float32: ml.complex64, ml.float64: ml.complex128}


def _by_library(real: Any, imag: Any, axis: int, count: int, inverse: bool, onesided: bool) -> Any:
    """By mlcore's transforms, on a device that has complex numbers."""
    if imag is None and not inverse:
        made = ml.fft.rfft(real, axis=axis) if onesided else ml.fft.fft(real, axis=axis)
    else:
        whole = ml.astype(real, _COMPLEX[real.dtype])
        if imag is not None:
            whole = whole + ml.astype(imag, whole.dtype) * 1j
        if inverse and onesided:
            return ml.expand_dims(ml.fft.irfft(whole, n=count, axis=axis), axis=real.ndim)
        made = ml.fft.ifft(whole, axis=axis) if inverse else ml.fft.fft(whole, axis=axis)
        if onesided:
            made = made[(slice(None),) * axis + (slice(0, count // 2 + 1),)]
    return ml.stack([ml.real(made), ml.imag(made)], axis=-1)


def _back_to_real(real: Any, imag: Any, axis: int, count: int) -> Any:
    """The real signal of half a spectrum."""
    half = real.shape[axis]
    twice = np.full(half, 2.0)
    twice[0] = 1.0
    if count % 2 == 0:
        twice[-1] = 1.0
    turns = np.outer(np.arange(half), np.arange(count)) % count * (2 * np.pi / count)
    cos = ml.asarray(np.cos(turns) * twice[:, None] / count, dtype=real.dtype, device=real.device)
    sin = ml.asarray(np.sin(turns) * twice[:, None] / count, dtype=real.dtype, device=real.device)
    made = ml.matmul(ml.moveaxis(real, axis, -1), cos)
    if imag is not None:
        made = made - ml.matmul(ml.moveaxis(imag, axis, -1), sin)
    return ml.expand_dims(ml.moveaxis(made, -1, axis), axis=real.ndim)


@onnx_op("DFT", 20, host=("length", "axis"))
def dft(x: Any, length: Any = None, axis: Any = None, *, inverse: int = 0, onesided: int = 0) -> Any:
    along = -2 if axis is None else int(axis.reshape(-1)[0])
    return _transform(
        x, along, None if length is None else int(length.reshape(-1)[0]), bool(inverse), bool(onesided)
    )


@onnx_op("DFT", 17, 19, host=("length",))
def dft_17(x: Any, length: Any = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0) -> Any:
    return _transform(
        x, axis, None if length is None else int(length.reshape(-1)[0]), bool(inverse), bool(onesided)
    )


@onnx_op("STFT", 17, host=("step", "length"))
def stft(signal: Any, step: Any, window: Any = None, length: Any = None, *, onesided: int = 1) -> Any:
    hop = int(step.reshape(-1)[0])
    if signal.ndim == 2:
        signal = ml.expand_dims(signal, axis=2)
    size = (
        int(length.reshape(-1)[0])
        if length is not None
        else window.shape[0]
        if window is not None
        else signal.shape[1]
    )
    count = (signal.shape[1] - size) // hop + 1 if hop > 0 else 0
    if count < 1:
        raise ArgumentError(f"STFT of {signal.shape} in frames of {size} every {hop}")
    places = np.arange(count)[:, None] * hop + np.arange(size)[None, :]
    frames = ml.take(signal, ml.asarray(places, device=signal.device), axis=1)
    if window is not None:
        frames = frames * ml.reshape(window, (1, 1, size, 1))
    return _transform(frames, 2, size, False, bool(onesided))


def _window(name: str, parts: tuple[float, ...]) -> None:
    def run(size: Any, *, output_datatype: int = 1, periodic: int = 1, device: Any) -> Any:
        count = int(size.reshape(-1)[0])
        turns = 2 * np.pi * np.arange(count) / max(count if periodic else count - 1, 1)
        made = sum(part * np.cos(turns * k) for k, part in enumerate(parts)) + np.zeros(count)
        return ml.asarray(made, dtype=as_dtype(output_datatype, None), device=place_for((count,), device))

    onnx_op(name, 17, host=("size",), grows=True)(run)


_window("HannWindow", (0.5, -0.5))
_window("HammingWindow", (25 / 46, -21 / 46))
_window("BlackmanWindow", (0.42, -0.5, 0.08))


@onnx_op("MelWeightMatrix", 17, host=("bins", "length", "rate", "low", "high"), grows=True)
def mel_weights(bins: Any, length: Any, rate: Any, low: Any, high: Any, *, output_datatype: int = 1) -> Any:
    count, size = int(bins.reshape(-1)[0]), int(length.reshape(-1)[0])
    hertz = [float(one.reshape(-1)[0]) for one in (low, high)]
    edges = [2595 * np.log10(1 + one / 700) for one in hertz]
    mels = np.linspace(edges[0], edges[1], count + 2)[: count + 2]
    step = (edges[1] - edges[0]) / (count + 2)
    mels = edges[0] + np.arange(count + 2) * step
    places = np.floor((size + 1) * (700 * (10 ** (mels / 2595) - 1)) / float(rate.reshape(-1)[0])).astype(int)
    found = np.zeros((size // 2 + 1, count), np.float32)
    for i in range(count):
        left, centre, right = places[i : i + 3]
        if centre == left:
            found[centre, i] = 1
        else:
            found[left : centre + 1, i] = (np.arange(left, centre + 1) - left) / (centre - left)
        if right > centre:
            found[centre:right, i] = (right - np.arange(centre, right)) / (right - centre)
    return ml.astype(on_host(found), as_dtype(output_datatype, ml.float32))
