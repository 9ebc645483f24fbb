"""Hostile models under the guard of the core's corpus: nothing is run, no other file is opened, memory is bounded."""

from __future__ import annotations

import sys
from pathlib import Path

import mlcore_onnx
import pytest

HOSTILE = Path(__file__).resolve().parents[3] / "tests/hostile"
if not HOSTILE.is_dir():
    pytest.skip("the corpus is in mlcore's repository", allow_module_level=True)
sys.path.insert(0, str(HOSTILE))

from hostile_files import check, of_onnx  # noqa: E402
from hostile_files.cases import CASES, Case  # noqa: E402

MODELS = [one for one in CASES if one.reader == "onnx"]


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    of_onnx.warm_up(tmp_path_factory.mktemp("good"))


def test_there_are_many() -> None:
    print(f"{len(MODELS)} hostile models")
    assert len(MODELS) >= 40


@pytest.mark.parametrize("case", MODELS, ids=lambda one: one.name)
def test_it_is_refused(case: Case, tmp_path: Path) -> None:
    check.refused(case, mlcore_onnx.load, tmp_path)
