"""What all schedules share."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import Any

from mlcore.errors import ArgumentError, ArgumentTypeError, StateDictError
from mlcore.ops.creation import full_like
from mlcore.optim.hyper import count, number
from mlcore.optim.optimizer import Optimizer
from mlcore.tensor import TensorBase

Group = dict[str, Any]

__all__ = ["Group", "LRScheduler", "count", "each", "kept_functions", "known", "load_functions", "rate_of"]


def known(who: str, optimizer: Any) -> Optimizer:
    """The optimizer, if it is one."""
    if not isinstance(optimizer, Optimizer):
        raise ArgumentTypeError(f"{who}: optimizer is a {type(optimizer).__name__}, not an Optimizer")
    return optimizer


def each(who: str, name: str, value: Any, optimizer: Optimizer) -> list[float]:
    """One number for each group: a list of them, or the same for all."""
    groups = len(optimizer.param_groups)
    found = list(value) if isinstance(value, (list, tuple)) else [value] * groups
    if len(found) != groups:
        raise ArgumentError(f"{who}: {len(found)} values of {name} for {groups} groups")
    return [number(who, name, one) for one in found]


def rate_of(group: Group) -> float:
    """The rate of a group, also where it is a tensor."""
    rate = group["lr"]
    # the methods are attached to Tensor
    return rate.item() if isinstance(rate, TensorBase) else rate  # type: ignore[attr-defined,no-any-return]


class LRScheduler:
    """Base of all schedules: derive from it and write `_next(rate, base, group)`, or PyTorch's `get_lr()`.

    `_next` gives the rate at `last_epoch` from the one before it and the first one; `_at(base)`, if there is one,
    from the first one alone, for going to any epoch. Making a schedule takes its first step, to epoch 0.
    `last_epoch` other than -1 continues an optimizer whose groups have an "initial_lr".

    >>> from mlcore import nn, optim
    >>> class Inverse(optim.lr_scheduler.LRScheduler):
    ...     def _next(self, rate, base, group):
    ...         return base / (1 + self.last_epoch)
    >>> schedule = Inverse(optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0))
    >>> schedule.step(); schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = known(type(self).__name__, optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", rate_of(group))
            elif "initial_lr" not in group:
                raise ArgumentError(
                    f"{type(self).__name__}: last_epoch={last_epoch}, but group {i} has no 'initial_lr'",
                    fix="load the optimizer's state first, or leave last_epoch out",
                )
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._is_initial = False
        self._get_lr_called_within_step = False  # for PyTorch's layout of the state
        self._last_lr: list[float] = []
        self._initial_step()

    def _initial_step(self) -> None:
        """The step that making a schedule takes."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def _next(self, rate: float, base: float, group: Group) -> float:
        """The rate at `last_epoch` from the one before it and the first one."""
        raise ArgumentTypeError(f"{type(self).__name__} defines neither get_lr() nor _next()")

    _at: Callable[[float], float] | None = None

    def get_lr(self) -> list[float]:
        """The rates of the groups at `last_epoch`; called by `step()`."""
        return [
            self._next(rate_of(group), base, group)
            for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        ]

    def get_last_lr(self) -> list[float]:
        """The rates that the last step set."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go on by one epoch (or whatever the schedule counts), or to a given one."""
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:  # added since
            self.base_lrs.append(float(group.setdefault("initial_lr", rate_of(group))))
        if epoch is None:
            self.last_epoch += 1
            self._set(self.get_lr())
            return
        self.last_epoch = epoch
        if self._at is not None:
            self._set([self._at(base) for base in self.base_lrs])
        elif epoch == 0 and type(self).get_lr is LRScheduler.get_lr:
            groups = self.optimizer.param_groups
            self._set(
                [self._next(base, base, group) for base, group in zip(self.base_lrs, groups, strict=True)]
            )
        else:
            self._set(self.get_lr())

    def _set(self, rates: Iterable[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], TensorBase):
                held: Any = group["lr"]
                held.rebind(full_like(held, rate))
            else:
                group["lr"] = rate
        self._last_lr = [rate_of(group) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer" and not callable(v)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        if not isinstance(state_dict, dict) or "_last_lr" not in state_dict:
            raise StateDictError(
                f"{type(self).__name__}.load_state_dict: not a schedule's state",
                fix="pass what state_dict() returned",
            )
        self.__dict__.update(state_dict)


def kept_functions(functions: list[Any]) -> list[Any]:
    """What a state keeps of functions: the attributes of an object, nothing of a plain function."""
    plain = (types.FunctionType, types.BuiltinFunctionType)
    return [None if isinstance(one, plain) else dict(vars(one)) for one in functions]


def load_functions(functions: list[Any], kept: list[Any]) -> None:
    """Give objects their attributes back."""
    for one, held in zip(functions, kept, strict=True):
        if held is not None:
            one.__dict__.update(held)
