"""Fixtures: the OpenCL device that is there. Without one the tests skip, but in a leg of CI (MLCORE_LEG) they fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.backends import detect
from mlcore.errors import DeviceError

sys.path.append(str(Path(__file__).parent))  # test files are imported by path, their folder is not


@pytest.fixture(scope="session")
def device() -> Any:
    """The opened device ``oneapi``."""
    try:
        return detect.resolve("oneapi")
    except DeviceError as error:
        if os.environ.get("MLCORE_LEG"):
            raise
        pytest.skip(f"no OpenCL device: {error.details.get('cause', error.what)}")


@pytest.fixture
def queue(device: Any) -> Any:
    """A queue of its own on the same OpenCL device, so that a test may break it."""
    from mlcore_oneapi.queue import Queue

    return Queue(device.backend.queue.device, "oneapi:test")


@pytest.fixture(params=["processor", "graphics"])
def kind(request: pytest.FixtureRequest, device: Any) -> Iterator[str]:
    """Both kinds of tuned kernels, whichever the device would choose."""
    tools = device.backend.tools
    before, tools.processor = tools.processor, request.param == "processor"
    yield request.param
    tools.processor = before


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)
