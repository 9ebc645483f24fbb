"""The worked examples of the documentation run as they are, in time, and assert what they reach."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "examples"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.stem != "index")


def program_of(page: Path) -> Path:
    """The one program that a page shows."""
    (shown,) = re.findall(r"\{literalinclude\} (\S+)", page.read_text(encoding="utf-8"))
    return (page.parent / shown).resolve(strict=True)


@pytest.mark.timeout(60)  # on two cores; they take seconds
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_worked_example(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of(page)
    text = program.read_text(encoding="utf-8")
    if "mlcore_vision" in text:
        pytest.importorskip("mlcore_vision")
    last = ast.parse(text).body[-1]
    assert isinstance(last, ast.Assert), f"{program.name} does not end with what it reaches"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLCORE_DATA_DIR", raising=False)  # the shipped digits, not this machine's MNIST
    runpy.run_path(str(program))


def test_the_index_leads_to_every_page() -> None:
    assert len(PAGES) >= 5
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert all(f"]({page.name})" in index and f"\n{page.stem}\n" in index for page in PAGES)
