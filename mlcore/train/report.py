"""The text summary of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mlcore.train.history import History
from mlcore.train.metrics import Array, Evaluation, per_class


def summary(
    title: str, facts: Mapping[str, object], history: History, result: Evaluation, classes: Sequence[str]
) -> str:
    """A page of text: the facts, how each epoch went, each class, the confusion matrix and the worst confusions.

    >>> result = Evaluation(0.1, 0.75, np.array([[2, 0], [1, 1]]))
    >>> print(*summary("a run", {"device": "toy"}, History(), result, ["no", "yes"]).splitlines()[:5], sep="\\n")
    a run
    =====
    device               toy
    held-out accuracy    75.00 % (1 wrong of 4)
    held-out loss        0.1000
    """
    lines = [title, "=" * len(title)]
    facts = {
        **facts,
        "held-out accuracy": f"{100 * result.accuracy:.2f} % ({result.errors} wrong of {result.count})",
        "held-out loss": f"{result.loss:.4f}",
    }
    lines += [f"{name:<20} {value}" for name, value in facts.items()]
    lines += ["", "epochs", *_epochs(history), "", "classes", *_classes(result.confusion, classes)]
    lines += [
        "",
        "confusion (row: what it is, column: what it was taken for)",
        *_matrix(result.confusion, classes),
    ]
    worst = _worst(result.confusion, classes)
    return "\n".join([*lines, *(["", "most often confused", *worst] if worst else [])]) + "\n"


def _epochs(history: History) -> list[str]:
    lines = ["  epoch      loss  accuracy   held-out loss  accuracy  learning rate      time"]
    columns = (history.loss, history.accuracy, history.held_out_loss, history.held_out_accuracy, history.rate)
    for number, (row, seconds) in enumerate(zip(zip(*columns), history.seconds), 1):
        loss, accuracy, held_loss, held_accuracy, rate = row
        lines.append(
            f"  {number:5} {loss:9.4f} {100 * accuracy:7.2f} % {held_loss:15.4f} {100 * held_accuracy:7.2f} %"
            f" {rate:14.2e} {seconds:7.1f} s"
        )
    return lines


def _classes(confusion: Array, classes: Sequence[str]) -> list[str]:
    width = max(5, *map(len, classes))
    lines = [f"  {'class':<{width}}  precision   recall       F1   examples"]
    for name, (precision, recall, f1, count) in zip(classes, per_class(confusion)):
        lines.append(
            f"  {name:<{width}} {100 * precision:8.2f} % {100 * recall:6.2f} % {100 * f1:6.2f} % {count:10}"
        )
    return lines


def _matrix(confusion: Array, classes: Sequence[str]) -> list[str]:
    width = max(len(str(confusion.max())), *map(len, classes)) + 1
    lines = ["  " + " " * width + "".join(f"{name:>{width}}" for name in classes)]
    for name, row in zip(classes, confusion):
        lines.append(
            "  " + f"{name:>{width}}" + "".join(f"{count or '.':>{width}}" for count in row.tolist())
        )
    return lines


def _worst(confusion: Array, classes: Sequence[str]) -> list[str]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:5]
    pairs = [(int(flat) // len(classes), int(flat) % len(classes)) for flat in order]
    return [
        f"  {classes[true]} taken for {classes[said]}: {wrong[true, said]} of {confusion[true].sum()}"
        for true, said in pairs
        if wrong[true, said]
    ]
