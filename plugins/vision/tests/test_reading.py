"""Finding the digit in a picture, and framing it as the data sets did."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mlcore.errors import DataError
from mlcore_vision.reading import as_text, find_ink, frame_digits, frame_mnist


def page(
    size: tuple[int, int], paper: tuple[int, ...], pen: tuple[int, ...], mode: str = "RGB"
) -> Image.Image:
    """A 7, drawn with a thick pen in the middle of the page."""
    image = Image.new(mode, size, paper)
    w, h = size
    points = [(0.3 * w, 0.25 * h), (0.7 * w, 0.25 * h), (0.45 * w, 0.8 * h)]
    ImageDraw.Draw(image).line(points, fill=pen, width=max(2, w // 12), joint="curve")
    return image


LOOKS = {
    "black on white": page((200, 220), (255, 255, 255), (0, 0, 0)),
    "white on black": page((200, 220), (0, 0, 0), (255, 255, 255)),
    "blue on yellow": page((100, 110), (250, 240, 120), (20, 30, 160)),
    "large": page((1200, 1320), (240, 240, 240), (60, 60, 60)),
    "transparent, dark pen": page((200, 220), (0, 0, 0, 0), (10, 10, 10, 255), "RGBA"),
    "transparent, light pen": page((200, 220), (0, 0, 0, 0), (250, 250, 250, 255), "RGBA"),
    "palette": page((200, 220), (255, 255, 255), (0, 0, 0)).convert("P"),
    "one bit": page((200, 220), (255, 255, 255), (0, 0, 0)).convert("1"),
    "sixteen bits": Image.fromarray(
        np.asarray(page((200, 220), (255, 255, 255), (0, 0, 0)).convert("L")).astype(np.uint16) * 200
    ),
}


@pytest.mark.parametrize("look", LOOKS)
def test_colours_and_sizes_do_not_matter(look: str) -> None:
    wanted = frame_digits(find_ink(LOOKS["black on white"]))
    found = frame_digits(find_ink(LOOKS[look]))
    assert found.shape == (1, 8, 8)
    assert found.dtype == np.float32
    assert np.abs(found - wanted).mean() < 0.05


def test_a_shadow_and_specks_do_not_matter() -> None:
    clean = page((160, 176), (235, 235, 235), (30, 30, 30))
    values = np.asarray(clean.convert("L"), np.float32)
    shadow = values * np.linspace(0.7, 1, 160, dtype=np.float32)
    shadow[5:7, 5:7] = 0  # a speck
    ink, wanted = find_ink(Image.fromarray(np.uint8(shadow))), find_ink(clean)
    assert ink.shape == pytest.approx(wanted.shape, abs=4)


def test_a_mark_of_two_parts_is_kept_whole() -> None:
    image = Image.new("L", (60, 60), 255)
    image.paste(0, (10, 10, 50, 16))
    image.paste(0, (10, 22, 20, 50))
    assert find_ink(image).shape == (40, 40)


@pytest.mark.parametrize("image", [Image.new("RGB", (30, 30), "white"), Image.new("L", (1, 1), 3)])
def test_no_mark_no_digit(image: Image.Image) -> None:
    with pytest.raises(DataError, match="hardly any contrast"):
        find_ink(image)


def test_a_noisy_page_gives_something_or_says_so() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert frame_mnist(find_ink(Image.fromarray(noise))).shape == (1, 28, 28)


def test_frames_are_as_the_data_sets() -> None:
    ink = find_ink(LOOKS["black on white"])
    digit, mnist = frame_digits(ink), frame_mnist(ink)
    assert (digit * 16 == np.rint(digit * 16)).all()
    assert digit.max() <= 1
    assert 17 < digit.sum() < 23
    assert digit[0, 0].any()
    assert digit[0, 7].any()
    assert mnist.shape == (1, 28, 28)
    ys, xs = np.mgrid[:28, :28]
    assert (mnist[0] * ys).sum() / mnist.sum() == pytest.approx(13.5, abs=0.6)
    assert (mnist[0] * xs).sum() / mnist.sum() == pytest.approx(13.5, abs=0.6)
    rows = np.flatnonzero(mnist[0].any(1))
    assert rows[-1] - rows[0] + 1 <= 20


def test_as_text() -> None:
    assert as_text(np.eye(2)[None]) == "██\n  ██"
