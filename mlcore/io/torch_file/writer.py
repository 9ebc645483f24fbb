"""Checkpoints that ``torch.load(weights_only=True)`` reads: stored zip members, each at a multiple of 64 bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mlcore.io.archive_writer import ZipWriter
from mlcore.io.files import atomic_write
from mlcore.io.safetensors import byte_pieces
from mlcore.io.torch_file.pickles import Array, Pickle


def write(tree: Any, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
    """Write nested dictionaries, lists, tuples, numbers, text and arrays (or tensors), atomically.

    An array that stands at several places is stored once, and is one tensor again when PyTorch reads it. Arrays that
    are not contiguous are made so.

    Raises `ArgumentTypeError` naming what cannot be stored, `DTypeError` for a dtype that PyTorch lacks, `FileError`
    if the file cannot be written.
    """
    pickle = Pickle(tree)
    with atomic_write(path) as file:
        zipped = ZipWriter(file, "archive")
        zipped.add("data.pkl", [memoryview(pickle.data)])
        zipped.add("byteorder", [memoryview(b"little")])
        for key, array in enumerate(pickle.arrays):
            zipped.add(f"data/{key}", _pieces(array))
        zipped.add("version", [memoryview(b"3\n")])
        zipped.end()


def _pieces(array: Array) -> list[memoryview]:
    return list(byte_pieces(array))
