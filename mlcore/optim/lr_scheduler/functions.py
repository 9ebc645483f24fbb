"""Schedules from a user's functions."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ArgumentTypeError
from mlcore.optim.lr_scheduler.base import LRScheduler, kept_functions, known, load_functions, rate_of
from mlcore.optim.optimizer import Optimizer


class _Functions(LRScheduler):
    """A function for each group; a state keeps the attributes of those that are objects."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        who = type(self).__name__
        groups = len(known(who, optimizer).param_groups)
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise ArgumentError(f"{who}: {len(self.lr_lambdas)} functions for {groups} groups")
        for one in self.lr_lambdas:
            if not callable(one):
                raise ArgumentTypeError(
                    f"{who}: lr_lambda is a {type(one).__name__}, not a function of the epoch"
                )
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and plain functions."""
        return {**super().state_dict(), "lr_lambdas": kept_functions(self.lr_lambdas)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict`, with the functions that this schedule has."""
        load_functions(self.lr_lambdas, state_dict.get("lr_lambdas", [None] * len(self.lr_lambdas)))
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})


class LambdaLR(_Functions):
    """The first rate times `lr_lambda(epoch)`; one function, or one for each group.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> schedule.step(); schedule.get_last_lr()
    [0.5]
    """

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class MultiplicativeLR(_Functions):
    """The rate times `lr_lambda(epoch)` every epoch; one function, or one for each group.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.5)
    >>> schedule.step(); schedule.step(); schedule.get_last_lr()
    [0.25]
    """

    def get_lr(self) -> list[float]:
        rates = [rate_of(group) for group in self.optimizer.param_groups]
        if self._is_initial:
            return rates
        return [rate * f(self.last_epoch) for rate, f in zip(rates, self.lr_lambdas, strict=True)]
