"""What a fresh process pays: import time, import and the first operation, resident memory after it."""

from __future__ import annotations

from mlcore_bench import fresh


def timeraw_import() -> str:
    return fresh.CASES["import"][""]


def timeraw_import_and_first_operation() -> str:
    return fresh.CASES["import and x + y"][""]


def track_resident_memory() -> float:
    return fresh.child(fresh.CASES["import and x + y"][""])[1]


track_resident_memory.unit = "bytes"  # type: ignore[attr-defined]
