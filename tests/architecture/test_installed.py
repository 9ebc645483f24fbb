"""Which build of the core the tests see: the installed one, compiled or not as the runner asked for."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from pathlib import Path

import pytest

import mlcore

ROOT = Path(__file__).resolve().parents[2]
EXPECT = os.environ.get("MLCORE__EXPECT", "")
HOT_PATH = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "mlcore").rglob("*.pxd")
    if path.with_suffix(".py").exists()
)


def test_there_is_a_hot_path() -> None:
    assert {"mlcore.tensor", "mlcore.dispatch"} <= set(HOT_PATH)


@pytest.mark.skipif(not EXPECT, reason="MLCORE__EXPECT is not set: any build will do")
def test_the_source_tree_is_not_what_is_tested() -> None:
    assert not Path(mlcore.__file__).is_relative_to(ROOT / "mlcore")


@pytest.mark.skipif(not EXPECT, reason="MLCORE__EXPECT is not set: any build will do")
@pytest.mark.parametrize("module", HOT_PATH)
def test_the_hot_path_is_built_as_asked_for(module: str) -> None:
    suffix = Path(importlib.import_module(module).__file__ or "").suffix
    assert suffix in ((".py",) if EXPECT == "pure" else (".so", ".pyd"))


@pytest.mark.skipif(not EXPECT, reason="MLCORE__EXPECT is not set: any build will do")
def test_the_distribution_carries_sources_stubs_and_the_typing_mark() -> None:
    folder = Path(mlcore.__file__).parent
    source = ROOT / "mlcore"
    wanted = {
        path.relative_to(source)
        for path in source.rglob("*")
        if path.suffix in (".py", ".pyi", ".pxd", ".typed")
    }
    missing = sorted(path.as_posix() for path in wanted if not (folder / path).exists())
    assert Path("py.typed") in wanted
    assert not missing, f"not installed: {missing}"


def test_the_version_is_the_distribution_s() -> None:
    assert importlib.metadata.version("mlcore-core") == mlcore.__version__
