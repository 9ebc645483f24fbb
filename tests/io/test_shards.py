"""Folders with an index, as they are written: read by us and by Hugging Face's own reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import mlcore as ml
from mlcore.errors import ArgumentError, DTypeError
from mlcore.io import FileError, open_weights
from mlcore.io.shards import as_bytes


def state(count: int = 7) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    return {f"layer.{i}.weight": rng.standard_normal((i + 1, 5)).astype(np.float32) for i in range(count)}


@pytest.mark.parametrize(("limit", "files"), [(100, 6), (250, 3), ("1KB", 1), (1, 7), ("5GB", 1)])
def test_shards(tmp_path: Path, limit: int | str, files: int) -> None:
    want = state()
    ml.save(want, tmp_path / "out", {"author": "me"}, max_shard_size=limit)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert len(names) == files
    back: dict[str, Any] = {}
    for name in names:
        part = load_file(tmp_path / "out" / name)
        assert sum(array.nbytes for array in part.values()) <= as_bytes(limit) or len(part) == 1
        back |= part
    assert {name: array.tobytes() for name, array in back.items()} == {
        n: a.tobytes() for n, a in want.items()
    }
    if files > 1:
        index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
        assert index["metadata"] == {"total_size": sum(array.nbytes for array in want.values())}
        assert list(index["weight_map"]) == list(want)
        assert names[0] == f"model-00001-of-{files:05d}.safetensors"
    with open_weights(tmp_path / "out") as weights:
        assert list(weights) == list(want)
        assert weights.metadata["author"] == "me"


def test_a_folder_with_its_configuration(tmp_path: Path) -> None:
    ml.save(state(2), tmp_path / "out", format="folder", config={"model_type": "toy"})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    with open_weights(tmp_path / "out") as weights:
        assert weights.metadata["config"] == {"model_type": "toy"}
        ml.save(weights, tmp_path / "again", weights.metadata, max_shard_size=30)
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == {"model_type": "toy"}


def test_nothing_is_written_over_or_left_half(tmp_path: Path) -> None:
    ml.save(state(2), tmp_path / "out", max_shard_size=30)
    with pytest.raises(FileError):
        ml.save(state(3), tmp_path / "out", max_shard_size=30)
    assert list(ml.load(tmp_path / "out")) == list(state(2))
    with pytest.raises(DTypeError, match="'z' has dtype complex128"):
        ml.save({**state(2), "z": np.zeros(2, complex)}, tmp_path / "other", max_shard_size=30)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for size in ("5 apples", 0, -3, "", "1e400GB", "nan", None.__class__):
        with pytest.raises(ArgumentError, match="max_shard_size"):
            as_bytes(size)  # type: ignore[arg-type]
