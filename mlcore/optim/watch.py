"""Gradients that are not finite, found before they reach the parameters."""

from __future__ import annotations

from typing import Any

from mlcore import dispatch
from mlcore.errors import MlcoreError
from mlcore.ops.logic import isfinite, isnan
from mlcore.ops.reduce import sum as total
from mlcore.optim.hyper import count
from mlcore.optim.optimizer import Optimizer
from mlcore.tensor import HookHandle

SHOWN = 8


class GradientError(MlcoreError, FloatingPointError):
    """A gradient is nan or infinite."""


def check_gradients(optimizer: Optimizer, model: Any = None, *, every: int = 1) -> HookHandle:
    """Refuse to take a step with gradients that are nan or infinite: `GradientError` names the parameters.

    Names are those of `model`'s parameters, or those that the optimizer was given (`named_parameters()`), else numbers.
    One step in `every` is looked at. Returns a handle whose `remove()` ends it.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> net = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
    >>> optimizer = optim.SGD(net.named_parameters(), lr=0.1)
    >>> handle = optim.check_gradients(optimizer)
    >>> net(ml.asarray([[float("inf")]])).sum().backward()
    >>> optimizer.step()
    Traceback (most recent call last):
    mlcore.optim.watch.GradientError: gradients of 2 of 4 parameters are not finite: '0.weight' (2 of 2: ...
      cause: ...
    """
    count("check_gradients", "every", every)
    names = {} if model is None else {id(one): name for name, one in model.named_parameters()}
    seen = 0

    def look(watched: Optimizer, args: Any, kwargs: Any) -> None:
        nonlocal seen
        seen += 1
        if (seen - 1) % every == 0:
            _look(watched, names)

    return optimizer.register_step_pre_hook(look)


def _look(optimizer: Optimizer, names: dict[int, str]) -> None:
    found, parameters = [], 0
    with dispatch.recording(False):
        for i, group in enumerate(optimizer.param_groups):
            given = group.get("param_names")
            for j, one in enumerate(group["params"]):
                parameters += 1
                if one.grad is None or bool(isfinite(total(one.grad * 0))):
                    continue
                name = names.get(id(one)) or (given[j] if given else None)
                shown = repr(name) if name is not None else f"parameter {j} of group {i}, shape {one.shape}"
                nans = int(total(isnan(one.grad)).item())
                wrong = one.size - int(total(isfinite(one.grad)).item())
                found.append(f"{shown} ({wrong} of {one.size}: {nans} nan, {wrong - nans} infinite)")
    if found:
        more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise GradientError(
            f"gradients of {len(found)} of {parameters} parameters are not finite: {', '.join(found[:SHOWN])}{more}",
            cause="a loss that overflowed, a division by 0, the log or root of a number that is not positive",
            fix="look at the first of them in the order of the backward pass; lower the rate, or clip the gradients",
        )
