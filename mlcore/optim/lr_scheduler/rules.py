"""Schedules that are one rule: from the current rate to the next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from mlcore.errors import ArgumentError
from mlcore.optim.lr_scheduler.base import Group, LRScheduler, count
from mlcore.optim.optimizer import Optimizer, number


class LambdaLR(LRScheduler):
    """The first rate times `lr_lambda(epoch)`; one function, or one for each group.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> schedule.step(); schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise ArgumentError(f"LambdaLR: {len(self.lr_lambdas)} functions for {groups} groups")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {k: v for k, v in super().state_dict().items() if k != "lr_lambdas"}


class StepLR(LRScheduler):
    """The rate times `gamma` every `step_size` epochs.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> [schedule.step() or schedule.get_last_lr()[0] for _ in range(4)]
    [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = (
            count("StepLR", "step_size", step_size),
            number("StepLR", "gamma", gamma),
        )
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        return rate if self.last_epoch == 0 or self.last_epoch % self.step_size else rate * self.gamma


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each of the `milestones`."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        return rate * self.gamma ** Counter(self.milestones)[self.last_epoch]


class ConstantLR(LRScheduler):
    """The rate times `factor` for the first `total_iters` epochs."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor = number("ConstantLR", "factor", factor, high=1.0)
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        if self.last_epoch == 0:
            return rate * self.factor
        return rate / self.factor if self.last_epoch == self.total_iters and not self._initial else rate


class LinearLR(LRScheduler):
    """The rate from `start_factor` to `end_factor` of the first one, in a straight line over `total_iters` epochs.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> [optimizer.param_groups[0]["lr"]] + [schedule.step() or schedule.get_last_lr()[0] for _ in range(3)]
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = number("LinearLR", "start_factor", start_factor, high=1.0)
        self.end_factor = number("LinearLR", "end_factor", end_factor, high=1.0)
        if self.start_factor == 0:
            raise ArgumentError(
                "LinearLR: start_factor is 0",
                cause="each rate is a multiple of the one before",
                fix="use a value > 0",
            )
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        if self.last_epoch == 0:
            return rate * self.start_factor
        if self._initial or self.last_epoch > self.total_iters:
            return rate
        rise = self.end_factor - self.start_factor
        return rate * (1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise))


class ExponentialLR(LRScheduler):
    """The rate times `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = number("ExponentialLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        return rate if self._initial or self.last_epoch == 0 else rate * self.gamma


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the first rate to `eta_min` over `T_max` epochs, and back (Loshchilov and Hutter 2017).

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> [schedule.step() or round(schedule.get_last_lr()[0], 6) for _ in range(2)]
    [0.5, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = (
            number("CosineAnnealingLR", "T_max", T_max),
            number("CosineAnnealingLR", "eta_min", eta_min),
        )
        if self.T_max == 0:
            raise ArgumentError("CosineAnnealingLR: T_max is 0", fix="use the number of epochs, at least 1")
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        now, end = self.last_epoch, self.T_max
        if self._initial or now == 0:
            return rate
        if (now - 1 - end) % (2 * end) == 0:  # from the minimum a ratio leads nowhere
            return rate + (base - self.eta_min) * (1 - math.cos(math.pi / end)) / 2
        ratio = (1 + math.cos(math.pi * now / end)) / (1 + math.cos(math.pi * (now - 1) / end))
        return ratio * (rate - self.eta_min) + self.eta_min


class PolynomialLR(LRScheduler):
    """The first rate times `(1 - epoch / total_iters) ** power`, then 0."""

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters, self.power = (
            count("PolynomialLR", "total_iters", total_iters),
            number("PolynomialLR", "power", power),
        )
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        now, end = self.last_epoch, self.total_iters
        if self._initial or now == 0 or now > end:
            return rate
        return float(rate * ((1 - now / end) / (1 - (now - 1) / end)) ** self.power)
