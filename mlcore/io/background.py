"""Saving beside the training: a snapshot at once, the writing in a thread."""

from __future__ import annotations

import os
import threading
import warnings
from pathlib import Path
from typing import Any

from mlcore.io import manifest
from mlcore.io.checkpoint import (
    Checkpoint,
    CheckpointWarning,
    Rotation,
    load_checkpoint,
    next_path,
    rotate,
    take_snapshot,
)


class Checkpointer:
    """Saves checkpoints of a run into `folder` while the run goes on.

    `save` copies the state (so that later steps do not change it) and returns; a thread hashes, writes and rotates it,
    as `save_checkpoint` does. One at a time: a `save` that comes too early waits for the one before. What went wrong
    there is raised by the next `save`, `wait` or `load`, or at the end of the `with` block. A program that ends waits
    for its thread. `background=False` writes at once.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder, Checkpointer(folder, keep=2, keep_best=1) as checkpoints:
    ...     weights = np.zeros(3)
    ...     for step in range(5):
    ...         weights += 1
    ...         _ = checkpoints.save(step=step, metric=abs(2 - step), weights=weights)
    ...     best, last = checkpoints.load(best=True), checkpoints.load()
    >>> best.state["weights"], last.state["weights"]
    (array([3., 3., 3.]), array([5., 5., 5.]))
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep: int = 2,
        keep_best: int = 0,
        mode: str = "min",
        background: bool = True,
    ) -> None:
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.folder, self.background = Path(folder), background
        self.rotation = Rotation(keep, keep_best, mode)

    def save(
        self, *, epoch: int = 0, step: int = 0, metric: float | None = None, rng: bool = True, **parts: Any
    ) -> Path:
        """Save `parts` as `save_checkpoint` does, and return where they will be once `wait` has returned.

        Raises what the save before met (nothing is saved then), `FileError` if the folder cannot be had,
        `ArgumentTypeError` naming what cannot be stored.
        """
        self.wait()
        path = next_path(self.folder)
        snapshot = take_snapshot(
            parts,
            epoch=epoch,
            step=step,
            metric=metric,
            mode=self.rotation.mode,
            rng=rng,
            copy=self.background,
        )
        if self.background:
            # No daemon: the interpreter waits for it, and does not end in the middle of a file.
            self._thread = threading.Thread(target=self._run, args=(path, snapshot), name="mlcore-checkpoint")
            self._thread.start()
        else:
            self._write(path, snapshot)
        return path

    def wait(self) -> None:
        """Return when everything is on the disk; raises what went wrong, once."""
        self._join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def load(self, *, device: Any = None, best: bool = False) -> Checkpoint:
        """`load_checkpoint` of the folder, after what is being written."""
        self.wait()
        return load_checkpoint(self.folder, device=device, best=best)

    def _run(self, path: Path, snapshot: manifest.Snapshot) -> None:
        try:
            self._write(path, snapshot)
        except BaseException as error:  # for the thread that asks next
            self._error = error

    def _write(self, path: Path, snapshot: manifest.Snapshot) -> None:
        manifest.write(path, snapshot)
        rotate(self.folder, self.rotation)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            self.wait()
        else:
            self._join()
            self._say()

    def __del__(self) -> None:
        self._say()

    def _say(self) -> None:
        error, self._error = getattr(self, "_error", None), None
        if error is not None:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            warnings.warn(f"a checkpoint was not saved: {text}", CheckpointWarning, 3)
