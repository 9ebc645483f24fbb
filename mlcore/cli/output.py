"""How commands print: aligned lines for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from mlcore.plugin.records import table as aligned

__all__ = ["aligned", "print_json", "print_pairs", "print_section"]


def print_json(content: Any) -> None:
    """One JSON document; keys in the order they were made."""
    json.dump(content, sys.stdout, indent=2, default=str)
    print()


def print_section(title: str, body: str) -> None:
    """A title, and its text indented below."""
    if body:
        print(f"\n{title}")
        print("\n".join(f"  {line}".rstrip() for line in body.splitlines()))


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """``name  value`` lines."""
    print(aligned((name, str(value)) for name, value in pairs if value not in (None, "")))
