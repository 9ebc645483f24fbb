"""Learning-rate schedules. Each `step()` sets the rates of the optimizer's groups, with PyTorch's numbers.

Most rules go from the current rate to the next, so that several schedules may act on one optimizer.
"""

from mlcore.optim.lr_scheduler.base import LRScheduler
from mlcore.optim.lr_scheduler.cycle import OneCycleLR
from mlcore.optim.lr_scheduler.plateau import ReduceLROnPlateau
from mlcore.optim.lr_scheduler.rules import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from mlcore.optim.lr_scheduler.sequential import SequentialLR

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
