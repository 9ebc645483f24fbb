"""`mlcore train` and `mlcore predict`, as people type them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mlcore as ml
from mlcore.cli import main
from mlcore.errors import MlcoreError
from mlcore.io import load_checkpoint
from mlcore_vision import recipes
from mlcore_vision.datasets import Digits
from mlcore_vision.predict import Reader

SAMPLES = resources.files("mlcore_vision").joinpath("samples")
PICTURES = {"digit-3.png": "3", "digit-5-light-on-dark.png": "5", "digit-8-in-colour.png": "8"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the main job with all its epochs."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    assert main(["train", "digits", "--out", str(folder), "--quiet"]) == 0
    return folder


def test_the_main_job(trained: Path) -> None:
    figures = json.loads((trained / "figures.json").read_text())
    assert figures["accuracy"] >= 0.98
    assert len(figures["history"]["loss"]) == 20
    assert sorted(path.name for path in trained.iterdir()) == [
        "checkpoint-000019", "checkpoint-000020", "figures.json", "run.png", "summary.txt",
        "weights.safetensors",
    ]  # fmt: skip
    summary = (trained / "summary.txt").read_text()
    assert f"held-out accuracy    {100 * figures['accuracy']:.2f} %" in summary
    assert "vision/digits-cnn" in summary
    picture = Image.open(trained / "run.png")
    assert picture.size == (1380, 470)
    assert len(picture.getcolors(10**6) or []) > 100


def test_the_weights_give_that_accuracy(trained: Path) -> None:
    net = ml.create_model("vision/digits-cnn").eval()
    net.load_state_dict(ml.load(trained / "weights.safetensors"))
    images, labels = Digits("test").tensors()
    with ml.no_grad():
        right = (np.asarray(net(images)).argmax(1) == np.asarray(labels)).mean()
    assert right == pytest.approx(json.loads((trained / "figures.json").read_text())["accuracy"])


@pytest.mark.parametrize("picture", PICTURES)
def test_predict(trained: Path, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(SAMPLES.joinpath(picture))
    assert main(["predict", path, "--checkpoint", str(trained), "--show"]) == 0
    said = capsys.readouterr().out
    assert f"{path}: {PICTURES[picture]}  (" in said
    assert "██" in said
    assert main(["predict", path, "--checkpoint", str(trained / "checkpoint-000020"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["label"] == PICTURES[picture]
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert found["model"] == "vision/digits-cnn"


def test_predict_several(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(SAMPLES.joinpath(name)) for name in PICTURES]
    assert main(["predict", *paths, "--checkpoint", str(trained), "--json", "--device", "reference"]) == 0
    assert [found["label"] for found in json.loads(capsys.readouterr().out)] == list(PICTURES.values())


def test_held_out_images_are_read_as_pictures(trained: Path) -> None:
    """Enlarged, inverted and framed anew, nearly all are still read right: the framing is that of the data set."""
    reader = Reader.from_checkpoint(trained)
    data = Digits("test")
    right = 0
    for image, label in zip(data.images[::3], data.labels[::3]):
        page = np.pad(255 - image * 15, 2, constant_values=255).astype(np.uint8)
        chances, _ = reader.read(Image.fromarray(page).resize((90, 90), Image.Resampling.BICUBIC))
        right += max(chances, key=lambda name: chances[name]) == str(label)
    assert right / len(data.images[::3]) > 0.93


def test_the_output_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "train",
        "digits",
        "--quick",
        "--epochs",
        "2",
        "--device",
        "reference",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(command) == 0
    said = capsys.readouterr()
    for part in (
        "default device: reference",
        "480 images of digits",
        "355 held out",
        "vision/digits-cnn, 62378 parameters",
    ):
        assert part in said.out
    for part in ("epoch 1/2", "epoch 2/2", "held out: loss", "img/s"):
        assert part in said.err
    assert "run.png" in said.out
    assert "% right" in said.out


def test_resume_goes_on_to_the_same_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipes.find("digits").quick()
    data = recipes.load_data("digits", None)
    whole = recipes.run(recipe, tmp_path / "whole", data, quiet=True)
    shutil.rmtree(tmp_path / "whole" / "checkpoint-000003")  # as if it had been stopped in the last epoch
    command = ["train", "digits", "--resume", "--out", str(tmp_path / "whole")]
    assert main([*command, "--lr", "0.5"]) == 2
    assert "--lr 0.5: the run in" in capsys.readouterr().err
    assert main([*command, "--quiet", "--seed", "0"]) == 0
    weights = ml.load(tmp_path / "whole" / "weights.safetensors")
    for name, tensor in whole.model.state_dict().items():
        assert np.asarray(tensor).tobytes() == np.asarray(weights[name]).tobytes(), name


BAD: list[tuple[list[str], str]] = [
    (["train", "digit"], "no recipe 'digit'; did you mean 'digits'?"),
    (["train", "digits", "--epochs", "0"], "epochs=0"),
    (["train", "digits", "--batch-size", "0"], "batch_size=0"),
    (["train", "digits", "--lr", "nan"], "nan"),
    (["train", "digits", "--device", "tpu"], "tpu"),
    (["train", "digits", "--resume"], "nothing to resume: there is no checkpoint in runs/digits"),
    (["predict", "nothing.png"], "no trained network in runs/digits"),
    (["predict", "x.png", "--checkpoint", "{run}"], "no image file x.png"),
    (["predict", "{run}/summary.txt", "--checkpoint", "{run}"], "is no image in a known format"),
    (["predict", "x.png", "--checkpoint", "{run}/weights.safetensors"], "is no checkpoint"),
    (["train", "mnist", "--resume", "--out", "{run}"], "was made by training digits, not mnist"),
]


@pytest.mark.parametrize(("command", "text"), BAD, ids=[" ".join(command) for command, _ in BAD])
def test_bad_commands(
    command: list[str], text: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    status = main([word.replace("{run}", str(trained)) for word in command])
    said = capsys.readouterr().err
    assert status == 2
    assert text in said
    assert len(said.splitlines()) < 9
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_damaged_newest_checkpoint_is_passed_over(trained: Path, tmp_path: Path, capsys: Any) -> None:
    for path in trained.glob("checkpoint-*"):
        shutil.copytree(path, tmp_path / path.name)
    (tmp_path / "checkpoint-000020" / "tensors.safetensors").write_bytes(b"damaged")
    assert main(["predict", str(SAMPLES.joinpath("digit-3.png")), "--checkpoint", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "warning: using the earlier" in said.err
    assert ": 3  (" in said.out


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mlcore", "train", "digits", "--epochs", "500", "--out", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("epoch   2/500"):
                break
        child.send_signal(signal.SIGINT)
        said = child.stderr.read()
    assert child.returncode == 130
    assert "interrupted in epoch" in said
    assert "the last checkpoint is" in said
    assert f"mlcore train digits --resume --out {tmp_path}" in said
    assert load_checkpoint(tmp_path).epoch >= 1
    assert not list(tmp_path.glob(".*"))


def test_bits_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    """The first 50 steps of the main job, and the held-out result after them, in processes of their own."""
    script = (
        "import hashlib, numpy as np; from mlcore_vision import recipes\n"
        "out = recipes.run(recipes.find('digits'), quiet=True, max_steps=50)\n"
        "print(out.result.loss, *(hashlib.sha256(np.asarray(t).tobytes()).hexdigest()"
        " for t in out.model.state_dict().values()))"
    )
    said = []
    for threads in ("1", "2", "4", "2"):
        environment = {**os.environ, "MLCORE_NUM_THREADS": threads}
        result = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert result.returncode == 0, result.stderr
        said.append(result.stdout)
    assert said[0].count(" ") > 10
    assert said[1:] == said[:1] * 3


def test_errors_are_ours() -> None:
    with pytest.raises(MlcoreError, match="no recipe"):
        recipes.find("imagenet")
