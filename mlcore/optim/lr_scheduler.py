"""Learning-rate schedules. Each `step()` sets the rates of the optimizer's groups, with PyTorch's numbers.

Most rules go from the current rate to the next, so that several schedules may act on one optimizer.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from mlcore.errors import ArgumentError, ArgumentTypeError, StateDictError
from mlcore.optim.optimizer import Optimizer, number
from mlcore.tensor import TensorBase

Group = dict[str, Any]


def _count(who: str, name: str, value: Any, low: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ArgumentError(f"{who}: {name} is {value!r}", fix=f"use an integer of at least {low}")
    return value


class LRScheduler:
    """Base of all schedules: derive from it and write `_next(rate, base, group)`, or PyTorch's `get_lr()`.

    Making one takes its first step, to epoch 0. `last_epoch` other than -1 continues an optimizer whose groups have an
    "initial_lr".
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentTypeError(
                f"{type(self).__name__}: optimizer is a {type(optimizer).__name__}, not an Optimizer"
            )
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ArgumentError(
                    f"{type(self).__name__}: last_epoch={last_epoch}, but group {i} has no 'initial_lr'",
                    fix="load the optimizer's state first, or leave last_epoch out",
                )
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._last_lr: list[float] = []
        self._initial = True
        self.step()
        self._initial = False

    def _next(self, rate: float, base: float, group: Group) -> float:
        """The rate at `last_epoch` from the one before it and the first one."""
        raise ArgumentTypeError(f"{type(self).__name__} defines neither get_lr() nor _next()")

    def get_lr(self) -> list[float]:
        """The rates of the groups at `last_epoch`; called by `step()`."""
        return [
            self._next(group["lr"], group.get("initial_lr", group["lr"]), group)
            for group in self.optimizer.param_groups
        ]

    def get_last_lr(self) -> list[float]:
        """The rates that the last step set."""
        return self._last_lr

    def step(self) -> None:
        """Go on by one epoch (or by whatever the schedule counts)."""
        self._step_count += 1
        self.last_epoch += 1
        self._set(self.get_lr())

    def _set(self, rates: Iterable[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _begin(self) -> None:
        """Begin now, whatever the rate is that another schedule left."""
        self.last_epoch = 0
        if type(self).get_lr is not LRScheduler.get_lr:  # PyTorch's way: computed from the first rates
            self._set(self.get_lr())
            return
        self._set(
            [
                self._next(group["initial_lr"], group["initial_lr"], group)
                for group in self.optimizer.param_groups
            ]
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer" and not callable(v)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        if "last_epoch" not in state_dict:
            raise StateDictError(
                f"{type(self).__name__}.load_state_dict: not a schedule's state",
                fix="pass what state_dict() returned",
            )
        self.__dict__.update(state_dict)


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
            _count("StepLR", "step_size", step_size),
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
            _count("PolynomialLR", "total_iters", total_iters),
            number("PolynomialLR", "power", power),
        )
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        now, end = self.last_epoch, self.total_iters
        if self._initial or now == 0 or now > end:
            return rate
        return float(rate * ((1 - now / end) / (1 - (now - 1) / end)) ** self.power)


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
            total_steps = _count("OneCycleLR", "epochs", epochs) * _count(
                "OneCycleLR", "steps_per_epoch", steps_per_epoch
            )
        self.total_steps = _count("OneCycleLR", "total_steps", total_steps)
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


class SequentialLR(LRScheduler):
    """Schedules one after the other: number i takes over at `milestones[i - 1]`.

    >>> from mlcore import nn, optim
    >>> s = optim.lr_scheduler
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> warm = s.ConstantLR(optimizer, factor=0.1, total_iters=2)
    >>> schedule = s.SequentialLR(optimizer, [warm, s.ExponentialLR(optimizer, gamma=0.5)], milestones=[2])
    >>> [schedule.step() or schedule.get_last_lr()[0] for _ in range(3)]
    [0.1, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ArgumentError(f"SequentialLR: {len(schedulers)} schedules with {len(milestones)} milestones",
                                fix="give one milestone fewer than schedules")  # fmt: skip
        for i, one in enumerate(schedulers):
            if isinstance(one, ReduceLROnPlateau) or one.optimizer is not optimizer:
                raise ArgumentError(f"SequentialLR: schedule {i}, {type(one).__name__}",
                                    cause="each must act on this optimizer, and take no metric")  # fmt: skip
        self.optimizer, self._schedulers, self._milestones = optimizer, list(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for one in self._schedulers:  # take back the step that each took when it was made
            one.last_epoch -= 1
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial = True
        first.step()
        first._initial = False
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        now = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            now._begin()
        else:
            now.step()
        self._last_lr = now.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        kept = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "_schedulers")}
        return {**kept, "_schedulers": [one.state_dict() for one in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        given = dict(state_dict)
        for one, part in zip(self._schedulers, given.pop("_schedulers"), strict=True):
            one.load_state_dict(part)
        super().load_state_dict(given)


class ReduceLROnPlateau(LRScheduler):
    """The rate times `factor` when `step(metric)` has seen no improvement for more than `patience` epochs."""

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: Any = 0.0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ArgumentError(f"ReduceLROnPlateau: mode={mode!r}, threshold_mode={threshold_mode!r}",
                                fix="use 'min' or 'max', and 'rel' or 'abs'")  # fmt: skip
        self.factor = number("ReduceLROnPlateau", "factor", factor, high=1.0, below_high=True)
        if not isinstance(optimizer, Optimizer):
            raise ArgumentTypeError(
                f"ReduceLROnPlateau: optimizer is a {type(optimizer).__name__}, not an Optimizer"
            )
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [float(min_lr)] * groups
        if len(self.min_lrs) != groups:
            raise ArgumentError(
                f"ReduceLROnPlateau: {len(self.min_lrs)} values of min_lr for {groups} groups"
            )
        self.optimizer, self.mode, self.patience, self.cooldown = optimizer, mode, patience, cooldown
        self.threshold, self.threshold_mode, self.eps = threshold, threshold_mode, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Tell the metric of this epoch."""
        current = float(metrics.item() if isinstance(metrics, TensorBase) else metrics)  # type: ignore[attr-defined]
        self.last_epoch += 1
        if self._better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                lower = max(group["lr"] * self.factor, lowest)
                if group["lr"] - lower > self.eps:
                    group["lr"] = lower
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _better(self, current: float) -> bool:
        margin = self.threshold if self.mode == "max" else -self.threshold
        bar = self.best * (1 + margin) if self.threshold_mode == "rel" else self.best + margin
        return current < bar if self.mode == "min" else current > bar
