"""Numbers that say how well a classifier does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcore.errors import OutOfRangeError, ShapeError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model did on some data: mean loss, share of right answers, and who was taken for whom.

    `confusion[i, j]` counts examples of class i that were taken for class j.
    """

    loss: float
    accuracy: float
    confusion: Array

    @property
    def count(self) -> int:
        """Number of examples."""
        return int(self.confusion.sum())

    @property
    def errors(self) -> int:
        """Number of wrong answers."""
        return self.count - int(np.trace(self.confusion))


def predictions(logits: Any) -> Array:
    """The class with the largest logit (N, C) of each row, the first of equals; as int64 (N,)."""
    scores = np.asarray(logits)
    if scores.ndim != 2:
        raise ShapeError(f"expected logits of shape (N, classes), got {scores.shape}")
    best: Array = scores.argmax(axis=1)
    return best


def accuracy(logits: Any, target: Any) -> float:
    """Share of rows of `logits` (N, C) whose largest entry is at `target` (N,); nan for no rows.

    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    found, wanted = predictions(logits), np.asarray(target)
    if found.shape != wanted.shape:
        raise ShapeError(f"accuracy: {found.shape} predictions for targets of shape {wanted.shape}")
    return float(np.mean(found == wanted)) if found.size else float("nan")


def confusion_matrix(predicted: Any, target: Any, classes: int) -> Array:
    """Counts (classes, classes): the row is the true class, the column the predicted one.

    Raises `OutOfRangeError` for a label that is not in 0 .. classes - 1.

    >>> confusion_matrix([0, 1, 1], [0, 0, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    found, wanted = np.asarray(predicted, np.int64).ravel(), np.asarray(target, np.int64).ravel()
    if found.shape != wanted.shape:
        raise ShapeError(f"confusion_matrix: {found.size} predictions for {wanted.size} targets")
    for name, labels in (("predicted", found), ("target", wanted)):
        bad = labels[(labels < 0) | (labels >= classes)]
        if bad.size:
            raise OutOfRangeError(f"confusion_matrix: {name} class {bad[0]} is not in 0 .. {classes - 1}")
    return np.bincount(wanted * classes + found, minlength=classes * classes).reshape(classes, classes)


def per_class(confusion: Array) -> list[tuple[float, float, float, int]]:
    """(precision, recall, F1, number of examples) of each class; nan where nothing was predicted or there was none.

    >>> per_class(np.array([[3, 1], [0, 4]]))
    [(1.0, 0.75, 0.8571428571428571, 4), (0.8, 1.0, 0.888888888888889, 4)]
    """
    rows = []
    for index in range(len(confusion)):
        hits, said, there = (
            int(n) for n in (confusion[index, index], confusion[:, index].sum(), confusion[index].sum())
        )
        precision = hits / said if said else float("nan")
        recall = hits / there if there else float("nan")
        f1 = (
            2 * precision * recall / (precision + recall)
            if hits
            else (0.0 if said or there else float("nan"))
        )
        rows.append((precision, recall, f1, there))
    return rows
