"""The unit tests run on the reference device, whatever else is installed: they test the core, not a backend."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import mlcore as ml

# Derandomised: the same examples every run, so that a failure is a change of the code.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _reference() -> Iterator[None]:
    with ml.device("reference"):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
