"""Checkpoints that ``torch.load(weights_only=True)`` reads: stored zip members, each at a multiple of 64 bytes."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from mlcore.errors import ArgumentError
from mlcore.io.files import atomic_write
from mlcore.io.safetensors import byte_pieces
from mlcore.io.torch_file.pickles import Array, Pickle

ALIGNMENT: Final = 64
ROOT: Final = "archive"
_LIMIT: Final = 0xFFFFFFFF
_UTF8: Final = 0x800
_DATE: Final = 0x21  # 1 January 1980: equal content gives equal files


def write(tree: Any, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
    """Write nested dictionaries, lists, tuples, numbers, text and arrays (or tensors), atomically.

    An array that stands at several places is stored once, and is one tensor again when PyTorch reads it. Arrays that
    are not contiguous are made so.

    Raises `ArgumentTypeError` naming what cannot be stored, `DTypeError` for a dtype that PyTorch lacks, `FileError`
    if the file cannot be written.
    """
    if metadata:
        raise ArgumentError(
            "save: PyTorch's files hold no metadata", fix="put it into what you save, as text"
        )
    pickle = Pickle(tree)
    with atomic_write(path) as file:
        zipped = _Zip(file)
        zipped.add("data.pkl", [memoryview(pickle.data)])
        zipped.add("byteorder", [memoryview(b"little")])
        for key, array in enumerate(pickle.arrays):
            zipped.add(f"data/{key}", _pieces(array))
        zipped.add("version", [memoryview(b"3\n")])
        zipped.end()


def _pieces(array: Array) -> list[memoryview]:
    return list(byte_pieces(array))


class _Zip:
    """A zip archive being written, zip64 where sizes ask for it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0
        self._directory: list[bytes] = []

    def add(self, name: str, pieces: list[memoryview]) -> None:
        """Write a member as it is, its bytes at a multiple of 64."""
        size, crc = sum(len(piece) for piece in pieces), 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
        raw = f"{ROOT}/{name}".encode()
        wide = size >= _LIMIT
        fields = struct.pack("<2H2Q", 1, 16, size, size) if wide else b""
        room = -(self._at + 30 + len(raw) + len(fields) + 4) % ALIGNMENT
        fields += b"FB" + struct.pack("<H", room) + b"Z" * room  # what PyTorch fills up with, too
        shown = _LIMIT if wide else size
        header, version = self._at, 45 if wide else 20
        common = struct.pack("<5H3L", version, _UTF8, 0, 0, _DATE, crc, shown, shown)
        self._write(b"PK\x03\x04" + common + struct.pack("<2H", len(raw), len(fields)) + raw + fields)
        for piece in pieces:
            self._write(piece)
        far = header >= _LIMIT
        more = ([size, size] if wide else []) + ([header] if far else [])
        extra = struct.pack(f"<2H{len(more)}Q", 1, 8 * len(more), *more) if more else b""
        tail = struct.pack("<5H2L", len(raw), len(extra), 0, 0, 0, 0, _LIMIT if far else header)
        self._directory.append(b"PK\x01\x02" + struct.pack("<H", version) + common + tail + raw + extra)

    def end(self) -> None:
        """Write the directory."""
        start, count = self._at, len(self._directory)
        for entry in self._directory:
            self._write(entry)
        size, end = self._at - start, self._at
        if count >= 0xFFFF or start >= _LIMIT or size >= _LIMIT:
            self._write(b"PK\x06\x06" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, count, count, size, start))
            self._write(b"PK\x06\x07" + struct.pack("<LQL", 0, end, 1))
        shown = min(count, 0xFFFF)
        self._write(
            b"PK\x05\x06"
            + struct.pack("<4H2LH", 0, 0, shown, shown, min(size, _LIMIT), min(start, _LIMIT), 0)
        )

    def _write(self, piece: bytes | memoryview) -> None:
        self._file.write(piece)
        self._at += len(piece)
