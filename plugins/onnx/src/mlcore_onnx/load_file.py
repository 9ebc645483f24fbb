"""From a path, bytes or a ModelProto to a ModelProto that has been looked at; and the files that lie beside it.

Nothing is allocated that a file merely claims: every size is held against the bytes that are there.
"""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it has no types
from onnx import TensorProto, helper, numpy_helper

from mlcore.errors import ArgumentTypeError, FormatError, UnsafeFileError, UnsupportedOpError

_LIMIT: Final = 2**31 - 1  # bytes that one protobuf message may have
_BITS: Final = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
_FIELDS: Final = {
    "FLOAT": "float_data", "COMPLEX64": "float_data", "DOUBLE": "double_data", "COMPLEX128": "double_data",
    "INT64": "int64_data", "UINT32": "uint64_data", "UINT64": "uint64_data", "STRING": "string_data",
}  # fmt: skip


class Source:
    """A model and where it comes from: its name for messages, and the folder that its data may lie in."""

    def __init__(self, model: Any, name: str, folder: Path | None, owned: bool) -> None:
        self.model = model
        self.name = name
        self.folder = folder
        self.owned = owned  # nobody else sees the message: its bytes may be let go
        self.functions: Any = None  # the model's own, and the plans made of them
        self.to_fold = 1 << 23  # elements that may be worked out while loading
        self.keep: list[Any] = []  # messages that are known by their id

    def bad(self, what: str, **details: Any) -> FormatError:
        """The error for something in this file."""
        return FormatError(f"{self.name}: {what}", **details)

    def array(self, tensor: Any, what: str, once: bool = False) -> np.ndarray[Any, Any]:
        """A TensorProto's values; where they are read `once` only, the message lets go of them."""
        kind = self._kind(tensor, what)
        count = self._count(tensor, what)
        if tensor.HasField("segment"):
            raise UnsupportedOpError(f"{self.name}: {what} is one segment of a tensor",
                                     fix="save the model with whole tensors")  # fmt: skip
        if tensor.data_location == TensorProto.EXTERNAL:
            found = self._external(tensor, kind, count, what)
        else:
            self._check_stored(tensor, kind, count, what)
            try:
                found = numpy_helper.to_array(tensor)
            except (ValueError, TypeError, KeyError, OverflowError, UnicodeDecodeError) as error:
                raise self.bad(f"{what} cannot be read", cause=str(error)) from error
        if self.owned and once:
            tensor.ClearField("raw_data")
        return np.asarray(found)

    def _kind(self, tensor: Any, what: str) -> str:
        try:
            kind = str(TensorProto.DataType.Name(tensor.data_type))
        except ValueError:
            kind = ""
        if kind in ("", "UNDEFINED"):
            raise self.bad(f"{what} has the element type {tensor.data_type}", cause="no such type is known")
        return kind

    def _count(self, tensor: Any, what: str) -> int:
        if any(one < 0 for one in tensor.dims) or len(tensor.dims) > 64:
            raise self.bad(
                f"{what} has the shape {_brief(tensor.dims)}", cause="a shape has up to 64 sizes >= 0"
            )
        count = math.prod(int(one) for one in tensor.dims)
        if count >= 2**48:
            raise self.bad(f"{what} has the shape {_brief(tensor.dims)}",
                           cause=f"that would be {count:,} elements")  # fmt: skip
        return count

    def _check_stored(self, tensor: Any, kind: str, count: int, what: str) -> None:
        """Hold the shape against the bytes or numbers in the message."""
        if tensor.HasField("raw_data"):
            if kind == "STRING":
                raise self.bad(f"{what} has texts as raw bytes", cause="texts belong in string_data")
            held, needed, unit = len(tensor.raw_data), _bytes(kind, tensor.data_type, count), "bytes"
        else:
            field = _FIELDS.get(kind, "int32_data")
            held, unit = len(getattr(tensor, field)), f"values in {field}"
            needed = 2 * count if kind.startswith("COMPLEX") else math.ceil(count * _BITS.get(kind, 8) / 8)
        if held != needed:
            raise self.bad(
                f"{what} of shape {_brief(tensor.dims)}, {kind.lower()}, needs {needed:,} {unit}",
                cause=f"the file has {held:,}",
                fix="the file is damaged or was cut off: fetch or export it again",
            )

    # -- data in files beside the model -------------------------------------------------------------------------

    def _external(self, tensor: Any, kind: str, count: int, what: str) -> np.ndarray[Any, Any]:
        if kind == "STRING":
            raise self.bad(f"{what} has texts in another file", cause="only numbers may lie outside")
        entries = {one.key: one.value for one in tensor.external_data}
        if len(entries) != len(tensor.external_data):
            raise self.bad(f"{what} names a part of its place twice")
        needed = _bytes(kind, tensor.data_type, count)
        offset = self._number(entries, "offset", 0, what)
        length = self._number(entries, "length", needed, what)
        if length != needed:
            raise self.bad(
                f"{what} of shape {_brief(tensor.dims)}, {kind.lower()}, needs {needed:,} bytes",
                cause=f"it is said to have {length:,} in {entries.get('location')!r}",
            )
        data = self._read_beside(entries.get("location", ""), offset, length, what)
        shape = tuple(tensor.dims)
        if kind in _BITS:
            whole = TensorProto(dims=shape, data_type=tensor.data_type, raw_data=data)
            return np.asarray(numpy_helper.to_array(whole))
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        return np.frombuffer(data, dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype).reshape(shape)

    def _number(self, entries: dict[str, str], key: str, default: int, what: str) -> int:
        text = entries.get(key, "")
        if not text:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise self.bad(f"{what} has the {key} {text[:40]!r}", cause="expected a whole number of bytes")
        return int(text)

    def _read_beside(self, location: str, offset: int, length: int, what: str) -> bytes:
        """Bytes of a file in the model's folder, and of no other."""
        handle = self._open_beside(location, what)
        try:
            size = os.fstat(handle).st_size
            if offset + length > size:
                raise self.bad(
                    f"{what} lies at bytes {offset:,} to {offset + length:,} of {location!r}",
                    cause=f"that file has {size:,} bytes", fix="fetch the file again",
                )  # fmt: skip
            with os.fdopen(os.dup(handle), "rb", buffering=0) as file:
                file.seek(offset)
                data = bytearray(length)
                read = 0
                while read < length:
                    got = file.readinto(memoryview(data)[read:])
                    if not got:
                        raise self.bad(f"{location!r} became shorter while {what} was read")
                    read += got
        finally:
            os.close(handle)
        return data  # type: ignore[return-value]  # as good as bytes, and not copied

    def _open_beside(self, location: str, what: str) -> int:
        """A handle of a plain file inside the model's folder."""
        if self.folder is None:
            raise self.bad(f"{what} lies in the file {location!r}", cause="the model was given without a folder",
                           fix="load it by its path, or pass folder=")  # fmt: skip
        refuse = _Refusal(self.name, what, location)
        pure = PurePosixPath(location.replace("\\", "/"))
        inside = pure.parts and not pure.is_absolute() and ":" not in pure.parts[0] and ".." not in pure.parts
        if not inside or "\0" in location:
            raise refuse("the place is not a name inside the model's folder")
        place = self.folder
        try:
            for part in pure.parts:
                place = place / part
                if stat.S_ISLNK(os.lstat(place).st_mode):
                    raise refuse(f"{part!r} is a symbolic link")
            handle = os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
                             | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))  # fmt: skip
        except OSError as error:
            raise self.bad(f"{what} lies in the file {location!r}, which cannot be opened", cause=str(error),
                           fix="keep the model's data files in its folder") from error  # fmt: skip
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            os.close(handle)
            raise refuse("it is no plain file")
        if found.st_nlink > 1:
            os.close(handle)
            raise refuse("it is a hard link: the same file has another name, maybe outside the folder")
        return handle


class _Refusal:
    """What is said of a place outside the model's folder."""

    def __init__(self, name: str, what: str, location: str) -> None:
        self.name, self.what, self.location = name, what, location

    def __call__(self, cause: str) -> UnsafeFileError:
        return UnsafeFileError(
            f"{self.name}: {self.what} lies in the file {self.location!r}", cause=cause,
            fix="put a plain copy of the data into the model's folder, if you trust it",
        )  # fmt: skip


def _bytes(kind: str, data_type: int, count: int) -> int:
    """The bytes that `count` elements take in a file."""
    if kind in _BITS:
        return math.ceil(count * _BITS[kind] / 8)
    if kind == "STRING":
        return 0
    return count * int(np.dtype(helper.tensor_dtype_to_np_dtype(data_type)).itemsize)


def _brief(dims: Any) -> str:
    shown = ", ".join(map(str, list(dims)[:8]))
    return f"({shown}{', ...' if len(dims) > 8 else ''})"


def open_model(given: Any, folder: Any = None) -> Source:
    """The model in a file, in bytes, or given."""
    beside = None if folder is None else Path(folder)
    if isinstance(given, onnx.ModelProto):
        return Source(given, "the model", beside, False)
    if isinstance(given, (bytes, bytearray, memoryview)):
        return Source(_parse(bytes(given), "the model"), "the model", beside, True)
    if not isinstance(given, (str, os.PathLike)):
        raise ArgumentTypeError(f"load: a {type(given).__name__} is no model",
                                fix="give a path, the bytes of a file, or an onnx.ModelProto")  # fmt: skip
    path = Path(given)
    name = str(path)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise FormatError(f"{name}: no file", fix="give the .onnx file itself")
        if found.st_size > _LIMIT:
            raise FormatError(
                f"{name}: {found.st_size:,} bytes", cause=f"a protobuf message has at most {_LIMIT:,}",
                fix="save the model with external data",
            )  # fmt: skip
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{name}: cannot be read", cause=str(error)) from error
    return Source(_parse(data, name), name, beside or path.parent, True)


def _parse(data: bytes, name: str) -> Any:
    if len(data) > _LIMIT:
        raise FormatError(f"{name}: {len(data):,} bytes", cause=f"a protobuf message has at most {_LIMIT:,}")
    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError, RecursionError, MemoryError) as error:
        raise FormatError(f"{name}: no ONNX model", cause=f"the protobuf message is damaged: {error}",
                          fix="fetch or export the file again") from error  # fmt: skip
    if not model.HasField("graph"):
        raise FormatError(f"{name}: no ONNX model", cause="it has no graph")
    return model
