"""Discrete Fourier transforms (the Array API's extension), differentiable as often as one likes.

`norm` says where the factor 1/n goes: with the inverse ('backward'), with the transform ('forward'), or its root with
both ('ortho'). Where a device has no transforms of its own the host computes them, which `MLCORE_FALLBACK` tells about.

>>> import mlcore as ml
>>> ml.real(ml.fft.fft(ml.asarray([1.0, 1.0, 1.0, 1.0]))).tolist()
[4.0, 0.0, 0.0, 0.0]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcore import dtypes
from mlcore.dtypes import bfloat16, complex64, complex128, complexes, float16, floating
from mlcore.errors import ArgumentError, DTypeError
from mlcore.inputs import from_data
from mlcore.ops.arrange import roll
from mlcore.ops.cases import sample
from mlcore.ops.creation import zeros
from mlcore.ops.elementwise import astype, conj, real_
from mlcore.ops.shape import concat, same
from mlcore.ops.spec import Outs, out, primitive
from mlcore.shapes import normalize_axes, normalize_axis

__all__ = [
    "fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft", "irfftn", "rfft",
    "rfftfreq", "rfftn",
]  # fmt: skip

_REAL = floating - {float16, bfloat16}
_ON_HOST = "the transforms are the host's; a device's own library may have them natively"
_COMPLEX = {dtypes.float32: complex64, dtypes.float64: complex128}
_PARTS = {complex64: dtypes.float32, complex128: dtypes.float64}

# -- the operations: along one axis, without any factor -----------------------------------------------------------


def _dft(x: np.ndarray[Any, Any], axis: int, inverse: bool) -> np.ndarray[Any, Any]:
    return np.fft.ifft(x, axis=axis, norm="forward") if inverse else np.fft.fft(x, axis=axis)


def _lines(**params: Any) -> list[Any]:
    shapes = (((8,), 0), ((3, 5), 0), ((2, 7, 3), 1))
    return [sample([shape], axis=axis, special=False, **params) for shape, axis in shapes]


@primitive(
    standard="fft.fft",
    reference=_dft, accepts=complexes, ulp=16, public=False, group="fft", host=_ON_HOST, family="transform",
    samples=lambda: [*_lines(inverse=False), *_lines(inverse=True)],
    vjp=lambda g, axis, inverse: fourier(g, axis=axis, inverse=not inverse),
)  # fmt: skip
def fourier(x: Any, /, *, axis: int, inverse: bool) -> Outs:
    """The transform of complex lines; the inverse without its factor 1/n."""
    return out(x.shape, x.dtype, normalize_axis("fft", axis, x.ndim), bool(inverse))


@primitive(
    reference=lambda x, axis: np.fft.rfft(x, axis=axis), accepts=_REAL, ulp=16, public=False, group="fft",
    standard="fft.rfft",
    host=_ON_HOST, family="transform", samples=_lines, vjp=lambda g, x_shape, axis: _spread(g, x_shape, axis),
)  # fmt: skip
def fourier_real(x: Any, /, *, axis: int) -> Outs:
    """The transform of real lines: its first half, which tells the other."""
    axis = normalize_axis("rfft", axis, x.ndim)
    return out(_resized(x.shape, axis, x.shape[axis] // 2 + 1), _COMPLEX[x.dtype], axis)


def _spread(g: Any, shape: tuple[int, ...], axis: int) -> Any:
    """The gradient of half a spectrum as that of the line it came from."""
    return real_(fourier(_fit(g, axis, shape[axis]), axis=axis, inverse=True))


def _half_lines() -> list[Any]:
    return [
        sample([shape], axis=axis, n=n, special=False)
        for shape, axis, n in (((5,), 0, 8), ((3, 4), 0, 5), ((1, 2), 0, 1))
    ]


@primitive(
    reference=lambda x, axis, n: np.fft.irfft(x, n=n, axis=axis, norm="forward"), accepts=complexes, ulp=16,
    public=False, group="fft", host=_ON_HOST, family="transform", standard="fft.irfft", samples=_half_lines,
    vjp=lambda g, axis, n: _twice(g, axis, n),
)  # fmt: skip
def fourier_to_real(x: Any, /, *, axis: int, n: int) -> Outs:
    """Real lines of `n` from the first half of their transform, without the factor 1/n."""
    axis = normalize_axis("irfft", axis, x.ndim)
    return out(_resized(x.shape, axis, n), _PARTS[x.dtype], axis, int(n))


def _twice(g: Any, axis: int, n: int) -> Any:
    """The gradient of a line as that of half its spectrum, where what has a mirror image counts twice."""
    weights = np.full(n // 2 + 1, 2.0)
    weights[0] = 1.0
    if n % 2 == 0:
        weights[-1] = 1.0
    shape = [1] * g.ndim
    shape[axis] = len(weights)
    return fourier_real(g, axis=axis) * from_data(weights.reshape(shape), g.dtype, g.device)


# -- lengths, axes and factors --------------------------------------------------------------------------------------


def _resized(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _fit(x: Any, axis: int, n: int) -> Any:
    """The first `n` elements of each line, zeros behind them where there are fewer."""
    size = x.shape[axis]
    if n < size:
        return x[(*(slice(None),) * axis, slice(0, n))]
    if n == size:
        return x
    return concat([x, zeros(_resized(x.shape, axis, n - size), dtype=x.dtype, device=x.device)], axis=axis)


def _length(name: str, n: int) -> int:
    if n < 1:
        raise ArgumentError(
            f"{name}: lines of {n} elements have no transform", fix="use a length of at least 1"
        )
    return int(n)


def _scaled(name: str, x: Any, count: int, norm: str, inverse: bool) -> Any:
    if norm not in ("backward", "ortho", "forward"):
        raise ArgumentError(f"{name}: norm={norm!r}", fix="use 'backward', 'ortho' or 'forward'")
    if norm == "ortho":
        return x * (1 / math.sqrt(count))
    return x * (1 / count) if inverse == (norm == "backward") else x


def _as_complex(name: str, x: Any) -> Any:
    if x.dtype in complexes:
        return x
    return astype(_as_real(name, x), _COMPLEX[x.dtype])


def _as_real(name: str, x: Any) -> Any:
    if x.dtype not in _REAL:
        raise DTypeError(f"{name}: {x.dtype} is not accepted", accepts=", ".join(sorted(d.name for d in _REAL)),
                         fix="astype one of these")  # fmt: skip
    return x


def _complex(name: str, x: Any, n: int | None, axis: int, norm: str, inverse: bool) -> Any:
    x = _as_complex(name, x)
    axis = normalize_axis(name, axis, x.ndim)
    count = _length(name, x.shape[axis] if n is None else n)
    return _scaled(name, fourier(_fit(x, axis, count), axis=axis, inverse=inverse), count, norm, inverse)


def _plan(
    name: str, x: Any, s: Sequence[int] | None, axes: Sequence[int] | None
) -> list[tuple[int, int | None]]:
    """(axis, length or None) of a transform over several axes, in the order given."""
    if s is not None and axes is None:
        axes = range(x.ndim - len(s), x.ndim)
    chosen = list(range(x.ndim)) if axes is None else [normalize_axis(name, one, x.ndim) for one in axes]
    normalize_axes(name, chosen, x.ndim)
    lengths: list[int | None] = [None] * len(chosen) if s is None else list(s)
    if len(lengths) != len(chosen):
        raise ArgumentError(
            f"{name}: {len(lengths)} lengths for {len(chosen)} axes", fix="give one for each axis"
        )
    return list(zip(chosen, lengths, strict=True))


# -- the functions of the standard ----------------------------------------------------------------------------------


def fft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The transform along `axis`, of `n` elements (cut, or filled up with zeros).

    >>> import mlcore as ml
    >>> ml.fft.fft(ml.asarray([1.0, 0.0])).tolist()
    [(1+0j), (1+0j)]
    """
    return _complex("fft", x, n, axis, norm, False)


def ifft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The inverse of `fft`.

    >>> import mlcore as ml
    >>> ml.fft.ifft(ml.asarray([2.0, 0.0])).tolist()
    [(1+0j), (1+0j)]
    """
    return _complex("ifft", x, n, axis, norm, True)


def fftn(
    x: Any, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward"
) -> Any:
    """The transform along several `axes` (all by default), of `s` elements along each.

    >>> import mlcore as ml
    >>> ml.fft.fftn(ml.ones((2, 2)))[0, 0].item()
    (4+0j)
    """
    found = _as_complex("fftn", x)
    for axis, n in reversed(_plan("fftn", x, s, axes)):
        found = _complex("fftn", found, n, axis, norm, False)
    return same(found) if found is x else found


def ifftn(
    x: Any, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward"
) -> Any:
    """The inverse of `fftn`.

    >>> import mlcore as ml
    >>> ml.fft.ifftn(ml.ones((2, 2)))[0, 0].item()
    (1+0j)
    """
    found = _as_complex("ifftn", x)
    for axis, n in reversed(_plan("ifftn", x, s, axes)):
        found = _complex("ifftn", found, n, axis, norm, True)
    return same(found) if found is x else found


def rfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The transform of real lines: the first ``n // 2 + 1`` elements, of which the others are mirror images.

    >>> import mlcore as ml
    >>> ml.fft.rfft(ml.asarray([1.0, 0.0, 0.0])).tolist()
    [(1+0j), (1+0j)]
    """
    x = _as_real("rfft", x)
    axis = normalize_axis("rfft", axis, x.ndim)
    count = _length("rfft", x.shape[axis] if n is None else n)
    return _scaled("rfft", fourier_real(_fit(x, axis, count), axis=axis), count, norm, False)


def irfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The inverse of `rfft`: real lines of `n` elements, by default ``2 * (m - 1)`` from m.

    >>> import mlcore as ml
    >>> ml.fft.irfft(ml.asarray([2.0, 0.0])).tolist()
    [1.0, 1.0]
    """
    x = _as_complex("irfft", x)
    axis = normalize_axis("irfft", axis, x.ndim)
    count = _length("irfft", 2 * (x.shape[axis] - 1) if n is None else n)
    half = _fit(x, axis, count // 2 + 1)
    return _scaled("irfft", fourier_to_real(half, axis=axis, n=count), count, norm, True)


def rfftn(
    x: Any, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward"
) -> Any:
    """The transform of a real tensor along several `axes`; the last of them keeps its first half only.

    >>> import mlcore as ml
    >>> ml.fft.rfftn(ml.ones((2, 4))).shape
    (2, 3)
    """
    plan = _plan("rfftn", x, s, axes)
    if not plan:
        raise ArgumentError("rfftn: no axes", fix="name at least one")
    found = rfft(x, n=plan[-1][1], axis=plan[-1][0], norm=norm)
    for axis, n in reversed(plan[:-1]):
        found = _complex("rfftn", found, n, axis, norm, False)
    return found


def irfftn(
    x: Any, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward"
) -> Any:
    """The inverse of `rfftn`.

    >>> import mlcore as ml
    >>> ml.fft.irfftn(ml.fft.rfftn(ml.ones((2, 4)))).shape
    (2, 4)
    """
    plan = _plan("irfftn", x, s, axes)
    if not plan:
        raise ArgumentError("irfftn: no axes", fix="name at least one")
    found = x
    for axis, n in plan[:-1]:
        found = _complex("irfftn", found, n, axis, norm, True)
    return irfft(found, n=plan[-1][1], axis=plan[-1][0], norm=norm)


_OTHER_WAY = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _swapped(name: str, norm: str) -> str:
    if norm not in _OTHER_WAY:
        raise ArgumentError(f"{name}: norm={norm!r}", fix="use 'backward', 'ortho' or 'forward'")
    return _OTHER_WAY[norm]


def hfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The real transform, of `n` elements, of lines with Hermitian symmetry, given by their first half.

    >>> import mlcore as ml
    >>> ml.fft.hfft(ml.asarray([1.0, 0.0])).tolist()
    [1.0, 1.0]
    """
    return irfft(conj(x), n=n, axis=axis, norm=_swapped("hfft", norm))


def ihfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Any:
    """The inverse of `hfft`: the first half of lines with Hermitian symmetry.

    >>> import mlcore as ml
    >>> ml.fft.ihfft(ml.asarray([2.0, 2.0])).tolist()
    [(2-0j), -0j]
    """
    return conj(rfft(x, n=n, axis=axis, norm=_swapped("ihfft", norm)))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
    """The frequencies that `fft` gives for `n` samples at a distance of `d`.

    >>> import mlcore as ml
    >>> ml.fft.fftfreq(4).tolist()
    [0.0, 0.25, -0.5, -0.25]
    """
    _length("fftfreq", n)
    half = (n - 1) // 2 + 1
    return _frequencies([*range(half), *range(-(n // 2), 0)], n, d, dtype, device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
    """The frequencies that `rfft` gives for `n` samples at a distance of `d`.

    >>> import mlcore as ml
    >>> ml.fft.rfftfreq(4).tolist()
    [0.0, 0.25, 0.5]
    """
    _length("rfftfreq", n)
    return _frequencies(range(n // 2 + 1), n, d, dtype, device)


def _frequencies(counts: Any, n: int, d: float, dtype: Any, device: Any) -> Any:
    chosen = dtypes.default_float() if dtype is None else dtypes.as_dtype(dtype)
    return from_data(np.asarray(counts, dtype=np.float64) / (n * d), chosen, device)


def fftshift(x: Any, /, *, axes: int | Sequence[int] | None = None) -> Any:
    """The zero frequency moved to the middle along `axes` (all by default).

    >>> import mlcore as ml
    >>> ml.fft.fftshift(ml.fft.fftfreq(4)).tolist()
    [-0.5, -0.25, 0.0, 0.25]
    """
    chosen = normalize_axes("fftshift", axes, x.ndim)
    return roll(x, tuple(x.shape[i] // 2 for i in chosen), axis=chosen)


def ifftshift(x: Any, /, *, axes: int | Sequence[int] | None = None) -> Any:
    """The inverse of `fftshift`.

    >>> import mlcore as ml
    >>> ml.fft.ifftshift(ml.fft.fftshift(ml.fft.fftfreq(5))).tolist() == ml.fft.fftfreq(5).tolist()
    True
    """
    chosen = normalize_axes("ifftshift", axes, x.ndim)
    return roll(x, tuple(-(x.shape[i] // 2) for i in chosen), axis=chosen)
