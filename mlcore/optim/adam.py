"""Adam and AdamW."""

from __future__ import annotations

import math
from typing import Any

from mlcore.ops.elementwise import maximum, sqrt
from mlcore.ops.update import adam_step, decayed, update_step
from mlcore.optim.hyper import flag, hyper
from mlcore.optim.rule import Group, Plan, UpdateRule

_TRIED = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.01, step=3, positive=(1, 2))


@update_step(samples=[{**_TRIED, "decoupled": True}, {**_TRIED, "decoupled": False}])
def adam_amsgrad_step(
    p: Any, g: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any, /, *,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
) -> Any:  # fmt: skip
    """Adam with the largest second moment so far (Reddi et al. 2018)."""
    p, g = decayed(p, g, lr, weight_decay, decoupled)
    m = exp_avg * beta1 + g * (1 - beta1)
    v = exp_avg_sq * beta2 + g * g * (1 - beta2)
    top = maximum(max_exp_avg_sq, v)
    scale = sqrt(top) / math.sqrt(1 - beta2**step) + eps
    return p - m * (lr / (1 - beta1**step)) / scale, m, v, top


AMSGRAD = Plan(adam_amsgrad_step)


class Adam(UpdateRule):
    """Adam (Kingma and Ba 2015); `weight_decay` is added to the gradient, or decoupled as in AdamW if asked.

    All parameters of a group are updated by one operation (`foreach`, `fused` and `capturable` are accepted, and
    change nothing).

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.Adam([p], lr=0.5).step(); round(p.item(), 4)
    0.5
    """

    lr: float = hyper(default=1e-3)
    betas: tuple[float, float] = hyper(default=(0.9, 0.999), high=1.0, below_high=True)
    eps: float = hyper(default=1e-8)
    weight_decay: float = hyper(default=0.0)
    amsgrad: bool = hyper(default=False)
    foreach: bool | None = flag(default=None)
    maximize: bool = flag(default=False)
    capturable: bool = flag(default=False)
    differentiable: bool = flag(default=False)
    fused: bool | None = flag(default=None)
    decoupled_weight_decay: bool = flag(default=False)

    rule = adam_step

    def _plan_for(self, group: Group) -> Plan:
        return AMSGRAD if group["amsgrad"] else self._plan

    def _values(self, plan: Plan, group: Group, scalars: dict[str, Any]) -> tuple[Any, ...]:
        beta1, beta2 = group["betas"]
        return (
            float(group["lr"]),
            float(beta1),
            float(beta2),
            float(group["eps"]),
            float(group["weight_decay"]),
            bool(group["decoupled_weight_decay"]),
            scalars["step"],
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * 0).sum().backward()
    >>> optim.AdamW([p], lr=0.5, weight_decay=0.1).step(); round(p.item(), 4)
    0.95
    """

    weight_decay: float = hyper(default=1e-2)
    decoupled_weight_decay: bool = hyper(default=True, init=False)
