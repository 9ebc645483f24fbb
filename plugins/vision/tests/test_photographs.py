"""MobileNetV2 with torchvision's weights, from their original file, on photographs; the command `mlcore classify`."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mlcore as ml
from mlcore.cli import main
from mlcore_vision import models, transforms
from mlcore_vision.images import open_image

ROOT = Path(__file__).resolve().parents[3]
# The likeliest class, its probability with torchvision's preset (measured with torchvision 0.28: sizes are truncated),
# and with sizes that are rounded.
PHOTOGRAPHS = {
    "photo_chelsea": ("Egyptian cat", 285, 0.71660, 0.714, (256, 385)),
    "photo_coffee": ("espresso", 967, 0.99207, 0.992, (256, 384)),
    "photo_china": ("palace", 698, 0.69217, 0.697, (256, 384)),
}

pytestmark = pytest.mark.assets


@pytest.fixture
def photographs(mlcore_asset: Callable[[str], Path]) -> list[Path]:
    """Their paths; the weights are there too."""
    mlcore_asset("mobilenet_v2")
    return [mlcore_asset(name) for name in PHOTOGRAPHS]


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_by_the_command(device: str, photographs: list[Path]) -> None:
    """A process of its own, whose device only the environment names."""
    done = subprocess.run(
        [sys.executable, "-m", "mlcore", "classify", *map(str, photographs), "--json", "--top", "3"],
        env={**os.environ, "MLCORE_DEVICE": device},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for path, document, (name, index, probability, *_) in zip(
        photographs, found, PHOTOGRAPHS.values(), strict=True
    ):
        best = document["classes"][0]
        assert (document["image"], best["name"], best["index"]) == (str(path), name, index)
        assert best["probability"] == pytest.approx(probability, abs=1e-4)
        assert len(document["classes"]) == 3


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_sizes_that_are_rounded(device: str, photographs: list[Path]) -> None:
    """The figures that people without torchvision got, whose pictures are a pixel wider."""
    with ml.device(device), ml.no_grad():
        net = ml.create_model("vision/mobilenet_v2", weights="DEFAULT").eval()
        for path, (_, index, _, probability, size) in zip(photographs, PHOTOGRAPHS.values(), strict=True):
            resized = transforms.Resize(size)(open_image(path).convert("RGB"))
            shares = ml.nn.functional.softmax(net(transforms.ImageClassification()(resized)[None]), 1)
            assert int(np.asarray(shares).argmax()) == index
            assert shares[0, index].item() == pytest.approx(probability, abs=6e-4)


def test_the_file_has_everything(mlcore_asset: Callable[[str], Path]) -> None:
    """The legacy container: 314 tensors, each taken over bit by bit; nothing is left at what it started as."""
    path = mlcore_asset("mobilenet_v2")
    stored = ml.load(path)
    net = ml.create_model("vision/mobilenet_v2", weights=path)
    assert len(stored) == len(net.state_dict()) == 314
    for name, tensor in net.state_dict().items():
        assert np.asarray(tensor).tobytes() == np.asarray(stored[name]).tobytes(), name


def test_fine_tuning_keeps_what_fits(mlcore_asset: Callable[[str], Path]) -> None:
    net = ml.create_model("vision/mobilenet_v2", num_classes=3)
    loaded = net.load_weights(mlcore_asset("mobilenet_v2"), rename={"classifier": None}, strict=False)
    assert loaded.missing_keys == ["classifier.1.weight", "classifier.1.bias"]
    assert not loaded.unexpected_keys


def test_the_example(photographs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "classify_photos.py"))
    assert example["main"]([]) == [name for name, *_ in PHOTOGRAPHS.values()]
    assert example["main"]([str(photographs[1])]) == ["espresso"]
    said = capsys.readouterr().out
    assert "3,504,872 parameters" in said
    assert " 99.2 %  espresso" in said


def test_what_it_prints(photographs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(photographs[2]), "--top", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{photographs[2]}: palace", "   69.2 %  palace", "   16.8 %  monastery",
    ]  # fmt: skip


def test_own_weights_and_gray_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ml.manual_seed(0)
    ml.save(ml.create_model("vision/resnet18").state_dict(), tmp_path / "net.safetensors")
    Image.new("L", (50, 70), 128).save(tmp_path / "gray.png")
    command = [
        "classify",
        str(tmp_path / "gray.png"),
        "--model",
        "vision/resnet18",
        "--top",
        "1000",
        "--json",
    ]
    assert main([*command, "--weights", str(tmp_path / "net.safetensors")]) == 0
    found = json.loads(capsys.readouterr().out)["classes"]
    assert {one["name"] for one in found} == set(models.imagenet_classes())
    assert sum(one["probability"] for one in found) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nothing.png"], "no image file nothing.png"),
        (["{image}", "--model", "vision/resnet18"], "vision/resnet18: no weights 'DEFAULT'"),
        (["{image}", "--model", "vision/lenet5"], "'vision/lenet5' is no model with ImageNet's classes"),
        (["{image}", "--weights", "nowhere.pth"], "no weights 'nowhere.pth'"),
        (["{image}", "--weights", "{image}"], "gray.png"),
        (["{image}", "--top", "0"], "--top 0"),
    ],
)
def test_bad_commands(words: list[str], text: str, tmp_path: Path, capsys: Any) -> None:
    Image.new("L", (50, 70), 128).save(tmp_path / "gray.png")
    assert main(["classify", *(word.replace("{image}", str(tmp_path / "gray.png")) for word in words)]) == 2
    assert text in capsys.readouterr().err
