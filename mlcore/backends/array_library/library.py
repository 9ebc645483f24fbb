"""What an array library is like: its functions by name, the dtypes it holds, and how arrays come and go."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from mlcore.backends.device import Device
from mlcore.backends.protocol import Array
from mlcore.dtype import DType
from mlcore.dtypes import all_dtypes, from_numpy
from mlcore.errors import PluginError

# Names under which libraries older than the standard have its functions.
OLDER_NAMES = {
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan", "atan2": "arctan2",
    "atanh": "arctanh", "bitwise_invert": "invert", "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift", "concat": "concatenate", "conj": "conjugate", "cumulative_prod": "cumprod",
    "cumulative_sum": "cumsum", "permute_dims": "transpose", "pow": "power",
}  # fmt: skip


class Library:
    """A namespace close to the standard, seen through the few names that the kernels are made from."""

    def __init__(self, xp: Any, device: Device, *, library_device: Any = None) -> None:
        self.xp = xp
        self.device = device
        self.xp_asarray: Callable[..., Any] = self._asarray(library_device)
        self._library_device = {} if library_device is None else {"device": library_device}
        self.array_type: type[Any] = type(self.xp_asarray(np.zeros(1, dtype=np.float32)))
        self._names: dict[DType, Any] = {}
        self.dtypes: frozenset[DType] = frozenset(d for d in all_dtypes if self._holds(d))
        if not self.dtypes:
            raise PluginError(
                f"{self._title} makes no array of any dtype", cause="asarray() fails for all of them"
            )

    @property
    def _title(self) -> str:
        return str(getattr(self.xp, "__name__", self.xp))

    def _asarray(self, library_device: Any) -> Callable[..., Any]:
        make = self.find("asarray", "array")
        if make is None:
            raise PluginError(
                f"{self._title} has neither asarray nor array", fix="pass the library's namespace"
            )
        if library_device is None:
            return make
        return lambda value, **how: make(value, device=library_device, **how)

    def find(self, *names: str) -> Callable[..., Any] | None:
        """The library's function of the first of these names that it has, also under its older name."""
        for name in names:
            for one in (name, OLDER_NAMES.get(name)):
                found = getattr(self.xp, one, None) if one else None
                if callable(found):
                    return found  # type: ignore[no-any-return]  # a library's own function
        return None

    def _holds(self, dtype: DType) -> bool:
        """Whether an array of `dtype` goes there and comes back."""
        name = getattr(self.xp, dtype.name, None) or getattr(self.xp, f"{dtype.name}_", None)
        if name is None:
            return False
        self._names[dtype] = name
        try:
            back = self.to_host(self.from_host(np.ones(2, dtype=dtype.numpy)))
        except Exception:  # whatever a library raises for a dtype that it does not have
            return False
        return from_numpy(back.dtype) is dtype

    def within(self) -> AbstractContextManager[Any]:
        """What every call of the library runs in: NumPy and its kin are told to be quiet about overflow."""
        return np.errstate(all="ignore")

    def compiled(self, call: Callable[..., Any], params: int) -> Callable[..., Any]:
        """A function of arrays and, behind them, `params` parameters, as the library runs it best: as it is.

        A library that compiles overrides this; it may be given other arrays for each call, so what depends on a
        parameter's value is compiled once for each.
        """
        return call

    def native(self, dtype: DType) -> Any:
        """The library's own name of a dtype."""
        return self._names[dtype]

    def from_host(self, array: np.ndarray[Any, Any]) -> Array:
        """A copy on the device: the library may share memory with the copy, never with the caller's array."""
        return self.xp_asarray(np.array(array, copy=True, order="C", ndmin=0))

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """The values: through the library's own way down where it has one, else the buffer, or DLPack."""
        down = getattr(self.xp, "asnumpy", None)
        if down is not None:
            return np.asarray(down(array))
        try:
            return np.asarray(array)
        except (TypeError, ValueError):
            return np.from_dlpack(array)

    def adopt(self, source: Any, place: tuple[int, int], copy: bool) -> Array | None:
        """An array of foreign memory at DLPack's `place`; None if this library's arrays lie elsewhere."""
        take = self.find("from_dlpack")
        own = getattr(self.from_host(np.zeros(1, np.float32)), "__dlpack_device__", None)
        if take is None or own is None or tuple(map(int, own())) != place:
            return None
        array = take(source)
        if tuple(array.shape) and copy:
            array = self.xp_asarray(array, copy=True)
        return array

    def described(self, array: Array) -> tuple[DType, tuple[int, ...]]:
        """The dtype and the shape of one of the library's arrays."""
        return self._dtype_of(array), tuple(array.shape)

    def _dtype_of(self, x: Any) -> DType:
        """The dtype of one of the library's arrays."""
        return next(d for d, name in self._names.items() if x.dtype == name)

    def zero(self, like: Any) -> Any:
        """A 0-d zero of an array's dtype."""
        return self._full()((), 0, dtype=like.dtype, **self._library_device)

    def _full(self) -> Callable[..., Any]:
        found = self.find("full")
        if found is None:
            raise PluginError(f"{self._title} has no function full")
        return found

    def cast(self, x: Any, dtype: DType) -> Any:
        """An array in another dtype."""
        name = self.native(dtype)
        if x.dtype == name:
            return x
        call = getattr(self.xp, "astype", None)
        return call(x, name) if call is not None else x.astype(name)
