"""The examples: those of this package's docstrings, and those of docs/onnx.md."""

from __future__ import annotations

import doctest
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

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
PAGE = ROOT / "docs" / "onnx.md"
EXAMPLES = [*HOW.distinct(HOW.docstring_examples(["mlcore_onnx"])), *HOW.page_examples([PAGE])]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
def test_example(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    HOW.run(example)


def test_the_page_s_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  (a page of this repository)
    assert len(blocks) >= 2


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3
    assert any(one.name == "docs/onnx.md" for one in EXAMPLES)
