"""Shared by the tests of this package."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml

if not os.environ.get("MLCORE_LEG"):  # in the leg, a missing library is a failure
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    pytest.importorskip("mlcore_nlp", reason="mlcore-nlp is not installed")

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for golden_inputs, which the script that made golden.npz imports too
DEVICES = ("cpu", "reference")


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    with ml.device(request.param):
        yield request.param


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    with np.load(HERE / "golden.npz", allow_pickle=False) as file:
        return dict(file)
