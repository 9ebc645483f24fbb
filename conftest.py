"""What every test of this repository runs under, whichever package it belongs to.

Set before anything reads it: no silent fallback to the host, and a cache folder of the run's own, so that
no test sees what an earlier run or the user's own programs measured.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

import pytest

# A worker of pytest-xdist inherits what the first process set.
OWNER = "PYTEST_XDIST_WORKER" not in os.environ

# The machine's and the user's own choices are not what is tested; a plugin's own variables may be.
CHOICES = ("DEVICE", "BACKENDS", "PLUGINS", "NUM_THREADS", "LOG", "SAFE_PROBE", "PROBE_TIMEOUT")

if OWNER:
    from mlcore.config import cache_dir

    # What was fetched by hash is the same for every run.
    os.environ.setdefault("MLCORE_ASSETS_DIR", str(cache_dir() / "assets"))
    os.environ["MLCORE_CACHE_DIR"] = tempfile.mkdtemp(prefix="mlcore-test-cache-")
    os.environ["MLCORE_CONFIG"] = "off"
    os.environ["MLCORE_FALLBACK"] = "error"
    for choice in CHOICES:
        os.environ.pop(f"MLCORE_{choice}", None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many gradients were held against differences, if any were."""
    gradients = sys.modules.get("mlcore.testing.gradients")
    if gradients is not None and gradients.passed:
        first, second = gradients.passed[1], gradients.passed[2]
        terminalreporter.write_line(f"gradients held against differences: {first}, of these twice: {second}")


@pytest.fixture(scope="session", autouse=True)
def _remove_cache_folder() -> Iterator[None]:
    yield
    if OWNER:
        shutil.rmtree(os.environ["MLCORE_CACHE_DIR"], ignore_errors=True)
