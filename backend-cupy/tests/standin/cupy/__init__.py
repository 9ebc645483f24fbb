"""A stand-in for CuPy: NumPy's arrays and functions behind the part of CuPy's interface that the backends use.

Kernels are real: RawModule compiles the same source for the host (see the emulator beside this folder). What is not
here is not in CuPy either: a test holds the names and parameters against CuPy's own, where that is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cupy import _core, cuda
from cupy._array import call, ndarray, viewed, wrapped
from cupy._memory import get_default_memory_pool, get_default_pinned_memory_pool
from cupy._raw import RawKernel, RawModule

__version__ = "14.2.0"

bool_, int8, int16, int32, int64 = np.bool_, np.int8, np.int16, np.int32, np.int64
uint8, uint16, uint32, uint64 = np.uint8, np.uint16, np.uint32, np.uint64
float16, float32, float64, complex64, complex128 = (
    np.float16,
    np.float32,
    np.float64,
    np.complex64,
    np.complex128,
)
newaxis, inf, nan = None, np.inf, np.nan

_SAME = (
    "absolute add all angle any arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin bitwise_and"
    " bitwise_or bitwise_xor ceil concatenate conj conjugate copysign cos cosh cumprod cumsum divide equal exp expm1"
    " flip floor floor_divide greater greater_equal hypot imag invert isfinite isinf isnan left_shift less less_equal"
    " log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul max maximum mean min minimum"
    " multiply negative nextafter nonzero not_equal pad positive power prod real reciprocal remainder reshape"
    " right_shift rint round searchsorted"
    " sign signbit sin sinh sqrt square stack subtract sum take tan tanh transpose trunc where"
)
_NEWER = {  # the standard's names, which CuPy 14 has too
    "abs": "absolute", "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan",
    "atan2": "arctan2", "atanh": "arctanh", "bitwise_invert": "invert", "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift", "concat": "concatenate", "permute_dims": "transpose", "pow": "power",
}  # fmt: skip


def _made(name: str) -> Any:
    function = getattr(np, name)

    def run(*args: Any, **how: Any) -> Any:
        return call(function, *args, **how)

    run.__name__ = name
    return run


for _name in _SAME.split():
    globals()[_name] = _made(_name)
for _name, _old in _NEWER.items():
    globals()[_name] = globals()[_old]


class _Add:
    """cupy.add, with `at`."""

    def __call__(self, *args: Any, **how: Any) -> Any:
        return call(np.add, *args, **how)

    def at(self, a: ndarray, indices: Any, b: Any) -> None:
        np.add.at(a._a, _core.bare(indices), _core.bare(b))


add = _Add()


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    return call(np.cumsum, x, axis=axis, dtype=dtype)


def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    return call(np.cumprod, x, axis=axis, dtype=dtype)


def argsort(a: Any, axis: int = -1, kind: Any = None) -> Any:
    if kind not in (None, "stable"):
        raise ValueError("kind must be None or 'stable'")
    return call(lambda x: np.argsort(x, axis=axis, kind="stable"), a)


def broadcast_to(array: ndarray, shape: Any) -> ndarray:
    return (
        viewed(array, np.broadcast_to(array._a, shape))
        if array.size
        else wrapped(np.broadcast_to(array._a, shape))
    )


def asarray(a: Any, dtype: Any = None, order: Any = None, *, blocking: bool = False) -> ndarray:
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == np.dtype(dtype) else a.astype(dtype)
    return wrapped(np.asarray(a, dtype=dtype, order=order))


def array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", ndmin: int = 0) -> ndarray:
    return asarray(obj, dtype).copy() if isinstance(obj, ndarray) and copy else asarray(obj, dtype)


def ascontiguousarray(a: ndarray, dtype: Any = None) -> ndarray:
    return a if a.flags.c_contiguous else a.copy("C")


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
    return a.get(stream=stream, order=order, out=out) if isinstance(a, ndarray) else np.asarray(a)


def astype(x: ndarray, dtype: Any, /, *, copy: bool = True) -> ndarray:
    return x.astype(dtype, copy=copy)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = float) -> ndarray:
    return full(shape, 1, dtype)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    if isinstance(fill_value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    made = ndarray(shape, np.asarray(fill_value).dtype if dtype is None else dtype)
    made.fill(fill_value)
    return made


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    return wrapped(
        np.arange(start, dtype=dtype) if stop is None else np.arange(start, stop, step, dtype=dtype)
    )


__all__ = [
    "RawKernel",
    "RawModule",
    "cuda",
    "get_default_memory_pool",
    "get_default_pinned_memory_pool",
    "ndarray",
]
