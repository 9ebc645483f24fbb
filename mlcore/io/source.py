"""A file that is read in pieces, each checked against the file's size, and what is said when it is damaged."""

from __future__ import annotations

import mmap
import os
import stat
import threading
import zlib
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from mlcore.errors import FormatError, MlcoreError
from mlcore.io.files import FileError, file_error

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

PIECE: Final = 1 << 20  # read and summed up while it is in the cache
_WINDOW: Final = 1 << 16
_CAUSE: Final = "the file was cut off, altered, or made by a faulty writer"


class Source:
    """An open file of `size` bytes. Nothing is read past its end, and every problem is an error that names it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            status = os.stat(path)
            if stat.S_ISDIR(status.st_mode) or not stat.S_ISREG(status.st_mode):
                raise FileError(f"cannot read {self.path}: it is no regular file")
            self.file = open(path, "rb", buffering=0)  # noqa: SIM115  (closed by close)
            self.size = os.fstat(self.file.fileno()).st_size
        except MlcoreError:
            raise
        except OSError as error:
            raise file_error("read", path, error) from error
        self._pages: mmap.mmap | bytes | None = None
        self._window = b"", 0
        self._lock = threading.Lock()

    def fail(
        self,
        problem: str,
        *,
        kind: type[MlcoreError] = FormatError,
        cause: str = _CAUSE,
        fix: str = "restore or save it again",
        **details: object,
    ) -> NoReturn:
        """Raise the error of a file that cannot be read."""
        raise kind(f"{self.path} cannot be read: {problem}", **details, cause=cause, fix=fix)

    def read(self, start: int, size: int, what: str) -> bytes:
        """The `size` bytes from `start`; small pieces near each other come out of one larger read."""
        self.check(start, size, what)
        if size > _WINDOW // 2:
            return self.array(start, size, what).tobytes()
        window, begun = self._window
        place = start - begun
        if place < 0 or place + size > len(window):
            fresh = np.empty(min(_WINDOW, self.size - start), np.uint8)
            self.fill(fresh, start, what)
            window, place = fresh.tobytes(), 0
            self._window = window, start
        return window[place : place + size]

    def check(self, start: int, size: int, what: str) -> None:
        """Raise `FormatError` if the file does not have these bytes."""
        if start < 0 or size < 0 or start + size > self.size:
            self.fail(f"{what} lies at bytes {start} to {start + size}, the file has {self.size}")

    def array(self, start: int, size: int, what: str) -> Bytes:
        """The same as an array that belongs to the caller."""
        self.check(start, size, what)
        raw = np.empty(size, np.uint8)
        self.fill(raw, start, what)
        return raw

    def fill(self, raw: Bytes, start: int, what: str, *, crc: bool = False, begun: int = 0) -> int:
        """Read ``len(raw)`` bytes from `start` into `raw`; their CRC-32 if that is asked for, after that of `begun`."""
        total, place, view = begun, 0, raw.data
        try:
            while place < len(raw):
                got = self._some(view[place : place + PIECE], start + place)
                if not got:
                    self.fail(f"it shrank while {what} was read", cause="another program changed it")
                if crc:
                    total = zlib.crc32(view[place : place + got], total)
                place += got
        except MlcoreError:
            raise
        except (OSError, ValueError) as error:  # ValueError: it was closed
            if isinstance(error, OSError):
                raise file_error("read", self.path, error, at=what) from error
            self.fail("it was closed already", cause=f"{what} was asked for too late", fix="open it again")
        return total

    def _some(self, piece: memoryview, start: int) -> int:
        """Read bytes from `start`; how many these were. Threads do not get into each other's way."""
        if hasattr(os, "preadv"):
            return os.preadv(self.file.fileno(), [piece], start)
        with self._lock:
            self.file.seek(start)
            return self.file.readinto(piece) or 0

    def crc(self, start: int, size: int, what: str) -> int:
        """The CRC-32 of bytes that are not kept."""
        self.check(start, size, what)
        piece, total = np.empty(min(size, PIECE), np.uint8), 0
        for place in range(start, start + size, PIECE):
            part = piece[: min(PIECE, start + size - place)]
            self.fill(part, place, what)
            total = zlib.crc32(part.data, total)
        return total

    def pages(self) -> mmap.mmap | bytes:
        """The whole file as bytes that the system reads when they are looked at."""
        if self._pages is None:
            try:
                pages = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
            except (OSError, ValueError) as error:
                self.fail(f"it cannot be mapped into memory ({error})", cause="it shrank, or was closed")
            if len(pages) < self.size:
                self.fail("it shrank after it was opened", cause="another program changed it")
            self._pages = pages
        return self._pages

    def mapped(self, start: int, size: int, what: str) -> Bytes:
        """Bytes in the file's own pages, read-only; the mapping lives as long as the array."""
        self.check(start, size, what)
        return np.frombuffer(self.pages(), np.uint8, size, start) if size else np.empty(0, np.uint8)

    def close(self) -> None:
        """Give up the file; arrays that were mapped stay."""
        self._pages = None
        self.file.close()
