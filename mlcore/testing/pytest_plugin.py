"""The pytest plugin: options for the backend, and one test for each unit of the kit.

A backend's own test folder needs three lines, in ``tests/test_conformance.py``:

```python
from mlcore.testing.conformance import *
mlcore_backend = "mychip"
mlcore_level = 1
```

``pytest --pyargs mlcore.testing.conformance --mlcore-backend mychip`` needs none. This file is loaded in every
pytest run of everybody who has mlcore installed, so it imports nothing but pytest.

PYTEST_DONT_REWRITE: pytest would explain a failure by comparing megabytes, line by line.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlcore.testing.kit import Kit


def pytest_addoption(parser: pytest.Parser) -> None:
    """The kit's options."""
    group = parser.getgroup("mlcore", "conformance of an mlcore backend")
    group.addoption(
        "--mlcore-backend", metavar="DEVICE", help="the device that the conformance tests are run on"
    )
    group.addoption(
        "--mlcore-level", type=int, choices=(0, 1, 2), help="0 boots, 1 complete (the default), 2 fast"
    )
    group.addoption("--mlcore-full", action="store_true", help="all shapes and dtypes, not the quick choice")
    group.addoption("--mlcore-expect", metavar="FILE", help="a conformance.toml other than the backend's own")
    group.addoption("--mlcore-report", metavar="FILE", help="write the conformance report as JSON")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each unit."""
    if "mlcore_unit" not in metafunc.fixturenames:
        return
    kit = _kit(metafunc.config, metafunc.module)
    if kit is None:
        reason = "no backend is named: pass --mlcore-backend, or set mlcore_backend in the test file"
        metafunc.parametrize(
            "mlcore_unit", [pytest.param(None, marks=pytest.mark.skip(reason=reason))], ids=["none"]
        )
    else:
        metafunc.parametrize("mlcore_unit", kit.units, ids=[unit.id for unit in kit.units])


def _kit(config: pytest.Config, module: Any) -> Kit | None:
    """The kit of a test file, made once a run; options go before what the file says."""
    backend = config.getoption("--mlcore-backend", None) or getattr(module, "mlcore_backend", None)
    if not backend:
        return None
    from mlcore.testing.kit import Kit

    level = config.getoption("--mlcore-level", None)
    level = getattr(module, "mlcore_level", 1) if level is None else level
    quick = not (config.getoption("--mlcore-full", False) or getattr(module, "mlcore_full", False))
    expect = config.getoption("--mlcore-expect", None) or getattr(module, "mlcore_expect", None)
    kits: dict[Any, Kit] = config.stash.setdefault(_KITS, {})
    key = (str(backend), level, quick, str(expect))
    if key not in kits:
        kits[key] = Kit(backend, level=level, quick=quick, expectations=expect)
    return kits[key]


_KITS = pytest.StashKey[dict[Any, Any]]()
_RESULTS = pytest.StashKey[list[Any]]()


@pytest.fixture
def mlcore_run(request: pytest.FixtureRequest, mlcore_unit: Any) -> Any:
    """Runs the unit of this test, and keeps its result for the summary."""
    kit = _kit(request.config, request.module)

    def run() -> Any:
        assert kit is not None
        result = kit.run_one(mlcore_unit)
        request.config.stash.setdefault(_RESULTS, []).append((kit, result))
        return result

    return run


@pytest.fixture(scope="session")
def mlcore_asset() -> Callable[[str], Path]:
    """`mlcore.assets.get`: a file by name, fetched where that is necessary.

    Where it cannot be had the test is skipped, with the reason; where MLCORE_LEG is set it fails.
    """
    missing: dict[str, str] = {}

    def get(name: str) -> Path:
        from mlcore import assets

        if name not in missing:
            try:
                return assets.get(name)
            except assets.FetchError as error:
                missing[name] = str(error)
        if os.environ.get("MLCORE_LEG"):
            pytest.fail(missing[name], pytrace=False)
        pytest.skip(missing[name].replace("\n", "; "))

    return get


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Cases executed and compared, and the table of operations."""
    found = config.stash.get(_RESULTS, [])
    if not found:
        return
    from mlcore.testing.report import Report

    for kit in dict.fromkeys(kit for kit, _ in found):
        results = [result for one, result in found if one is kit]
        report = Report.of(kit, results, whole=len(results) == len(kit.units))
        terminalreporter.section(f"mlcore conformance of {kit.device}")
        terminalreporter.write_line(report.table_text())
        terminalreporter.write_line(report.summary())
        path = config.getoption("--mlcore-report")
        if path:
            report.write(path)
