"""Checkpoints: whole or not there, verified, and the one before is kept."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    DTypeError,
    FormatError,
    StateDictError,
)
from mlcore.io import (
    CheckpointWarning,
    FileError,
    MissingFileError,
    load_checkpoint,
    save_checkpoint,
    tree,
    write_checkpoint,
)
from mlcore.io.files import discard
from mlcore.io.safetensors import CODES, write_arrays

STATE: dict[str, Any] = {
    "model": {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "layer.steps": np.int64(7)},
    "optimizer": {
        "state": {0: {"exp_avg": np.ones(3)}, 1: {}},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}],
    },
    "notes": ["text", None, True, -(2**70), 0.1, 1.5 - 2j, float("inf"), {"$odd": 1}, (), [], {}],
}


class Part:
    """Something with a state."""

    def __init__(self, state: Any = None) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) and (type(a) is type(b) or isinstance(a, np.generic))


def test_any_nested_state_survives(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "run", epoch=2, step=40, **STATE)
    found = load_checkpoint(tmp_path / "run")
    assert (found.path, found.epoch, found.step, found.damaged) == (path, 2, 40, ())
    assert all(same(STATE[name], found.state[name]) for name in STATE)


def test_tensors_come_back_on_the_asked_device(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, weights={"w": ml.asarray([1.0, 2.0], dtype=ml.bfloat16)})
    back = load_checkpoint(tmp_path, device="reference").state["weights"]["w"]
    assert (back.dtype, back.device, back.tolist()) == (ml.bfloat16, "reference", [1.0, 2.0])


def test_the_random_stream_continues(tmp_path: Path) -> None:
    ml.manual_seed(5)
    ml.random.uniform((3,))
    save_checkpoint(tmp_path, part=Part({"a": 1}))
    wanted = ml.random.uniform((4,)).tolist()
    ml.manual_seed(99)
    part = Part()
    load_checkpoint(tmp_path).restore(part=part)
    assert ml.random.uniform((4,)).tolist() == wanted
    assert part.state == {"a": 1}
    with pytest.raises(CheckpointError, match=r"holds no 'optimizer'\n.*part"):
        load_checkpoint(tmp_path).restore(optimizer=part)


def test_a_part_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    def made(width: int, seed: int) -> dict[str, Any]:
        ml.manual_seed(seed)
        net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        first = optim.AdamW(net.parameters(), lr=0.1 * seed)
        other = nn.Linear(width, 3)
        net(ml.random.normal((5, 4))).sum().backward()
        first.step()
        schedule = optim.lr_scheduler.StepLR(first, 3)
        schedule.step()
        return {
            "net": net,
            "first": first,
            "schedule": schedule,
            "stream": ml.random.Generator(seed),
            "other": other,
        }

    def held(parts: dict[str, Any]) -> Any:
        states = {k: p.get_state() if k == "stream" else p.state_dict() for k, p in parts.items()}
        data, arrays = tree.flatten(states)
        return json.dumps(data), {name: array.tobytes() for name, array in arrays.items()}

    save_checkpoint(tmp_path, **made(2, 1))
    parts = made(5, 2)
    before, stream = held(parts), ml.random.get_state()
    with pytest.raises(StateDictError, match=r"weight.*\(3, 2\)"):
        load_checkpoint(tmp_path).restore(**parts)
    assert held(parts) == before
    assert ml.random.get_state() == stream
    parts = made(2, 3)
    load_checkpoint(tmp_path).restore(**parts)
    assert held(parts) == held(made(2, 1))


def test_names_that_clash_and_read_well(tmp_path: Path) -> None:
    state = {"a": {"b": np.zeros(1)}, "a.b": np.ones(1)}
    path = save_checkpoint(tmp_path, state=state, model={"conv.weight": np.zeros(2)}, rng=False)
    names = set(ml.load(path / "tensors.safetensors"))
    assert names == {"state.a.b", "state.a.b~2", "model.conv.weight"}
    assert load_checkpoint(path).state["state"]["a.b"].tolist() == [1.0]


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in range(4):
        save_checkpoint(tmp_path, step=step)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-000003", "checkpoint-000004"]
    assert load_checkpoint(tmp_path).step == 3
    save_checkpoint(tmp_path, step=9, keep=1)
    assert os.listdir(tmp_path) == ["checkpoint-000005"]


# ---------------------------------------------------------------- damage


def test_damage_names_the_tensor_and_both_hashes(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, **STATE) / "tensors.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(
        CheckpointError, match=r"tensor '.*' is damaged\n  expected: SHA-256 .*\n  got:      [0-9a-f]{64}"
    ):
        load_checkpoint(path.parent)


@pytest.mark.parametrize("part", ["tensors.safetensors", "manifest.json"])
def test_the_previous_one_is_used_loudly(tmp_path: Path, part: str) -> None:
    save_checkpoint(tmp_path, step=1, **STATE)
    newest = save_checkpoint(tmp_path, step=2, **STATE) / part
    newest.write_bytes(newest.read_bytes()[:-5])
    what = "truncated" if part.startswith("tensors") else "not framed"
    with pytest.warns(
        CheckpointWarning, match=rf"using the earlier .*000001, because .*000002.*{part} .*{what}"
    ):
        found = load_checkpoint(tmp_path)
    assert found.step == 1
    assert "000002" in found.damaged[0]
    assert all(same(STATE[name], found.state[name]) for name in STATE)
    newest.unlink()
    with pytest.warns(CheckpointWarning, match=rf"000001, because cannot read .*000002.{part}: no such file"):
        load_checkpoint(tmp_path)
    (found.path / part).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged\n.*000002.*\n.*000001"):
        load_checkpoint(tmp_path)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no checkpoint in"):
        load_checkpoint(tmp_path)
    with pytest.raises(MissingFileError, match="no such file"):
        load_checkpoint(tmp_path / "nothing")
    write_arrays({"a": np.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"is no checkpoint: it holds tensors only\n.*mlcore.load"):
        load_checkpoint(tmp_path / "weights.safetensors")
    (tmp_path / "text").write_text("hello, this is no tensor")
    with pytest.raises(FormatError):
        load_checkpoint(tmp_path / "text")


def test_a_newer_format_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, step=1)
    monkeypatch.setattr("mlcore.io.manifest.VERSION", 3)
    save_checkpoint(tmp_path, step=2)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="checkpoint format 3, this mlcore reads up to 2"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="checkpoint format 3"):
        load_checkpoint(tmp_path, best=True)


def test_what_a_checkpoint_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ArgumentTypeError, match=r"model\.layer is a object"):
        save_checkpoint(tmp_path, model={"layer": object()})
    with pytest.raises(ArgumentTypeError, match=r"model has the key \(1, 2\)"):
        save_checkpoint(tmp_path, model={(1, 2): 3})
    round_trip: list[Any] = []
    round_trip.append(round_trip)
    for wrong, kind, text in (
        ({"keep": 0}, ArgumentError, "keep=0"),
        ({"keep_best": -1}, ArgumentError, "keep_best=-1"),
        ({"mode": "lowest"}, ArgumentError, "mode='lowest'"),
        ({"epoch": 1.5}, ArgumentTypeError, "epoch=1.5"),
        ({"metric": "good"}, ArgumentTypeError, "metric='good'"),
        ({"part": round_trip}, ArgumentTypeError, "the state holds itself"),
        ({"part": np.array(["text"])}, DTypeError, "tensor 'part'"),
    ):
        with pytest.raises(kind, match=text):
            save_checkpoint(tmp_path, **wrong)
    write_checkpoint(tmp_path / "one", {"a": 1})
    with pytest.raises(FileError, match=r"cannot write .*one: directory not empty"):
        write_checkpoint(tmp_path / "one", {"a": 2})
    assert load_checkpoint(tmp_path / "one").state == {"a": 1}
    assert os.listdir(tmp_path) == ["one"]
    discard(tmp_path / "one")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write a checkpoint into"):
        save_checkpoint(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_state_is_data_only(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-000001"
    write_checkpoint(path, {"a": 1})
    whole = (path / "manifest.json").read_bytes()
    content = json.loads(whole)["content"]

    def put(**changes: Any) -> None:
        body = json.dumps({**content, **changes}).encode()
        digest = hashlib.sha256(body).hexdigest().encode()
        text = whole[:43] + digest + whole[107:121] + body + b"}\n"
        (path / "manifest.json").write_bytes(text)

    put()
    assert load_checkpoint(path).state == {"a": 1}
    for evil in ({"$call": "os.system"}, {"$tuple": 3}, {"$array": "nothing"}, {"$dict": [[[], 1]]}):
        put(state=evil)
        with pytest.raises(FormatError):
            load_checkpoint(path)
    for evil in (
        {"tensors": 3},
        {"tensors": {"x": 1}},
        {"header": None},
        {"version": "2"},
        {"version": None},
    ):
        put(**evil)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


def test_single_files_of_version_1_are_read(tmp_path: Path) -> None:
    array = np.arange(3, dtype=np.float32)
    digest = hashlib.sha256(b"float32 (3,)\n" + array.tobytes()).hexdigest()
    state = {"model": {"w": {"$tensor": "model.w"}}, "rng": {"$tuple": [5, 2**32]}}
    text = json.dumps({"version": 1, "core": "0.1", "epoch": 2, "step": 9, "state": state})
    hashes = json.dumps({"tensors": {"model.w": digest}, "state": hashlib.sha256(text.encode()).hexdigest()})
    path = tmp_path / "checkpoint-000001.safetensors"
    write_arrays({"model.w": array}, path, {"mlcore.checkpoint": text, "mlcore.sha256": hashes})
    found = load_checkpoint(tmp_path)
    assert (found.path, found.epoch, found.step, found.metric) == (path, 2, 9, None)
    assert found.state["model"]["w"].tolist() == [0, 1, 2]
    found.restore()
    assert ml.random.get_state() == (5, 2**32)
    save_checkpoint(tmp_path, step=10)
    save_checkpoint(tmp_path, step=11)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-000002", "checkpoint-000003"]
    write_arrays({"model.w": array + 1}, path, {"mlcore.checkpoint": text, "mlcore.sha256": hashes})
    with pytest.raises(CheckpointError, match=r"tensor 'model\.w' is damaged"):
        load_checkpoint(path)


# ---------------------------------------------------------------- what is kept


def test_the_best_are_kept_beside_the_newest(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    metrics = [0.5, 0.2, nan, 0.2, 0.9, inf, 0.3, 0.4, None]
    for n, metric in enumerate(metrics, 1):
        save_checkpoint(tmp_path, step=n, metric=metric, keep=2, keep_best=2, rng=False)
    assert sorted(int(name[-6:]) for name in os.listdir(tmp_path)) == [2, 4, 8, 9]
    best = load_checkpoint(tmp_path, best=True)
    assert (best.step, best.metric) == (4, 0.2)  # of equals the newest
    assert load_checkpoint(tmp_path).step == 9
    (best.path / "tensors.safetensors").write_bytes(b"")
    with pytest.warns(CheckpointWarning, match=r"using the next best .*000002, because .*000004"):
        assert load_checkpoint(tmp_path, best=True).step == 2
    (best.path / "manifest.json").write_bytes(b"")
    with pytest.warns(CheckpointWarning, match=r"using the next best .*000002, because .*000004"):
        assert load_checkpoint(tmp_path, best=True).step == 2

    for n, metric in enumerate([3, 7, 5, 1], 1):
        save_checkpoint(tmp_path / "max", step=n, metric=np.float32(metric), keep=1, keep_best=1, mode="max")
    assert sorted(int(name[-6:]) for name in os.listdir(tmp_path / "max")) == [2, 4]
    assert load_checkpoint(tmp_path / "max", best=True).metric == 7.0
    save_checkpoint(tmp_path / "none")
    with pytest.raises(CheckpointError, match="has a metric"):
        load_checkpoint(tmp_path / "none", best=True)


def test_an_old_one_that_cannot_be_removed_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    for step in range(2):
        save_checkpoint(tmp_path, step=step)
    monkeypatch.setattr("mlcore.io.checkpoint.discard", refuse)
    with pytest.warns(CheckpointWarning, match=r"cannot remove the old .*000001: Permission denied"):
        save_checkpoint(tmp_path, step=2)
    assert load_checkpoint(tmp_path).step == 2


@pytest.mark.parametrize("dtype", [*CODES, ml.complex128], ids=str)
def test_every_dtype_and_shape(tmp_path: Path, dtype: Any) -> None:
    kind = dtype.numpy
    rng = np.random.default_rng(0)
    shapes: list[tuple[int, ...]] = [(), (0,), (1,), (3, 4), (2, 0, 5), (2, 3, 4, 5)]
    arrays = {str(shape): np.asarray(9 * rng.standard_normal(shape)).astype(kind) for shape in shapes}
    arrays["turned"] = arrays["(3, 4)"].T
    arrays["swapped"] = arrays["(3, 4)"].astype(np.dtype(kind).newbyteorder(">"))
    write_checkpoint(tmp_path / "x", arrays)
    found = load_checkpoint(tmp_path / "x").state
    for name, array in arrays.items():
        assert found[name].dtype == kind
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.astype(kind).tobytes()


def test_random_states_of_all_kinds(tmp_path: Path) -> None:
    parts = {
        "a": ml.random.Generator(3),
        "b": np.random.default_rng(4),
        "c": np.random.RandomState(5),
        "d": random.Random(6),
        "e": np.random.Generator(np.random.Philox(7)),
    }

    def draw() -> list[Any]:
        return [
            ml.random.uniform((2,), generator=parts["a"]).tolist(),
            *(parts[name].normal(size=2).tolist() for name in "bce"),
            parts["d"].gauss(0, 1),
            ml.random.uniform((2,)).tolist(),
            np.random.standard_normal(3).tolist(),
            random.gauss(0, 1),
        ]

    draw()
    save_checkpoint(tmp_path, **parts)
    wanted = draw()
    draw()
    load_checkpoint(tmp_path).restore(**parts)
    assert draw() == wanted
    found = load_checkpoint(tmp_path)
    found.state["rng"] = {"mlcore": (1, 2)}
    with pytest.raises(CheckpointError, match="random state makes no sense"):
        found.restore()
