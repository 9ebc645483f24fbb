"""What flows through an imported graph: tensors on the device, small ones on the host, and what no tensor holds.

A value is a Tensor, a list (a sequence), None (an absent or empty optional), or a NumPy array of a type that tensors do
not have: texts, float8, four bits and fewer. Tensors on the `reference` device are host values: a shape that is taken
apart and put together again never goes to a device and back.
"""

from __future__ import annotations

import math
from typing import Any, Final

import ml_dtypes
import numpy as np

import mlcore as ml
from mlcore.backends import detect
from mlcore.dtypes import all_dtypes, from_numpy
from mlcore.errors import UnsupportedOpError
from mlcore.tensor import Tensor, TensorBase

HOST: Final = detect.resolve("reference")
SMALL: Final = 1024
"""Elements up to which a value made from host values stays on the host."""

HELD: Final = frozenset(dtype.numpy for dtype in all_dtypes)
_ONE_BYTE: Final = frozenset(
    np.dtype(getattr(ml_dtypes, name))
    for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
                 "float4_e2m1fn", "int4", "uint4", "int2", "uint2")
    if hasattr(ml_dtypes, name)
)  # fmt: skip


def on_host(array: Any) -> Any:
    """A host value of a NumPy array: a tensor where tensors have its type."""
    array = np.asarray(array)
    if array.dtype not in HELD:
        return array
    return ml.asarray(array, device=HOST)


def to_numpy(value: Any) -> Any:
    """The values of a tensor (or of an array that is no tensor) as NumPy; None and lists as they are."""
    if isinstance(value, TensorBase):
        return np.asarray(value.detach())  # type: ignore[attr-defined]  # methods are attached to Tensor
    if isinstance(value, list):
        return [to_numpy(one) for one in value]
    return value


def move(value: Any, device: Any) -> Any:
    """A value on `device`, as far as it can go there; with its gradient."""
    if isinstance(value, Tensor):
        return value if value.device is device else value.to(device)
    if isinstance(value, list):
        return [move(one, device) for one in value]
    return value


def together(values: list[Any]) -> list[Any]:
    """Tensors on one device: that of the first which is not on the host."""
    device = next((one.device for one in values if isinstance(one, Tensor) and one.device is not HOST), HOST)
    return [move(one, device) for one in values]


def place_for(shape: tuple[int, ...], device: Any) -> Any:
    """Where something new of this shape is made: small things on the host, where shapes are worked out."""
    return HOST if math.prod(shape) <= SMALL else device


def size_of(value: Any) -> int:
    """The number of elements of a value."""
    return int(value.size) if isinstance(value, (Tensor, np.ndarray)) else 0


def ints(array: Any) -> tuple[int, ...]:
    """The whole numbers in a host array, flat."""
    return tuple(int(one) for one in np.asarray(array).reshape(-1))


class Carrier:
    """Arrays of types that tensors do not have, as tensors whose values only change places, and back.

    Types of one byte travel as that byte, texts as their places in a list.
    """

    def __init__(self, arrays: list[Any], what: str) -> None:
        kinds = {one.dtype for one in arrays}
        self.dtype = arrays[0].dtype
        texts = all(one.dtype.kind in "OUS" for one in arrays)
        if not texts and (len(kinds) != 1 or self.dtype not in _ONE_BYTE):
            raise UnsupportedOpError(f"{what} of {', '.join(sorted(map(str, kinds)))}")
        self.texts: list[Any] | None = [] if texts else None

    def carry(self, value: Any) -> Any:
        """The tensor that travels for an array."""
        if not isinstance(value, np.ndarray):
            return value
        if self.texts is None:
            return ml.asarray(np.ascontiguousarray(value).view(np.uint8), device=HOST)
        first = len(self.texts)
        self.texts.extend(value.reshape(-1).tolist())
        return ml.asarray(np.arange(first, len(self.texts)).reshape(value.shape), device=HOST)

    def back(self, value: Any) -> Any:
        """What a tensor stands for."""
        if isinstance(value, (list, tuple)):
            return type(value)(self.back(one) for one in value)
        if not isinstance(value, Tensor):
            return value
        array = np.asarray(value)
        if self.texts is None:
            return array.view(self.dtype)
        found = np.empty(array.shape, object)
        found.reshape(-1)[:] = [self.texts[int(i)] for i in array.reshape(-1)]
        return found


def dtype_of(value: Any) -> np.dtype[Any]:
    """The NumPy type of a tensor's or array's elements."""
    return value.dtype.numpy if isinstance(value, Tensor) else value.dtype


def widest(x: Any) -> Any:
    """The floating type in which whole numbers are computed with: float64 where the device has it."""
    return ml.float64 if ml.float64 in x.device.backend.dtypes else ml.float32


def cast_to(value: Any, numpy_dtype: Any) -> Any:
    """A tensor in another type that tensors have."""
    return ml.astype(value, from_numpy(numpy_dtype))
