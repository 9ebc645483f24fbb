"""The formats that `mlcore.load` knows: each a module of this package with a light `FORMAT`, and those of plugins.

A format is recognised by what a file holds, never by its name; the suffix only chooses what is written.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mlcore.errors import ArgumentError, ArgumentTypeError, FormatError
from mlcore.io.files import FileError, file_error, open_to_read
from mlcore.io.opened import Weights

_HEAD: Final = 4096
_TAIL: Final = 22 + 65_535  # where a zip's directory may be announced
_DIRECTORY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Format:
    """A format of weights. `reader` and `writer` are ``"module:function"``, imported when first needed.

    `sniff` tells from a `Peek` whether a file or folder is of this format; it only looks, and does not raise. The
    reader is called ``(path) -> Weights``; the writer ``(tensors, path, metadata, **options)`` with names and NumPy
    arrays, or, if it is `nested`, with plain nested data that holds arrays. `suffixes` choose the writer. `metadata`
    tells whether the format keeps text beside the tensors.
    """

    name: str
    about: str
    sniff: Callable[[Peek], bool]
    reader: str
    writer: str = ""
    suffixes: tuple[str, ...] = ()
    nested: bool = False
    metadata: bool = True

    def open(self, path: Path) -> Weights:
        """The opened file."""
        made: Weights = _named(self.reader)(path)
        made.format = self.name
        return made

    def write(self, tensors: Any, path: Path, metadata: Any = None, **options: Any) -> None:
        """Write `tensors`; raises `ArgumentError` where the format cannot be written."""
        if not self.writer:
            known = ", ".join(one.name for one in all_formats() if one.writer)
            raise ArgumentError(f"save: {self.about} can be read, not written", known=known)
        if metadata and not self.metadata:
            raise ArgumentError(
                f"save: {self.about} hold no metadata", fix="leave it out, or save safetensors"
            )
        writer = _named(self.writer)
        known_options = list(inspect.signature(writer).parameters)[3:]
        for name in options:
            if name not in known_options:
                raise ArgumentTypeError(
                    f"save: {self.name} has no option {name!r}", known=", ".join(known_options) or "none"
                )
        writer(tensors, path, metadata, **options)


class Peek:
    """A short look at a file or folder: what formats are told by. Nothing here raises for what a file holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: frozenset[str] = frozenset()  # of a folder's files
        self.head = self._tail = b""
        self.size = 0
        self.is_folder = False
        try:
            self.is_folder = os.path.isdir(path)
            if self.is_folder:
                self.names = frozenset(entry.name for entry in os.scandir(path))
                return
            with open_to_read(path) as file:
                self.head = file.read(_HEAD)
                self.size = os.fstat(file.fileno()).st_size
        except FileError:
            raise
        except OSError as error:
            raise file_error("read", path, error) from error

    @functools.cached_property
    def members(self) -> tuple[str, ...]:
        """The names in a zip archive's directory, as far as its first MiB goes; () if it is no zip."""
        if not self.head.startswith(b"PK"):
            return ()
        with open_to_read(self.path) as file:
            file.seek(max(0, self.size - _TAIL))
            tail = file.read(_TAIL)
            end = tail.rfind(b"PK\x05\x06")
            if end < 0 or len(tail) < end + 20:
                return tuple(_local_name(self.head))
            start = int.from_bytes(tail[end + 16 : end + 20], "little")
            if start == 0xFFFFFFFF:  # zip64: its own record tells where
                locator = tail.rfind(b"PK\x06\x07", 0, end)
                file.seek(int.from_bytes(tail[locator + 8 : locator + 16], "little") % (1 << 62))
                start = int.from_bytes(file.read(56)[48:56], "little") % (1 << 62)
            file.seek(start)
            return tuple(_directory(file.read(_DIRECTORY))) or tuple(_local_name(self.head))


def _local_name(head: bytes) -> Iterator[str]:
    """The first member's name, from the record before its bytes."""
    if head.startswith(b"PK\x03\x04"):
        yield head[30 : 30 + int.from_bytes(head[26:28], "little")].decode("utf-8", "replace")


def _directory(table: bytes) -> Iterator[str]:
    place = 0
    while table[place : place + 4] == b"PK\x01\x02" and place + 46 <= len(table):
        sizes = [int.from_bytes(table[place + at : place + at + 2], "little") for at in (28, 30, 32)]
        yield table[place + 46 : place + 46 + sizes[0]].decode("utf-8", "replace")
        place += 46 + sum(sizes)


@functools.cache
def core_formats() -> tuple[Format, ...]:
    """The formats of this package."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return tuple(importlib.import_module(f"{__name__}.{name}").FORMAT for name in names)


def all_formats() -> tuple[Format, ...]:
    """The formats of this package, and those of plugins (their hook `mlcore_formats`)."""
    from mlcore.plugin import discovery, hooks

    discovery.load_hooks()
    found = {one.name: one for one in core_formats()}
    for _, more in hooks.call("mlcore_formats"):
        for one in more:
            found.setdefault(one.name, one)
    return tuple(found.values())


def recognise(path: str | os.PathLike[str]) -> Format:
    """The format of a file or folder, by its content.

    Raises `MissingFileError` if there is nothing, `FormatError` saying what was looked for if it is none of them.
    """
    place = Path(path)
    peek = Peek(place)
    for known in (core_formats, all_formats):  # plugins are asked only about what the core does not know
        for one in known():
            if one.sniff(peek):
                return one
    for one in all_formats():  # what has a format's suffix is told what is wrong with it by its reader
        if not peek.is_folder and place.suffix in one.suffixes:
            return one
    what = (
        f"the folder holds {_listed(peek.names)}" if peek.is_folder else f"it begins with {peek.head[:16]!r}"
    )
    run = sorted(name for name in peek.names if name.startswith("checkpoint-"))
    raise FormatError(
        f"{place} is in no format that mlcore reads: {what}",
        known=", ".join(one.about for one in all_formats()),
        fix=f"load {run[-1]}, one of the run's checkpoints" if run else None,
    )


def for_writing(path: Path, name: str | None = None) -> Format:
    """The format called `name`, else the one with the path's suffix, else safetensors."""
    formats = {one.name: one for one in all_formats()}
    if name is not None:
        if name not in formats:
            known = ", ".join(one.name for one in formats.values() if one.writer)
            raise ArgumentError(f"save: there is no format {name!r}", known=known)
        return formats[name]
    found = (one for one in formats.values() if one.writer and path.suffix.lower() in one.suffixes)
    return next(found, formats["safetensors"])


def _listed(names: frozenset[str]) -> str:
    shown = sorted(names)[:6]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(map(repr, shown)) or "nothing") + more


def _named(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
