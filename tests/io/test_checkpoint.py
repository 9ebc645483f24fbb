"""Checkpoints: whole or not there, verified, and the one before is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.errors import ArgumentError, ArgumentTypeError, CheckpointError, FormatError, MlcoreError
from mlcore.io import (
    CheckpointWarning,
    FileError,
    MissingFileError,
    load_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from mlcore.io.safetensors import read_arrays, write_arrays

STATE: dict[str, Any] = {
    "model": {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "layer.steps": np.int64(7)},
    "optimizer": {
        "state": {0: {"exp_avg": np.ones(3)}, 1: {}},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}],
    },
    "notes": ["text", None, True, -(2**70), 0.1, float("inf"), {"$odd": 1}, (), [], {}],
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


def test_names_that_clash_and_read_well(tmp_path: Path) -> None:
    state = {"a": {"b": np.zeros(1)}, "a.b": np.ones(1)}
    path = save_checkpoint(tmp_path, state=state, model={"conv.weight": np.zeros(2)})
    names = set(read_arrays(path)[0])
    assert names == {"state.a.b", "state.a.b~2", "model.conv.weight"}
    assert load_checkpoint(path).state["state"]["a.b"].tolist() == [1.0]


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in range(4):
        save_checkpoint(tmp_path, step=step)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-000003.safetensors", "checkpoint-000004.safetensors"]
    assert load_checkpoint(tmp_path).step == 3
    save_checkpoint(tmp_path, step=9, keep=1)
    assert os.listdir(tmp_path) == ["checkpoint-000005.safetensors"]


# ---------------------------------------------------------------- damage


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """A bit anywhere in the file: refused, or (in the padding of the header) without meaning; never other values."""
    path = save_checkpoint(tmp_path, rng=False, **STATE)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = tried = 0
    for place in {int(n) for n in rng.integers(0, len(whole), 700)} | set(range(len(whole) - 80, len(whole))):
        tried += 1
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(damaged)
        try:
            found = load_checkpoint(path)
        except MlcoreError:
            refused += 1
            continue
        assert all(same(STATE[name], found.state[name]) for name in STATE), f"bit at {place} went unseen"
    assert refused > 0.9 * tried


def test_damage_names_the_tensor_and_both_hashes(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, **STATE)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(
        CheckpointError, match=r"tensor '.*' is damaged\n  expected: SHA-256 .*\n  got:      [0-9a-f]{64}"
    ):
        load_checkpoint(path)


def test_the_previous_one_is_used_loudly(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, step=1, **STATE)
    newest = save_checkpoint(tmp_path, step=2, **STATE)
    newest.write_bytes(newest.read_bytes()[:-5])
    with pytest.warns(
        CheckpointWarning, match=r"using the earlier .*000001.safetensors, because .*000002.*truncated"
    ):
        found = load_checkpoint(tmp_path)
    assert found.step == 1
    assert "000002" in found.damaged[0]
    assert all(same(STATE[name], found.state[name]) for name in STATE)
    found.path.write_bytes(b"")
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
    monkeypatch.setattr("mlcore.io.checkpoint.VERSION", 2)
    save_checkpoint(tmp_path, step=2)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="checkpoint format 2, this mlcore reads up to 1"):
        load_checkpoint(tmp_path)


def test_what_a_checkpoint_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ArgumentTypeError, match=r"model\.layer is a object"):
        save_checkpoint(tmp_path, model={"layer": object()})
    with pytest.raises(ArgumentTypeError, match=r"model has the key \(1, 2\)"):
        save_checkpoint(tmp_path, model={(1, 2): 3})
    with pytest.raises(ArgumentError, match="keep=0"):
        save_checkpoint(tmp_path, keep=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write a checkpoint into"):
        save_checkpoint(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_state_is_data_only(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-000001.safetensors"
    write_checkpoint(path, {"a": 1})
    arrays, notes = read_arrays(path)
    content = json.loads(notes["mlcore.checkpoint"])
    for evil in ({"$call": "os.system"}, {"$tuple": 3}, {"$array": "nothing"}, {"$dict": [[[], 1]]}):
        content["state"] = evil
        text = json.dumps(content)
        import hashlib

        hashes = json.dumps({"tensors": {}, "state": hashlib.sha256(text.encode()).hexdigest()})
        write_arrays(arrays, path, {"mlcore.checkpoint": text, "mlcore.sha256": hashes})
        with pytest.raises(FormatError):
            load_checkpoint(path)


# ---------------------------------------------------------------- killed while saving


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_at_any_moment(tmp_path: Path) -> None:
    script = f"""
import numpy as np
from mlcore.io import save_checkpoint
for step in range(1, 10**6):
    save_checkpoint({str(tmp_path)!r}, step=step, x=np.full(200_000, step, np.float32), rng=False)
    print(step, flush=True)
"""
    rng = np.random.default_rng(0)
    last = 0
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            seen = int(child.stdout.readline())
            time.sleep(float(rng.uniform(0, 0.05)))
            child.send_signal(signal.SIGKILL)
            seen = max([seen, *(int(line) for line in child.stdout if line.endswith("\n"))])
        found = load_checkpoint(tmp_path)  # a warning, as for a damaged one, would be an error here
        assert found.step >= seen
        assert (np.asarray(found.state["x"]) == found.step).all()
        last = found.step
    save_checkpoint(tmp_path, step=last)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    assert len(os.listdir(tmp_path)) == 2
