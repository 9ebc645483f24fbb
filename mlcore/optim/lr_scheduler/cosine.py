"""Half cosines: once, back and forth, or again and again."""

from __future__ import annotations

import math

from mlcore.errors import ArgumentError
from mlcore.optim.hyper import count, number
from mlcore.optim.lr_scheduler.base import Group, LRScheduler
from mlcore.optim.optimizer import Optimizer


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
            number("CosineAnnealingLR", "eta_min", eta_min, low=-math.inf),
        )
        if self.T_max == 0:
            raise ArgumentError("CosineAnnealingLR: T_max is 0", fix="use the number of epochs, at least 1")
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        now, end = self.last_epoch, self.T_max
        if self._is_initial:
            return rate
        if self._step_count == 1 and now > 0:
            return self._at(base)
        if (now - 1 - end) % (2 * end) == 0:  # from the minimum a ratio leads nowhere
            return rate + (base - self.eta_min) * (1 - math.cos(math.pi / end)) / 2
        ratio = (1 + math.cos(math.pi * now / end)) / (1 + math.cos(math.pi * (now - 1) / end))
        return ratio * (rate - self.eta_min) + self.eta_min

    def _at(self, base: float) -> float:
        return (
            self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        )


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines from the first rate to `eta_min`, of `T_0`, `T_0 * T_mult`, ... epochs (Loshchilov and Hutter 2017).

    `step(epoch)` goes to any epoch, also to a fraction of one: `step(epoch + batch / batches)`.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> [schedule.step() or round(schedule.get_last_lr()[0], 6) for _ in range(4)]
    [0.5, 1.0, 0.5, 1.0]
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        who = "CosineAnnealingWarmRestarts"
        self.T_0 = self.T_i = count(who, "T_0", T_0)
        self.T_mult, self.eta_min = (
            count(who, "T_mult", T_mult),
            number(who, "eta_min", eta_min, low=-math.inf),
        )
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2

    def step(self, epoch: float | None = None) -> None:
        """Go on by one epoch, or to a given one, which may be between two."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
        else:
            self._go_to(number("CosineAnnealingWarmRestarts.step", "epoch", epoch))
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _go_to(self, epoch: float) -> None:
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**n
