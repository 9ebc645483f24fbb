"""`fit` and `evaluate`: the loop that every classifier needs, and nothing that a reader would have to look up."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlcore import autograd
from mlcore.errors import ArgumentError, DataError, MlcoreError
from mlcore.io import load_checkpoint, save_checkpoint
from mlcore.nn import functional as F
from mlcore.nn.utils import clip_grad_norm_
from mlcore.train.history import History
from mlcore.train.metrics import Evaluation, confusion_matrix, predictions
from mlcore.train.progress import Progress

Batches = Iterable[tuple[Any, Any]]
Loader = Batches | Callable[[int], Batches]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `fit`. `checkpoint` is the last one written (None: there is none yet)."""

    def __init__(self, epoch: int, step: int, checkpoint: Path | None) -> None:
        self.epoch, self.step, self.checkpoint = epoch, step, checkpoint
        kept = f"the last checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet"
        super().__init__(f"interrupted in epoch {epoch + 1}, after {step} steps; {kept}")


class DivergedError(MlcoreError, FloatingPointError):
    """The loss became infinite or nan."""


@dataclass(slots=True)
class _Run:
    """Where a run stands: the epoch, the steps and sums of the part of it that is done, and what came before."""

    history: History
    epoch: int = 0
    step: int = 0  # of all epochs
    batches: int = 0  # of this epoch
    seen: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        names = ("epoch", "step", "batches", "seen", "loss_sum", "correct", "seconds")
        return {**{name: getattr(self, name) for name in names}, "history": self.history.to_dict()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> _Run:
        return cls(**{**state, "history": History.from_dict(state["history"])})

    def next_epoch(self) -> None:
        self.epoch += 1
        self.batches = self.seen = self.correct = 0
        self.loss_sum = self.seconds = 0.0


def fit(
    model: Any,
    optimizer: Any,
    loader: Loader,
    *,
    epochs: int,
    samples: int,
    loss: Callable[[Any, Any], Any] = F.cross_entropy,
    validate: Callable[[], Evaluation] | None = None,
    scheduler: Any = None,
    augment: Callable[[Any], Any] | None = None,
    clip_norm: float | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    resume: bool = False,
    save_every: float = 30.0,
    extra: dict[str, Any] | None = None,
    max_steps: int | None = None,
    quiet: bool = False,
    unit: str = "img",
) -> History:
    """Train a classifier: batches (input, target) in, cross-entropy down, one line for each epoch.

    `loader` is gone through once an epoch, or called with the epoch's number for what to go through. A resumed run
    equals one that was never stopped, bit by bit, where the loader has a `state_dict`, which is kept in the checkpoint
    (`DataLoader` has), or is called and its order depends on that number alone. `samples` is the
    number of examples of an epoch (for the bar). `augment` changes the input of each batch, here and not in a
    thread, so that its random numbers come in one order. `scheduler.step()` is called after each step, with
    gradients clipped to `clip_norm` before. `validate` is called after each epoch: see `evaluate`.

    With `checkpoints`, a folder, the run is saved there after each epoch and every `save_every` seconds, and
    `resume` continues from the newest (`extra` is kept in it). `max_steps` ends a run early.

    Raises `Interrupted` (a KeyboardInterrupt) on Ctrl-C, which leaves the last checkpoint whole, and
    `DivergedError` for a loss that is not finite.
    """
    if epochs < 1 or samples < 1:
        raise ArgumentError(f"fit: epochs={epochs}, samples={samples}", expected="at least 1 of each")
    run = _Run(History())
    written: Path | None = None
    parts = {
        "model": model,
        "optimizer": optimizer,
        **({"scheduler": scheduler} if scheduler is not None else {}),
        **({"loader": loader} if hasattr(loader, "state_dict") else {}),
    }
    if resume:
        if checkpoints is None:
            raise ArgumentError("fit: resume=True needs the folder of the checkpoints")
        found = load_checkpoint(checkpoints)
        if found.state.get("loader") is None:  # made with a loader that says nothing of its place
            parts.pop("loader", None)
        found.restore(**parts)
        run, written = _Run.from_state(found.state["run"]), found.path
    progress = Progress(epochs * samples, done=run.epoch * samples + run.seen, unit=unit, quiet=quiet)

    def save() -> Path | None:
        if checkpoints is None:
            return None
        return save_checkpoint(
            checkpoints, epoch=run.epoch, step=run.step, run=run.state(), extra=extra or {}, **parts
        )

    saved = time.monotonic()
    try:
        while run.epoch < epochs and not (max_steps and run.step >= max_steps):
            progress.epoch(f"epoch {run.epoch + 1:{len(str(epochs))}}/{epochs}")
            before, started = run.seconds, time.monotonic()
            for inputs, target in _remaining(parts.get("loader"), loader, run):
                _step(model, optimizer, loss, inputs, target, augment, clip_norm, run)
                if scheduler is not None:
                    scheduler.step()
                progress.step(len(target), run.loss_sum / run.seen, run.correct / run.seen)
                run.seconds = before + time.monotonic() - started
                if checkpoints is not None and time.monotonic() - saved > save_every:
                    written, saved = save(), time.monotonic()
                if max_steps and run.step >= max_steps:
                    break
            _close_epoch(run, validate, optimizer, progress)
            written, saved = save(), time.monotonic()
    except KeyboardInterrupt:
        raise Interrupted(run.epoch, run.step, written) from None
    finally:
        progress.close()
    return run.history


def _remaining(stateful: Any, loader: Loader, run: _Run) -> Iterable[tuple[Any, Any]]:
    """The batches of the epoch that are still to do: a run resumed within an epoch passes over the others."""
    from mlcore.ops import random

    if stateful is not None:  # it knows its place
        yield from stateful
        return
    batches = loader(run.epoch) if callable(loader) else loader
    here, skip = random.get_state(), run.batches
    for index, batch in enumerate(batches):
        if index == skip and skip:
            random.set_state(here)  # as if nothing had been drawn for those passed over
        if index >= skip:
            yield batch


def _step(
    model: Any,
    optimizer: Any,
    loss: Any,
    inputs: Any,
    target: Any,
    augment: Any,
    clip_norm: float | None,
    run: _Run,
) -> None:
    model.train()
    if augment is not None:
        inputs = augment(inputs)
    optimizer.zero_grad()
    output = model(inputs)
    value = loss(output, target)
    value.backward()
    if clip_norm is not None:
        clip_grad_norm_(model.parameters(), clip_norm)
    number = value.item()
    if not math.isfinite(number):
        raise DivergedError(
            f"the loss is {number} at step {run.step + 1} (epoch {run.epoch + 1})",
            first=_first_bad(model, inputs),
            cause="usually a learning rate that is too high, or inputs that are not finite",
            fix="lower the learning rate, clip gradients, and resume from the last checkpoint",
        )
    optimizer.step()
    count = len(target)
    run.loss_sum += number * count
    run.correct += int((predictions(output.detach()) == np.asarray(target)).sum())
    run.seen += count
    run.batches += 1
    run.step += 1


def _first_bad(model: Any, inputs: Any) -> str:
    if not np.isfinite(np.asarray(inputs, np.float64)).all():
        return "the input of this batch is not finite"
    for name, parameter in model.named_parameters():
        for what, tensor in (("parameter", parameter), ("gradient of", parameter.grad)):
            if tensor is not None and not np.isfinite(np.asarray(tensor.detach(), np.float64)).all():
                return f"{what} {name} is not finite"
    return "parameters, gradients and inputs are finite; the loss itself overflows"


def _close_epoch(run: _Run, validate: Any, optimizer: Any, progress: Progress) -> None:
    if not run.seen:
        raise DataError("fit: an epoch had no batches", fix="check the data set, and drop_last of the loader")
    nan = float("nan")
    started = time.monotonic()
    held_out: Evaluation | None = validate() if validate is not None else None
    run.history.add(
        loss=run.loss_sum / run.seen,
        accuracy=run.correct / run.seen,
        held_out_loss=held_out.loss if held_out else nan,
        held_out_accuracy=held_out.accuracy if held_out else nan,
        rate=optimizer.param_groups[0]["lr"],
        seconds=run.seconds + time.monotonic() - started,
    )
    text = f"{progress.label}  loss {run.loss_sum / run.seen:.4f}  accuracy {100 * run.correct / run.seen:6.2f} %"
    if held_out is not None:
        text += f"  held out: loss {held_out.loss:.4f}  accuracy {100 * held_out.accuracy:6.2f} %"
    progress.say(f"{text}  {progress.rate():.0f} {progress.unit}/s")
    run.next_epoch()


def evaluate(
    model: Any, batches: Batches, *, classes: int, loss: Callable[[Any, Any], Any] = F.cross_entropy
) -> Evaluation:
    """The model's mean loss, accuracy and confusion matrix over batches (input, target); no gradients are kept.

    The model is in eval mode meanwhile, and back in its own afterwards.
    """
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    confusion = np.zeros((classes, classes), np.int64)
    try:
        with autograd.no_grad():
            for inputs, target in batches:
                output = model(inputs)
                total += loss(output, target).item() * len(target)
                count += len(target)
                confusion += confusion_matrix(predictions(output), np.asarray(target), classes)
    finally:
        model.train(was_training)
    if not count:
        raise DataError("evaluate: there are no batches")
    return Evaluation(total / count, float(np.trace(confusion)) / count, confusion)
