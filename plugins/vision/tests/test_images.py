"""Image files in and out, and hostile ones."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mlcore as ml
from mlcore.errors import ArgumentTypeError, FormatError, ShapeError, UnsafeFileError
from mlcore.io import MissingFileError
from mlcore_vision.images import open_image, save_image, to_array, to_image


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P", "RGBA", "I;16", "F"])
def test_modes(mode: str) -> None:
    image = Image.new("RGB", (5, 3), (200, 100, 50)).convert("L" if mode in ("I;16", "F") else mode)
    array = to_array(image.convert(mode) if mode in ("I;16", "F") else image)
    assert array.shape[1:] == (3, 5)
    assert array.shape[0] == {"RGB": 3, "P": 3, "RGBA": 4}.get(mode, 1)
    assert array.flags.writeable


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (3, 4, 6)])
def test_round_trip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    save_image(pixels, tmp_path / "a.png")
    np.testing.assert_array_equal(to_array(open_image(tmp_path / "a.png")), pixels.reshape(-1, 4, 6))
    save_image(ml.asarray(pixels.astype(np.float32) / 255), tmp_path / "b.png")
    np.testing.assert_array_equal(to_array(open_image(tmp_path / "b.png")), pixels.reshape(-1, 4, 6))


def test_a_sideways_photo_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg").size == (4, 8)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no image file .*nothing.png"):
        open_image(tmp_path / "nothing.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(FormatError, match="no image in a known format"):
        open_image(tmp_path / "text.png")
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:900])
    with pytest.raises(FormatError, match="cannot be decoded"):
        open_image(tmp_path / "cut.png")
    with pytest.raises(FormatError, match="cannot be decoded"):
        open_image(tmp_path)


def test_an_enormous_claim_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(UnsafeFileError, match="enormous"):
        open_image(tmp_path / "bomb.png")


def test_bad_arrays(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"\(2, 4, 4\)"):
        to_image(np.zeros((2, 4, 4)))
    with pytest.raises(ArgumentTypeError, match=r"unknown ending '.xyz'"):
        save_image(np.zeros((4, 4)), tmp_path / "a.xyz")
    bad: Any = "picture"
    with pytest.raises(ArgumentTypeError, match="got a str"):
        to_array(bad)
    assert not list(tmp_path.iterdir())


def test_floats_are_clipped() -> None:
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 2.0, np.nan]])
    assert np.asarray(to_image(values)).tolist() == [[0, 0, 128, 255, 255, 0]]
