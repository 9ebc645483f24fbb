"""Cases of the corpus: a function that makes a hostile file, what is hostile about it, and what must be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Build = Callable[[Path], Path]


@dataclass(frozen=True)
class Case:
    """`says` is a regular expression that the error's text must match; `why` the incident or the trick behind it."""

    reader: str
    name: str
    build: Build
    says: str
    why: str
    error: str = "FormatError"  # or another kind: the name of a class in mlcore.errors or mlcore.io


CASES: list[Case] = []


def case(reader: str, says: str, why: str, error: str = "FormatError") -> Callable[[Build], Build]:
    """Register a builder: a function of the folder to write into, which returns the path to read."""

    def register(build: Build) -> Build:
        CASES.append(Case(reader, build.__name__.strip("_"), build, says, why, error))
        return build

    return register


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def sparse(folder: Path, name: str, size: int, head: bytes = b"") -> Path:
    """A file of `size` bytes that takes no room on the disk."""
    path = put(folder, name, head)
    with open(path, "r+b") as file:
        file.truncate(size)
    return path


def many(reader: str, prefix: str, table: dict[str, tuple[Any, str]], why: str, make: Callable[..., bytes], suffix: str,
         error: str = "FormatError") -> None:  # fmt: skip
    """A case for each row of a table: name -> (what `make` turns into the file's bytes, what must be said)."""
    for name, (what, says) in table.items():

        def build(folder: Path, what: Any = what, name: str = name) -> Path:
            return put(folder, f"{prefix}{suffix}", make(what))

        CASES.append(Case(reader, f"{prefix}_{name}", build, says, why, error))
