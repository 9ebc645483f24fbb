"""`mlcore.save` and `mlcore.load` with tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import dtypes
from mlcore.errors import ArgumentTypeError, DTypeError
from mlcore.io.safetensors import CODES, describe

SAVED = sorted(CODES, key=lambda dtype: dtype.index)


@pytest.mark.parametrize("dtype", SAVED, ids=str)
def test_round_trip_of_every_dtype(tmp_path: Path, dtype: dtypes.DType) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype.numpy)
    ml.save({"x": ml.asarray(values), "scalar": ml.asarray(values[0, 1])}, tmp_path / "x.safetensors")
    back = ml.load(tmp_path / "x.safetensors")
    assert list(back) == ["x", "scalar"]
    assert back["x"].dtype is dtype
    assert back["scalar"].shape == ()
    np.testing.assert_array_equal(np.asarray(back["x"]), values)


def test_device_and_metadata(tmp_path: Path) -> None:
    weight = ml.asarray([[1.0, 2.0]], device="reference", requires_grad=True)
    ml.save({"weight": weight * 2}, tmp_path / "x", {"model": "toy"})
    back = ml.load(str(tmp_path / "x"), device="reference")["weight"]
    assert back.device == "reference"
    assert not back.requires_grad
    assert back.tolist() == [[2.0, 4.0]]
    assert describe(tmp_path / "x").metadata == {"format": "pt", "model": "toy"}


BAD: list[tuple[Any, type[Exception], str]] = [
    ([1, 2], ArgumentTypeError, "expected a mapping of names to tensors, got a list"),
    ({"a": [1.0]}, ArgumentTypeError, "'a' is a list, not a tensor"),
    ({"z": np.zeros(2, complex)}, DTypeError, "complex128"),
    ({3: np.zeros(2)}, ArgumentTypeError, "names of tensors are strings, got 3"),
]


@pytest.mark.parametrize(("content", "kind", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(tmp_path: Path, content: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        ml.save(content, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    ml.save({"a": np.ones(3, np.float32)}, tmp_path / "x")
    with pytest.raises(DTypeError):
        ml.save({"a": np.ones(3, np.float32), "z": np.zeros(2, complex)}, tmp_path / "x")
    assert ml.load(tmp_path / "x")["a"].tolist() == [1.0, 1.0, 1.0]
