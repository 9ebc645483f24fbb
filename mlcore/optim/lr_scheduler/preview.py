"""A schedule before it is used: built from words, and run without a model."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from typing import Any

from mlcore.errors import ArgumentError, ArgumentTypeError, did_you_mean
from mlcore.nn.parameter import Parameter
from mlcore.ops.creation import zeros
from mlcore.optim import lr_scheduler, swa_utils
from mlcore.optim.hyper import count
from mlcore.optim.lr_scheduler.base import LRScheduler, rate_of
from mlcore.optim.lr_scheduler.plateau import ReduceLROnPlateau
from mlcore.optim.lr_scheduler.sequential import SequentialLR
from mlcore.optim.optimizer import Optimizer
from mlcore.optim.sgd import SGD

THEN = "at"
USUAL = 100  # steps of a schedule that has no length of its own
FUNCTIONS = ("lr_lambda", "scale_fn")


def names() -> list[str]:
    """The schedules that `build` makes by name."""
    several = ("LRScheduler", "SequentialLR", "ChainedScheduler")
    return [*(one for one in lr_scheduler.__all__ if one not in several), "SWALR"]


def build(words: Sequence[str], lr: float = 0.1, momentum: float = 0.9) -> LRScheduler:
    """A schedule of an SGD: `["StepLR", "step_size=30"]`, or `["module:function"]` of the optimizer.

    `at N` begins another schedule at that step: `LinearLR total_iters=10 at 10 CosineAnnealingLR T_max=90`.

    >>> schedule = build(["LinearLR", "total_iters=10", "at", "10", "CosineAnnealingLR", "T_max=90"])
    >>> type(schedule).__name__, length(schedule)
    ('SequentialLR', 100)
    """
    optimizer = SGD([Parameter(zeros((), device="reference"))], lr=lr, momentum=momentum)
    parts: list[list[str]] = [[]]
    milestones: list[int] = []
    rest = iter(words)
    for word in rest:
        if word == THEN:
            at = next(rest, "")
            if not at.isdecimal():
                raise ArgumentError(
                    f"schedule: {THEN!r} {at!r}", fix=f"write a step and a schedule: {THEN} 10 StepLR"
                )
            milestones.append(int(at))
            parts.append([])
        else:
            parts[-1].append(word)
    made = [_one(part, optimizer) for part in parts]
    return made[0] if len(made) == 1 else SequentialLR(optimizer, made, milestones)


def _one(words: list[str], optimizer: Optimizer) -> LRScheduler:
    if not words:
        raise ArgumentError("schedule: there is no schedule", fix=f"name one of {', '.join(names())}")
    name, *rest = words
    if ":" in name:
        make = _imported(name)
        parameters: dict[str, Any] = {}
    elif name in names():
        make = getattr(lr_scheduler, name, None) or getattr(swa_utils, name)
        parameters = dict(inspect.signature(make).parameters)
    else:
        raise ArgumentError(
            f"schedule: no schedule is called {name!r}{did_you_mean(name, names())}",
            fix=f"use one of {', '.join(names())}, or module:function",
        )
    given = dict(_value(word, parameters, name) for word in rest)
    try:
        made = make(optimizer, **given)
    except TypeError as error:
        if isinstance(error, ArgumentTypeError):
            raise
        shown = [str(p) for p in parameters.values() if p.name != "optimizer"]
        raise ArgumentTypeError(
            f"{name}: {str(error).partition(') ')[2] or error}", expects=", ".join(shown)
        ) from None
    if not isinstance(made, LRScheduler):
        raise ArgumentTypeError(f"{name} returned a {type(made).__name__}, not an LRScheduler")
    return made


def _value(word: str, parameters: dict[str, Any], who: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals or (parameters and name not in parameters):
        known = [one for one in parameters if one != "optimizer"]
        raise ArgumentError(
            f"{who}: {word!r}{did_you_mean(name, known)}",
            fix=f"write name=value, of {', '.join(known)}" if known else "write name=value",
        )
    if name in FUNCTIONS and ":" in text:
        return name, _imported(text)
    try:
        return name, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return name, text


def _imported(text: str) -> Any:
    """`module:name`, also from the current folder."""
    module, _, name = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(
            f"schedule: {text}: {error}", fix="write module:function, as in training:schedule"
        ) from error
    finally:
        sys.path.remove(os.getcwd())
    return found


def length(schedule: Any) -> int:
    """How many steps a schedule takes to show itself, or 100."""
    if hasattr(schedule, "_milestones"):
        return int(max(schedule._milestones, default=0) + length(schedule._schedulers[-1]))
    if hasattr(schedule, "_schedulers"):
        return max(length(one) for one in schedule._schedulers)
    steps = getattr(schedule, "warmup_steps", 0)
    if hasattr(schedule, "total_steps"):
        return int(schedule.total_steps) - 1
    if hasattr(schedule, "decay_steps"):
        return int(steps + schedule.stable_steps + schedule.decay_steps) or USUAL
    if hasattr(schedule, "total_size"):
        return int(3 * schedule.total_size)
    if hasattr(schedule, "T_0"):
        return int(schedule.T_0 * sum(schedule.T_mult**i for i in range(3)))
    if hasattr(schedule, "milestones"):
        return int(max(schedule.milestones, default=USUAL) * 5 / 4) + 1
    for name, times in (("T_max", 1), ("total_iters", 1), ("step_size", 5), ("anneal_epochs", 1)):
        if getattr(schedule, name, 0):
            return int(getattr(schedule, name) * times)
    return int(steps) * 5 or USUAL


def follow(
    schedule: LRScheduler, steps: int, losses: Sequence[float] | None = None
) -> tuple[list[float], list[float]]:
    """The rates from step 0 to `steps`, and the momenta (of the first group).

    >>> follow(build(["StepLR", "step_size=1", "gamma=0.5"], lr=1.0), 3)[0]
    [1.0, 0.5, 0.25, 0.125]
    """
    group = schedule.optimizer.param_groups[0]
    metric = isinstance(schedule, ReduceLROnPlateau)
    if metric and losses is None:
        raise ArgumentError(
            "ReduceLROnPlateau: its rate depends on how training goes", fix="give the losses to try it on"
        )
    count("schedule", "steps", steps, 0)
    rates, momenta = [rate_of(group)], [float(group["momentum"])]
    for i in range(len(losses) if metric and losses is not None else steps):
        if metric and losses is not None:
            schedule.step(losses[i])  # type: ignore[arg-type]  # the one that takes a metric
        else:
            schedule.step()
        rates.append(float(rate_of(group)))
        momenta.append(float(group["momentum"]))
    return rates, momenta
