"""Schedules that are one rule: from the current rate to the next."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable

from mlcore.errors import ArgumentError
from mlcore.optim.hyper import count, number
from mlcore.optim.lr_scheduler.base import Group, LRScheduler
from mlcore.optim.optimizer import Optimizer


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

    def _at(self, base: float) -> float:
        return base * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each of the `milestones`."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        return rate * self.gamma ** self.milestones.get(self.last_epoch, 0)

    def _at(self, base: float) -> float:
        passed = bisect_right(sorted(Counter(self.milestones).elements()), self.last_epoch)
        return base * self.gamma**passed


class ConstantLR(LRScheduler):
    """The rate times `factor` for the first `total_iters` epochs."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor = number("ConstantLR", "factor", factor, high=1.0)
        self.total_iters = count("ConstantLR", "total_iters", total_iters, 0)
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        if self.last_epoch == 0:
            return rate * self.factor
        return rate / self.factor if self.last_epoch == self.total_iters else rate

    def _at(self, base: float) -> float:
        return base if self.last_epoch >= self.total_iters else base * self.factor


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
        self.total_iters = count("LinearLR", "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        if self.last_epoch == 0:
            return rate * self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return rate
        rise = self.end_factor - self.start_factor
        return rate * (1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise))

    def _at(self, base: float) -> float:
        done = min(self.total_iters, self.last_epoch) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class ExponentialLR(LRScheduler):
    """The rate times `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = number("ExponentialLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        return rate if self._is_initial else rate * self.gamma

    def _at(self, base: float) -> float:
        return float(base * self.gamma**self.last_epoch)


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
        if self._is_initial or now > end:
            return rate
        return float(rate * ((1 - now / end) / (1 - (now - 1) / end)) ** self.power)

    def _at(self, base: float) -> float:
        return float(base * (1 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power)
