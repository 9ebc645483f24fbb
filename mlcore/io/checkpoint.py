"""Checkpoints of a training run: verified, atomic, and the one before is kept.

A checkpoint is a folder (see `mlcore.io.manifest`) that takes its name in one step, when all of it is on the disk.
"""

from __future__ import annotations

import math
import operator
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mlcore.errors import ArgumentError, ArgumentTypeError, CheckpointError, DTypeError, FormatError
from mlcore.io import manifest, tree
from mlcore.io.files import FileError, MissingFileError, discard, file_error, remove_strays
from mlcore.io.manifest import NewerVersionError, Snapshot
from mlcore.io.randomness import global_state, set_global_state, set_state_of, state_of
from mlcore.io.single import read_single
from mlcore.io.weights import to_tensor

_NAME: Final = re.compile(r"checkpoint-(\d{6,})(\.safetensors)?")  # with the suffix: format version 1
_DAMAGE: Final = (FormatError, CheckpointError, DTypeError, FileError)


class CheckpointWarning(UserWarning):
    """A damaged checkpoint was passed over, or an old one could not be removed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `load_checkpoint` read. `state` is the nested state that was saved, tensors on the asked device.

    `damaged` lists what was found wrong with better or newer checkpoints that were passed over.
    """

    path: Path
    epoch: int
    step: int
    state: dict[str, Any]
    damaged: tuple[str, ...] = field(default=())
    metric: float | None = None

    def restore(self, *, rng: bool = True, **parts: Any) -> None:
        """Load the saved state into objects with `load_state_dict`: ``restore(model=net, optimizer=opt)``.

        A part may be a random generator too, mlcore's, NumPy's or Python's. With `rng`, the random numbers of mlcore,
        NumPy and Python's `random` continue where they were. Raises `CheckpointError` naming a part that the checkpoint
        does not hold; a part that does not fit raises its own error, a model listing all mismatches. Then the parts
        before it get back what they had.
        """
        for name in parts:
            if self.state.get(name) is None:
                known = ", ".join(key for key, value in self.state.items() if value is not None)
                raise CheckpointError(f"{self.path} holds no {name!r}", holds=known or "nothing")
        done: list[tuple[Any, Any]] = []
        try:
            for name, part in parts.items():
                before = state_of(part)
                set_state_of(part, self.state[name])
                done.append((part, before))
        except Exception:
            for part, before in done:
                if before is not part:
                    set_state_of(part, before)
            raise
        if rng and self.state.get("rng") is not None:
            set_global_state(self.state["rng"])


# -- saving -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rotation:
    """The checkpoints that stay: the newest `keep`, and the `best` with the lowest ("min") or highest metric."""

    keep: int = 2
    best: int = 0
    mode: str = "min"

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ArgumentError(f"save_checkpoint: keep={self.keep}, expected at least 1")
        if self.best < 0:
            raise ArgumentError(f"save_checkpoint: keep_best={self.best}, expected at least 0")
        if self.mode not in ("min", "max"):
            raise ArgumentError(f"save_checkpoint: mode={self.mode!r}", expected="'min' or 'max'")


def save_checkpoint(
    folder: str | os.PathLike[str],
    *,
    epoch: int = 0,
    step: int = 0,
    metric: float | None = None,
    keep: int = 2,
    keep_best: int = 0,
    mode: str = "min",
    rng: bool = True,
    **parts: Any,
) -> Path:
    """Write the next checkpoint into `folder` (made if missing) and return its path, a folder too.

    `parts` are objects with `state_dict()` (model, optimizer, scheduler, loader, ...), random generators, or plain
    nested data and tensors. With `rng`, the states of the default random streams of mlcore, NumPy and Python are kept
    too. The newest `keep` checkpoints stay, and beside them the `keep_best` with the best `metric`: the lowest, or with
    mode="max" the highest. Others are removed once the new one is on disk; until then nothing is touched.

    Raises `FileError` when it cannot be written (the earlier checkpoints are intact then), `ArgumentTypeError` naming
    what cannot be stored.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for epoch, loss in enumerate([0.5, 0.1, 0.3, 0.2]):
    ...         _ = save_checkpoint(folder, epoch=epoch, metric=loss, keep_best=1, history={"loss": loss})
    ...     again, best = load_checkpoint(folder), load_checkpoint(folder, best=True)
    ...     sorted(os.listdir(folder))
    ['checkpoint-000002', 'checkpoint-000003', 'checkpoint-000004']
    >>> again.epoch, again.state["history"], best.epoch
    (3, {'loss': 0.2}, 1)
    """
    rotation = Rotation(keep, keep_best, mode)
    path = next_path(folder)
    snapshot = take_snapshot(parts, epoch=epoch, step=step, metric=metric, mode=mode, rng=rng)
    manifest.write(path, snapshot)
    rotate(path.parent, rotation)
    return path


def write_checkpoint(
    path: str | os.PathLike[str],
    state: Mapping[str, Any],
    *,
    epoch: int = 0,
    step: int = 0,
    metric: float | None = None,
) -> None:
    """Write one checkpoint of nested `state` as the folder `path`, which must not be there yet.

    `save_checkpoint` is what numbers and rotates them.
    """
    manifest.write(path, Snapshot.of(state, _facts(epoch, step, metric, "min")))


def next_path(folder: str | os.PathLike[str]) -> Path:
    """Where the next checkpoint of `folder` goes. The folder is made, and what killed processes left there removed."""
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        remove_strays(place)
        number = max(_present(place), default=0) + 1
    except OSError as error:
        raise file_error("write a checkpoint into", place, error) from error
    return place / f"checkpoint-{number:06d}"


def take_snapshot(
    parts: Mapping[str, Any],
    *,
    epoch: int,
    step: int,
    metric: float | None,
    mode: str,
    rng: bool,
    copy: bool = False,
) -> Snapshot:
    """What `save_checkpoint` will write; with `copy` in memory of its own."""
    state = {name: state_of(part) for name, part in parts.items()}
    if rng:
        state["rng"] = global_state()
    return Snapshot.of(state, _facts(epoch, step, metric, mode), copy=copy)


def rotate(folder: Path, rotation: Rotation) -> None:
    """Remove the checkpoints that need not stay; one that cannot be removed is warned of."""
    present = _present(folder)
    serials = sorted(present, reverse=True)
    stay = set(serials[: rotation.keep])
    if rotation.best and len(serials) > rotation.keep:
        scores = {serial: score for serial in serials if (score := _score(present[serial])) is not None}
        sign = 1 if rotation.mode == "min" else -1
        stay.update(sorted(scores, key=lambda serial: (sign * scores[serial][0], -serial))[: rotation.best])
    for serial in serials:
        if serial not in stay:
            try:
                discard(present[serial])
            except OSError as error:
                reason = error.strerror or str(error)
                warnings.warn(f"cannot remove the old {present[serial]}: {reason}", CheckpointWarning, 3)


def _facts(epoch: Any, step: Any, metric: Any, mode: str) -> dict[str, Any]:
    try:
        number = None if metric is None else float(metric)
        facts = {"epoch": operator.index(epoch), "step": operator.index(step)}
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"save_checkpoint: epoch={epoch!r}, step={step!r}, metric={metric!r}",
            expected="whole numbers and a number",
        ) from error
    if number is not None and not math.isfinite(number):
        number = None  # never the best
    return {**facts, "metric": number, "mode": mode}


# -- loading ----------------------------------------------------------------------------------------------------------


def load_checkpoint(path: str | os.PathLike[str], *, device: Any = None, best: bool = False) -> Checkpoint:
    """Read and verify a checkpoint: itself, or of a run's folder the newest whole one (`best`: by its metric).

    In a folder a damaged one is passed over for the one before with a `CheckpointWarning` that says what is wrong
    with it.

    Raises `CheckpointError` naming the tensor that fails verification (with both hashes), or everything that
    was tried; `MissingFileError` when there is none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(folder, step=7, note="kept")
    ...     found = load_checkpoint(folder)
    >>> found.step, found.state["note"], found.path == path
    (7, 'kept', True)
    """
    place = Path(path)
    if not place.is_dir() or _is_checkpoint(place):
        return _read(place, device)
    try:
        present = _present(place)
    except OSError as error:
        raise file_error("read the checkpoints in", place, error) from error
    if not present:
        raise MissingFileError(f"no checkpoint in {place}", expected="folders such as checkpoint-000001")
    order: Iterable[Path] = [present[serial] for serial in sorted(present, reverse=True)]
    problems: list[str] = []
    if best:
        order = _by_metric(order, problems)
    for candidate in order:
        try:
            found = _read(candidate, device)
        except NewerVersionError:
            raise
        except _DAMAGE as error:
            problems.append(_brief(error))
            continue
        if problems:
            other = "next best" if best else "earlier"
            warnings.warn(
                f"using the {other} {found.path}, because {'; '.join(problems)}", CheckpointWarning, 2
            )
        return replace(found, damaged=tuple(problems))
    if not problems:
        raise CheckpointError(
            f"no checkpoint in {place} has a metric", fix="save with metric=, or load the newest"
        )
    raise CheckpointError(
        f"every checkpoint in {place} is damaged", **{f"{n}": p for n, p in enumerate(problems[:4], 1)}
    )


def _present(folder: Path) -> dict[int, Path]:
    found = ((_NAME.fullmatch(entry.name), entry) for entry in folder.iterdir())
    return {int(match[1]): entry for match, entry in found if match}


def _is_checkpoint(folder: Path) -> bool:
    return _NAME.fullmatch(folder.name) is not None or (folder / manifest.MANIFEST).exists()


def _score(path: Path) -> tuple[float, str] | None:
    """The metric of a checkpoint and which way is better; None where there is none, or it is damaged."""
    if not path.is_dir():
        return None
    try:
        content = manifest.read_manifest(path)
    except _DAMAGE:
        return None
    metric = content.get("metric")
    return None if metric is None else (float(metric), content.get("mode", "min"))


def _by_metric(order: Iterable[Path], problems: list[str]) -> list[Path]:
    """Those with a metric, the best first, of equals the newest; a manifest that is damaged is a problem."""
    scored: list[tuple[float, Path]] = []
    sign = 0
    for path in order:
        if not path.is_dir():
            continue
        score = _score(path)
        if score is not None:
            sign = sign or (1 if score[1] == "min" else -1)
            scored.append((sign * score[0], path))
            continue
        try:
            manifest.read_manifest(path)
        except NewerVersionError:
            raise
        except _DAMAGE as error:
            problems.append(_brief(error))
    return [path for _, path in sorted(scored, key=lambda pair: pair[0])]


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0]


def _read(path: Path, device: Any) -> Checkpoint:
    content, arrays = manifest.read(path) if path.is_dir() else read_single(path)
    try:
        state = tree.unflatten(content["state"], arrays, lambda array: to_tensor(array, device))
        return Checkpoint(path, content["epoch"], content["step"], state, metric=content.get("metric"))
    except FormatError as error:
        raise FormatError(f"{path}: {error.what}", **error.details) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} makes no sense ({type(error).__name__}: {error})") from error
