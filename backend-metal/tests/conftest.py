"""The device under test: missing, it is skipped with the reason, but with MLCORE_LEG set that is a failure."""

import os
import sys
from pathlib import Path

import pytest

import mlcore as ml

sys.path.append(str(Path(__file__).parent))  # test files are imported by path, their folder is not


@pytest.fixture(scope="session")
def device():
    """`metal`, opened; every test runs without host fallback."""
    os.environ["MLCORE_FALLBACK"] = "error"
    try:
        return ml.ones((1,), device="metal").device
    except ml.errors.MlcoreError as error:
        if os.environ.get("MLCORE_LEG"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mx(device):
    """MLX, where the device is usable."""
    import mlx.core

    return mlx.core
