"""What a fresh process pays: import time, import and the first operation, resident memory after it."""

from __future__ import annotations

from mlcore.bench import fresh


def timeraw_import() -> str:
    return fresh.CASES["import"][fresh.MINE]


def timeraw_import_and_first_operation() -> str:
    return fresh.CASES[fresh.FIRST][fresh.MINE]


def track_resident_memory() -> float:
    return fresh.child(fresh.CASES[fresh.FIRST][fresh.MINE])[1]


track_resident_memory.unit = "bytes"  # type: ignore[attr-defined]
