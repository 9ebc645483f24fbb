"""Pieces of a file and their sums, and files that change or are closed meanwhile."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from mlcore.errors import FormatError
from mlcore.io.files import FileError
from mlcore.io.source import Source


@pytest.mark.parametrize("size", [0, 1, 100_000, (2 << 20) + 5])
def test_what_is_read_and_summed(tmp_path: Path, size: int) -> None:
    content = np.random.default_rng(size).bytes(size + 10)
    (tmp_path / "x").write_bytes(content)
    source = Source(tmp_path / "x")
    raw = np.empty(size, np.uint8)
    assert source.fill(raw, 3, "it", crc=True) == zlib.crc32(content[3 : 3 + size])
    assert raw.tobytes() == content[3 : 3 + size]
    assert source.fill(raw, 5, "it", crc=True, begun=zlib.crc32(b"ab")) == zlib.crc32(
        b"ab" + content[5 : 5 + size]
    )
    assert source.crc(3, size, "it") == zlib.crc32(content[3 : 3 + size])
    assert source.read(7, 3, "it") == content[7:10]
    assert source.mapped(2, size, "it").tobytes() == content[2 : 2 + size]
    source.close()
    with pytest.raises(FormatError, match="closed already"):
        source.fill(np.empty(4 << 20, np.uint8), 0, "it", crc=True)


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(4 << 20))
    source = Source(tmp_path / "x")
    os.truncate(tmp_path / "x", 3 << 20)
    with pytest.raises(FormatError, match="shrank while it was read"):
        source.fill(np.empty(4 << 20, np.uint8), 0, "it", crc=True)
    with pytest.raises(FormatError, match="shrank"):
        source.mapped(0, 5, "it")
    with pytest.raises(FormatError, match="lies at bytes 19 to 4194323, the file has 4194304"):
        source.read(19, 4 << 20, "it")
    source.close()


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(FileError, match="no regular file"):
            Source(tmp_path / name)
