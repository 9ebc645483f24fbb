"""Optimizers and learning-rate schedules, with PyTorch's names, arguments, numbers and state_dict layout."""

from mlcore.optim import lr_scheduler
from mlcore.optim.adam import Adam, AdamW
from mlcore.optim.hyper import flag, hyper
from mlcore.optim.optimizer import Optimizer
from mlcore.optim.rule import UpdateRule
from mlcore.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "UpdateRule", "flag", "hyper", "lr_scheduler"]
