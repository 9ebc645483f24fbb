"""Learning-rate schedules. Each `step()` sets the rates of the optimizer's groups, with PyTorch's numbers.

Most rules go from the current rate to the next, so that several schedules may act on one optimizer. `mlcore schedule`
draws one in the terminal.
"""

from mlcore.optim.lr_scheduler.base import LRScheduler
from mlcore.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from mlcore.optim.lr_scheduler.cycle import CyclicLR, OneCycleLR
from mlcore.optim.lr_scheduler.functions import LambdaLR, MultiplicativeLR
from mlcore.optim.lr_scheduler.plateau import ReduceLROnPlateau
from mlcore.optim.lr_scheduler.rules import (
    ConstantLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from mlcore.optim.lr_scheduler.sequential import ChainedScheduler, SequentialLR
from mlcore.optim.lr_scheduler.warmup import InverseSqrtLR, WarmupStableDecay

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "InverseSqrtLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "WarmupStableDecay",
]
