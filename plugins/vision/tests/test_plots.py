"""The picture of a run: what is drawn is where it should be, whatever the figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from mlcore.train import Evaluation, History
from mlcore_vision.drawing import BLUE, ORANGE, Canvas, Series, counts, curves, log_ticks, nice_ticks
from mlcore_vision.plots import draw_run


def near(
    image: Image.Image, box: tuple[int, int, int, int], color: tuple[int, int, int], off: int = 40
) -> np.ndarray:
    """Rows and columns of the pixels of about this colour inside a box (left, top, right, bottom)."""
    pixels = np.asarray(image.crop(box)).astype(int)
    return np.argwhere(np.abs(pixels - color).max(-1) < off)


def test_a_rising_line_rises_and_a_falling_one_falls() -> None:
    canvas = Canvas(400, 300)
    curves(
        canvas, 0, 0, 400, 300, "t", [Series("up", [1, 2, 3, 4], BLUE), Series("down", [4, 3, 2, 1], ORANGE)]
    )
    image = canvas.finish()
    plot = (60, 36, 386, 252)
    up, down = near(image, plot, BLUE), near(image, plot, ORANGE)
    assert up[:, 1].max() - up[:, 1].min() > 220  # over three quarters of the width
    assert np.corrcoef(up[:, 1], up[:, 0])[0, 1] < -0.95  # rows count downwards
    assert np.corrcoef(down[:, 1], down[:, 0])[0, 1] > 0.95


def test_a_logarithmic_axis_makes_a_decay_straight() -> None:
    canvas = Canvas(400, 300)
    curves(canvas, 0, 0, 400, 300, "t", [Series("loss", [10.0**-n for n in range(5)], BLUE)], log=True)
    spots = near(canvas.finish(), (60, 36, 386, 252), BLUE)
    slope, offset = np.polyfit(spots[:, 1], spots[:, 0], 1)
    assert np.abs(slope * spots[:, 1] + offset - spots[:, 0]).max() < 5


def test_the_diagonal_is_blue_and_mistakes_are_orange() -> None:
    canvas = Canvas(400, 400)
    table = np.diag([9, 9, 9, 9])
    table[0, 3] = 4
    counts(canvas, 0, 0, 400, "t", table.tolist(), list("abcd"), rows="r", columns="c")
    image = canvas.finish()
    cell = (400 - 46 - 12) / 4
    for i in range(4):
        for j in range(4):
            corner = image.getpixel((int(46 + j * cell + 6), int(34 + i * cell + 6)))
            assert isinstance(corner, tuple)
            red, _, blue = corner
            if i == j:
                assert blue > red + 100
            elif (i, j) == (0, 3):
                assert red > blue + 100
            else:
                assert min(corner) > 240


NAN = float("nan")
HISTORIES = {
    "empty": [],
    "one epoch": [(1.0, 0.5, 0.9, 0.6)],
    "no held-out part": [(1.0, 0.5, NAN, NAN), (0.5, 0.7, NAN, NAN)],
    "perfect": [(0.0, 1.0, 0.0, 1.0)] * 3,
    "infinite": [(math.inf, 0.1, 1e30, 0.1), (NAN, 0.1, 1e-30, 0.2)],
    "long": [(1 / n, 1 - 1 / n, 1.1 / n, 1 - 1 / n) for n in range(1, 400)],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_odd_histories_are_drawn(name: str) -> None:
    history = History()
    for loss, accuracy, held_loss, held_accuracy in HISTORIES[name]:
        history.add(
            loss=loss,
            accuracy=accuracy,
            held_out_loss=held_loss,
            held_out_accuracy=held_accuracy,
            rate=0.1,
            seconds=1,
        )
    result = Evaluation(0.1, 0.5, np.zeros((3, 3), np.int64))
    assert draw_run("title", "note", history, result, ["a", "b", "c"]).size == (1380, 470)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.93, 0.931), (-5, 300), (98.2, 100), (0, 0)])
def test_ticks_cover_the_range_with_few_round_numbers(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 1 <= len(ticks) <= 8


@pytest.mark.parametrize(("low", "high"), [(0.01, 1), (0.3, 0.31), (1e-9, 1e9), (0.02, 0.05)])
def test_log_ticks_cover_the_range(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert ticks[0] <= low * 1.001
    assert ticks[-1] >= high * 0.999
    assert ticks == sorted(ticks)
