"""Schedules of schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from mlcore.errors import ArgumentError, ArgumentTypeError, StateDictError
from mlcore.optim.lr_scheduler.base import LRScheduler, known, rate_of
from mlcore.optim.lr_scheduler.plateau import ReduceLROnPlateau
from mlcore.optim.optimizer import Optimizer


class _Several(LRScheduler):
    """What a schedule of schedules is: checks of them, and a state with theirs in it."""

    _schedulers: list[Any]

    def _take(self, optimizer: Optimizer | None, schedulers: Sequence[LRScheduler]) -> None:
        who = type(self).__name__
        for i, one in enumerate(schedulers):
            if not isinstance(one, LRScheduler):
                raise ArgumentTypeError(f"{who}: schedule {i} is a {type(one).__name__}, not an LRScheduler")
            if isinstance(one, ReduceLROnPlateau):
                raise ArgumentError(f"{who}: schedule {i}, ReduceLROnPlateau", cause="its step takes a metric",
                                    fix="step it apart, after this one")  # fmt: skip
            optimizer = one.optimizer if optimizer is None else optimizer
            if one.optimizer is not optimizer:
                raise ArgumentError(f"{who}: schedule {i}, {type(one).__name__}, acts on another optimizer")
        self.optimizer = known(who, optimizer)
        self._schedulers = list(schedulers)

    def _restart(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]

    def state_dict(self) -> dict[str, Any]:
        """The schedules' states, and where this one stands."""
        kept = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "_schedulers")}
        return {**kept, "_schedulers": [one.state_dict() for one in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict` of as many schedules."""
        given = dict(state_dict)
        parts = given.pop("_schedulers", None)
        if parts is None or len(parts) != len(self._schedulers):
            raise StateDictError(
                f"{type(self).__name__}.load_state_dict: states of {len(parts or [])} schedules for "
                f"{len(self._schedulers)}",
                fix="build it of the same schedules as the saved one",
            )
        for one, part in zip(self._schedulers, parts, strict=True):
            one.load_state_dict(part)
        super().load_state_dict(given)


class SequentialLR(_Several):
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
        if list(milestones) != sorted(milestones):
            raise ArgumentError(f"SequentialLR: milestones {list(milestones)}", fix="give them in order")
        self._take(optimizer, schedulers)
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        self._restart()
        _undo(self)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch; a schedule of schedules cannot go to a given one."""
        if epoch is not None:
            self._refuse(epoch)
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        now = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            now._update_lr(0)
        else:
            now.step()
        self._last_lr = now.get_last_lr()

    def _update_lr(self, epoch: int | None = None) -> None:
        """Begin again: what a schedule around this one asks for."""
        if epoch:
            self._refuse(epoch)
        self.last_epoch = 0
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._update_lr(0)
        self._last_lr = first.get_last_lr()

    def _refuse(self, epoch: int) -> None:
        raise ArgumentError(f"{type(self).__name__}: step({epoch})", fix="step() without an epoch")


class ChainedScheduler(_Several):
    """Schedules all at once: each step is a step of each, from the rate that the one before it left.

    >>> from mlcore import nn, optim
    >>> s = optim.lr_scheduler
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> parts = [s.ConstantLR(optimizer, factor=0.5, total_iters=2), s.ExponentialLR(optimizer, gamma=0.5)]
    >>> schedule = s.ChainedScheduler(parts)
    >>> schedule.get_last_lr() + [schedule.step() or schedule.get_last_lr()[0] for _ in range(2)]
    [0.5, 0.25, 0.25]
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if not schedulers:
            raise ArgumentError("ChainedScheduler: there are no schedules")
        self._take(optimizer, schedulers)
        self._last_lr = [rate_of(group) for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """A step of each schedule."""
        for one in self._schedulers:
            one.step(epoch)
        self._last_lr = [rate_of(group) for group in self.optimizer.param_groups]

    def _update_lr(self, epoch: int | None = None) -> None:
        """Begin again: what a schedule around this one asks for."""
        self._restart()
        for one in self._schedulers:
            one.last_epoch = -1
            one._initial_step()
        self._last_lr = [rate_of(group) for group in self.optimizer.param_groups]


def _undo(schedule: Any) -> None:
    """Take back the step that each schedule took when it was made."""
    if isinstance(schedule, _Several):
        for one in schedule._schedulers:
            _undo(one)
    else:
        schedule.last_epoch -= 1
