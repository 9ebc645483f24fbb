"""These tests need JAX; an environment that was made for them (MLCORE_LEG) fails without it."""

from __future__ import annotations

import importlib.util
import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("jax") is None and "MLCORE_LEG" not in os.environ:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="jax is not installed"))
