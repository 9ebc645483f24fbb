"""The table of PyTorch's names: nearly all are here, and each that is not has a reason that still holds."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "docs" / "pytorch_names.py"


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_pytorch_names", FILE)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


def test_nearly_all_names_are_here(table: ModuleType) -> None:
    names = [(space, name) for space, some in table.names().items() for name in some]
    here = sum(table.here(*one) for one in names)
    print(f"{here} of {len(names)} names are here")
    assert here / len(names) >= 0.95


def test_each_missing_name_has_a_reason_and_no_reason_is_stale(table: ModuleType) -> None:
    missing = {
        (space, name) for space, some in table.names().items() for name in some if not table.here(space, name)
    }
    told = {(space, name) for space, some in table.reasons().items() for name in some}
    assert not missing - told, f"not here, and no reason in pytorch_missing.toml: {sorted(missing - told)}"
    assert not told - missing, f"here after all, or no name of PyTorch's: {sorted(told - missing)}"
    assert all(len(why) > 10 for some in table.reasons().values() for why in some.values())


def test_the_page_shows_every_name(table: ModuleType) -> None:
    page = table.page()
    for space, some in table.names().items():
        assert f"## {space}\n" in page
        assert all(f"`{name}`" in page for name in some)


def test_the_names_are_those_of_the_pytorch_that_is_installed(table: ModuleType) -> None:
    pytest.importorskip("torch")
    kept = json.loads(table.NAMES.read_text(encoding="utf-8"))
    found = table.collect()
    if found["version"] != kept["version"]:
        pytest.skip(f"kept for PyTorch {kept['version']}, {found['version']} is installed")
    assert kept == found, "write them anew: python docs/pytorch_names.py"
