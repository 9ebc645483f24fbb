"""Fourier transforms beyond what array_api_strict tells: gradients of both orders, and every device against NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.errors import ArgumentError, DTypeError
from mlcore.testing import gradcheck

NORMS = ["backward", "ortho", "forward"]
LINES = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
REAL = ("rfft", "rfftn", "ihfft")


def random(*shape: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(shape)
    host = rng.standard_normal(shape)
    return (host if "float" in kind else host + 1j * rng.standard_normal(shape)).astype(kind)


@pytest.mark.parametrize(("name", "norm"), list(itertools.product(LINES, NORMS)))
def test_gradients_of_lines(name: str, norm: str) -> None:
    for n, axis in ((None, -1), (6, 0), (5, -1), (2, -1)):
        host = random(3, 4, kind="float64" if name in REAL else "complex128")
        x = ml.asarray(host).requires_grad_()
        assert gradcheck(
            lambda v, n=n, axis=axis: getattr(ml.fft, name)(v, n=n, axis=axis, norm=norm), [x], order=2
        )


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn"])
def test_gradients_of_planes(name: str) -> None:
    for s, axes in ((None, None), ((3, 5), (0, 2)), ((4,), (1,))):
        host = random(2, 3, 4, kind="float64" if name in REAL else "complex128")
        x = ml.asarray(host).requires_grad_()
        assert gradcheck(lambda v, s=s, axes=axes: getattr(ml.fft, name)(v, s=s, axes=axes), [x], order=2)


def test_real_input_of_a_complex_transform_has_a_real_gradient() -> None:
    x = ml.asarray(random(4, kind="float64")).requires_grad_()
    assert gradcheck(ml.fft.fft, [x], order=2)


@pytest.fixture(params=[device.id for device in ml.devices()])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MLCORE_FALLBACK", "allow")  # what a device has not, the host does
    with ml.device(request.param):
        yield request.param


@pytest.mark.parametrize("name", LINES)
def test_every_device_against_numpy(device: str, name: str) -> None:
    compared, held = 0, ml.asarray(0).device.backend.dtypes
    if ml.complex64 not in held:
        pytest.skip(f"{device} holds no complex numbers")
    for kind in ("float32", "float64") if name in REAL else ("complex64", "complex128"):
        if getattr(ml, kind) not in held or (kind == "float64" and ml.complex128 not in held):
            continue
        for shape in ((8,), (3, 5), (2, 3, 4), (1031,), (0, 4)):
            host = random(*shape, kind=kind)
            for layout in (lambda x: x, lambda x: x[..., ::-1]):
                found = np.asarray(getattr(ml.fft, name)(layout(ml.asarray(host))))
                wanted = getattr(np.fft, name)(layout(host))
                assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
                top = float(np.abs(wanted).max()) if wanted.size else 0.0
                np.testing.assert_allclose(found, wanted, rtol=0, atol=32 * np.finfo(kind).eps * top)
                compared += wanted.size
    print(f"{name} on {device}: {compared} elements")
    assert compared or "complex" in kind


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: ml.fft.fft(ml.zeros(0)), ArgumentError, "lines of 0 elements"),
        (lambda: ml.fft.irfft(ml.zeros(1)), ArgumentError, "lines of 0 elements"),
        (lambda: ml.fft.fft(ml.zeros(3), norm="both"), ArgumentError, "norm='both'"),
        (lambda: ml.fft.hfft(ml.zeros(3), norm="both"), ArgumentError, "norm='both'"),
        (lambda: ml.fft.rfft(ml.zeros(3, dtype=ml.complex64)), DTypeError, "rfft: complex64 is not accepted"),
        (lambda: ml.fft.fft(ml.zeros(3, dtype=ml.int32)), DTypeError, "fft: int32 is not accepted"),
        (lambda: ml.fft.fft(ml.zeros(3, dtype=ml.float16)), DTypeError, "fft: float16 is not accepted"),
        (lambda: ml.fft.fftn(ml.zeros((3, 3)), s=(2,), axes=(0, 1)), ArgumentError, "1 lengths for 2 axes"),
        (lambda: ml.fft.fftn(ml.zeros((3, 3)), axes=(0, 0)), ArgumentError, "repeated axis"),
        (lambda: ml.fft.fft(ml.zeros(3), axis=1), IndexError, "axis 1 out of range"),
    ],
)
def test_refusals(call: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()
