"""Checkpoints that PyTorch wrote (torch_frozen/make.py), read where there is no PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import mlcore as ml
from mlcore.io import open_weights

FROZEN = Path(__file__).with_name("torch_frozen")
X = np.arange(24, dtype=np.float32)
MODEL = {
    "weight": X[:12].reshape(3, 4), "turned": X[:12].reshape(3, 4).T, "part": X[4:8], "tied": X[:12].reshape(3, 4),
    "steps": X[::5], "grid": X.reshape(1, 2, 3, 4), "scalar": np.array(7), "none": np.zeros((0, 2), np.float32),
    "flags": np.array([True, False]), "brain": X[:4].astype(ml_dtypes.bfloat16), "half": X[:4].astype(np.float16),
    "wide": X[:4].astype(np.float64), "ids": np.arange(4), "small": np.arange(4, dtype=np.int8),
    "pairs": (X[:4] + 1j * X[:4]).conj(), "parameter": X[:4],
}  # fmt: skip


def same(got: np.ndarray, want: np.ndarray) -> None:
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert np.ascontiguousarray(got).tobytes() == np.ascontiguousarray(want).tobytes()


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_a_training_checkpoint(container: str) -> None:
    path = FROZEN / f"{container}.pt"
    got = ml.load(path)
    assert list(got) == ["epoch", "model", "optimizer", "note", "shape"]
    assert (got["epoch"], got["note"], got["shape"]) == (3, "é", (3, 4))
    assert list(got["model"]) == list(MODEL)
    with open_weights(path) as weights:
        assert weights.format == "pytorch"
        for name, want in MODEL.items():
            same(np.asarray(got["model"][name]), want)
            same(weights.view(f"model.{name}"), want)
    adam = got["optimizer"]["state"][0]
    assert float(adam["step"]) == 1
    np.testing.assert_allclose(np.asarray(adam["exp_avg"]), np.full(4, 0.2, np.float32), rtol=1e-6)
    assert got["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)


def test_dtypes_without_a_class_of_storages() -> None:
    with open_weights(FROZEN / "new_dtypes.pt") as weights:
        same(weights.read("u"), np.arange(4, dtype=np.uint16))
        same(weights.read("f"), X[:4].astype(ml_dtypes.float8_e4m3fn))
    assert np.asarray(ml.load(FROZEN / "new_dtypes.pt")["f"]).tolist() == [0, 1, 2, 3]


def test_a_newer_pickle_protocol() -> None:
    first, rest = ml.load(FROZEN / "protocol4.pt")
    same(np.asarray(first), X[:4])
    same(np.asarray(rest["deep"][0]), X[4:8])


def test_pytorch_is_not_imported_and_readers_only_when_needed() -> None:
    code = (
        "import sys, mlcore as ml\n"
        "assert not [name for name in sys.modules if name.startswith(('mlcore.io.torch_file', 'mlcore.io.gguf'))]\n"
        f"ml.load({str(FROZEN / 'zip.pt')!r}); ml.load({str(FROZEN / 'legacy.pt')!r})\n"
        "assert 'mlcore.io.torch_file.machine' in sys.modules\n"
        "assert not {'torch', 'mlcore.io.torch_file.writer', 'mlcore.io.gguf'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
