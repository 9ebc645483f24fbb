"""All cases there are: importing this module registers them."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import numpy as np

import mlcore as ml
from hostile_files import of_gguf, of_numpy, of_safetensors, of_torch  # noqa: F401  (the import registers)
from mlcore import io

READERS = ("safetensors", "folder", "checkpoint", "pytorch", "gguf", "npz", "npy")


def warm_up(folder: Path) -> None:
    """Read a good file and a bad one of each format, so that what readers import is imported."""
    arrays = {"w": np.ones(2, np.float32)}
    for name in sorted(one.name for one in io.formats.core_formats() if one.writer):
        path = folder / f"good-{name}"
        ml.save(arrays, path, format=name)
        with io.open_weights(path) as weights:
            for key in weights:
                weights.view(key)
            weights.tree()
    of_safetensors.checkpoint(folder / "checkpoint")
    for path in (folder / "checkpoint").iterdir():
        with io.open_weights(path) as weights:
            weights.read(next(iter(weights)))
    for data in (b"", b"\x80\x02}q\x01.", b"GGUF", b"PK\x03\x04", b"\x93NUMPY"):
        bad = folder / "bad"
        bad.write_bytes(data)
        with warnings.catch_warnings(), contextlib.suppress(ml.errors.MlcoreError):
            warnings.simplefilter("ignore")
            ml.load(bad)
