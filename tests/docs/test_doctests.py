"""Every example in a docstring, an operation's declaration or a page runs, and prints what it says.

The installed packages are looked through, compiled or not. Examples know `ml` (mlcore) and `np` (NumPy).
"""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mlcore as ml
from mlcore.ops import registry

ROOT = Path(__file__).resolve().parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
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


def modules(package: str) -> Iterator[str]:
    """The package and all of its modules, but for programs and for extensions, which their loaders import."""
    yield package
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not found.name.rpartition(".")[2].startswith("_"):
            yield found.name


def docstring_examples() -> Iterator[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            continue
        for name in modules(package):
            module = importlib.import_module(name)
            yield from (test for test in finder.find(module, name) if test.examples)


def declared_examples() -> Iterator[doctest.DocTest]:
    parser = doctest.DocTestParser()
    for op in registry.all_ops():
        if ">>>" in op.doc:
            yield parser.get_doctest(op.doc, {}, f"op {op.name}", None, 0)


def page_examples() -> Iterator[doctest.DocTest]:
    parser = doctest.DocTestParser()
    for path in PAGES:
        # A closing fence would be read as expected output.
        text = re.sub(r"^\s*```.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        test = parser.get_doctest(text, {}, path.relative_to(ROOT).as_posix(), str(path), 0)
        if test.examples:
            yield test


def distinct(tests: Iterator[doctest.DocTest]) -> list[doctest.DocTest]:
    """Each example once: a name that is exported elsewhere too is found twice."""
    found: dict[tuple[str, ...], doctest.DocTest] = {}
    for test in tests:
        found.setdefault(tuple(example.source + example.want for example in test.examples), test)
    return list(found.values())


def examples() -> list[doctest.DocTest]:
    return [*distinct(docstring_examples()), *distinct(declared_examples()), *page_examples()]


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
def test_example(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ml.manual_seed(0)
    example.globs = {"ml": ml, "np": np, **example.globs}
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    failed, attempted = runner.run(example, out=report.append, clear_globs=True)
    assert attempted > 0
    assert failed == 0, "".join(report)


# ------------------------------------------------------------------ whole programs on the pages


def programs() -> Iterator[tuple[str, str]]:
    """Blocks fenced as ```python that are programs, not sessions; a page's blocks follow each other."""
    for path in PAGES:
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
