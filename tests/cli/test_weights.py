"""`mlcore weights`: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import mlcore as ml
from mlcore.cli import main
from mlcore.io import open_weights, save_checkpoint


@pytest.fixture
def net(tmp_path: Path) -> Path:
    ml.save(
        {
            "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
            "a.bias": np.array([1.0, np.nan]),
            "n": np.array(7),
        },
        tmp_path / "net.safetensors",
        {"author": "me", "long": "x" * 100},
    )
    return tmp_path / "net.safetensors"


def test_show(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "show", str(net)]) == 0
    out = capsys.readouterr().out
    assert "safetensors, 3 tensors, 9 elements (float32 67%, float64 22%, int64 11%), 48 bytes" in out
    assert "author  me" in out
    assert "x... (100 characters)" in out
    assert "a.weight  float32  (2, 3)  24" in out
    assert main(["weights", "show", str(net), "--stats", "--only", "a.*"]) == 0
    out = capsys.readouterr().out
    assert "a.weight  float32  (2, 3)  24     0      5         2.5   0" in out
    assert "a.bias    float64  (2,)    16     1      1         1     1" in out
    assert "2 of 3 tensors match 'a.*'" in out
    assert main(["weights", "show", str(net), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["format"] == "safetensors"
    assert content["tensors"][2] == {"name": "n", "dtype": "int64", "shape": [], "nbytes": 8, "stored": "I64"}


def test_convert(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["weights", "convert", str(net), str(out), "--max-shard-size", "20"]) == 0
    assert capsys.readouterr().out == f"{out}: folder, 3 tensors\n"
    assert main(["weights", "diff", str(net), str(out)]) == 0
    assert capsys.readouterr().out == "3 tensors are equal, 0 differ\n"
    half = tmp_path / "half.safetensors"
    words = ["--dtype", "bfloat16", "--rename", "a=encoder", "--rename", "n=count"]
    assert main(["weights", "convert", str(out), str(half), *words]) == 0
    with open_weights(half) as weights:
        assert {name: info.dtype for name, info in weights.infos.items()} == {
            "encoder.weight": "bfloat16", "encoder.bias": "bfloat16", "count": "int64"}  # fmt: skip
        assert weights.metadata["author"] == "me"


def test_convert_a_part_of_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_checkpoint(tmp_path / "run", model={"w": ml.ones(3)}, optimizer={"m": ml.zeros(3)}, rng=False)
    to = tmp_path / "w.safetensors"
    assert main(["weights", "convert", str(path), str(to), "--key", "model"]) == 0
    assert capsys.readouterr().out == f"{to}: safetensors, 1 tensors, 1 left out\n"
    assert list(ml.load(to)) == ["w"]
    assert main(["weights", "convert", str(path), str(to), "--key", "net"]) == 2
    assert "holds no dictionary 'net'" in capsys.readouterr().err


def test_diff(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.safetensors"
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    weight[1, 1] += 0.5
    ml.save({"a.weight": weight, "a.bias": np.array([1.0, np.nan, 0]), "m": np.array(7)}, other)
    assert main(["weights", "diff", str(net), str(other)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "tensor    difference",
        "a.weight  1 of 6 values, by up to 0.5",
        "a.bias    shape (2,) and (3,)",
        f"n         only in {net}",
        f"m         only in {other}",
        "",
        "0 tensors are equal, 4 differ",
    ]
    assert main(["weights", "diff", str(net), str(other), "--atol", "0.6"]) == 1
    assert "a.weight" not in capsys.readouterr().out


def test_errors_name_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_bytes(b"nothing of the kind")
    assert main(["weights", "show", str(tmp_path / "x")]) == 2
    assert "is in no format that mlcore reads" in capsys.readouterr().err
    assert main(["weights", "show", str(tmp_path / "gone")]) == 2
    assert "no such file" in capsys.readouterr().err
