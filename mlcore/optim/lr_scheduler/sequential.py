"""Schedules one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from mlcore.errors import ArgumentError
from mlcore.optim.lr_scheduler.base import LRScheduler
from mlcore.optim.lr_scheduler.plateau import ReduceLROnPlateau
from mlcore.optim.optimizer import Optimizer


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
