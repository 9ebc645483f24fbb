"""The safetensors format: eight bytes of length, a JSON header, and the tensors' bytes. NumPy only.

Written here and not left to the `safetensors` package, whose low layer changed between releases, writes
without fsync and names neither the tensor nor the offsets when a file is damaged. The rules are those of its
reference reader: no overlap, no hole, no byte after the last tensor, header at most 100 MB
(https://github.com/huggingface/safetensors, README and tensor.rs). The tests hold both against each other.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import ml_dtypes
import numpy as np

from mlcore import dtypes
from mlcore.dtype import DType
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, FormatError
from mlcore.io import strict_json
from mlcore.io.files import atomic_write, file_error, open_to_read
from mlcore.io.opened import Array, Buffer, TensorInfo, Weights
from mlcore.io.source import Source

MAX_HEADER: Final = 100_000_000
METADATA: Final = "__metadata__"
MAX_RANK: Final = 64  # NumPy's

CODES: Final[dict[DType, str]] = {
    dtypes.bool_: "BOOL", dtypes.int8: "I8", dtypes.int16: "I16", dtypes.int32: "I32", dtypes.int64: "I64",
    dtypes.uint8: "U8", dtypes.uint16: "U16", dtypes.uint32: "U32", dtypes.uint64: "U64", dtypes.float16:
    "F16", dtypes.bfloat16: "BF16", dtypes.float32: "F32", dtypes.float64: "F64", dtypes.complex64: "C64",
}  # fmt: skip
_FLOAT8: Final = {
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
_NUMPY: Final[dict[str, np.dtype[Any]]] = {code: dtype.numpy for dtype, code in CODES.items()} | {
    code: np.dtype(getattr(ml_dtypes, name)) for code, name in _FLOAT8.items()
}
NAMES: Final = {code: dtype.name for code, dtype in _NUMPY.items()}
_CODE_OF: Final = {name: code for code, name in NAMES.items()}
_PACKED: Final = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}  # bits of an element; NumPy has none of less than a byte


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file: where its bytes lie (counted from the end of the header) and what they are."""

    name: str
    code: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's header says, checked against the file's size."""

    entries: tuple[Entry, ...]
    metadata: dict[str, str]
    data_start: int


def write_arrays(
    arrays: Mapping[str, Array], path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write named arrays to a safetensors file, atomically; an opened file's are read one at a time.

    `metadata` maps strings to strings; `{"format": "pt"}` is added, without which some readers refuse a file.
    The header keeps the order of `arrays`; the data is laid out by falling item size, so that it is aligned.

    Raises `DTypeError` for a dtype that the format lacks (complex128), `FileError` if it cannot be written.
    """
    header, order = make_header(outline(arrays), metadata)
    with atomic_write(path) as file:
        write_into(file, header, order, arrays)


def write_into(file: BinaryIO, header: bytes, order: Iterable[str], arrays: Mapping[str, Array]) -> None:
    """A header and the arrays that follow it, into an open file."""
    file.write(header)
    for name in order:
        for piece in byte_pieces(_little_endian(arrays[name])):
            file.write(piece)


def encode(
    arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> tuple[bytes, dict[str, Array]]:
    """What a file begins with, its length included, and the arrays as they follow it: contiguous, little-endian."""
    header, order = make_header(outline(arrays), metadata)
    return header, {name: _little_endian(arrays[name]) for name in order}


Outline = dict[str, tuple[str, tuple[int, ...], int]]


def outline(arrays: Mapping[str, Array]) -> Outline:
    """Each array's code, shape and bytes, without reading those of an opened file. Refuses what cannot be saved."""
    opened = arrays.infos if isinstance(arrays, Weights) else {}
    found: Outline = {}
    for name in arrays:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"save: the names of tensors are strings, got {name!r}")
        if name == METADATA:
            raise ArgumentError(
                f"save: no tensor may be called {METADATA!r}", fix="rename it, or pass metadata="
            )
        if name in opened:
            dtype, shape = opened[name].dtype, opened[name].shape
        else:
            dtype, shape = arrays[name].dtype.newbyteorder("=").name, arrays[name].shape
        code = _CODE_OF.get(dtype)
        if code is None:
            fix = "save its real and imag parts under two names, or convert it to complex64"
            raise DTypeError(
                f"save: tensor {name!r} has dtype {dtype}, which safetensors files cannot hold",
                fix=fix if dtype == "complex128" else None,
            )
        found[name] = code, shape, math.prod(shape) * _NUMPY[code].itemsize
    return found


def make_header(arrays: Outline, metadata: Mapping[str, Any] | None = None) -> tuple[bytes, list[str]]:
    """What a file begins with, its length included, and the order of the tensors that follow."""
    notes = {"format": "pt", **(metadata or {})}
    for key, value in notes.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ArgumentTypeError(
                f"save: metadata maps str to str, got {key!r}: {value!r}", fix="convert with json.dumps"
            )
    # By falling item size, so that all are aligned; stable: insertion order within a size.
    order = sorted(arrays, key=lambda name: -_NUMPY[arrays[name][0]].itemsize)
    starts: dict[str, int] = {}
    position = 0
    for name in order:
        starts[name] = position
        position += arrays[name][2]
    header: dict[str, Any] = {METADATA: notes}
    for name, (code, shape, size) in arrays.items():
        offsets = [starts[name], starts[name] + size]
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": offsets}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ArgumentError(f"save: the header would take {len(text)} bytes; the format allows {MAX_HEADER}")
    return struct.pack("<Q", len(text)) + text, order


def read_arrays(
    path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """Read all arrays of a safetensors file, and its metadata. The arrays are new and belong to the caller.

    Raises `FormatError` naming the file, the tensor and the offsets when anything is wrong with the file,
    `DTypeError` for a dtype that mlcore lacks, `MissingFileError` when there is no such file.
    """
    with open_to_read(path) as file:
        header = read_header(file, path)
        return {
            entry.name: to_array(read_bytes(file, header, entry, path), entry, path)
            for entry in header.entries
        }, header.metadata


def read_header(file: BinaryIO, path: str | os.PathLike[str]) -> Header:
    """Read and check the header of an open safetensors file; the file's size is part of what is checked."""
    size = os.fstat(file.fileno()).st_size
    fail = _failer(path)
    if size < 8:
        fail(f"it has {size} bytes; even an empty safetensors file has 10")
    file.seek(0)
    (length,) = struct.unpack("<Q", file.read(8))
    if length > MAX_HEADER:
        fail(
            f"its header claims {length} bytes (at most {MAX_HEADER} are allowed)",
            "this is no safetensors file",
        )
    if 8 + length > size:
        fail(f"it is truncated: the header ends at byte {8 + length}, the file at byte {size}")
    text = file.read(length)
    if text[:1] != b"{":
        fail(f"its header starts with {text[:1]!r} in place of b'{{'", "this is no safetensors file")
    table = strict_json.parse(text, lambda problem: fail(f"its header {problem}"))
    metadata = table.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        fail("its metadata is not a table of strings")
    entries = tuple(_entry(name, fields, fail) for name, fields in table.items())
    _check_layout(entries, size - 8 - length, fail)
    return Header(entries, metadata, 8 + length)


def _failer(path: str | os.PathLike[str]) -> Callable[..., NoReturn]:
    def fail(
        problem: str, cause: str = "the file was cut off, altered, or made by a faulty writer"
    ) -> NoReturn:
        raise FormatError(
            f"{os.fspath(path)} cannot be read: {problem}", cause=cause, fix="restore or save it again"
        )

    return fail


def _entry(name: str, fields: Any, fail: Callable[..., NoReturn]) -> Entry:
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        fail(f"tensor {name!r} has {_clip(fields)} where dtype, shape and data_offsets belong")
    code, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(code, str):
        fail(f"tensor {name!r} has dtype {_clip(code)}")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(_is_size(extent) for extent in shape):
        fail(f"tensor {name!r} has shape {_clip(shape)}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(offset) for offset in offsets):
        fail(f"tensor {name!r} has data_offsets {_clip(offsets)}")
    start, stop = offsets
    if stop < start:
        fail(f"tensor {name!r} ends before it starts: data_offsets [{start}, {stop}]")
    bits = _PACKED.get(code) or (_NUMPY[code].itemsize * 8 if code in _NUMPY else 0)
    if bits and math.prod(shape) * bits != (stop - start) * 8:
        fail(
            f"tensor {name!r} of shape {tuple(shape)} and dtype {code} takes {-(-math.prod(shape) * bits // 8)} bytes, "
            f"its offsets [{start}, {stop}] give {stop - start}"
        )
    return Entry(name, code, tuple(shape), start, stop)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _clip(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _check_layout(entries: tuple[Entry, ...], size: int, fail: Callable[..., NoReturn]) -> None:
    end, last = 0, "the header"
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.stop)):
        where = f"[{entry.start}, {entry.stop}]"
        if entry.start < end:
            fail(f"tensor {entry.name!r} at {where} overlaps {last}, which ends at {end}")
        if entry.start > end:
            fail(
                f"there is a hole of {entry.start - end} bytes "
                f"between {last} and tensor {entry.name!r} at {where}"
            )
        if entry.stop > size:
            fail(f"it is truncated: tensor {entry.name!r} lies at {where}, the data has {size} bytes")
        end, last = entry.stop, f"tensor {entry.name!r}"
    if end != size:
        fail(f"{size - end} bytes follow {last}, which ends at {end}")


def _little_endian(array: Array) -> Array:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)


def byte_pieces(array: np.ndarray[Any, Any], piece: int = 1 << 24) -> Iterator[memoryview]:
    """The bytes of a contiguous array in pieces of 16 MiB, so that a Ctrl-C need not wait for all of it."""
    raw = array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
    for start in range(0, len(raw), piece):
        yield raw[start : start + piece]


def read_bytes(file: BinaryIO, header: Header, entry: Entry, path: str | os.PathLike[str]) -> Array:
    """The bytes of one tensor of an open file."""
    raw = np.empty(entry.stop - entry.start, np.uint8)
    _read_into(raw, file, header, entry, path)
    return raw


def _read_into(
    raw: Array, file: BinaryIO, header: Header, entry: Entry, path: str | os.PathLike[str]
) -> None:
    try:
        file.seek(header.data_start + entry.start)
        view, position = raw.data, 0
        while position < len(raw):
            # binary files have it
            got = file.readinto(view[position : position + (1 << 24)])  # type: ignore[attr-defined]
            if not got:
                _failer(path)(
                    f"it shrank while tensor {entry.name!r} at [{entry.start}, {entry.stop}] was read"
                )
            position += got
    except OSError as error:
        raise file_error("read", path, error, tensor=repr(entry.name)) from error


def to_array(raw: Array, entry: Entry, path: str | os.PathLike[str]) -> Array:
    """The array that a tensor's bytes are; the bytes belong to it from then on."""
    dtype = _numpy_dtype(entry, path)
    if dtype == np.bool_:
        truth: Array = raw != 0  # a byte of 2 would be a bool that equals neither truth value
        return _shaped(truth, entry, path)
    return _shaped(raw.view(dtype.newbyteorder("<")).astype(dtype, copy=False), entry, path)


def _numpy_dtype(entry: Entry, path: str | os.PathLike[str]) -> np.dtype[Any]:
    found = _NUMPY.get(entry.code)
    if found is None:
        raise DTypeError(
            f"{os.fspath(path)}: tensor {entry.name!r} has dtype {entry.code}, which mlcore does not have",
            known=", ".join(_NUMPY),
        )
    return found


def _shaped(array: Array, entry: Entry, path: str | os.PathLike[str]) -> Array:
    try:
        return array.reshape(entry.shape)
    except ValueError as error:  # such as (2**62, 0): legal to the format, too large for NumPy
        _failer(path)(
            f"tensor {entry.name!r} has shape {entry.shape}, which no array can have ({str(error)[:120]})"
        )


def describe(path: str | os.PathLike[str]) -> Header:
    """The checked header of a file: names, dtypes, shapes, metadata; the tensors are not read."""
    with open_to_read(Path(path)) as file:
        return read_header(file, path)


class SafetensorsFile(Weights):
    """A safetensors file, mapped into memory: `view` copies nothing, `read` reads one tensor into new memory."""

    def __init__(self, path: Path) -> None:
        self._source = Source(path)
        try:
            self._header = read_header(self._source.file, path)
        except BaseException:
            self._source.close()
            raise
        self._entries = {entry.name: entry for entry in self._header.entries}
        super().__init__(
            path, {name: _info(entry) for name, entry in self._entries.items()}, self._header.metadata
        )

    def read(self, name: str, buffer: Buffer = np.empty) -> Array:
        self.info(name)
        entry = self._entries[name]
        dtype = _numpy_dtype(entry, self.path)
        shape = _shaped(np.empty(0, np.uint8), entry, self.path).shape if 0 in entry.shape else entry.shape
        array = buffer(shape, dtype)
        if not array.flags.c_contiguous:
            array = np.empty(shape, dtype)
        raw = array.reshape(-1).view(np.uint8)
        self._source.fill(raw, self._header.data_start + entry.start, f"tensor {name!r}")
        if dtype == np.bool_:
            np.not_equal(raw, 0, out=array.reshape(-1))  # a byte of 2 would equal neither truth value
        elif sys.byteorder == "big":
            array.byteswap(inplace=True)
        return array

    def view(self, name: str) -> Array:
        self.info(name)
        entry = self._entries[name]
        if _numpy_dtype(entry, self.path) == np.bool_ or entry.start == entry.stop or sys.byteorder == "big":
            return self.read(name)
        start, size = self._header.data_start + entry.start, entry.stop - entry.start
        return to_array(self._source.mapped(start, size, f"tensor {name!r}"), entry, self.path)

    def close(self) -> None:
        self._source.close()


def _info(entry: Entry) -> TensorInfo:
    return TensorInfo(
        entry.name, NAMES.get(entry.code, entry.code), entry.shape, entry.stop - entry.start, entry.code
    )
