"""The page about ONNX and the examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import mlcore_onnx
import numpy as np
import pytest

import mlcore as ml

PAGE = Path(__file__).resolve().parents[3] / "docs" / "onnx.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="the package's tests without the repository")
def test_the_page(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  (a page of this repository)
    assert len(blocks) >= 2


def test_docstrings(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    count = 0
    for found in pkgutil.walk_packages(mlcore_onnx.__path__, "mlcore_onnx."):
        module = importlib.import_module(found.name)
        for test in doctest.DocTestFinder(exclude_empty=True).find(module, globs={"ml": ml, "np": np}):
            test.globs.update(vars(module))
            result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
            assert not result.failed, test.name
            count += result.attempted
    assert count >= 4
