"""What a checkpoint's tensors are made of: dtypes, storages, and the strided views of storages that tensors are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np

MAX_RANK: Final = 64  # NumPy's


def brief(value: Any) -> str:
    """A value for a message: what it is, and never more than a line, whatever the file holds."""
    if isinstance(value, int | float):
        return (
            str(value)
            if not isinstance(value, int) or value.bit_length() < 200
            else "a number of many digits"
        )
    if isinstance(value, str | bytes):
        return repr(value[:60]) + ("..." if len(value) > 60 else "")
    return f"a {type(value).__name__}" + (
        f" of {len(value)}" if isinstance(value, dict | list | tuple | set) else ""
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """A dtype of PyTorch's. `numpy` is what its elements are read as; `refused` says why they cannot be."""

    name: str
    itemsize: int
    numpy: np.dtype[Any] | None
    refused: str = ""

    @property
    def swap(self) -> int:
        """The size of what has a byte order: a complex number's parts are swapped each for itself."""
        return self.itemsize // 2 if self.name.startswith("complex") else self.itemsize


_QUANTISED: Final = "it is quantised; in PyTorch, save tensor.dequantize()"
_PACKED: Final = "its elements have no whole bytes"


def _kinds() -> dict[str, Kind]:
    kinds = {}
    for name in (
        "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "complex64", "complex128",
    ):  # fmt: skip
        dtype = np.dtype(name)
        kinds[name] = Kind(name, dtype.itemsize, dtype)
    for name in (
        "bfloat16",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    ):
        dtype = np.dtype(getattr(ml_dtypes, name))
        kinds[name] = Kind(name, dtype.itemsize, dtype)
    kinds["complex32"] = Kind("complex32", 4, np.dtype(np.complex64))  # the smallest that holds its values
    for name, size in {"qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1}.items():
        kinds[name] = Kind(name, size, None, _QUANTISED)
    packed = ["bits8", "bits16", "bits1x8", "bits2x4", "bits4x2", "float4_e2m1fn_x2"]
    packed += [f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)]
    for name in packed:
        kinds[name] = Kind(name, 2 if name == "bits16" else 1, None, _PACKED)
    return kinds


KINDS: Final = _kinds()
STORAGES: Final = {  # the classes of typed storages, by the dtype that each has
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexDouble": "complex128",
    "ComplexFloat": "complex64", "QInt8": "qint8", "QInt32": "qint32", "QUInt8": "quint8", "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StorageKind:
    """A class of storages."""

    kind: Kind


@dataclass(eq=False, slots=True)
class Storage:
    """`count` elements from byte `start` of the file's storage `key`."""

    key: str
    kind: Kind
    count: int
    start: int = 0

    @property
    def nbytes(self) -> int:
        """The bytes of its elements."""
        return self.count * self.kind.itemsize


@dataclass(eq=False, slots=True)
class Strided:
    """A tensor: elements of a storage, from `offset`, `strides` apart (both counted in elements)."""

    storage: Storage
    kind: Kind
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conjugated: bool = False
    negated: bool = False

    @property
    def start(self) -> int:
        """Where its first element lies in the file's storage, in bytes."""
        return self.storage.start + self.offset * self.kind.itemsize

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def reach(self) -> int:
        """How many elements of the storage it spans, from its first to its last."""
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.strides)) if self.size else 0

    @property
    def in_order(self) -> bool:
        """Whether the elements lie one after the other, the last dimension fastest."""
        step = 1
        for n, stride in zip(reversed(self.shape), reversed(self.strides)):
            if n != 1 and stride != step:
                return False
            step *= n
        return True


def whole(storage: Storage) -> Strided:
    """A storage by itself, as the tensor of all its elements."""
    return Strided(storage, storage.kind, 0, (storage.count,), (1,))


def problem(tensor: Strided) -> str:
    """What is wrong with a tensor's shape and strides; '' if it lies within its storage."""
    shape, strides, storage = tensor.shape, tensor.strides, tensor.storage
    if len(shape) != len(strides) or len(shape) > MAX_RANK:
        return f"a tensor has {len(shape)} dimensions and {len(strides)} strides"
    for what, numbers in (("shape", shape), ("strides", strides), ("offset", (tensor.offset,))):
        if not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
            return f"a tensor has the {what} ({', '.join(map(brief, numbers))})"
    itemsize = tensor.kind.itemsize
    room = storage.nbytes // itemsize
    if tensor.offset + tensor.reach > room:
        return (
            f"a tensor of shape {shape}, strides {strides} and offset {tensor.offset} "
            f"reaches beyond the {room} elements of its storage {storage.key!r}"
        )
    size = math.prod(n for n in shape if n)
    if size * itemsize >= 2**63:
        return f"a tensor of shape {shape} has {size} elements"
    if tensor.size * itemsize > (256 << 20) + 16 * storage.nbytes:
        return f"a tensor of shape {shape} repeats the {room} elements of its storage {storage.key!r}"
    return ""
