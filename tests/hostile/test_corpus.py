"""Every hostile file is refused by one error of ours, at every way in, and nothing is run, written or waited for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_files import check, corpus
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


@pytest.mark.parametrize(
    "case", [one for one in CASES if one.reader == "checkpoint"], ids=lambda one: one.name
)
def test_a_run_is_not_resumed_from_it(case: Case, tmp_path: Path) -> None:
    check.refused(case, io.load_checkpoint, tmp_path)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES, ids=lambda one: f"{one.reader}-{one.name}")
def test_it_is_refused(case: Case, way: str, tmp_path: Path) -> None:
    check.refused(case, WAYS[way], tmp_path)
