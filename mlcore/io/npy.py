"""NumPy's npy and npz files, read and written without a pickle.

An npy file is a magic word, a version, the length of a header and the header: a Python dictionary of three entries,
which is matched here and never evaluated. An npz is a zip of them. (numpy.org/doc/stable, numpy.lib.format.)
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NoReturn

import ml_dtypes
import numpy as np

from mlcore import dtypes
from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError, UnsafeFileError
from mlcore.io.archive import Archive, Member, Stream
from mlcore.io.archive_writer import ZipWriter
from mlcore.io.files import atomic_write
from mlcore.io.opened import Array, Buffer, Leaf, TensorInfo, Weights
from mlcore.io.safetensors import byte_pieces
from mlcore.io.source import Source

MAGIC: Final = b"\x93NUMPY"
MAX_HEADER: Final = 10_000  # NumPy's own limit
MAX_RANK: Final = 64
NAME: Final = "array"  # what an npy file's one array is called here
_ENTRY: Final = re.compile(
    r"\s*'(descr|fortran_order|shape)'\s*:\s*('[^'\\]*'|True|False|\([0-9,\sL]*\)|\[.*?\])\s*(?:,|(?=\s*\}))"
)
# NumPy writes bfloat16, which it does not know, as two bytes without a meaning; no other dtype of two is written so.
_BFLOAT16: Final = ("<V2", "|V2")


@dataclass(frozen=True, slots=True)
class Header:
    """What an array's header says, checked; the values begin at `start`."""

    dtype: np.dtype[Any]  # as stored, perhaps in another byte order
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(more: Callable[[int], bytes], what: str, source: Source) -> Header:
    """The header of an array whose bytes `more(count)` gives, from the first on."""
    start = more(8)
    if start[:6] != MAGIC or start[6] not in (1, 2, 3):
        source.fail(f"{what} begins with {start!r}, which is no npy file of version 1, 2 or 3")
    length = int.from_bytes(more(2 if start[6] == 1 else 4), "little")
    begun = 10 if start[6] == 1 else 12
    if length > MAX_HEADER:
        source.fail(f"{what} has a header of {length} bytes, at most {MAX_HEADER} are read")
    raw = more(length)
    try:
        text = raw.decode("utf-8" if start[6] == 3 else "latin-1").strip()
    except UnicodeDecodeError as error:
        source.fail(f"{what} has a header that is no text ({error})")
    return _parsed(text, what, source, begun + length)


def _parsed(text: str, what: str, source: Source, start: int) -> Header:
    found: dict[str, str] = {}
    place = 1
    while text[:1] == "{" and (match := _ENTRY.match(text, place)) and match[1] not in found:
        found[match[1]] = match[2]
        place = match.end()
    if len(found) != 3 or text[place:].strip() != "}":
        source.fail(f"{what} has a header that makes no sense: {text[:80]!r}")
    if found["fortran_order"] not in ("True", "False") or found["shape"][0] != "(":
        source.fail(f"{what} has a header that makes no sense: {text[:80]!r}")
    parts = [part.strip().removesuffix("L") for part in found["shape"][1:-1].split(",")]
    sizes = parts[:-1] if parts[-1] == "" else parts
    if not all(size.isdecimal() and len(size) < 20 for size in sizes) or (len(parts) == 1 and parts[0]):
        source.fail(f"{what} has shape {found['shape'][:80]}")
    shape = tuple(int(size) for size in sizes)
    if len(shape) > MAX_RANK or any(size >= 2**63 for size in shape):
        source.fail(f"{what} has shape {found['shape'][:80]}")
    return Header(_dtype(found["descr"], what, source), shape, found["fortran_order"] == "True", start)


def _dtype(text: str, what: str, source: Source) -> np.dtype[Any]:
    code = text[1:-1]
    if text[0] == "'" and code[-1:] == "O":
        source.fail(
            f"{what} holds Python objects",
            kind=UnsafeFileError,
            cause="they are pickled: reading them could run code of the file",
            fix="save it again as an array of numbers",
        )
    known: np.dtype[Any] | None = None
    if code in _BFLOAT16:
        known = np.dtype(ml_dtypes.bfloat16)
    elif text[0] == "'" and re.fullmatch(r"[<>|=]?[?biufc]\d{0,2}", code):
        with contextlib.suppress(TypeError, ValueError):
            dtypes.from_numpy(code)
            known = np.dtype(code)
    if known is not None:
        return known
    kind = {"U": "text", "S": "text", "M": "dates", "m": "time spans", "V": "bytes without a meaning"}
    name = "records" if text[0] == "[" else kind.get(code.lstrip("<>|=")[:1], f"dtype {code[:20]}")
    raise DTypeError(f"{source.path}: {what} holds {name}, which mlcore does not have")


def _checked_size(header: Header, size: int, what: str, source: Source) -> Header:
    if header.start + header.nbytes != size:
        source.fail(
            f"{what} of shape {header.shape} and dtype {header.dtype} takes {header.nbytes} bytes, "
            f"{size - header.start} follow its header"
        )
    return header


def _fill(header: Header, what: str, source: Source, buffer: Buffer, into: Callable[[Any], None]) -> Array:
    """An array of the header's shape and order whose bytes `into` brings."""
    native = header.dtype.newbyteorder("=")
    stored = header.shape[::-1] if header.fortran else header.shape
    try:
        array = buffer(stored, native)
        if not array.flags.c_contiguous:
            array = np.empty(stored, native)
    except ValueError as error:  # such as (2**62, 0)
        _no_array(header, what, source, error)
    raw = array.reshape(-1).view(np.uint8)
    into(raw)
    if native == np.bool_:
        np.not_equal(raw, 0, out=array.reshape(-1))  # a byte of 2 would equal neither truth value
    elif not header.dtype.isnative:
        array.byteswap(inplace=True)
    return array.T if header.fortran else array


def _no_array(header: Header, what: str, source: Source, error: Exception) -> NoReturn:
    source.fail(f"{what} has shape {header.shape}, which no array can have ({str(error)[:80]})")


def _mapped(header: Header, source: Source, start: int, what: str) -> Array | None:
    """The values in the file's own pages; None where they are not as they should be in memory."""
    if not header.dtype.isnative or header.dtype == np.bool_ or not header.nbytes:
        return None
    raw = source.mapped(start + header.start, header.nbytes, what).view(header.dtype)
    return raw.reshape(header.shape[::-1]).T if header.fortran else raw.reshape(header.shape)


def _info(name: str, header: Header) -> TensorInfo:
    native = header.dtype.newbyteorder("=")
    return TensorInfo(name, native.name, header.shape, header.nbytes, header.dtype.str)


class NpyFile(Weights):
    """One array; `mlcore.load` gives it as a tensor."""

    def __init__(self, path: Path) -> None:
        self._source = Source(path)
        try:
            place = 0

            def more(count: int) -> bytes:
                nonlocal place
                place += count
                return self._source.read(place - count, count, "its header")

            header = read_header(more, "the array", self._source)
            self._header = _checked_size(header, self._source.size, "the array", self._source)
        except BaseException:
            self._source.close()
            raise
        super().__init__(path, {NAME: _info(NAME, self._header)})

    def read(self, name: str, buffer: Buffer = np.empty) -> Array:
        self.info(name)

        def into(raw: Any) -> None:
            self._source.fill(raw, self._header.start, "the array")

        return _fill(self._header, "the array", self._source, buffer, into)

    def view(self, name: str) -> Array:
        self.info(name)
        found = _mapped(self._header, self._source, 0, "the array")
        return self.read(name) if found is None else found

    def tree(self) -> Any:
        return Leaf(NAME)

    def close(self) -> None:
        self._source.close()


class NpzFile(Weights):
    """Arrays by name in a zip archive, stored or deflated; each is read, with its CRC, when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._source = Source(path)
        try:
            self._archive = Archive(self._source)
            self._members: dict[str, tuple[Member, Header]] = {}
            for full, member in self._archive.members.items():
                name = full.removesuffix(".npy")
                if name == full:
                    self._source.fail(
                        f"member {full!r} is no array", cause="an npz file holds npy files only"
                    )
                self._members[name] = member, self._header(member)
        except BaseException:
            self._source.close()
            raise
        super().__init__(path, {name: _info(name, header) for name, (_, header) in self._members.items()})
        self._sound: set[str] = set()

    def _header(self, member: Member) -> Header:
        stream = Stream(self._archive, member)
        what = f"array {member.name!r}"
        left = member.size

        def more(count: int) -> bytes:
            nonlocal left
            if count > left:
                self._source.fail(f"{what} ends within its header")
            left -= count
            raw = np.empty(count, np.uint8)
            stream.into(raw)
            return raw.tobytes()

        header = read_header(more, what, self._source)
        return _checked_size(header, member.size, what, self._source)

    def read(self, name: str, buffer: Buffer = np.empty) -> Array:
        self.info(name)
        member, header = self._members[name]
        stream = Stream(self._archive, member)
        stream.into(np.empty(header.start, np.uint8))

        def into(raw: Any) -> None:
            stream.into(raw)
            stream.end()

        return _fill(header, f"array {name!r}", self._source, buffer, into)

    def view(self, name: str) -> Array:
        self.info(name)
        member, header = self._members[name]
        if member.compressed:
            return self.read(name)
        if name not in self._sound:  # its CRC is checked once
            self._archive.verify(member)
            self._sound.add(name)
        found = _mapped(header, self._source, member.start, f"array {name!r}")
        return self.read(name) if found is None else found

    def close(self) -> None:
        self._source.close()


def _parts(name: str, array: Array) -> list[memoryview]:
    """An array as the pieces of its npy file."""
    try:
        dtypes.from_numpy(array.dtype)
    except DTypeError as error:
        raise DTypeError(f"save: {name!r} has dtype {array.dtype}, which an npy file cannot hold") from error
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    ready = array if fortran else np.ascontiguousarray(array).reshape(array.shape)
    head = BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(ready))
    return [memoryview(head.getvalue()), *byte_pieces(ready.T if fortran else ready)]


def write_npz(
    arrays: Mapping[str, Array],
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any] | None = None,
    *,
    compress: bool = False,
) -> None:
    """Write named arrays as an npz file, atomically; `numpy.load` reads it. `compress` deflates what becomes smaller.

    bfloat16 is written as NumPy writes it, as ``V2``. Raises `DTypeError` for a dtype that NumPy's format lacks,
    `FileError` if it cannot be written.
    """
    for name in arrays:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"save: the names of tensors are strings, got {name!r}")
        parts = name.split("/")
        if ".." in parts or "" in parts or "\\" in name or "\0" in name or ":" in parts[0]:
            raise ArgumentError(
                f"save: an archive cannot have a member {name!r}",
                cause="it would lead out of a folder",
                fix="rename it",
            )
    try:
        with atomic_write(path) as file:
            zipped = ZipWriter(file)
            for name in arrays:
                zipped.add(f"{name}.npy", _parts(name, arrays[name]), compress=compress)
            zipped.end()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"save: a name that is no text: {error}", fix="rename it") from error


def write_npy(array: Any, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
    """Write one array as an npy file, atomically; a mapping of a single name is one array too."""
    if isinstance(array, Mapping):
        if len(array) != 1:
            raise ArgumentError(f"save: an npy file holds one array, got {len(array)}", fix="save it as .npz")
        array = next(iter(array.values()))
    if not isinstance(array, np.ndarray):
        raise ArgumentTypeError(f"save: an npy file holds an array, got a {type(array).__name__}")
    pieces = _parts(Path(path).name, array)
    with atomic_write(path) as file:
        for piece in pieces:
            file.write(piece)
