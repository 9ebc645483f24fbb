"""Relatives of Adam: Adamax, NAdam and RAdam."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from mlcore.ops.elementwise import abs as magnitude
from mlcore.ops.elementwise import maximum, sqrt
from mlcore.ops.update import decayed
from mlcore.optim.hyper import flag, hyper
from mlcore.optim.rule import Group, UpdateRule, scalar

_TRIED = dict(lr=0.1, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.01, step=3, positive=(1,))


class Adamax(UpdateRule, op="adamax_step", samples=[_TRIED, {**_TRIED, "weight_decay": 0.0, "step": 1}]):
    """Adam with the largest gradient so far, decaying, for its second moment (Kingma and Ba 2015, section 7.1).

    `foreach`, `capturable` are accepted, and change nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.Adamax([p], lr=0.5).step(); round(p.item(), 4)
    0.5
    """

    lr: float = hyper(default=2e-3)
    betas: tuple[float, float] = hyper(default=(0.9, 0.999), high=1.0, below_high=True)
    eps: float = hyper(default=1e-8)
    weight_decay: float = hyper(default=0.0)
    foreach: bool | None = hyper(default=None)
    maximize: bool = flag(default=False)
    differentiable: bool = flag(default=False)
    capturable: bool = flag(default=False)

    @staticmethod
    def rule(p: Any, g: Any, exp_avg: Any, exp_inf: Any, /, *,
             lr: float, betas: tuple[float, float], eps: float, weight_decay: float, step: int) -> Any:  # fmt: skip
        beta1, beta2 = betas
        if weight_decay:
            g = g + p * weight_decay
        m = exp_avg * beta1 + g * (1 - beta1)
        largest = maximum(exp_inf * beta2, magnitude(g) + eps)
        return p - m / largest * (lr / (1 - beta1**step)), m, largest


_NADAM = {**_TRIED, "mu": 0.8, "mu_next": 0.82, "mu_product": 0.5}


class NAdam(
    UpdateRule, op="nadam_step", samples=[{**_NADAM, "decoupled_weight_decay": d} for d in (True, False)]
):
    """Adam with Nesterov's momentum (Dozat 2016); its momentum grows as `momentum_decay` says.

    `foreach` and `capturable` are accepted, and change nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.NAdam([p], lr=0.5).step(); round(p.item(), 4)
    0.4718
    """

    lr: float = hyper(default=2e-3)
    betas: tuple[float, float] = hyper(default=(0.9, 0.999), high=1.0, below_high=True)
    eps: float = hyper(default=1e-8)
    weight_decay: float = hyper(default=0.0)
    momentum_decay: float = hyper(default=4e-3)
    decoupled_weight_decay: bool = hyper(default=False)
    foreach: bool | None = flag(default=None)
    maximize: bool = flag(default=False)
    capturable: bool = flag(default=False)
    differentiable: bool = flag(default=False)

    start: ClassVar = {"mu_product": 1.0}

    def numbers(self, group: Group, scalars: dict[str, Any]) -> Mapping[str, Any]:
        beta1, step = group["betas"][0], scalars["step"]
        mu, mu_next = (
            beta1 * (1 - 0.5 * 0.96 ** (one * group["momentum_decay"])) for one in (step, step + 1)
        )
        scalars["mu_product"] = scalar(scalars["mu_product"] * scalar(mu))
        return {**group, **scalars, "mu": mu, "mu_next": mu_next}

    @staticmethod
    def rule(p: Any, g: Any, exp_avg: Any, exp_avg_sq: Any, /, *,
             lr: float, betas: tuple[float, float], eps: float, weight_decay: float, decoupled_weight_decay: bool,
             step: int, mu: float, mu_next: float, mu_product: float) -> Any:  # fmt: skip
        beta1, beta2 = betas
        p, g = decayed(p, g, lr, weight_decay, decoupled_weight_decay)
        m = exp_avg * beta1 + g * (1 - beta1)
        v = exp_avg_sq * beta2 + g * g * (1 - beta2)
        scale = sqrt(v / (1 - beta2**step)) + eps
        ahead = g * (lr * (1 - mu) / (1 - mu_product)) + m * (lr * mu_next / (1 - mu_product * mu_next))
        return p - ahead / scale, m, v


class RAdam(
    UpdateRule,
    op="radam_step",
    samples=[{**_TRIED, "step": step, "decoupled_weight_decay": step > 3} for step in (1, 3, 20)],
):
    """Adam whose adaptive rate waits until its variance is known, and is rectified for it (Liu et al. 2020).

    `foreach` and `capturable` are accepted, and change nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.RAdam([p], lr=0.25).step(); p.tolist()
    [0.5]
    """

    lr: float = hyper(default=1e-3)
    betas: tuple[float, float] = hyper(default=(0.9, 0.999), high=1.0, below_high=True)
    eps: float = hyper(default=1e-8)
    weight_decay: float = hyper(default=0.0)
    decoupled_weight_decay: bool = hyper(default=False)
    foreach: bool | None = flag(default=None)
    maximize: bool = flag(default=False)
    capturable: bool = flag(default=False)
    differentiable: bool = flag(default=False)

    @staticmethod
    def rule(p: Any, g: Any, exp_avg: Any, exp_avg_sq: Any, /, *,
             lr: float, betas: tuple[float, float], eps: float, weight_decay: float, decoupled_weight_decay: bool,
             step: int) -> Any:  # fmt: skip
        beta1, beta2 = betas
        p, g = decayed(p, g, lr, weight_decay, decoupled_weight_decay)
        m = exp_avg * beta1 + g * (1 - beta1)
        v = exp_avg_sq * beta2 + g * g * (1 - beta2)
        move = m * (lr / (1 - beta1**step))
        correction = 1 - beta2**step
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * step * beta2**step / correction  # of the average that v is
        if length > 5:
            rectified = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
            move = move * math.sqrt(rectified * correction) / (sqrt(v) + eps)
        return p - move, m, v
