"""GGUF files (version 3, little-endian) of tensors of plain types, for tools that quantise or run them."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from mlcore.errors import ArgumentError, ArgumentTypeError, DTypeError
from mlcore.io.files import atomic_write
from mlcore.io.gguf.header import ALIGNMENT, ARRAY, BOOL, MAGIC, MAX_DIMENSIONS, NUMBERS, PLAIN, STRING, TYPES
from mlcore.io.opened import Array
from mlcore.io.safetensors import byte_pieces

_KINDS: Final = {PLAIN[kind]: code for code, kind in TYPES.items() if kind in PLAIN}
_CODES: Final = {np.dtype(code): number for number, code in NUMBERS.items()}


def write(
    arrays: Mapping[str, Array], path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write named arrays, atomically. `metadata` holds texts, numbers, truth values, and lists of one of them.

    Raises `DTypeError` for a dtype that GGUF lacks (unsigned and complex numbers, truth values), `ArgumentError` for
    more than four dimensions, `ArgumentTypeError` for metadata that it cannot hold, `FileError` if it fails.
    """
    notes = {"general.architecture": "unknown", **(metadata or {})}
    alignment = notes.get(ALIGNMENT, 32)
    if type(alignment) is not int or alignment < 8 or alignment & (alignment - 1):
        raise ArgumentError(f"save: {ALIGNMENT} is {alignment!r}", fix="leave it out: it is 32 then")
    ready = {name: _ready(name, array) for name, array in arrays.items()}
    head = [MAGIC, struct.pack("<I2Q", 3, len(ready), len(notes))]
    for key, value in notes.items():
        head += [_text(key), *_value(key, value)]
    place = 0
    for name, array in ready.items():
        sizes = array.shape[::-1]
        kind = _KINDS[array.dtype.newbyteorder("=")]
        head.append(_text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, place))
        place += -(-array.nbytes // alignment) * alignment
    before = b"".join(head)
    with atomic_write(path) as file:
        file.write(before + b"\0" * (-len(before) % alignment))
        for array in ready.values():
            for piece in byte_pieces(array):
                file.write(piece)
            file.write(b"\0" * (-array.nbytes % alignment))


def _ready(name: str, array: Array) -> Array:
    if array.ndim > MAX_DIMENSIONS:
        raise ArgumentError(
            f"save: tensor {name!r} has {array.ndim} dimensions, GGUF has {MAX_DIMENSIONS} at most"
        )
    if array.dtype.newbyteorder("=") not in _KINDS:
        raise DTypeError(
            f"save: tensor {name!r} has dtype {array.dtype}, which GGUF files cannot hold",
            known=", ".join(dtype.name for dtype in _KINDS),
            fix="convert it with astype",
        )
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _value(key: str, value: Any) -> list[bytes]:
    """The type of a value, and the value."""
    if isinstance(value, str):
        return [struct.pack("<I", STRING), _text(value)]
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return [struct.pack("<2IQ", ARRAY, STRING, len(value)), *map(_text, value)]
    numbers = np.asarray(value)
    code = BOOL if numbers.dtype == np.bool_ else _CODES.get(numbers.dtype)
    if code is None or numbers.ndim > 1:
        raise ArgumentTypeError(
            f"save: metadata {key!r} is a {type(value).__name__} that GGUF files cannot hold",
            fix="use text, a number, a truth value, or a list of one of them",
        )
    raw = numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()
    if numbers.ndim:
        return [struct.pack("<2IQ", ARRAY, code, len(numbers)), raw]
    if type(value) is int and 0 <= value < 2**32:  # what readers expect of counts and ids
        code, raw = _CODES[np.dtype(np.uint32)], struct.pack("<I", value)
    return [struct.pack("<I", code), raw]
