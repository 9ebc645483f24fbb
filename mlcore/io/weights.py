"""`mlcore.save`, `mlcore.load` and `open_weights`: named tensors, in all of `mlcore.io.formats`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlcore import dtypes
from mlcore.backends import detect
from mlcore.errors import ArgumentTypeError
from mlcore.host import in_our_dtype
from mlcore.inputs import check_holds
from mlcore.io import formats
from mlcore.io.opened import Array, Weights, fill
from mlcore.tensor import Tensor, TensorBase, wrap


def save(
    obj: Any,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    *,
    format: str | None = None,
    max_shard_size: int | str | None = None,
    **options: Any,
) -> None:
    """Write named tensors (or NumPy arrays), such as a `state_dict`, to a file.

    The path's suffix chooses the format, or `format` names it; safetensors where neither does. Files appear whole or
    not at all: a crash, a full disk or a Ctrl-C leaves what was at `path` before. `metadata` is text by name, kept
    beside the tensors. With `max_shard_size` (bytes, or "5GB") `path` is a new folder of safetensors files, none larger
    than that, with an index; so it is with format="folder", which takes config={...} too. Other `options` are the
    format's own.

    Raises `ArgumentTypeError` for anything but a mapping of tensors, `DTypeError` naming a tensor whose dtype
    the format lacks, `FileError` with the cause when the file cannot be written.

    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"weight": np.ones((2, 3), np.float32)}, os.path.join(folder, "net.safetensors"))
    ...     load(os.path.join(folder, "net.safetensors"))["weight"].shape
    (2, 3)
    """
    place = Path(path)
    if max_shard_size is not None:
        format, options["max_shard_size"] = format or "folder", max_shard_size
    chosen = formats.for_writing(place, format)
    arrays = _as_arrays(obj) if chosen.nested else _named_arrays(obj)
    chosen.write(arrays, place, metadata, **options)


def _named_arrays(obj: Any) -> Mapping[str, Array]:
    if isinstance(obj, Weights):
        return obj
    if not isinstance(obj, Mapping):
        fix = "pass model.state_dict()" if hasattr(obj, "state_dict") else "pass {'name': tensor}"
        raise ArgumentTypeError(
            f"save: expected a mapping of names to tensors, got a {type(obj).__name__}", fix=fix
        )
    arrays: dict[str, Array] = {}
    for name, value in obj.items():
        if not isinstance(value, TensorBase | np.ndarray | np.generic):
            raise ArgumentTypeError(
                f"save: {name!r} is a {type(value).__name__}, not a tensor or array",
                fix="convert it with mlcore.asarray, or use mlcore.io.save_checkpoint for nested state",
            )
        arrays[name] = np.asarray(value)
    return arrays


def _as_arrays(obj: Any) -> Any:
    """Nested data with its tensors as arrays."""
    if isinstance(obj, TensorBase | np.generic):
        return np.asarray(obj)
    if isinstance(obj, Mapping):
        return {key: _as_arrays(value) for key, value in obj.items()}
    if type(obj) in (list, tuple):
        return type(obj)(_as_arrays(value) for value in obj)
    return obj


def open_weights(path: str | os.PathLike[str]) -> Weights:
    """Open a file or folder of weights of any known format without reading the tensors.

    The result is a mapping of names to NumPy arrays, each read (or mapped) when it is asked for; `infos` has dtypes,
    shapes and sizes, `metadata` what else the file says, ``slice(name, index)`` a part of a tensor. Use it in a `with`
    block, or `close` it.

    Raises `MissingFileError` when there is nothing at `path`, `FormatError` naming file, tensor, offset and reason when
    it is damaged or in no known format, `UnsafeFileError` for what would have to be run to be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"weight": np.arange(6.0).reshape(2, 3)}, Path(folder, "net.safetensors"), {"author": "me"})
    ...     with open_weights(Path(folder, "net.safetensors")) as weights:
    ...         print(weights.info("weight").shape, weights.metadata["author"], weights.slice("weight", np.s_[1, :2]))
    (2, 3) me [3. 4.]
    """
    place = Path(path)
    return formats.recognise(place).open(place)


def load(path: str | os.PathLike[str], device: Any = None) -> Any:
    """Read the tensors of a file or folder onto `device` (None: the default one), in the order they were saved.

    The format is recognised by the content: safetensors, a folder with config.json and weights in one or many files,
    NumPy's npz and npy, PyTorch's checkpoints of both containers, GGUF, mlcore's checkpoints, and what plugins add. The
    result is a dictionary of names to tensors; of a checkpoint it is nested as it was saved, numbers and texts as they
    are. float8 tensors come as the smallest dtype that holds all their values (float16, or bfloat16 for e8m0);
    `open_weights` gives their bits.

    Raises `MissingFileError` (a FileNotFoundError) when there is no such file, `FormatError` naming the file,
    the tensor and the offsets when it is truncated or corrupt, `UnsafeFileError` for a file that would have to be run,
    `DTypeError` for a dtype that mlcore lacks.
    """
    with open_weights(path) as weights:
        read: dict[str, Tensor] = {}

        def one(name: str) -> Tensor:
            if name not in read:
                read[name] = read_tensor(weights, name, device)
            return read[name]

        return fill(weights.tree(), one)


def read_tensor(weights: Weights, name: str, device: Any = None) -> Tensor:
    """One tensor of an opened file on `device`: read straight into its memory where that is the host's."""
    where = detect.resolve(device)
    room = getattr(where.backend, "buffer", None)
    if room is None:
        return to_tensor(weights.view(name), where)
    array = weights.read(name, room)
    if array.dtype not in dtypes._by_numpy:
        return to_tensor(array, where)
    dtype = dtypes.from_numpy(array.dtype)
    check_holds(dtype, where)
    return wrap(array, where, dtype, array.shape)


def to_tensor(array: Array, device: Any = None) -> Tensor:
    """A tensor with the array's values, on `device`; float8 becomes the smallest dtype of ours that holds them."""
    from mlcore.ops.creation import asarray

    made: Tensor = asarray(in_our_dtype(array), device=device)
    return made
