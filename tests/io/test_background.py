"""Saving in the background: what was snapshot is what is on disk, and errors come out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.errors import ArgumentError, ArgumentTypeError
from mlcore.io import Checkpointer, CheckpointWarning, FileError, load_checkpoint, manifest


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Writing waits for this."""
    event, write = threading.Event(), manifest.write

    def waiting(*args: Any) -> None:
        assert event.wait(30)
        write(*args)

    monkeypatch.setattr(manifest, "write", waiting)
    return event


def fail(*args: Any) -> None:
    raise FileError("cannot write it: no space left on device")


@pytest.mark.parametrize("device", dict.fromkeys(["reference:0", ml.default_device().id]))
def test_later_steps_do_not_change_a_snapshot(tmp_path: Path, held: threading.Event, device: str) -> None:
    net = nn.Linear(5, 3).to(device=device)
    optimizer = optim.AdamW(net.parameters(), lr=0.1)
    own, plain = np.zeros(4), {"list": [1]}

    def step() -> None:
        optimizer.zero_grad()
        (net(ml.ones((2, 5), device=device)) ** 2).sum().backward()
        optimizer.step()

    step()
    wanted = {name: np.array(one) for name, one in net.state_dict().items()}
    moments = [np.array(one["exp_avg"]) for one in optimizer.state_dict()["state"].values()]
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(model=net, optimizer=optimizer, own=own, plain=plain)
    for _ in range(3):
        step()
    own += 1
    plain["list"].append(2)
    held.set()
    found = checkpoints.load().state
    for name, array in wanted.items():
        assert np.asarray(found["model"][name]).tobytes() == array.tobytes()
        assert np.asarray(net.state_dict()[name]).tobytes() != array.tobytes()
    for one, moment in zip(found["optimizer"]["state"].values(), moments, strict=True):
        assert np.asarray(one["exp_avg"]).tobytes() == moment.tobytes()
    assert found["own"].tolist() == [0, 0, 0, 0]
    assert found["plain"] == {"list": [1]}


def test_save_returns_at_once_and_the_next_waits(tmp_path: Path, held: threading.Event) -> None:
    checkpoints = Checkpointer(tmp_path)
    first = checkpoints.save(step=1)
    assert not first.exists()
    threading.Timer(0.05, held.set).start()
    second = checkpoints.save(step=2)
    assert load_checkpoint(first).step == 1
    checkpoints.wait()
    assert load_checkpoint(second).step == 2
    assert [path.name for path in (first, second)] == ["checkpoint-000001", "checkpoint-000002"]


def test_errors_come_out_at_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(step=1)
    checkpoints.wait()
    for ask in (checkpoints.wait, checkpoints.load, lambda: checkpoints.save(step=9)):
        with monkeypatch.context() as patch:
            patch.setattr(manifest, "write", fail)
            checkpoints.save(step=2)
            with pytest.raises(FileError, match="no space"):
                ask()
        checkpoints.wait()  # said once
        assert checkpoints.load().step == 1
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write", fail)
        with pytest.raises(FileError, match="no space"), Checkpointer(tmp_path) as inside:
            inside.save(step=3)
        with (
            pytest.warns(CheckpointWarning, match="was not saved: cannot write it"),
            pytest.raises(ZeroDivisionError),
            Checkpointer(tmp_path) as inside,
        ):
            raise ZeroDivisionError(inside.save(step=3))  # the program's own error is the one that is raised
        forgotten = Checkpointer(tmp_path)
        forgotten.save(step=4)
        forgotten._join()
        with pytest.warns(CheckpointWarning, match="was not saved"):
            forgotten.__del__()
    checkpoints.save(step=5)
    assert checkpoints.load().step == 5


def test_what_cannot_be_stored_is_said_at_once(tmp_path: Path) -> None:
    checkpoints = Checkpointer(tmp_path)
    with pytest.raises(ArgumentTypeError, match=r"model\.layer is a object"):
        checkpoints.save(model={"layer": object()})
    with pytest.raises(ArgumentError, match="keep=0"):
        Checkpointer(tmp_path, keep=0)
    assert os.listdir(tmp_path) == []


def test_a_program_that_ends_waits(tmp_path: Path) -> None:
    script = f"""
import numpy as np
from mlcore.io import Checkpointer
Checkpointer({str(tmp_path)!r}).save(step=3, x=np.ones(3_000_000))
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
    found = load_checkpoint(tmp_path)
    assert found.step == 3
    assert (found.state["x"] == 1).all()


def test_rotation(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, keep=1, keep_best=1, mode="max") as checkpoints:
        for step, metric in enumerate([1.0, 4.0, 2.0, 3.0]):
            checkpoints.save(step=step, metric=metric)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint-000002", "checkpoint-000004"]
    assert checkpoints.load(best=True).step == 1
