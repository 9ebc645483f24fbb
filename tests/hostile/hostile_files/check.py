"""What holds of every case: one error of ours that says what it must, and nothing run, written or waited for."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile_files import guard
from hostile_files.cases import Case


def refused(case: Case, read: Callable[[Path], Any], tmp_path: Path) -> None:
    """Make the case's file and read it in one of the ways there are."""
    folder = tmp_path / "given"
    folder.mkdir()
    path = case.build(folder)
    before = guard.snapshot(tmp_path)
    size = sum(min(one.stat().st_size, 1 << 26) for one in folder.rglob("*") if one.is_file())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error, seen = guard.refused(lambda: read(path), folder, size)
    assert error is not None, f"it was read: {case.why}"
    assert not seen.violations
    text = str(error)
    kinds = {one.__name__ for one in type(error).__mro__}
    assert kinds & set(case.error.split("|")), f"{type(error).__name__}: {text}"
    assert str(folder) in text, f"the file is not named: {text}"
    assert re.search(case.says, text, re.DOTALL), f"expected {case.says!r}: {text}"
    assert len(text) < 2_000, "a hostile file may not fill the log"
    assert seen.peak <= seen.limit, f"{seen.peak:,} bytes at most, {size:,} in the file"
    assert seen.seconds < guard.SECONDS
    assert guard.snapshot(tmp_path) == before
