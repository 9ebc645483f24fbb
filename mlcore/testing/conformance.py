"""The kit as a test file: import its names into one of yours, or run it by ``pytest --pyargs``."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["test_conformance"]


def test_conformance(mlcore_unit: Any, mlcore_run: Any) -> None:
    """One unit of the kit, such as ``values/exp/float32``."""
    result = mlcore_run()
    if result.outcome == "skipped":
        pytest.skip(result.reason)
    if result.outcome == "xfailed":
        pytest.xfail(result.reason)
    if result.outcome != "passed":
        pytest.fail(f"{result.failed} of {result.cases} cases\n{result.reason}", pytrace=False)
