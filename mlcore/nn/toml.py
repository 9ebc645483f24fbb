"""Writing TOML: Python reads it (`tomllib`), and does not write it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from mlcore.errors import ArgumentTypeError


def dump(given: dict[str, Any]) -> str:
    """A dict of text, numbers, lists and dicts as TOML.

    >>> print(dump({"a": [1, 2.5], "b": {"c": "d"}, "e": [{"f": True}]}))
    a = [1, 2.5]
    <BLANKLINE>
    [b]
    c = "d"
    <BLANKLINE>
    [[e]]
    f = true
    """
    lines: list[str] = []
    _table(given, "", lines)
    return "\n".join(lines).strip("\n")


def _table(given: dict[str, Any], path: str, lines: list[str]) -> None:
    """The plain values first: what follows a header belongs to it."""
    later = []
    for name, value in given.items():
        if isinstance(value, dict) or (
            isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
        ):
            later.append((f"{path}.{_key(name)}".lstrip("."), value))
        else:
            lines.append(f"{_key(name)} = {_value(value)}")
    for name, value in later:
        for one in value if isinstance(value, list) else [value]:
            lines += ["", f"[[{name}]]" if isinstance(value, list) else f"[{name}]"]
            _table(one, name, lines)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + "}"
    raise ArgumentTypeError(
        f"TOML cannot hold a {type(value).__name__}", fix="use text, numbers, lists and dicts"
    )
