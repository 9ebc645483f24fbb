"""The examples: those of this package's docstrings, those of docs/language-models.md, and the programs in examples/."""

from __future__ import annotations

import doctest
import importlib.util
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlcore as ml

ROOT = Path(__file__).resolve().parents[3]


def sessions() -> Any:
    """The project's own way to find and run examples."""
    spec = importlib.util.spec_from_file_location("sessions", ROOT / "tests" / "docs" / "sessions.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


HOW = sessions()
PAGE = ROOT / "docs" / "language-models.md"
EXAMPLES = [*HOW.distinct(HOW.docstring_examples(["mlcore_nlp"])), *HOW.page_examples([PAGE])]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
def test_example(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    HOW.run(example)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 7
    assert any(one.name == "docs/language-models.md" for one in EXAMPLES)


@pytest.mark.assets
@pytest.mark.parametrize(
    ("program", "asset"), [("sentence_similarity", "minilm"), ("generate_text", "smollm2")]
)
def test_program(
    program: str, asset: str, mlcore_asset: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mlcore_asset(asset)
    with ml.device("cpu"):
        runpy.run_path(str(ROOT / "examples" / f"{program}.py"))  # each asserts what it reaches
    assert "refund" in capsys.readouterr().out or program == "generate_text"
