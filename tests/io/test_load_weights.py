"""`Module.load_weights`: any format, other names, tied tensors, and one table of what does not fit."""

from __future__ import annotations

import gc
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, ArgumentTypeError, CheckpointError, FormatError, StateDictError
from mlcore.io import save_checkpoint


class Net(nn.Module):
    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width))
        self.head = nn.Linear(width, 2)


def equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(np.array_equal(np.asarray(a[name]), np.asarray(b[name])) for name in a)


def saved(state: Any, path: Path, how: str) -> Path:
    if how == "file":
        ml.save(state, path / "net.safetensors")
        return path / "net.safetensors"
    if how == "shards":
        ml.save(state, path / "net", max_shard_size=60)
        return path / "net"
    if how == "checkpoint":
        return save_checkpoint(path / "run", model=state, other={"head.weight": np.zeros((9, 9))})
    return save_checkpoint(path / "run", all={"deep": {"model": state}}, note="x")


@pytest.mark.parametrize("how", ["file", "shards", "checkpoint", "deep checkpoint"])
def test_any_file_goes_into_the_module(tmp_path: Path, how: str) -> None:
    net, other = Net(), Net()
    path = saved(net.state_dict(), tmp_path, how)
    assert not equal(net, other)
    assert other.load_weights(path) == ([], [])
    assert equal(net, other)
    if how == "checkpoint":
        assert Net().load_weights(path, key="model") == ([], [])
        with pytest.raises(ArgumentError, match=r"holds no dictionary 'net'\n.*'model', 'other'"):
            Net().load_weights(path, key="net")


RENAMES: list[Any] = [
    {"net.trunk": "body", "net.classifier": "head"},
    {
        "net.": "",
        "net.trunk.": "body.",
        "net.classifier.weight": "head.weight",
        "net.classifier.bias": "head.bias",
    },
    lambda name: name.removeprefix("net.").replace("trunk", "body").replace("classifier", "head"),
    [(r"^net\.", ""), (r"^trunk\.(\d)", r"body.\1"), (re.compile("classifier"), "head")],
]


@pytest.mark.parametrize("rename", RENAMES, ids=["parts", "longest first", "function", "patterns"])
def test_other_names(tmp_path: Path, rename: Any) -> None:
    net, other = Net(), Net()
    theirs = {
        "net." + name.replace("body", "trunk").replace("head", "classifier"): value
        for name, value in net.state_dict().items()
    }
    ml.save(theirs, tmp_path / "net.safetensors")
    other.load_weights(tmp_path / "net.safetensors", rename=rename)
    assert equal(net, other)


def test_names_are_added_and_left_out(tmp_path: Path) -> None:
    net, other = nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2))
    ml.save({**net.state_dict(), "more.a": np.zeros(2), "more.b": np.zeros(2)}, tmp_path / "x")
    assert other.load_weights(tmp_path / "x", rename={"more": None, "": "0"}) == ([], [])
    np.testing.assert_array_equal(np.asarray(other[0].weight), np.asarray(net.weight))
    with pytest.raises(ArgumentError, match=r"'more.a' and 'more.b' would both be called 'weight'"):
        net.load_weights(tmp_path / "x", rename=lambda name: "weight" if name.startswith("more") else None)
    for rename in (3, ["ab", 4], lambda name: 3):
        with pytest.raises(ArgumentTypeError, match="rename"):
            net.load_weights(tmp_path / "x", rename=rename)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="a regular expression that is none"):
        net.load_weights(tmp_path / "x", rename=[("(", "")])


def test_one_table_says_what_does_not_fit(tmp_path: Path) -> None:
    net = Net()
    before = {name: np.array(value) for name, value in net.state_dict().items()}
    state = dict(net.state_dict())
    state["heda.weight"] = state.pop("head.weight")
    state["body.0.bias"] = ml.zeros(7)
    state["extra"] = ml.ones(())
    state["body.1.weight"] = ml.zeros(5, dtype=ml.complex64)
    ml.save(state, tmp_path / "net.safetensors")
    with pytest.raises(StateDictError) as caught:
        net.load_weights(tmp_path / "net.safetensors")
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("net.safetensors does not fit Net: 1 missing, 2 unexpected, 2 mismatched")
    table = [line.replace("  keys:", "").split(maxsplit=2) for line in lines[1:-1]]
    assert table == [
        ["missing", "head.weight", "(2, 5) (near 'heda.weight')"],
        ["unexpected", "heda.weight", "(2, 5) (near 'head.weight')"],
        ["unexpected", "extra", "()"],
        ["mismatched", "body.0.bias", "shape (7,) given, (5,) expected"],
        ["mismatched", "body.1.weight", "complex values given, float32 expected"],
    ]
    after = net.state_dict()
    assert all(np.array_equal(before[name], np.asarray(after[name])) for name in before)


def test_not_strict(tmp_path: Path) -> None:
    net, other = Net(), Net()
    state = dict(net.state_dict())
    del state["head.bias"]
    ml.save({**state, "more": np.zeros(1)}, tmp_path / "x")
    found = other.load_weights(tmp_path / "x", strict=False)
    assert found == (["head.bias"], ["more"])
    np.testing.assert_array_equal(np.asarray(other.head.weight), np.asarray(net.head.weight))
    ml.save({**state, "head.bias": np.zeros(9)}, tmp_path / "x")
    with pytest.raises(StateDictError, match="1 mismatched"):
        other.load_weights(tmp_path / "x", strict=False)


def test_a_common_prefix_is_seen(tmp_path: Path) -> None:
    net = Net()
    ml.save({f"module.{name}": value for name, value in net.state_dict().items()}, tmp_path / "x")
    with pytest.raises(StateDictError, match=r"fix: +rename=\{'module': ''\}"):
        Net().load_weights(tmp_path / "x")
    ml.save(net.state_dict(), tmp_path / "y")
    wrapped = nn.Sequential(Net())
    with pytest.raises(StateDictError, match=r"fix: +rename=\{'': '0'\}"):
        wrapped.load_weights(tmp_path / "y")
    wrapped.load_weights(tmp_path / "y", rename={"": "0"})
    assert equal(wrapped[0], net)


def test_a_tied_tensor_stands_in_the_file_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(6, 3)
            self.out = nn.Linear(3, 6, bias=False)
            self.out.weight = self.embed.weight

    values = np.arange(18, dtype=np.float32).reshape(6, 3)
    for name in ("embed.weight", "out.weight"):
        ml.save({name: values}, tmp_path / "x")
        net = Tied()
        assert net.load_weights(tmp_path / "x") == ([], [])
        assert net.out.weight is net.embed.weight
        np.testing.assert_array_equal(np.asarray(net.out.weight), values)


def test_values_are_cast_and_stay_on_the_device_of_the_parameter(tmp_path: Path) -> None:
    net = nn.Linear(3, 2).to("reference").to(ml.bfloat16)
    weight = net.weight
    ml.save({"weight": np.full((2, 3), 1.5), "bias": np.arange(2, dtype=np.float16)}, tmp_path / "x")
    net.load_weights(tmp_path / "x")
    assert net.weight is weight
    assert (weight.dtype, weight.device, weight.requires_grad) == (ml.bfloat16, "reference", True)
    assert net.bias.tolist() == [0.0, 1.0]


def test_there_are_never_two_copies_of_the_weights(tmp_path: Path) -> None:
    net = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(16)))
    net.to("reference")  # NumPy's memory is what tracemalloc counts
    size = 16 * 512 * 512 * 4
    ml.save(net.state_dict(), tmp_path / "x")
    net.load_weights(tmp_path / "x")
    gc.collect()
    tracemalloc.start()
    try:
        net.load_weights(tmp_path / "x")
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size * 1.1 + (1 << 20), (
        f"{peak:,} bytes for {size:,}"
    )  # the old ones go as the new ones come
    assert now >= size * 0.9


def test_a_file_that_is_damaged_halfway_says_so(tmp_path: Path) -> None:
    net = Net()
    path = save_checkpoint(tmp_path, model=net, rng=False)
    data = bytearray((path / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "tensors.safetensors").write_bytes(data)
    with pytest.raises(
        CheckpointError, match=r"is damaged(.|\n)*state: +[5-8] of 9 tensors were taken over before"
    ):
        Net().load_weights(path)
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(FormatError, match="no format"):
        net.load_weights(tmp_path / "text")
