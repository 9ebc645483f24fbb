"""Fixtures of the CPU backend's tests; their helpers are importable as `cpu_helpers`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))  # test files are imported by path, their folder is not


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
