"""Weights and checkpoints: safetensors files, written atomically and checked when read."""

from mlcore.io.background import Checkpointer
from mlcore.io.checkpoint import (
    Checkpoint,
    CheckpointWarning,
    load_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from mlcore.io.files import FileError, MissingFileError, atomic_write
from mlcore.io.formats import Format, Peek
from mlcore.io.opened import Leaf, TensorInfo, Weights
from mlcore.io.weights import load, open_weights, save

__all__ = [
    "Checkpoint",
    "CheckpointWarning",
    "Checkpointer",
    "FileError",
    "Format",
    "Leaf",
    "MissingFileError",
    "Peek",
    "TensorInfo",
    "Weights",
    "atomic_write",
    "load",
    "load_checkpoint",
    "open_weights",
    "save",
    "save_checkpoint",
    "write_checkpoint",
]
