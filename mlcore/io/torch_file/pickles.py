"""Pickles of plain data and tensors, of protocol 2, with the names that PyTorch's own safe reader knows."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from mlcore.dtype import DType
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError
from mlcore.io.torch_file.parts import KINDS, STORAGES
from mlcore.tensor import TensorBase

Array = np.ndarray[Any, Any]

MAX_DEPTH: Final = 100
_CLASSES: Final = {kind: f"{name}Storage" for name, kind in STORAGES.items()}
_KINDS: Final = {
    kind.numpy: kind for kind in KINDS.values() if kind.name != "complex32" and kind.numpy is not None
}
_HOST: Final = b"X\x03\0\0\0cpu"  # the place of a storage, in PyTorch's words
_CONSTANTS: Final = {None: b"N", True: b"\x88", False: b"\x89"}


def _at(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path)) or "the value"


class Pickle:
    """A pickle being made. `arrays` are those it refers to, in their keys' order: contiguous and little-endian."""

    def __init__(self, value: Any) -> None:
        self.arrays: list[Array] = []
        self._kept: list[Any] = []  # whose memory is told apart by its address
        self._parts: list[bytes] = [b"\x80\x02"]
        self._memo: dict[Any, int] = {}
        self._put(value, ())
        self._parts.append(b".")
        self.data = b"".join(self._parts)

    def _put(self, value: Any, path: tuple[Any, ...]) -> None:
        if len(path) > MAX_DEPTH:
            raise ArgumentError(
                f"save: what is saved is nested deeper than {MAX_DEPTH} levels, or holds itself"
            )
        emit, kind = self._parts.append, type(value)
        if value is None or kind is bool:
            emit(_CONSTANTS[value])
        elif isinstance(value, str):
            self._text(str(value))
        elif isinstance(value, TensorBase | np.ndarray | np.generic):
            self._tensor(np.asarray(value), path)
        elif isinstance(value, DType):
            self._global("torch", value.name)
        elif isinstance(value, int):
            self._int(int(value))
        elif isinstance(value, float):
            emit(b"G" + struct.pack(">d", value))
        elif isinstance(value, Mapping):
            self._mapping(value, path)
        elif isinstance(value, list | tuple):
            self._sequence(value, path)
        else:
            self._odd(value, path)

    def _odd(self, value: Any, path: tuple[Any, ...]) -> None:
        """What is pickled as a class applied to something."""
        if isinstance(value, bytes):
            self._apply("_codecs", "encode", (value.decode("latin-1"), "latin1"), path)
        elif isinstance(value, bytearray):
            self._apply("builtins", "bytearray", (bytes(value),), path)
        elif isinstance(value, complex):
            self._apply("builtins", "complex", (value.real, value.imag), path)
        elif isinstance(value, set | frozenset):
            self._apply("builtins", "set", (sorted(value, key=repr),), path)
        else:
            fix = "pass its state_dict()" if hasattr(value, "state_dict") else None
            raise ArgumentTypeError(
                f"save: {_at(path)} is a {type(value).__name__}, which no checkpoint can hold",
                fix=fix or "store tensors, numbers, text, lists, tuples and dictionaries",
            )

    def _apply(self, module: str, name: str, arguments: tuple[Any, ...], path: tuple[Any, ...]) -> None:
        self._global(module, name)
        self._put(arguments, (*path, ""))
        self._parts.append(b"R")

    def _mapping(self, value: Mapping[Any, Any], path: tuple[Any, ...]) -> None:
        self._parts.append(b"}(" if value else b"}")
        for key, item in value.items():
            if not isinstance(key, str | int | float | bool | tuple | type(None)):
                raise ArgumentTypeError(f"save: {key!r:.40} is a key in {_at(path)}",
                                        fix="use text or numbers")  # fmt: skip
            self._put(key, (*path, "key"))
            self._put(item, (*path, key))
        if value:
            self._parts.append(b"u")

    def _sequence(self, value: list[Any] | tuple[Any, ...], path: tuple[Any, ...]) -> None:
        start, end = (b"](", b"e") if isinstance(value, list) else (b"(", b"t")
        if not value:
            start, end = start[:1] if isinstance(value, list) else b")", b""
        self._parts.append(start)
        for index, item in enumerate(value):
            self._put(item, (*path, index))
        self._parts.append(end)

    def _recalled(self, key: Any) -> bool:
        """Push what was remembered under `key`, if something was."""
        place = self._memo.get(key)
        if place is not None:
            self._parts.append(b"h" + bytes([place]) if place < 256 else b"j" + struct.pack("<I", place))
        return place is not None

    def _remember(self, key: Any) -> None:
        place = self._memo[key] = len(self._memo)
        self._parts.append(b"q" + bytes([place]) if place < 256 else b"r" + struct.pack("<I", place))

    def _text(self, value: str) -> None:
        if self._recalled(("text", value)):
            return
        raw = value.encode("utf-8", "surrogatepass")
        self._parts.append(b"X" + struct.pack("<I", len(raw)) + raw)
        if len(value) < 100:
            self._remember(("text", value))

    def _int(self, value: int) -> None:
        if 0 <= value < 256:
            self._parts.append(b"K" + bytes([value]))
        elif -(2**31) <= value < 2**31:
            self._parts.append(b"J" + struct.pack("<i", value))
        else:
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            if len(raw) > 255:
                raise ArgumentError(f"save: an integer of {len(raw)} bytes", fix="store it as text")
            self._parts.append(b"\x8a" + bytes([len(raw)]) + raw)

    def _global(self, module: str, name: str) -> None:
        if not self._recalled(("global", module, name)):
            self._parts.append(b"c" + f"{module}\n{name}\n".encode())
            self._remember(("global", module, name))

    def _tensor(self, array: Array, path: tuple[Any, ...]) -> None:
        """A tensor; one that stands at several places (the same memory, seen in the same way) is kept as one."""
        address = array.__array_interface__["data"][0] if array.size else id(array)
        same = ("tensor", address, array.shape, array.strides, array.dtype)
        if self._recalled(same):
            return
        self._kept.append(array)
        kind = _KINDS.get(array.dtype) or _KINDS.get(array.dtype.newbyteorder("="))
        if kind is None:
            raise DTypeError(
                f"save: tensor {_at(path)!r} has dtype {array.dtype}, which PyTorch does not have",
                fix="convert it with astype",
            )
        ready = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
        typed = kind.name in _CLASSES
        self._global("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
        self._parts.append(b"((")
        self._text("storage")
        self._global(*("torch", _CLASSES[kind.name]) if typed else ("torch.storage", "UntypedStorage"))
        self._text(str(len(self.arrays)))
        self._parts.append(_HOST)
        self._int(ready.size if typed else ready.nbytes)
        self._parts.append(b"tQK\x00")
        self._put(ready.shape, path)
        self._put(tuple(step // ready.itemsize for step in ready.strides), path)
        self._parts.append(b"\x89")
        self._global("collections", "OrderedDict")
        self._parts.append(b")R")
        if not typed:
            self._global("torch", kind.name)
        self._parts.append(b"tR")
        self._remember(same)
        self.arrays.append(ready)
