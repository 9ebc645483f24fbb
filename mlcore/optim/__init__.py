"""Optimizers and learning-rate schedules, with PyTorch's names, arguments, numbers and state_dict layout."""

from mlcore.optim import lr_scheduler
from mlcore.optim.adafactor import Adafactor
from mlcore.optim.adam import Adam, AdamW
from mlcore.optim.adam_family import Adamax, NAdam, RAdam
from mlcore.optim.adaptive import Adadelta, Adagrad, RMSprop
from mlcore.optim.asgd import ASGD
from mlcore.optim.hyper import flag, hyper
from mlcore.optim.layerwise import LAMB, LARS
from mlcore.optim.lion import Lion
from mlcore.optim.muon import Muon
from mlcore.optim.optimizer import Optimizer
from mlcore.optim.rprop import Rprop
from mlcore.optim.rule import UpdateRule
from mlcore.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LAMB",
    "LARS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "UpdateRule",
    "flag",
    "hyper",
    "lr_scheduler",
]
