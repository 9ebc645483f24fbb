"""A curve as text: filled columns, with an axis on the left and one below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

EIGHTHS = " ▁▂▃▄▅▆▇█"
ASCII = " .:#"


def chart(
    values: Sequence[float], *, width: int = 72, height: int = 12, log: bool = False, ascii_only: bool = False
) -> list[str]:
    """The lines of a chart of `values`, numbered from 0.

    >>> print("\\n".join(chart([0.0, 0.5, 1.0, 1.0, 0.25], width=10, height=2)))
       1 ┤    ████
         │  ██████▄▄
       0 └┬────────┬
          0        4
    """
    levels = ASCII if ascii_only else EIGHTHS
    shown = [math.log10(one) if one > 0 else math.nan for one in values] if log else list(values)
    columns = _columns(shown, width)
    known = [one for one in columns if math.isfinite(one)] or [0.0]
    low, high = (min(known) if log else min(0.0, *known)), max(known)
    span = (high - low) or abs(high) or 1.0
    low = low if high > low else high - span
    fine = len(levels) - 1
    filled = [round((one - low) / span * height * fine) if math.isfinite(one) else 0 for one in columns]
    if log:
        filled = [
            max(1, one) if math.isfinite(value) else 0 for one, value in zip(filled, columns, strict=True)
        ]
    marks = [f"{10**one:.3g}" if log else f"{one:.3g}" for one in (high, (high + low) / 2, low)]
    margin = max(4, *map(len, marks))
    tick, wall, corner, floor, foot = ("+", "|", "+", "-", "+") if ascii_only else ("┤", "│", "└", "─", "┬")
    lines = []
    for row in range(height, 0, -1):
        cells = "".join(levels[min(fine, max(0, one - (row - 1) * fine))] for one in filled)
        mark = marks[0] if row == height else marks[1] if height > 3 and row == height // 2 else ""
        lines.append(f"{mark:>{margin}} {tick if mark else wall}{cells}".rstrip())
    lines.append(f"{marks[2]:>{margin}} {corner}{foot}{floor * (len(columns) - 2)}{foot}")
    last = str(len(values) - 1)
    lines.append(f"{'':{margin}}  0{last:>{len(columns) - 1}}")
    return lines


def _columns(values: list[float], width: int) -> list[float]:
    """As many values as there are columns: each repeated, or the mean of several."""
    if len(values) <= width:
        times = max(1, width // len(values))
        return [one for one in values for _ in range(times)]
    edges = [i * len(values) // width for i in range(width + 1)]
    parts = [[one for one in values[a:b] if math.isfinite(one)] for a, b in pairwise(edges)]
    return [sum(part) / len(part) if part else math.nan for part in parts]
