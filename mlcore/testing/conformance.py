"""The kit as a test file: import its names into one of yours, or run it by ``pytest --pyargs``."""

from __future__ import annotations

from typing import Any

import pytest

from mlcore.testing import pytest_plugin
from mlcore.testing.pytest_plugin import mlcore_run

__all__ = ["mlcore_run", "pytest_generate_tests", "test_conformance"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each unit, also where the plugin is not registered (mlcore run from its source tree)."""
    if not metafunc.config.pluginmanager.is_registered(pytest_plugin):
        pytest_plugin.pytest_generate_tests(metafunc)


def test_conformance(mlcore_unit: Any, mlcore_run: Any) -> None:
    """One unit of the kit, such as ``values/exp/float32``."""
    result = mlcore_run()
    if result.outcome == "skipped":
        pytest.skip(result.reason)
    if result.outcome == "xfailed":
        pytest.xfail(result.reason)
    if result.outcome != "passed":
        pytest.fail(f"{result.failed} of {result.cases} cases\n{result.reason}", pytrace=False)
