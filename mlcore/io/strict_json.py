"""JSON that others wrote: an object without a key twice, NaN, or more depth or digits than Python takes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final, NoReturn

from mlcore.errors import FormatError
from mlcore.io.files import FileError, file_error, open_to_read

_MAX_FILE: Final = 100_000_000


def parse(text: bytes, fail: Callable[[str], NoReturn]) -> dict[str, Any]:
    """The object that `text` holds; `fail` is told what is wrong, as "holds NaN" or "is not valid JSON (...)".

    >>> def refuse(problem): raise FormatError(problem)
    >>> parse(b'{"a": [1, 2]}', refuse)
    {'a': [1, 2]}
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            seen: set[str] = set()
            # add gives None, and so goes on
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            fail(f"is ambiguous: the key {twice!r} stands twice")
        return table

    def constant(name: str) -> NoReturn:
        fail(f"holds {name}")

    try:
        table = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        fail(f"is not valid JSON ({str(error)[:120]})")
    if not isinstance(table, dict):
        fail(f"is a {type(table).__name__} in place of an object")
    return table


def read(path: str | os.PathLike[str], limit: int = _MAX_FILE) -> dict[str, Any]:
    """The object in a file of at most `limit` bytes. Raises `FormatError` naming the file, `FileError`."""
    name = os.fspath(path)
    try:
        with open_to_read(path) as file:  # no more than there is: Python makes room for what is asked for
            text = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    except FileError:
        raise
    except OSError as error:
        raise file_error("read", path, error) from error

    def fail(problem: str) -> NoReturn:
        raise FormatError(f"{name} cannot be read: it {problem}", cause="it was cut off or altered")

    if len(text) > limit:
        fail(f"is larger than {limit:,} bytes, which no such file needs")
    return parse(text, fail)
