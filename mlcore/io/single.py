"""Checkpoints of format version 1: one safetensors file whose metadata holds the state and the hashes. Read only."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlcore.errors import CheckpointError
from mlcore.io.safetensors import byte_pieces, read_arrays

_STATE: Final = "mlcore.checkpoint"
_HASHES: Final = "mlcore.sha256"


def read_single(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """The content (epoch, step, state) and the tensors of such a file, verified."""
    arrays, notes = read_arrays(path)
    if _STATE not in notes or _HASHES not in notes:
        raise CheckpointError(
            f"{path} is no checkpoint: it holds tensors only",
            fix="read plain weights with mlcore.load and model.load_state_dict",
        )
    try:
        hashes = json.loads(notes[_HASHES])
        wanted, state_hash = dict(hashes["tensors"]), hashes["state"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: its table of hashes is damaged ({type(error).__name__}: {error})"
        ) from error
    text = notes[_STATE]
    got = hashlib.sha256(text.encode()).hexdigest()
    if got != state_hash:
        raise CheckpointError(f"{path}: its state is damaged", expected=f"SHA-256 {state_hash}", got=got)
    if wanted.keys() != arrays.keys():
        names = sorted(wanted.keys() ^ arrays.keys())[:4]
        raise CheckpointError(f"{path}: tensors and hashes differ in {', '.join(map(repr, names))}")
    for name, array in arrays.items():
        got = _digest(array)
        if got != wanted[name]:
            raise CheckpointError(
                f"{path}: tensor {name!r} is damaged", expected=f"SHA-256 {wanted[name]}", got=got
            )
    try:
        content: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: its state makes no sense ({type(error).__name__}: {error})"
        ) from error
    return content, arrays


def _digest(array: np.ndarray[Any, Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.name} {array.shape}\n".encode())
    for piece in byte_pieces(array):
        digest.update(piece)
    return digest.hexdigest()
