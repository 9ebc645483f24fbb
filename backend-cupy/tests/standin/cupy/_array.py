"""The stand-in's ndarray: NumPy's values in guarded memory of a device, with CuPy's refusals.

A host array is never taken for a device array, nor the other way round; arrays of another device than the current one
are refused; functions return arrays where NumPy returns scalars.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from cupy._memory import MemoryPointer, alloc
from cupy._place import CUDARuntimeError, Device, capturing, current_device


class Flags:
    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous = bool(flags.c_contiguous), bool(flags.f_contiguous)
        self.owndata = True


class ndarray:
    """As cupy.ndarray; `_a` is the NumPy array over the same memory."""

    __array_priority__ = 100
    __slots__ = ("__weakref__", "_a", "base", "data")

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: Any = None,
        order: str = "C",
    ) -> None:
        shape = tuple(shape) if isinstance(shape, (tuple, list)) else (int(shape),)
        dtype = np.dtype(dtype)
        if dtype.kind not in "biufcV" or (dtype.kind == "V" and dtype.name != "bfloat16"):
            raise ValueError(f"Unsupported dtype {dtype}")
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self.data = alloc(size) if memptr is None else memptr
        self.base = None
        view = self.data.mem.bytes[self.data.offset :]
        if not size:
            self._a = np.empty(shape, dtype=dtype, order=order)
            return
        self._a = np.ndarray(shape, dtype=dtype, buffer=view, strides=strides, order=order)

    shape = property(lambda self: self._a.shape, lambda self, shape: setattr(self._a, "shape", shape))
    dtype = property(lambda self: self._a.dtype)
    strides = property(lambda self: self._a.strides)
    size = property(lambda self: self._a.size)
    ndim = property(lambda self: self._a.ndim)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
    flags = property(lambda self: Flags(self._a.flags))
    device = property(lambda self: Device(self.data.device_id))
    T = property(lambda self: viewed(self, self._a.T))
    real = property(lambda self: call(np.real, self))
    imag = property(lambda self: call(np.imag, self))

    def __array__(self, *args: Any, **how: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array."
        )

    def __len__(self) -> int:
        return len(self._a)

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __index__(self) -> int:
        return operator.index(self.get())

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        """To the host, as a copy."""
        if capturing() is not None:
            raise CUDARuntimeError(
                900, "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
            )
        if out is None:
            return np.array(self._a, order=order, copy=True)
        if not isinstance(out, np.ndarray) or out.dtype != self.dtype or out.shape != self.shape:
            raise ValueError("Shape or dtype mismatch.")
        out[...] = self._a
        return out

    def set(self, arr: Any, stream: Any = None) -> None:
        """From the host."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{self.dtype} array cannot be set to {arr.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        self._a[...] = arr

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def fill(self, value: Any) -> None:
        record(lambda: self._a.fill(value))

    def __getitem__(self, key: Any) -> Any:
        return call(lambda a, k: a[k], self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        to, where, what = self._a, bare(key), bare(value)
        record(lambda: to.__setitem__(where, what))

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> Any:
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        return call(lambda a: a.astype(dtype, order=order), self)

    def copy(self, order: str = "C") -> Any:
        return call(lambda a: a.copy(order), self)

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return call(lambda a: a.reshape(shape), self)

    def transpose(self, *axes: Any) -> Any:
        return viewed(self, self._a.transpose(*axes))

    def swapaxes(self, one: int, other: int) -> Any:
        return viewed(self, self._a.swapaxes(one, other))

    def view(self, dtype: Any = None) -> Any:
        return viewed(self, self._a.view() if dtype is None else self._a.view(dtype))

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return call(lambda a: a.sum(axis=axis, dtype=dtype, keepdims=keepdims), self)

    def max(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return call(lambda a: a.max(axis=axis, keepdims=keepdims), self)

    def __repr__(self) -> str:
        return repr(self._a)


def bare(value: Any) -> Any:
    """NumPy's side of an argument; host arrays are refused."""
    if isinstance(value, ndarray):
        if value.data.device_id != current_device() and value.size:
            raise ValueError(
                "Array device must be same as the current device: array device = "
                f"{value.data.device_id} while current = {current_device()}"
            )
        return value._a
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(bare(one) for one in value)
    return value


def viewed(of: ndarray, values: Any) -> ndarray:
    """An array over another's memory."""
    made = ndarray.__new__(ndarray)
    made._a = values
    made.base = of if of.base is None else of.base
    offset = values.ctypes.data - of.data.mem.ptr if values.size else of.data.offset
    made.data = MemoryPointer(of.data.mem, offset)
    return made


def wrapped(values: Any) -> ndarray:
    """A result in memory of the current device, in the memory order it has."""
    values = np.asarray(values)
    order = "F" if values.flags.f_contiguous and not values.flags.c_contiguous else "C"
    made = ndarray(values.shape, values.dtype, order=order)
    if values.size:
        made._a[...] = values
    return made


def record(step: Callable[[], Any]) -> None:
    """Do it, or only note it where the stream captures."""
    steps = capturing()
    if steps is None:
        step()
    else:
        steps.append(step)


def call(function: Callable[..., Any], *args: Any, **how: Any) -> Any:
    """A function of NumPy on device arrays."""
    given, named = bare(args), {name: bare(value) for name, value in how.items()}
    with np.errstate(all="ignore"):
        found = function(*given, **named)
    owners = [one for one in _arrays(args) if one.size]
    if isinstance(found, (tuple, list)):
        return tuple(_result(one, owners, None) for one in found)
    return _result(found, owners, lambda: function(*given, **named))


def _arrays(values: Any) -> list[ndarray]:
    if isinstance(values, ndarray):
        return [values]
    return [x for one in values for x in _arrays(one)] if isinstance(values, (tuple, list)) else []


def _result(found: Any, owners: list[ndarray], again: Callable[[], Any] | None) -> Any:
    if isinstance(found, np.ndarray) and found.size:
        for one in owners:
            if found is one._a:
                return one
            if np.may_share_memory(found, one._a):
                return viewed(one, found)
    if not isinstance(found, (np.ndarray, np.generic)):
        return found
    made = wrapped(found)
    steps = capturing()
    if steps is not None:
        if again is None:
            raise CUDARuntimeError(
                900, "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"
            )
        if made.size:
            made._a.view(np.uint8)[...] = 0xFF if made.ndim and made.flags.c_contiguous else 0
        steps.append(lambda: made._a.__setitem__(..., again()))
    return made


def _operator(name: str) -> Callable[..., Any]:
    function = getattr(operator, name)

    def run(self: ndarray, *others: Any) -> Any:
        if any(isinstance(one, np.ndarray) for one in others):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        return call(function, self, *others)

    return run


def _swapped(name: str) -> Callable[..., Any]:
    function = getattr(operator, name)
    return lambda self, other: call(lambda a, b: function(b, a), self, other)


for _name in (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "and_",
    "or_",
    "xor",
    "lshift",
    "rshift",
    "matmul",
):
    setattr(ndarray, f"__{_name.strip('_')}__", _operator(_name))
    setattr(ndarray, f"__r{_name.strip('_')}__", _swapped(_name))
for _name in ("eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "invert", "abs"):
    setattr(ndarray, f"__{_name}__", _operator(_name))
ndarray.__hash__ = object.__hash__  # type: ignore[method-assign]
