"""`mlcore.save` and `mlcore.load`: named tensors in safetensors files, which other libraries read too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlcore.errors import ArgumentTypeError
from mlcore.io.safetensors import read_arrays, write_arrays
from mlcore.tensor import Tensor, TensorBase


def save(obj: Any, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors (or NumPy arrays), such as a `state_dict`, to a safetensors file.

    All of mlcore's dtypes but complex128. The file appears whole or not at all: a crash, a full disk or a
    Ctrl-C leaves what was at `path` before. `metadata` is text by name, kept beside the tensors.

    Raises `ArgumentTypeError` for anything but a mapping of tensors, `DTypeError` naming a tensor whose dtype
    the format lacks, `FileError` with the cause when the file cannot be written.

    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"weight": np.ones((2, 3), np.float32)}, os.path.join(folder, "net.safetensors"))
    ...     load(os.path.join(folder, "net.safetensors"))["weight"].shape
    (2, 3)
    """
    if not isinstance(obj, Mapping):
        fix = "pass model.state_dict()" if hasattr(obj, "state_dict") else "pass {'name': tensor}"
        raise ArgumentTypeError(
            f"save: expected a mapping of names to tensors, got a {type(obj).__name__}", fix=fix
        )
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, value in obj.items():
        if not isinstance(value, TensorBase | np.ndarray | np.generic):
            raise ArgumentTypeError(
                f"save: {name!r} is a {type(value).__name__}, not a tensor or array",
                fix="convert it with mlcore.asarray, or use mlcore.io.save_checkpoint for nested state",
            )
        arrays[name] = np.asarray(value)
    write_arrays(arrays, path, metadata)


def load(path: str | os.PathLike[str], device: Any = None) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file onto `device` (None: the default one), in the order they were
    saved.

    Raises `MissingFileError` (a FileNotFoundError) when there is no such file, `FormatError` naming the file,
    the tensor and the offsets when it is truncated or corrupt, `DTypeError` for a dtype that mlcore lacks.
    """
    arrays, _ = read_arrays(path)
    return {name: to_tensor(array, device) for name, array in arrays.items()}


def to_tensor(array: np.ndarray[Any, Any], device: Any = None) -> Tensor:
    """A tensor with the array's values, on `device`."""
    from mlcore.ops.creation import asarray

    made: Tensor = asarray(array, device=device)
    return made
