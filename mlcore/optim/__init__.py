"""Optimizers and learning-rate schedules, with PyTorch's names, arguments, numbers and state_dict layout."""

from mlcore.optim import lr_scheduler, swa_utils
from mlcore.optim.accumulate import Accumulation
from mlcore.optim.adafactor import Adafactor
from mlcore.optim.adam import Adam, AdamW
from mlcore.optim.adam_family import Adamax, NAdam, RAdam
from mlcore.optim.adaptive import Adadelta, Adagrad, RMSprop
from mlcore.optim.asgd import ASGD
from mlcore.optim.ema import EMA
from mlcore.optim.hyper import flag, hyper
from mlcore.optim.layerwise import LAMB, LARS
from mlcore.optim.lbfgs import LBFGS
from mlcore.optim.lion import Lion
from mlcore.optim.muon import Muon
from mlcore.optim.optimizer import Optimizer
from mlcore.optim.rprop import Rprop
from mlcore.optim.rule import UpdateRule
from mlcore.optim.sgd import SGD
from mlcore.optim.stateless import swap_in_optimizer_params_and_state
from mlcore.optim.watch import GradientError, check_gradients
from mlcore.optim.ways import explain

__all__ = [
    "ASGD",
    "EMA",
    "LAMB",
    "LARS",
    "LBFGS",
    "SGD",
    "Accumulation",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "GradientError",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "UpdateRule",
    "check_gradients",
    "explain",
    "flag",
    "hyper",
    "lr_scheduler",
    "swa_utils",
    "swap_in_optimizer_params_and_state",
]
