"""A training loop with a live bar, validation, checkpoints that resume exactly, and a summary of the run."""

from mlcore.train.history import History
from mlcore.train.loop import DivergedError, Interrupted, evaluate, fit
from mlcore.train.metrics import Evaluation, accuracy, confusion_matrix, per_class
from mlcore.train.progress import Progress
from mlcore.train.report import summary
from mlcore.train.watch import NonFiniteError, detect_nonfinite

__all__ = [
    "DivergedError",
    "Evaluation",
    "History",
    "Interrupted",
    "NonFiniteError",
    "Progress",
    "accuracy",
    "confusion_matrix",
    "detect_nonfinite",
    "evaluate",
    "fit",
    "per_class",
    "summary",
]
