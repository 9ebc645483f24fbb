"""Every example in a docstring, an operation's declaration or a page runs, and prints what it says.

The installed packages are looked through, compiled or not. Examples know `ml` (mlcore) and `np` (NumPy).
"""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlcore as ml
from mlcore.ops import registry
from tests.docs.sessions import distinct, docstring_examples, page_examples, run, runs_here

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["mlcore", "mlcore_cpu", "mlcore_vision"]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "mlcore").rglob("*.md")),
    *sorted(
        path
        for path in (ROOT / "docs").rglob("*.md")
        if not path.relative_to(ROOT / "docs").parts[0].startswith("_")
    ),
]


def declared_examples() -> Iterator[doctest.DocTest]:
    parser = doctest.DocTestParser()
    for op in registry.all_ops():
        if ">>>" in op.doc:
            yield parser.get_doctest(op.doc, {}, f"op {op.name}", None, 0)


def examples() -> list[doctest.DocTest]:
    return [*distinct(docstring_examples(PACKAGES)), *distinct(declared_examples()), *page_examples(PAGES)]


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
def test_example(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(example)


# ------------------------------------------------------------------ whole programs on the pages


def programs() -> Iterator[tuple[str, str]]:
    """Blocks fenced as ```python that are programs, not sessions; a page's blocks follow each other."""
    for path in filter(runs_here, PAGES):
        blocks = re.findall(
            r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        )
        code = "\n".join(block for block in blocks if ">>>" not in block)
        if code.strip():
            yield path.relative_to(ROOT).as_posix(), code


@pytest.mark.parametrize(
    ("page", "code"), list(programs()), ids=lambda value: value if value.endswith(".md") else ""
)
def test_program(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ml.manual_seed(0)
    exec(compile(code, page, "exec"), {"__name__": "__example__"})  # noqa: S102 (it is our own page)
