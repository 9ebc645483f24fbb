"""One cycle: up, down, and further down."""

from __future__ import annotations

import math
from typing import Any

from mlcore.errors import ArgumentError
from mlcore.optim.lr_scheduler.base import Group, LRScheduler, count
from mlcore.optim.optimizer import Optimizer, number


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down again over `total_steps` steps (Smith and Topin 2018); call `step()` after each batch.

    The rate starts at `max_lr / div_factor` and ends at that divided by `final_div_factor`; with `cycle_momentum` the
    momentum (or beta1) goes the other way, between `max_momentum` and `base_momentum`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.85,
        max_momentum: Any = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgumentError(
                    "OneCycleLR: neither total_steps nor epochs and steps_per_epoch",
                    fix="give the length of the cycle",
                )
            total_steps = count("OneCycleLR", "epochs", epochs) * count(
                "OneCycleLR", "steps_per_epoch", steps_per_epoch
            )
        self.total_steps = count("OneCycleLR", "total_steps", total_steps)
        start = number("OneCycleLR", "pct_start", pct_start, high=1.0)
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                f"OneCycleLR: anneal_strategy={anneal_strategy!r}", fix="use 'cos' or 'linear'"
            )
        self.anneal_strategy, self.cycle_momentum = anneal_strategy, cycle_momentum
        last = total_steps - 1
        # (end step, rate from, rate to, momentum from, momentum to)
        up = (start * total_steps - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        if three_phase:
            down = (2 * start * total_steps - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum")
            self._phases = [up, down, (last, "initial_lr", "min_lr", "max_momentum", "max_momentum")]
        else:
            self._phases = [up, (last, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        self.use_beta1 = "betas" in optimizer.defaults
        if cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ArgumentError(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum", fix="pass cycle_momentum=False"
            )
        if last_epoch == -1:
            groups = len(optimizer.param_groups)
            tops = _each("max_lr", max_lr, groups)
            for group, top in zip(optimizer.param_groups, tops, strict=True):
                group["initial_lr"], group["max_lr"] = top / div_factor, top
                group["min_lr"] = group["initial_lr"] / final_div_factor
            if cycle_momentum:
                for group, high, low in zip(optimizer.param_groups, _each("max_momentum", max_momentum, groups),
                                            _each("base_momentum", base_momentum, groups), strict=True):  # fmt: skip
                    group["max_momentum"], group["base_momentum"] = high, low
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        now = self.last_epoch
        if now > self.total_steps:
            raise ArgumentError(
                f"OneCycleLR: step {now} of a cycle of {self.total_steps}",
                fix="make the cycle as long as the training",
            )
        begin = 0.0
        for i, (end, rate_from, rate_to, momentum_from, momentum_to) in enumerate(self._phases):
            if now <= end or i == len(self._phases) - 1:
                part = (now - begin) / (end - begin) if end != begin else 1.0
                if self.cycle_momentum:
                    momentum = self._between(group[momentum_from], group[momentum_to], part)
                    if self.use_beta1:
                        group["betas"] = (momentum, *group["betas"][1:])
                    else:
                        group["momentum"] = momentum
                return self._between(float(group[rate_from]), float(group[rate_to]), part)
            begin = end
        return rate

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)


def _each(name: str, value: Any, groups: int) -> list[float]:
    """One value for each group."""
    found = list(value) if isinstance(value, (list, tuple)) else [value] * groups
    if len(found) != groups:
        raise ArgumentError(f"OneCycleLR: {len(found)} values of {name} for {groups} groups")
    return [number("OneCycleLR", name, one) for one in found]
