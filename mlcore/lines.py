"""The user's line that called into mlcore, for messages. Types for Cython are in lines.pxd."""

from __future__ import annotations

import os
import sys
from typing import Any

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_internal: dict[str, bool] = {}


def _no_near_line(known: dict[str, bool]) -> Any:
    return None


if __file__.endswith(
    ".py"
):  # uncompiled; lines.pxd has the C function, for the frame that called into mlcore
    globals()["near_line"] = _no_near_line


def user_line() -> tuple[Any, int] | None:
    """(code, instruction) of the nearest frame outside this package; `describe_line` turns it into text.

    Only two references are taken here: reading the line table would cost more than the operation.
    """
    near: tuple[Any, int] | None = near_line(_internal)  # type: ignore[name-defined]  # noqa: F821  (see lines.pxd)
    if near is not None:
        return near
    frame: Any = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_filename
        inside = _internal.get(name)
        if inside is None:
            inside = _internal[name] = os.path.abspath(name).startswith(_PACKAGE)
        if not inside:
            return (frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return None


def describe_line(where: tuple[Any, int] | None) -> str:
    """'file.py:12, in forward' of what `user_line` returned."""
    if where is None:
        return "an unknown line"
    code, offset = where
    positions = list(code.co_positions())
    index = offset // 2
    line = positions[index][0] if 0 <= index < len(positions) else None
    return f"{code.co_filename}:{line or code.co_firstlineno}, in {code.co_name}"
