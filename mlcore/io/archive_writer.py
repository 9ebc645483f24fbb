"""Zip archives being written: members as they are, each at a multiple of 64 bytes so that it can be mapped."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, Final

ALIGNMENT: Final = 64
_LIMIT: Final = 0xFFFFFFFF
_UTF8: Final = 0x800
_DATE: Final = 0x21  # 1 January 1980: equal content gives equal files


class ZipWriter:
    """A zip archive being written, all members in the folder `root` if there is one; zip64 where sizes ask for it."""

    def __init__(self, file: BinaryIO, root: str = "") -> None:
        self._file, self._at = file, 0
        self._prefix = f"{root}/" if root else ""
        self._directory: list[bytes] = []

    def add(self, name: str, pieces: list[memoryview], *, compress: bool = False) -> None:
        """Write a member, its bytes at a multiple of 64; with `compress` deflated if it is smaller so."""
        full, crc = sum(len(piece) for piece in pieces), 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
        if compress:
            smaller = _deflated(pieces)
            compress = sum(map(len, smaller)) < full
            pieces = smaller if compress else pieces
        size = sum(len(piece) for piece in pieces)
        raw = f"{self._prefix}{name}".encode()
        wide = full >= _LIMIT
        fields = struct.pack("<2H2Q", 1, 16, full, size) if wide else b""
        room = -(self._at + 30 + len(raw) + len(fields) + 4) % ALIGNMENT
        fields += b"FB" + struct.pack("<H", room) + b"Z" * room  # what PyTorch fills up with, too
        shown = (_LIMIT, _LIMIT) if wide else (size, full)
        header, version = self._at, 45 if wide else 20
        common = struct.pack("<5H3L", version, _UTF8, 8 if compress else 0, 0, _DATE, crc, *shown)
        self._write(b"PK\x03\x04" + common + struct.pack("<2H", len(raw), len(fields)) + raw + fields)
        for piece in pieces:
            self._write(piece)
        far = header >= _LIMIT
        more = ([full, size] if wide else []) + ([header] if far else [])
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


def _deflated(pieces: list[memoryview]) -> list[memoryview]:
    engine = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = [engine.compress(piece) for piece in pieces] + [engine.flush()]
    return [memoryview(piece) for piece in packed if piece]
