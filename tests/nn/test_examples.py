"""The example programs run as they are, on every device, and reach what they show."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return runpy.run_path(str(EXAMPLES / name))


def test_training_loop(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("training_loop.py", tmp_path, monkeypatch)
    assert made["accuracy"] > 0.95
    assert (tmp_path / "net.safetensors").stat().st_size > 10_000


def test_tensors(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("tensors.py", tmp_path, monkeypatch)
    assert made["first"].shape == (2, 2)
