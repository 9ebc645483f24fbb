"""Schedules that begin slowly: warmup, then a level and a decay, or the inverse root of the step."""

from __future__ import annotations

import math

from mlcore.errors import ArgumentError
from mlcore.optim.hyper import count, number
from mlcore.optim.lr_scheduler.base import Group, LRScheduler
from mlcore.optim.optimizer import Optimizer

DECAYS = ("cos", "linear", "sqrt")


class WarmupStableDecay(LRScheduler):
    """Up to the first rate in a straight line, there for long, and down again (Hu et al. 2024, Hagele et al. 2024).

    The rate rises over `warmup_steps` from `start_factor` of the optimizer's, stays for `stable_steps`, and falls
    over `decay_steps` to `end_factor` of it, where it remains: by half a cosine ("cos"), a straight line ("linear"),
    or by `1 - sqrt` ("sqrt"). Training may be stopped or prolonged at any step of the level.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.WarmupStableDecay(optimizer, 2, 2, 2, anneal_strategy="linear")
    >>> schedule.get_last_lr() + [schedule.step() or schedule.get_last_lr()[0] for _ in range(7)]
    [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        stable_steps: int,
        decay_steps: int,
        start_factor: float = 0.0,
        end_factor: float = 0.0,
        anneal_strategy: str = "sqrt",
        last_epoch: int = -1,
    ) -> None:
        who = "WarmupStableDecay"
        self.warmup_steps = count(who, "warmup_steps", warmup_steps, 0)
        self.stable_steps = count(who, "stable_steps", stable_steps, 0)
        self.decay_steps = count(who, "decay_steps", decay_steps, 0)
        self.start_factor = number(who, "start_factor", start_factor, high=1.0)
        self.end_factor = number(who, "end_factor", end_factor, high=1.0)
        if anneal_strategy not in DECAYS:
            raise ArgumentError(
                f"{who}: anneal_strategy={anneal_strategy!r}", fix=f"use one of {', '.join(DECAYS)}"
            )
        self.anneal_strategy = anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        return self._at(base)

    def _at(self, base: float) -> float:
        now = self.last_epoch
        if now < self.warmup_steps:
            return base * (self.start_factor + (1 - self.start_factor) * now / self.warmup_steps)
        now -= self.warmup_steps + self.stable_steps
        if now <= 0 or not self.decay_steps:
            return base
        done = min(1.0, now / self.decay_steps)
        if self.anneal_strategy == "cos":
            done = (1 - math.cos(math.pi * done)) / 2
        elif self.anneal_strategy == "sqrt":
            done = math.sqrt(done)
        return base * (1 + (self.end_factor - 1) * done)


class InverseSqrtLR(LRScheduler):
    """Up over `warmup_steps` in a straight line, then as `1 / sqrt(step)` (Vaswani et al. 2017, section 5.3).

    The rate is the optimizer's at the end of the warmup; with `timescale`, also after it for as long as that:
    `base * sqrt(timescale / (timescale + step - warmup_steps))`.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.InverseSqrtLR(optimizer, warmup_steps=4)
    >>> [schedule.step(epoch) or schedule.get_last_lr()[0] for epoch in (1, 2, 4, 16, 64)]
    [0.25, 0.5, 1.0, 0.5, 0.25]
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, timescale: float | None = None, last_epoch: int = -1
    ) -> None:
        self.warmup_steps = count("InverseSqrtLR", "warmup_steps", warmup_steps, 0)
        given = max(1, warmup_steps) if timescale is None else timescale
        self.timescale = number("InverseSqrtLR", "timescale", given)
        if not self.timescale:
            raise ArgumentError("InverseSqrtLR: timescale is 0", fix="use a number of steps > 0")
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        return self._at(base)

    def _at(self, base: float) -> float:
        now = self.last_epoch
        if now < self.warmup_steps:
            return base * now / self.warmup_steps
        return base * math.sqrt(self.timescale / (self.timescale + now - self.warmup_steps))
