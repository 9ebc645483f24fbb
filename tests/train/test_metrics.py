"""Metrics, history, progress and the text summary."""

from __future__ import annotations

import io
import math
import os
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.errors import OutOfRangeError, ShapeError
from mlcore.train import Evaluation, History, Progress, accuracy, confusion_matrix, per_class, summary
from mlcore.train.progress import clock


def test_confusion_matrix_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    said, true = rng.integers(0, 5, 300), rng.integers(0, 5, 300)
    table = confusion_matrix(said, ml.asarray(true), 5)
    for i in range(5):
        for j in range(5):
            assert table[i, j] == ((true == i) & (said == j)).sum()
    assert confusion_matrix([], [], 3).tolist() == [[0] * 3] * 3


def test_per_class_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    said, true = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    for index, (precision, recall, f1, count) in enumerate(per_class(confusion_matrix(said, true, 4))):
        assert precision == pytest.approx((true[said == index] == index).mean())
        assert recall == pytest.approx((said[true == index] == index).mean())
        assert 1 / f1 == pytest.approx((1 / precision + 1 / recall) / 2)
        assert count == (true == index).sum()


def test_bad_labels() -> None:
    with pytest.raises(OutOfRangeError, match=r"predicted class 3 is not in 0 \.\. 2"):
        confusion_matrix([0, 3], [0, 1], 3)
    with pytest.raises(OutOfRangeError, match="target class -1"):
        confusion_matrix([0, 1], [0, -1], 3)
    with pytest.raises(ShapeError, match="2 predictions for 1 targets"):
        confusion_matrix([0, 1], [0], 3)
    with pytest.raises(ShapeError, match=r"\(N, classes\), got \(3,\)"):
        accuracy(np.zeros(3), np.zeros(3))


def test_accuracy() -> None:
    logits = ml.asarray([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0], [1.0, 1.0]])
    assert accuracy(logits, ml.asarray([1, 0, 0, 0])) == 0.75
    assert math.isnan(accuracy(np.zeros((0, 3)), np.zeros(0)))


def test_classes_without_examples_or_predictions() -> None:
    (p0, r0, f0, n0), (p1, r1, f1, n1) = per_class(np.array([[0, 3], [0, 0]]))
    assert math.isnan(p0)
    assert (r0, f0, n0) == (0.0, 0.0, 3)
    assert (p1, n1) == (0.0, 0)
    assert math.isnan(r1)
    assert f1 == 0.0


def test_history_takes_every_field() -> None:
    history = History()
    row = dict(loss=1.0, accuracy=0.5, held_out_loss=2.0, held_out_accuracy=0.25, rate=0.1, seconds=3.0)
    history.add(**row)
    with pytest.raises(KeyError):
        history.add(loss=1.0)
    with pytest.raises(TypeError, match="unknown more"):
        history.add(**row, more=1.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    def train(stream: Any, **more: Any) -> str:
        progress = Progress(200, stream=stream, **more)
        progress.epoch("epoch 1/2")
        for _ in range(10):
            progress.step(10, 0.5, 0.875)
        progress.say("epoch 1/2 done")
        progress.close()
        return str(stream.getvalue())

    bar = train(Terminal())
    for part in ("epoch 1/2", "loss 0.5000", "accuracy 87.50 %", "img/s", "left", "\r", "epoch 1/2 done\n"):
        assert part in bar
    assert train(io.StringIO()) == "epoch 1/2 done\n"
    assert train(io.StringIO(), quiet=True) == ""


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals")
@pytest.mark.parametrize("size", [(24, 130), (0, 0)])
def test_a_bar_on_a_real_terminal_of_any_size(size: tuple[int, int]) -> None:
    import fcntl
    import pty
    import select
    import struct
    import termios

    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with os.fdopen(far, "w") as stream:
        progress = Progress(50, stream=stream)
        progress.epoch("epoch 1/1")
        progress.step(25, 0.5, 0.875)
        progress.say("a line")
        progress.close()
        stream.flush()
        said = b""
        while select.select([near], [], [], 0.5)[0]:  # what was written comes in pieces
            said += os.read(near, 65536)
    os.close(near)
    for part in ("epoch 1/1", "|", "loss 0.5000, accuracy 87.50 %", "left", "a line"):
        assert part in said.decode()


def test_lines_within_a_long_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("mlcore.train.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress(100, stream=stream)
    progress.epoch("epoch 1/1")
    for _ in range(5):
        now[0] += 4
        progress.step(10, 0.25, 0.5)
    assert stream.getvalue() == "epoch 1/1  loss 0.2500, accuracy 50.00 %, 2 img/s, 0:28 left\n"


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.9, 60, 3599, 3600, float("nan"))] == [
        "0:00",
        "0:59",
        "1:00",
        "59:59",
        "1:00:00",
        "?",
    ]


def test_summary_says_everything() -> None:
    history = History()
    history.add(
        loss=1.5,
        accuracy=0.5,
        held_out_loss=float("nan"),
        held_out_accuracy=float("nan"),
        rate=1e-3,
        seconds=2.25,
    )
    result = Evaluation(0.125, 0.9, np.array([[9, 1, 0], [0, 10, 0], [2, 0, 8]]))
    text = summary("three kinds", {"device": "toy"}, history, result, ["cat", "dog", "horse"])
    for part in (
        "three kinds\n===========",
        "90.00 % (3 wrong of 30)",
        "horse taken for cat: 2 of 10",
        "2.2 s",
        "1.00e-03",
    ):
        assert part in text
    assert "    dog     .    10     ." in text
