"""A schedule that looks at how training goes."""

from __future__ import annotations

import math
from typing import Any

from mlcore.errors import ArgumentError
from mlcore.optim.hyper import count, number
from mlcore.optim.lr_scheduler.base import LRScheduler, each, known, rate_of
from mlcore.optim.optimizer import Optimizer
from mlcore.tensor import TensorBase


class ReduceLROnPlateau(LRScheduler):
    """The rate times `factor` when `step(metric)` has seen no improvement for more than `patience` epochs.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> [schedule.step(loss) or schedule.get_last_lr()[0] for loss in (3.0, 2.0, 2.0, 2.0)]
    [1.0, 1.0, 1.0, 0.5]
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: Any = 0.0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ArgumentError(f"ReduceLROnPlateau: mode={mode!r}, threshold_mode={threshold_mode!r}",
                                fix="use 'min' or 'max', and 'rel' or 'abs'")  # fmt: skip
        who = "ReduceLROnPlateau"
        self.factor = number(who, "factor", factor, high=1.0, below_high=True)
        self.optimizer = known(who, optimizer)
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else number(who, "min_lr", min_lr)
        self.min_lrs = each(who, "min_lr", min_lr, optimizer)
        self.mode, self.patience, self.cooldown = (
            mode,
            count(who, "patience", patience, 0),
            count(who, "cooldown", cooldown, 0),
        )
        self.threshold, self.threshold_mode, self.eps = (
            number(who, "threshold", threshold),
            threshold_mode,
            eps,
        )
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.best = self.mode_worse
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [rate_of(group) for group in optimizer.param_groups]

    # it takes the metric first, as PyTorch's
    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Tell the metric of this epoch."""
        # the methods are attached to Tensor
        current = float(metrics.item() if isinstance(metrics, TensorBase) else metrics)  # type: ignore[attr-defined]
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        rates = [rate_of(group) for group in self.optimizer.param_groups]
        if self.num_bad_epochs > self.patience:
            rates = [self._lower(rate, lowest) for rate, lowest in zip(rates, self._lowest(), strict=True)]
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._set(rates)

    @property
    def in_cooldown(self) -> bool:
        """Whether a reduction was so recent that bad epochs do not count."""
        return self.cooldown_counter > 0

    def _lower(self, rate: float, lowest: float) -> float:
        lower = max(rate * self.factor, lowest)
        return lower if rate - lower > self.eps else rate

    def _lowest(self) -> list[float]:
        """The lowest rates, also of groups that were added since."""
        groups = len(self.optimizer.param_groups)
        if len(self.min_lrs) != groups:
            if self.default_min_lr is None:
                raise ArgumentError(
                    f"ReduceLROnPlateau: {len(self.min_lrs)} values of min_lr for {groups} groups",
                    cause="a group was added", fix="extend schedule.min_lrs",
                )  # fmt: skip
            self.min_lrs = [self.default_min_lr] * groups
        return self.min_lrs

    def _better(self, current: float) -> bool:
        margin = self.threshold if self.mode == "max" else -self.threshold
        bar = self.best * (1 + margin) if self.threshold_mode == "rel" else self.best + margin
        return current < bar if self.mode == "min" else current > bar
