"""The front door: what a file is is told by its content, and every reader gives the same object."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlcore as ml
from mlcore.errors import ArgumentTypeError, DTypeError, FormatError, UnsafeFileError
from mlcore.io import MissingFileError, formats, open_weights, save_checkpoint
from mlcore.io.opened import Leaf, fill


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.standard_normal((5, 3)).astype(np.float32),
        "a.bias": rng.standard_normal(5),
        "n": np.array(3),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 4), np.int16),
    }


def same(got: Any, want: Any) -> None:
    assert list(got) == list(want)
    for name, array in want.items():
        found = np.asarray(got[name])
        assert (found.dtype, found.shape) == (array.dtype, array.shape), name
        assert found.tobytes() == array.tobytes(), name


def folder(path: Path, shards: int, names: dict[str, Any] | None = None) -> Path:
    """A folder as Hugging Face has it, written without our writer of shards."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "toy", "hidden_size": 5}))
    table: dict[str, str] = {}
    values = list((names or arrays()).items())
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(values[i::shards])
        ml.save(part, path / file)
        table |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": {name: table[name] for name, _ in values}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    ml.save(arrays(), tmp_path / "net.safetensors")
    (tmp_path / "net.safetensors").rename(tmp_path / "net.npz")
    assert formats.recognise(tmp_path / "net.npz").name == "safetensors"
    same(ml.load(tmp_path / "net.npz"), arrays())


def test_what_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello, this is no file of weights")
    with pytest.raises(
        FormatError, match=r"no format that mlcore reads: it begins with b'hello.*\n.*safetensors files"
    ):
        ml.load(tmp_path / "x")
    (tmp_path / "x.safetensors").write_bytes(b"hello, this is no file of weights")
    with pytest.raises(FormatError, match="its header claims"):
        ml.load(tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"")
    with pytest.raises(FormatError, match=r"the folder holds 'x', 'x.safetensors', 'y.safetensors'"):
        ml.load(tmp_path)
    with pytest.raises(MissingFileError, match="no such file"):
        ml.load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="holds nothing"):
        ml.load(tmp_path / "empty")


def test_an_opened_file_is_lazy(tmp_path: Path) -> None:
    want = arrays()
    ml.save(want, tmp_path / "net.safetensors", {"author": "me"})
    with open_weights(tmp_path / "net.safetensors") as weights:
        assert list(weights) == list(want)
        assert len(weights) == 5
        assert "n" in weights
        assert "m" not in weights
        info = weights.info("a.weight")
        assert (info.dtype, info.shape, info.nbytes, info.stored) == ("float32", (5, 3), 60, "F32")
        assert weights.metadata == {"format": "pt", "author": "me"}
        same(dict(weights), want)
        view = weights["a.weight"]
        assert not view.flags.writeable
        assert not view.flags.owndata
        np.testing.assert_array_equal(weights.slice("a.weight", np.s_[1:, 0]), want["a.weight"][1:, 0])
        mine = weights.read("a.weight")
        mine[:] = 0
        same(dict(weights), want)
        with pytest.raises(FormatError, match=r"holds no tensor 'a.wieght'; did you mean 'a.weight'"):
            weights.info("a.wieght")
        with pytest.raises(KeyError):
            weights["a.wieght"]
        assert "5 tensors" in repr(weights)
    np.testing.assert_array_equal(view, want["a.weight"])  # a view outlives the file


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_folders(tmp_path: Path, shards: int) -> None:
    place = folder(tmp_path / "model", shards)
    same(ml.load(place), arrays())
    with open_weights(place) as weights:
        assert weights.format == "folder"
        assert weights.metadata["config"] == {"model_type": "toy", "hidden_size": 5}
        assert weights.metadata["index"] == {"total_size": 1}
        same(dict(weights), arrays())


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    ml.save(arrays(), tmp_path / "model.safetensors")
    same(ml.load(tmp_path), arrays())


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (
            lambda i: i["weight_map"].update(n="../secret"),
            UnsafeFileError,
            "'n' is said to be in '../secret'",
        ),
        (lambda i: i["weight_map"].update(n="/etc/passwd"), UnsafeFileError, "said to be in"),
        (lambda i: i["weight_map"].update(n="gone.safetensors"), MissingFileError, "gone.safetensors"),
        (
            lambda i: i["weight_map"].update(m=next(iter(i["weight_map"].values()))),
            FormatError,
            "does not hold it",
        ),
        (lambda i: i["weight_map"].pop("n"), FormatError, "holds 'n', which .* does not place there"),
        (lambda i: i["weight_map"].update(n=3), FormatError, "no table of files"),
        (lambda i: i.pop("weight_map"), FormatError, "no table of files"),
        (lambda i: i["weight_map"].update(n="loop"), FormatError, "loop is a folder"),
    ],
)
def test_damaged_indices(tmp_path: Path, change: Any, kind: Any, text: str) -> None:
    place = folder(tmp_path / "model", 2)
    (place / "loop").symlink_to(".")
    index = json.loads((place / "model.safetensors.index.json").read_text())
    change(index)
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(kind, match=text):
        ml.load(place)


def test_a_checkpoint_comes_as_it_was_saved(tmp_path: Path) -> None:
    state = {"weight": ml.asarray([1.0, 2.0]), "z": np.array([1 + 2j]), "more": [1, "text", (ml.asarray(3),)]}
    path = save_checkpoint(tmp_path, epoch=2, step=9, rng=False, model=state)
    with pytest.raises(FormatError, match="load checkpoint-000001, one of the run's checkpoints"):
        ml.load(tmp_path)
    back = ml.load(path)
    assert back["model"]["weight"].tolist() == [1.0, 2.0]
    assert back["model"]["z"].tolist() == [1 + 2j]
    assert back["model"]["more"][:2] == [1, "text"]
    assert back["model"]["more"][2][0].item() == 3
    with open_weights(path) as weights:
        assert weights.metadata["step"] == 9
        assert weights.info("model.z").dtype == "complex128"
        assert weights["model.weight"].tolist() == [1.0, 2.0]


def test_threads_read_one_file(tmp_path: Path) -> None:
    want = {f"{i}": np.full(50_000, i, np.float32) for i in range(16)}
    ml.save(want, tmp_path / "x.safetensors")
    with open_weights(tmp_path / "x.safetensors") as weights, ThreadPoolExecutor(8) as pool:
        for name, found in zip(list(want) * 20, pool.map(weights.read, list(want) * 20), strict=True):
            assert found.tobytes() == want[name].tobytes()


def test_options_that_a_format_has_not(tmp_path: Path) -> None:
    with pytest.raises(ArgumentTypeError, match=r"npz has no option 'level'\n.*compress"):
        ml.save({"x": np.zeros(2)}, tmp_path / "x.npz", level=3)
    with pytest.raises(ArgumentTypeError, match="safetensors has no option 'compress'"):
        ml.save({"x": np.zeros(2)}, tmp_path / "x", compress=True)


FLOAT8 = ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz"]


@pytest.mark.parametrize("name", FLOAT8)
def test_float8_keeps_its_bits_in_files_and_its_values_in_tensors(tmp_path: Path, name: str) -> None:
    bits = np.arange(256, dtype=np.uint8)
    array = bits.view(getattr(ml_dtypes, name))
    ml.save({"x": array}, tmp_path / "x.safetensors")
    with open_weights(tmp_path / "x.safetensors") as weights:
        assert weights.info("x").dtype == name
        assert weights["x"].view(np.uint8).tolist() == bits.tolist()
        ml.save(weights, tmp_path / "y.safetensors")
    assert (tmp_path / "y.safetensors").read_bytes() == (tmp_path / "x.safetensors").read_bytes()
    tensor = ml.load(tmp_path / "x.safetensors")["x"]
    np.testing.assert_array_equal(np.asarray(tensor).astype(np.float64), array.astype(np.float64))


def test_what_has_no_dtype_is_listed_and_not_read(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"00")
    with open_weights(tmp_path / "x.safetensors") as weights:
        assert weights.info("a").dtype == "F4"
        with pytest.raises(DTypeError, match="'a' has dtype F4"):
            weights["a"]
    with pytest.raises(DTypeError, match="'a' has dtype F4"):
        ml.load(tmp_path / "x.safetensors")


def test_leaves_are_replaced_where_they_stand() -> None:
    tree = {"a": Leaf("x"), "b": [Leaf("y"), 1, (Leaf("x"),)], 3: "x"}
    assert fill(tree, str.upper) == {"a": "X", "b": ["Y", 1, ("X",)], 3: "x"}
