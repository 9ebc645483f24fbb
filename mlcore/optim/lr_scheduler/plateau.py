"""A schedule that looks at how training goes."""

from __future__ import annotations

import math
from typing import Any

from mlcore.errors import ArgumentError, ArgumentTypeError
from mlcore.optim.lr_scheduler.base import LRScheduler
from mlcore.optim.optimizer import Optimizer, number
from mlcore.tensor import TensorBase


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
