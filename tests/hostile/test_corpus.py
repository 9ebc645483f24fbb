"""Every hostile file is refused by one error of ours, at every way in, and nothing is run, written or waited for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_files import corpus, guard
from hostile_files.cases import CASES, Case

import mlcore as ml
from mlcore import io


def everything(path: Path) -> None:
    """Open a file, and look at all that it holds without making tensors."""
    with io.open_weights(path) as weights:
        for name in weights:
            weights.view(name)
            weights.read(name)
        weights.tree()
        repr(weights)


WAYS: dict[str, Callable[[Path], Any]] = {"load": ml.load, "open_weights": everything}


@pytest.fixture(scope="module", autouse=True)
def _readers_are_imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """So that a good file's imports are not taken for a hostile one's."""
    corpus.warm_up(tmp_path_factory.mktemp("good"))


def test_the_corpus_is_large() -> None:
    assert len(CASES) == len({(one.reader, one.name) for one in CASES})
    counts = {reader: sum(one.reader == reader for one in CASES) for reader in corpus.READERS}
    print(f"{len(CASES)} hostile files: {counts}")
    assert len(CASES) >= 60


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES, ids=lambda one: f"{one.reader}-{one.name}")
def test_it_is_refused(case: Case, way: str, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    path = case.build(folder)
    before = guard.snapshot(tmp_path)
    size = sum(min(one.stat().st_size, 1 << 26) for one in folder.rglob("*") if one.is_file())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error, seen = guard.refused(lambda: WAYS[way](path), folder, size)
    assert error is not None, f"it was read: {case.why}"
    assert not seen.violations
    text = str(error)
    kinds = {one.__name__ for one in type(error).__mro__}
    assert kinds & set(case.error.split("|")), f"{type(error).__name__}: {text}"
    assert str(folder) in text, f"the file is not named: {text}"
    assert corpus.matches(case.says, text), f"expected {case.says!r}: {text}"
    assert len(text) < 2_000, "a hostile file may not fill the log"
    assert seen.peak <= seen.limit, f"{seen.peak:,} bytes at most, {size:,} in the file"
    assert seen.seconds < guard.SECONDS
    assert guard.snapshot(tmp_path) == before
