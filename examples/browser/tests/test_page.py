"""Digits are drawn in Chromium and read, with nothing from elsewhere; Node and mlcore read the same."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlcore_browser import build

import mlcore as ml
from mlcore.errors import ArgumentError
from mlcore_vision.datasets import MNIST
from mlcore_vision.predict import Reader
from mlcore_vision.reading import frame_mnist

Points = list[tuple[float, float]]


def arc(x: float, y: float, wide: float, high: float, start: float, end: float) -> Points:
    """Points of an ellipse around (x, y), angles in degrees clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 14))
    return [(x + wide * math.cos(a), y + high * math.sin(a)) for a in angles]


# As people write them.
DRAWINGS: dict[str, list[Points]] = {
    "0": [arc(140, 140, 60, 90, -90, 270)],
    "1": [[(145, 45), (138, 140), (132, 235)]],
    "2": [[*arc(140, 95, 50, 45, 190, 380), (95, 225), (200, 225)]],
    "3": [[*arc(130, 92, 50, 45, 200, 440), *arc(130, 187, 58, 50, -85, 150)]],
    "4": [[(100, 55), (85, 150), (190, 145)], [(180, 60), (165, 235)]],
    "5": [[(190, 55), (110, 55), (105, 130), *arc(132, 178, 55, 52, -100, 140)]],
    "6": [[(170, 50), (115, 110), *arc(138, 180, 45, 48, 190, 540)]],
    "7": [[(85, 60), (195, 60), (135, 235)]],
    "8": [[*arc(140, 95, 38, 42, 90, 450), *arc(140, 185, 48, 48, -90, 270)]],
    "9": [[*arc(145, 100, 45, 45, 0, 360), (188, 160), (165, 235)]],
}


@pytest.fixture(scope="module")
def reader(work: Path) -> Reader:
    return Reader.from_checkpoint(work / "runs" / "mnist")


def logits_of(reader: Reader, images: Any) -> np.ndarray[Any, Any]:
    with ml.no_grad():
        return np.asarray(reader.model(ml.asarray(np.asarray(images, np.float32).reshape(-1, 1, 28, 28))))


def test_digits_are_drawn_and_read(visit: Any, reader: Reader, tmp_path: Path) -> None:
    right, furthest = [], 0.0
    for name, strokes in DRAWINGS.items():
        reading = visit.draw(strokes)
        assert visit.page.inner_text("#answer") == reading["answer"]
        wanted = logits_of(reader, reading["image"])[0]
        furthest = max(furthest, float(np.abs(wanted - reading["logits"]).max()))
        assert reading["answer"] == str(wanted.argmax())
        right += [name] if reading["answer"] == name else []
        if name == "3":
            visit.page.screenshot(path=tmp_path / "page.png")
        visit.clear()
        assert visit.page.evaluate("window.lastReading") is None
        assert visit.page.inner_text("#answer").strip() == ""
    print(f"{len(right)} of {len(DRAWINGS)} drawings read right, logits within {furthest:.1e} of mlcore's")
    assert furthest < 1e-4
    assert len(right) >= 8, right
    assert {"0", "1", "3", "7"} <= set(right)
    picture = (tmp_path / "page.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


def test_nothing_comes_from_elsewhere(visit: Any) -> None:
    visit.draw(DRAWINGS["7"])
    assert all(one.startswith((visit.address, "data:", "blob:")) for one in visit.requests), visit.requests
    asked = {one.removeprefix(visit.address) for one in visit.requests}
    assert {"page.js", "model.onnx", "ort/ort-wasm-simd-threaded.wasm"} <= asked
    assert not visit.complaints


def test_the_picture_on_the_page(visit: Any, tmp_path: Path) -> None:
    """The screenshot shows the stroke, the answer's colour, and ten bars."""
    from PIL import Image

    before = np.asarray(Image.open(shot(visit, tmp_path)).convert("L"), int)
    visit.draw(DRAWINGS["1"])
    after = np.asarray(Image.open(shot(visit, tmp_path)).convert("L"), int)
    box = visit.page.locator("#paper").bounding_box()
    x, y = int(box["x"]), int(box["y"])
    assert (after[y : y + 280, x : x + 280] == 255).mean() > 0.03
    assert np.abs(after - before)[y : y + 280, x + 285 :].max() > 50  # the answer beside it
    assert visit.page.locator("#chances li").count() == 10
    percents = [float(text.split()[0]) for text in visit.page.locator("#chances .percent").all_inner_texts()]
    assert sum(percents) == pytest.approx(100, abs=1)


def shot(visit: Any, folder: Path) -> Path:
    path: Path = folder / "shot.png"
    visit.page.screenshot(path=path)
    return path


def test_node_reads_the_same(node: Callable[[Path], str], reader: Reader, tmp_path: Path) -> None:
    """Held-out digits of MNIST: logits as mlcore's, and most of them right."""
    data = MNIST(split="test")
    images = data.images[:500].reshape(500, -1).astype(np.float32) / 255
    (tmp_path / "images.json").write_text(json.dumps({"images": images.tolist()}))
    found = json.loads(node(tmp_path / "images.json"))
    wanted = logits_of(reader, images)
    np.testing.assert_allclose(found["logits"], wanted, atol=1e-4)
    assert found["answers"] == [str(best) for best in wanted.argmax(1)]
    assert (np.asarray(found["answers"], int) == data.labels[:500]).mean() > 0.93


def test_drawings_are_framed_as_the_data_set_s(node: Callable[[Path], str], tmp_path: Path) -> None:
    """frame.js beside mlcore_vision's own framing: enlarged digits."""
    from PIL import Image

    inks = []
    for image in MNIST(split="test").images[:8]:
        large = Image.fromarray(image).resize((252, 252), Image.Resampling.BICUBIC)
        inks.append(np.asarray(large, np.float32).round() / 255)
    drawings = [{"ink": ink.ravel().tolist(), "width": 252, "height": 252} for ink in inks]
    (tmp_path / "drawings.json").write_text(json.dumps({"drawings": drawings}))
    for ink, image in zip(inks, json.loads(node(tmp_path / "drawings.json"))["images"], strict=True):
        rows, columns = (np.flatnonzero((ink >= 0.3).any(axis)) for axis in (1, 0))
        wanted = frame_mnist(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])[0]
        assert np.abs(np.reshape(image, (28, 28)) - wanted).mean() < 0.01


def test_a_run_of_other_pictures_is_refused(tmp_path: Path) -> None:
    from mlcore.cli import main

    assert (
        main(["train", "digits", "--quick", "--quiet", "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    )
    with pytest.raises(ArgumentError, match=r"framed as 'digits'\n  expected: a run of `mlcore train mnist`"):
        build(tmp_path / "run", tmp_path / "site")
    assert not (tmp_path / "site").exists()
