"""The conformance suite on the stand-in, in processes of its own, and a program that trains on it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("standin_run.py")


def mlcore(*arguments: str, **env: str) -> str:
    """The `mlcore` command on the stand-in; its output."""
    environment = {**os.environ, "MLCORE_FALLBACK": "error", "STANDIN_DEVICES": "2", **env}
    done = subprocess.run(
        [sys.executable, str(RUN), *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.timeout(900)  # minutes where the machine is busy with something else
def test_level_1(tmp_path: Path) -> None:
    """Every operation against the reference: quick where it is not told to be whole (MLCORE_STANDIN=whole)."""
    report = tmp_path / "report.json"
    how = [] if os.environ.get("MLCORE_STANDIN") == "whole" else ["--quick"]
    told = mlcore("conformance", "cuda", "--level", "1", "-n", "2", "--report", str(report), *how)
    found = json.loads(report.read_text())
    print("\n".join(told.splitlines()[-3:]))
    assert found["achieved"] == 1
    assert found["counts"]["failed"] == 0
    assert found["cases"] > 10_000


@pytest.mark.skipif(
    importlib.util.find_spec("mlcore_vision") is None, reason="mlcore-vision is not installed"
)
def test_digits_train_without_the_host(tmp_path: Path) -> None:
    told = mlcore("train", "digits", "--quick", "--out", str(tmp_path / "run"), MLCORE_DEVICE="cuda")
    assert "cuda" in told


def test_both_devices_are_listed_with_their_facts() -> None:
    told = mlcore("doctor", "cuda")
    assert "state         ready" in told
    assert "cuda:0  stand-in for a GPU" in told
    assert "cuda:1  stand-in for a GPU" in told
