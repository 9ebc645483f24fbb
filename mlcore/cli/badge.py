"""A badge made here, with no service behind it: an SVG picture, or JSON that shields.io's endpoint understands."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Final

from mlcore.errors import ArgumentError

COLOURS: Final = {None: "#9f9f9f", 0: "#b58900", 1: "#3c8c40", 2: "#2f7d32", 3: "#1b6d85"}  # by level
_CHARACTER: Final = 6.3  # pixels of an average character in the 11-pixel font


def write(path: Path, label: str, message: str, level: int | None) -> None:
    """Write a badge as the file's name says: ``.svg`` or ``.json``."""
    made = {".svg": svg, ".json": shields}.get(path.suffix)
    if made is None:
        raise ArgumentError(
            f"a badge is an .svg or .json file, got {path.name!r}", fix="name it coverage.svg"
        )
    path.write_text(made(label, message, COLOURS.get(level, COLOURS[None])), encoding="utf-8")


def shields(label: str, message: str, colour: str) -> str:
    """The answer of an endpoint of shields.io.

    >>> shields("toy", "L1", "#3c8c40")
    '{"schemaVersion": 1, "label": "toy", "message": "L1", "color": "3c8c40"}\\n'
    """
    content = {"schemaVersion": 1, "label": label, "message": message, "color": colour.removeprefix("#")}
    return json.dumps(content) + "\n"


def svg(label: str, message: str, colour: str) -> str:
    """A picture: the label on grey, the message on its colour.

    >>> svg("toy", "L1", "#3c8c40").startswith("<svg ")
    True
    """
    left, right = (round(len(text) * _CHARACTER) + 12 for text in (label, message))
    title = escape(f"{label}: {message}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        f'<rect width="{left}" height="20" rx="3" fill="#555"/>',
        f'<rect x="{left - 3}" width="3" height="20" fill="#555"/>',
        f'<rect x="{left}" width="{right}" height="20" rx="3" fill="{colour}"/>',
        f'<rect x="{left}" width="3" height="20" fill="{colour}"/>',
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">',
        _text(label, left / 2, left - 12),
        _text(message, left + right / 2, right - 12),
        "</g>\n</svg>\n",
    ]
    return "\n".join(parts)


def _text(text: str, middle: float, width: int) -> str:
    return f'<text x="{middle:g}" y="14" textLength="{width}">{escape(text)}</text>'
