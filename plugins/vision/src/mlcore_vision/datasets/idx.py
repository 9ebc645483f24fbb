"""IDX files, the format of MNIST: two zero bytes, a type, the number of axes, the sizes, the values; big-endian."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlcore.errors import DTypeError, FormatError
from mlcore.io import MissingFileError, atomic_write

Array = np.ndarray[Any, Any]
TYPES: Final = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_BYTES: Final = 1 << 31  # of the values: what a gzip file of a few kilobytes may claim at most
GZIP: Final = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str]) -> Array:
    """Read an IDX file, gzip-compressed or not (told by its first bytes), as an array of native byte order.

    Raises `FormatError` with what is wrong (magic, sizes, truncated or trailing bytes), `MissingFileError`.
    """
    return parse_idx(read_bytes(path), path)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a file, decompressed if it is gzip; never more than 2 GiB."""
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"no file {os.fspath(path)}") from error
    if not raw.startswith(GZIP):
        return raw
    return gunzip(raw, path)


def gunzip(raw: bytes, path: object) -> bytes:
    """Decompress gzip data, refusing what is damaged or would grow beyond 2 GiB."""
    machine = zlib.decompressobj(wbits=31)
    try:
        content = machine.decompress(raw, MAX_BYTES)
    except zlib.error as error:
        raise FormatError(f"{path}: damaged gzip data ({error})") from error
    if machine.unconsumed_tail:
        raise FormatError(f"{path}: decompresses to more than {MAX_BYTES} bytes")
    if not machine.eof or machine.unused_data:
        raise FormatError(
            f"{path}: {'truncated gzip data' if not machine.eof else 'bytes follow the gzip data'}"
        )
    return content


def parse_idx(raw: bytes, path: object = "IDX data") -> Array:
    """The array in the bytes of an IDX file; `path` is what errors call it.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])).tolist()
    [7, 8, 9]
    """
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in TYPES:
        raise FormatError(
            f"{path} is no IDX file: it starts with {raw[:4].hex(' ') or 'nothing'}",
            expected="00 00, a type (08 09 0b 0c 0d 0e), and the number of axes",
        )
    dtype, rank = np.dtype(TYPES[raw[2]]), raw[3]
    start = 4 + 4 * rank
    if len(raw) < start:
        raise FormatError(f"{path}: truncated, {len(raw)} bytes where the header alone takes {start}")
    shape = struct.unpack(f">{rank}I", raw[4:start])
    need = start + math.prod(shape) * dtype.itemsize
    if need != len(raw):
        state = "truncated" if len(raw) < need else "too long"
        raise FormatError(
            f"{path}: {state}, shape {shape} of {dtype.name} takes {need} bytes, there are {len(raw)}"
        )
    return np.frombuffer(raw, dtype, offset=start).astype(dtype.newbyteorder("=")).reshape(shape)


def write_idx(path: str | os.PathLike[str], array: Array, *, compress: bool | None = None) -> None:
    """Write an array as an IDX file, atomically; compressed if asked for, or if the name ends in .gz.

    Raises `DTypeError` for a dtype that IDX lacks (it has uint8, int8, int16, int32, float32, float64).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_idx(os.path.join(folder, "a.gz"), np.eye(2, dtype=np.int16))
    ...     read_idx(os.path.join(folder, "a.gz")).tolist()
    [[1, 0], [0, 1]]
    """
    array = np.asarray(array)
    content = encode_idx(array)
    with atomic_write(path) as file:
        wanted = os.fspath(path).endswith(".gz") if compress is None else compress
        file.write(gzip.compress(content, 6, mtime=0) if wanted else content)


def encode_idx(array: Array) -> bytes:
    """The bytes of an IDX file with this array."""
    codes = {np.dtype(text).newbyteorder("="): code for code, text in TYPES.items()}
    code = codes.get(array.dtype.newbyteorder("="))
    if code is None or array.ndim > 255 or any(size >= 2**32 for size in array.shape):
        raise DTypeError(
            f"an IDX file cannot hold {array.dtype} of shape {array.shape}", known=", ".join(map(str, codes))
        )
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + np.ascontiguousarray(array, TYPES[code]).tobytes()
