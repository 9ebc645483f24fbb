"""Checkpoints of a training run: verified, atomic, and the one before is kept.

A checkpoint is one safetensors file, so there is one moment at which it exists. Its metadata holds what is
not a tensor as JSON, and the SHA-256 of every tensor and of that JSON: a flipped bit is found when it is
read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlcore._version import __version__
from mlcore.errors import ArgumentError, CheckpointError, DTypeError, FormatError
from mlcore.io import tree
from mlcore.io.files import FileError, MissingFileError, file_error, remove_strays
from mlcore.io.safetensors import byte_pieces, read_arrays, write_arrays
from mlcore.io.weights import to_tensor

VERSION: Final = 1
_STATE: Final = "mlcore.checkpoint"
_HASHES: Final = "mlcore.sha256"
_NAME: Final = re.compile(r"checkpoint-(\d{6,})\.safetensors")


class CheckpointWarning(UserWarning):
    """A damaged checkpoint was passed over."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `load_checkpoint` read. `state` is the nested state that was saved, tensors on the asked device.

    `damaged` lists what was found wrong with newer checkpoints that were passed over.
    """

    path: Path
    epoch: int
    step: int
    state: dict[str, Any]
    damaged: tuple[str, ...] = field(default=())

    def restore(self, *, rng: bool = True, **parts: Any) -> None:
        """Load the saved state into objects with `load_state_dict`: ``restore(model=net, optimizer=opt)``.

        With `rng`, the default random stream continues where it was. Raises `CheckpointError` naming a part
        that the checkpoint does not hold; a model that does not fit raises its own error, listing all
        mismatches.
        """
        for name in parts:
            if self.state.get(name) is None:
                known = ", ".join(key for key, value in self.state.items() if value is not None)
                raise CheckpointError(f"{self.path} holds no {name!r}", holds=known or "nothing")
        for name, part in parts.items():
            part.load_state_dict(self.state[name])
        if rng and self.state.get("rng") is not None:
            from mlcore.ops import random

            random.set_state(self.state["rng"])


def save_checkpoint(
    folder: str | os.PathLike[str],
    *,
    epoch: int = 0,
    step: int = 0,
    keep: int = 2,
    rng: bool = True,
    **parts: Any,
) -> Path:
    """Write the next checkpoint into `folder` (made if missing) and return its path.

    `parts` are objects with `state_dict()` (model, optimizer, scheduler, ...), or plain nested data and
    tensors. With `rng`, the state of the default random stream is kept too. The newest `keep` checkpoints
    stay, older ones are removed once the new one is on disk; until then nothing is touched.

    Raises `FileError` when it cannot be written (the earlier checkpoints are intact then).

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_checkpoint(folder, epoch=3, history={"loss": [0.5, 0.25]}, rng=False)
    ...     again = load_checkpoint(folder)
    >>> again.epoch, again.state["history"]
    (3, {'loss': [0.5, 0.25]})
    """
    if keep < 1:
        raise ArgumentError(f"save_checkpoint: keep={keep}, expected at least 1")
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        remove_strays(place)
        present = _present(place)
    except OSError as error:
        raise file_error("write a checkpoint into", place, error) from error
    state = {name: part.state_dict() if hasattr(part, "state_dict") else part for name, part in parts.items()}
    if rng:
        from mlcore.ops import random

        state["rng"] = random.get_state()
    path = place / f"checkpoint-{max(present, default=0) + 1:06d}.safetensors"
    write_checkpoint(path, state, epoch=epoch, step=step)
    for serial in sorted(present, reverse=True)[keep - 1 :]:
        present[serial].unlink(missing_ok=True)
    return path


def write_checkpoint(
    path: str | os.PathLike[str], state: Mapping[str, Any], *, epoch: int = 0, step: int = 0
) -> None:
    """Write one checkpoint file of nested `state`; `save_checkpoint` is what numbers and rotates them."""
    data, arrays = tree.flatten(dict(state))
    # Contiguous and little-endian now, so that what is hashed is what is written.
    ready = {
        n: np.ascontiguousarray(a, a.dtype.newbyteorder("<")).reshape(a.shape) for n, a in arrays.items()
    }
    text = json.dumps({"version": VERSION, "core": __version__, "epoch": epoch, "step": step, "state": data})
    hashes = {name: _digest(array) for name, array in ready.items()}
    notes = {
        _STATE: text,
        _HASHES: json.dumps({"tensors": hashes, "state": hashlib.sha256(text.encode()).hexdigest()}),
    }
    write_arrays(ready, path, notes)


def load_checkpoint(path: str | os.PathLike[str], *, device: Any = None) -> Checkpoint:
    """Read and verify a checkpoint: a file, or the newest whole one of a folder.

    In a folder a damaged newest checkpoint is passed over with a `CheckpointWarning` that says what is wrong
    with it.

    Raises `CheckpointError` naming the tensor that fails verification (with both hashes), or everything that
    was tried; `MissingFileError` when there is none.
    """
    place = Path(path)
    if not place.is_dir():
        return _read(place, device)
    present = _present(place)
    if not present:
        raise MissingFileError(
            f"no checkpoint in {place}", expected="files such as checkpoint-000001.safetensors"
        )
    problems: list[str] = []
    for serial in sorted(present, reverse=True):
        try:
            found = _read(present[serial], device)
        except (FormatError, CheckpointError, DTypeError, FileError) as error:
            if isinstance(error, _NewerVersion):
                raise
            problems.append(str(error).splitlines()[0])
            continue
        if problems:
            warnings.warn(
                f"using the earlier {found.path}, because " + "; ".join(problems), CheckpointWarning, 2
            )
        return Checkpoint(found.path, found.epoch, found.step, found.state, tuple(problems))
    raise CheckpointError(
        f"every checkpoint in {place} is damaged", **{f"{n}": p for n, p in enumerate(problems[:4], 1)}
    )


class _NewerVersion(CheckpointError):
    """Not damaged: an older one must not be taken in its place."""


def _present(folder: Path) -> dict[int, Path]:
    found = ((_NAME.fullmatch(entry.name), entry) for entry in folder.iterdir())
    return {int(match[1]): entry for match, entry in found if match}


def _digest(array: np.ndarray[Any, Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.name} {array.shape}\n".encode())
    for piece in byte_pieces(array):
        digest.update(piece)
    return digest.hexdigest()


def _read(path: Path, device: Any) -> Checkpoint:
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
    content = json.loads(text)
    if content["version"] > VERSION:
        raise _NewerVersion(
            f"{path} has checkpoint format {content['version']}, this mlcore reads up to {VERSION}",
            written_by=f"mlcore {content.get('core', '?')}",
            fix="install that mlcore or a newer one",
        )
    state = tree.unflatten(content["state"], arrays, lambda array: to_tensor(array, device))
    return Checkpoint(path, content["epoch"], content["step"], state)
