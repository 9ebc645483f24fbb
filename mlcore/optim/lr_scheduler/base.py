"""What all schedules share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlcore.errors import ArgumentError, ArgumentTypeError, StateDictError
from mlcore.optim.optimizer import Optimizer

Group = dict[str, Any]


def count(who: str, name: str, value: Any, low: int = 1) -> int:
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
