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
from mlcore.io.weights import load, save

__all__ = [
    "Checkpoint",
    "CheckpointWarning",
    "Checkpointer",
    "FileError",
    "MissingFileError",
    "atomic_write",
    "load",
    "load_checkpoint",
    "save",
    "save_checkpoint",
    "write_checkpoint",
]
