"""Averages of the weights on the way: `AveragedModel` (equal or exponential weights), `SWALR`, `update_bn`.

Averaging keeps a second set of weights, which often generalises better than the last one (Izmailov et al. 2018).
`mlcore.optim.EMA` is the short way to exponential averages.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from mlcore import dispatch
from mlcore.errors import ArgumentError
from mlcore.nn.module import Module
from mlcore.nn.normalization import _BatchNorm
from mlcore.ops.creation import asarray
from mlcore.ops.elementwise import astype
from mlcore.optim.ema import average
from mlcore.optim.hyper import count, number
from mlcore.optim.lr_scheduler.base import Group, LRScheduler, each, known
from mlcore.optim.optimizer import Optimizer
from mlcore.optim.rule import scalar

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], None]:
    """For `AveragedModel(multi_avg_fn=)`: each new model weighs `1 - decay`, all parameters in one operation."""
    rate = 1 - number("get_ema_multi_avg_fn", "decay", decay, high=1.0)
    return lambda averages, current, _: average(averages, current, rate)


def get_swa_multi_avg_fn() -> Callable[[Any, Any, Any], None]:
    """For `AveragedModel(multi_avg_fn=)`: all models weigh the same, all parameters in one operation.

    The weight is rounded to the default float dtype, as in PyTorch; `AveragedModel` without a function does not.
    """
    return lambda averages, current, averaged: average(averages, current, scalar(1 / (float(averaged) + 1)))


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], Any]:
    """For `AveragedModel(avg_fn=)`: each new model weighs `1 - decay`."""
    kept = number("get_ema_avg_fn", "decay", decay, high=1.0)
    return lambda averaged, current, _: averaged * kept + current * (1 - kept)


def get_swa_avg_fn() -> Callable[[Any, Any, Any], Any]:
    """For `AveragedModel(avg_fn=)`: all models weigh the same."""
    return lambda averaged, current, models: averaged + (current - averaged) / (float(models) + 1)


class AveragedModel(Module):
    """A copy of a model with the average of its parameters at each `update_parameters(model)`.

    Without a function all models weigh the same. `avg_fn(average, current, models so far)` returns the new average of
    one parameter; `multi_avg_fn` gets lists, and changes the first in place. Buffers are averaged too with
    `use_buffers`, else copied.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> net = nn.Linear(1, 1, bias=False)
    >>> averaged = optim.swa_utils.AveragedModel(net)
    >>> for value in (1.0, 2.0, 6.0):
    ...     net.weight.rebind(ml.full((1, 1), value)) and averaged.update_parameters(net)
    >>> averaged.module.weight.item(), averaged.n_averaged.item()
    (3.0, 3)
    """

    n_averaged: Any

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[[Any, Any, Any], Any] | None = None,
        multi_avg_fn: Callable[[Any, Any, Any], None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ArgumentError("AveragedModel: both avg_fn and multi_avg_fn", fix="give one of them")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", asarray(0, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's result."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the parameters that `model` has now into the average."""
        with dispatch.recording(False):
            mine, current = self._averaged(self.module), self._averaged(model)
            if len(mine) != len(current):
                raise ArgumentError(
                    f"AveragedModel: the model has {len(current)} parameters, the average {len(mine)}",
                    fix="update with the model that it was made of",
                )
            current = [b.detach().to(a.device) for a, b in zip(mine, current, strict=True)]
            models = int(self.n_averaged.item())
            if models == 0:
                _copy(mine, current)
            elif self.avg_fn is not None:
                new = [
                    self.avg_fn(a.detach(), b, self.n_averaged) for a, b in zip(mine, current, strict=True)
                ]
                _copy(mine, new)
            elif self.multi_avg_fn is not None:
                self.multi_avg_fn(mine, current, self.n_averaged)
            else:
                average(mine, current, 1 / (models + 1))
            if not self.use_buffers:
                _copy(list(self.module.buffers()), [one.detach() for one in model.buffers()])
            self.n_averaged.rebind(self.n_averaged + 1)

    def _averaged(self, model: Module) -> list[Any]:
        return list(chain(model.parameters(), model.buffers()) if self.use_buffers else model.parameters())


def _copy(mine: list[Any], given: list[Any]) -> None:
    for one, value in zip(mine, given, strict=True):
        value = value.to(one.device)
        one.rebind(value if value.dtype is one.dtype else astype(value, one.dtype))


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Work out the running statistics of all batch norms anew, over one pass through `loader`.

    A batch is a tensor, or a list or tuple that begins with one.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> net = nn.Sequential(nn.BatchNorm1d(1))
    >>> optim.swa_utils.update_bn([ml.asarray([[1.0], [3.0]]), ml.asarray([[5.0], [7.0]])], net)
    >>> net[0].running_mean.tolist()
    [4.0]
    """
    norms = {one: one.momentum for one in model.modules() if isinstance(one, _BatchNorm)}
    if not norms:
        return
    training = model.training
    model.train()
    try:
        for one in norms:
            one.reset_running_stats()
            one.momentum = None  # the plain average over all batches
        with dispatch.recording(False):
            for batch in loader:
                given = batch[0] if isinstance(batch, (list, tuple)) else batch
                model(given if device is None else given.to(device))
    finally:
        for one, momentum in norms.items():
            one.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """From the current rate to `swa_lr` over `anneal_epochs` epochs, where it stays.

    >>> from mlcore import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> schedule = optim.swa_utils.SWALR(optimizer, swa_lr=0.5, anneal_epochs=2, anneal_strategy="linear")
    >>> [schedule.step() or schedule.get_last_lr()[0] for _ in range(3)]
    [0.75, 0.5, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        rates = each("SWALR", "swa_lr", swa_lr, known("SWALR", optimizer))
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(f"SWALR: anneal_strategy={anneal_strategy!r}", fix="use 'cos' or 'linear'")
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = count("SWALR", "anneal_epochs", anneal_epochs, 0)
        super().__init__(optimizer, last_epoch)

    def _next(self, rate: float, base: float, group: Group) -> float:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._part(step - 1), self._part(step)
        goal = group["swa_lr"]
        first = goal if before == 1 else (rate - before * goal) / (1 - before)
        return float(goal * now + first * (1 - now))

    def _part(self, step: int) -> float:
        """How much of the way lies behind."""
        done = max(0, min(1, step / max(1, self.anneal_epochs)))
        return done if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * done)) / 2
