"""The picture of a run: loss and accuracy over the epochs, and the confusion matrix."""

from __future__ import annotations

import os
from collections.abc import Sequence

from PIL import Image

from mlcore.train.history import History
from mlcore.train.metrics import Evaluation
from mlcore_vision.drawing import BLUE, ORANGE, SOFT, Canvas, Series, counts, curves
from mlcore_vision.images import save_image

WIDTH, HEIGHT = 1380, 470


def draw_run(
    title: str, note: str, history: History, result: Evaluation, classes: Sequence[str]
) -> Image.Image:
    """A picture of 1380x470 pixels. `note` stands small below the title.

    >>> import numpy as np
    >>> draw_run("t", "n", History(), Evaluation(0.1, 1.0, np.eye(2, dtype=int)), ["a", "b"]).size
    (1380, 470)
    """
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.text(24, 26, title, 20)
    canvas.text(24, 50, note, 12.5, SOFT)
    curves(
        canvas, 12, 72, 460, 388, "loss",
        [Series("training", history.loss, BLUE), Series("held out", history.held_out_loss, ORANGE)], log=True,
    )  # fmt: skip
    percents = [[100 * value for value in series] for series in (history.accuracy, history.held_out_accuracy)]
    curves(
        canvas, 482, 72, 460, 388, "accuracy",
        [Series("training", percents[0], BLUE), Series("held out", percents[1], ORANGE)], percent=True,
    )  # fmt: skip
    name = f"confusion, {result.errors} wrong of {result.count}"
    counts(
        canvas, 972, 72, 368, name, result.confusion.tolist(), classes, rows="what it is", columns="taken for"
    )
    return canvas.finish()


def save_run(
    path: str | os.PathLike[str],
    title: str,
    note: str,
    history: History,
    result: Evaluation,
    classes: Sequence[str],
) -> None:
    """Write `draw_run`'s picture as a PNG, atomically."""
    save_image(draw_run(title, note, history, result, classes), path)
