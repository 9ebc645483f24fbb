"""Up and down: CyclicLR again and again, OneCycleLR once; the momentum goes the other way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlcore.errors import ArgumentError
from mlcore.optim.hyper import count, number
from mlcore.optim.lr_scheduler.base import Group, LRScheduler, each, kept_functions, known, load_functions
from mlcore.optim.optimizer import Optimizer


def momentum_name(who: str, optimizer: Optimizer) -> bool:
    """Whether the momentum is the first of "betas"; refused where there is none."""
    if "betas" not in optimizer.defaults and "momentum" not in optimizer.defaults:
        raise ArgumentError(
            f"{who}: {type(optimizer).__name__} has no momentum", fix="pass cycle_momentum=False"
        )
    return "betas" in optimizer.defaults


def set_momentum(group: Group, use_beta1: bool, value: float) -> None:
    """Give a group its momentum."""
    if use_beta1:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def _begin_momentum(optimizer: Optimizer, use_beta1: bool, lows: list[float], highs: list[float]) -> None:
    for group, low, high in zip(optimizer.param_groups, lows, highs, strict=True):
        set_momentum(group, use_beta1, high)
        group["max_momentum"], group["base_momentum"] = high, low


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down again over `total_steps` steps (Smith and Topin 2018); call `step()` after each batch.

    The rate starts at `max_lr / div_factor` and ends at that divided by `final_div_factor`; with `cycle_momentum` the
    momentum (or beta1) goes the other way, between `max_momentum` and `base_momentum`.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0, momentum=0.9)
    >>> schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=5, pct_start=0.4, div_factor=10.0)
    >>> [schedule.step() or round(schedule.get_last_lr()[0], 3) for _ in range(4)]
    [1.0, 0.75, 0.25, 0.0]
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
        who = "OneCycleLR"
        known(who, optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgumentError(
                    "OneCycleLR: neither total_steps nor epochs and steps_per_epoch",
                    fix="give the length of the cycle",
                )
            total_steps = count(who, "epochs", epochs) * count(who, "steps_per_epoch", steps_per_epoch)
        self.total_steps = count(who, "total_steps", total_steps)
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                f"OneCycleLR: anneal_strategy={anneal_strategy!r}", fix="use 'cos' or 'linear'"
            )
        self._schedule_phases = _phases(
            number(who, "pct_start", pct_start, high=1.0), self.total_steps, three_phase
        )
        self._anneal_func_type, self.cycle_momentum = anneal_strategy, cycle_momentum
        first, last = number(who, "div_factor", div_factor), number(who, "final_div_factor", final_div_factor)
        if not first or not last:
            raise ArgumentError(f"OneCycleLR: div_factor={div_factor}, final_div_factor={final_div_factor}",
                                fix="rates are divided by them: use numbers > 0")  # fmt: skip
        tops = each(who, "max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for group, top in zip(optimizer.param_groups, tops, strict=True):
                group["initial_lr"], group["max_lr"] = top / first, top
                group["min_lr"] = group["initial_lr"] / last
        if cycle_momentum:
            self.use_beta1 = momentum_name(who, optimizer)
            lows = each(who, "base_momentum", base_momentum, optimizer)
            highs = each(who, "max_momentum", max_momentum, optimizer)
            if last_epoch == -1:
                _begin_momentum(optimizer, self.use_beta1, lows, highs)
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        now = self.last_epoch
        if now > self.total_steps:
            raise ArgumentError(
                f"OneCycleLR: step {now} of a cycle of {self.total_steps}",
                fix="make the cycle as long as the training",
            )
        begin = 0.0
        for phase in self._schedule_phases:
            end = phase["end_step"]
            if now <= end or phase is self._schedule_phases[-1]:
                break
            begin = end
        part = (now - begin) / (end - begin) if end != begin else 1.0
        if self.cycle_momentum:
            value = self._between(group[phase["start_momentum"]], group[phase["end_momentum"]], part)
            set_momentum(group, self.use_beta1, value)
        return self._between(float(group[phase["start_lr"]]), float(group[phase["end_lr"]]), part)

    def _between(self, start: float, end: float, part: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)


def _phases(start: float, steps: int, three: bool) -> list[dict[str, Any]]:
    """Where each phase ends, and the names of the rates and momenta that it goes from and to."""
    names = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
    up = (float(start * steps) - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")
    if not three:
        rows = [up, (steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
    else:
        down = (float(2 * start * steps) - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum")
        rows = [up, down, (steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum")]
    return [dict(zip(names, row, strict=True)) for row in rows]


class CyclicLR(LRScheduler):
    """Between `base_lr` and `max_lr`, up and down, again and again (Smith 2017); call `step()` after each batch.

    `mode` says how far up: "triangular" the same each time, "triangular2" half as far each time, "exp_range" by
    `gamma ** iterations`; or `scale_fn` does, of the cycle's number or the iterations, as `scale_mode` says. With
    `cycle_momentum` the momentum (or beta1) goes the other way.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0, momentum=0.9)
    >>> schedule = optim.lr_scheduler.CyclicLR(optimizer, base_lr=0.0, max_lr=1.0, step_size_up=2)
    >>> [schedule.step() or schedule.get_last_lr()[0] for _ in range(5)]
    [0.5, 1.0, 0.5, 0.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Any,
        max_lr: Any,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.8,
        max_momentum: Any = 0.9,
        last_epoch: int = -1,
    ) -> None:
        who = "CyclicLR"
        known(who, optimizer)
        lows = each(who, "base_lr", base_lr, optimizer)
        self.max_lrs = each(who, "max_lr", max_lr, optimizer)
        up = number(who, "step_size_up", step_size_up)
        down = up if step_size_down is None else number(who, "step_size_down", step_size_down)
        if not up or not down:
            raise ArgumentError(
                f"CyclicLR: step_size_up={step_size_up}, step_size_down={step_size_down}",
                fix="use numbers > 0",
            )
        if mode not in MODES and scale_fn is None:
            raise ArgumentError(
                f"CyclicLR: mode={mode!r}", fix=f"use one of {', '.join(MODES)}, or a scale_fn"
            )
        if scale_mode not in ("cycle", "iterations"):
            raise ArgumentError(f"CyclicLR: scale_mode={scale_mode!r}", fix="use 'cycle' or 'iterations'")
        self.total_size, self.step_ratio = up + down, up / (up + down)
        self.mode, self.gamma = mode, number(who, "gamma", gamma)
        self._scale_fn_custom = scale_fn
        self.scale_mode = MODES[mode] if scale_fn is None else scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = momentum_name(who, optimizer)
            self.base_momentums = each(who, "base_momentum", base_momentum, optimizer)
            self.max_momentums = each(who, "max_momentum", max_momentum, optimizer)
        if last_epoch == -1:
            self.optimizer = optimizer
            self._set(lows)
            if cycle_momentum:
                _begin_momentum(optimizer, self.use_beta1, self.base_momentums, self.max_momentums)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lows

    def scale_fn(self, x: float) -> float:
        """How far up, of the cycle's number (from 1) or the iterations."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return 1 / 2.0 ** (x - 1) if self.mode == "triangular2" else float(self.gamma**x)

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        part = 1 + self.last_epoch / self.total_size - cycle
        height = part / self.step_ratio if part <= self.step_ratio else (part - 1) / (self.step_ratio - 1)
        height *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(
                self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            ):
                set_momentum(group, self.use_beta1, high - (high - low) * height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; of a `scale_fn` that is an object its attributes, of a function nothing."""
        custom = self._scale_fn_custom
        return {**super().state_dict(), "_scale_fn_custom": custom and kept_functions([custom])[0]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict`, with the `scale_fn` that this schedule has."""
        load_functions([self._scale_fn_custom], [state_dict.get("_scale_fn_custom")])
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})


MODES = {"triangular": "cycle", "triangular2": "cycle", "exp_range": "iterations"}
