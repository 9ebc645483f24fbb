"""How examples are found and run, for the tests here and those of plugins with a leg of their own."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

import mlcore as ml

ROOT = Path(__file__).resolve().parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules(package: str) -> Iterator[str]:
    """The package and all of its modules, but for programs and for extensions, which their loaders import."""
    yield package
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not found.name.rpartition(".")[2].startswith("_"):
            yield found.name


def docstring_examples(packages: Iterable[str]) -> Iterator[doctest.DocTest]:
    """Those of the packages that are installed."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for package in packages:
        if importlib.util.find_spec(package) is None:
            continue
        for name in modules(package):
            module = importlib.import_module(name)
            yield from (test for test in finder.find(module, name) if test.examples)


def runs_here(page: Path) -> bool:
    """Whether what a page imports is installed: a page of a plugin that has a leg of its own runs there."""
    wanted = re.findall(
        r"^(?:>>> )?(?:import|from) (mlcore_\w+)", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    return all(importlib.util.find_spec(one) is not None for one in wanted)


def page_examples(pages: Iterable[Path]) -> Iterator[doctest.DocTest]:
    """Sessions on pages, one test for each page."""
    parser = doctest.DocTestParser()
    for path in filter(runs_here, pages):
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


def run(example: doctest.DocTest) -> None:
    """Run one in the current folder; it knows `ml` and `np`."""
    ml.manual_seed(0)
    example.globs = {"ml": ml, "np": np, **example.globs}
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    failed, attempted = runner.run(example, out=report.append, clear_globs=True)
    assert attempted > 0
    assert failed == 0, "".join(report)
