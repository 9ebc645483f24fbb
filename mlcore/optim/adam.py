"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from mlcore.errors import ArgumentError
from mlcore.ops.creation import zeros_like
from mlcore.ops.elementwise import maximum, sqrt
from mlcore.ops.update import adam_step
from mlcore.optim.optimizer import Optimizer, number
from mlcore.optim.step import buckets, run


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015); `weight_decay` is added to the gradient, or decoupled as in AdamW if asked.

    All parameters of a group are updated by one operation (`foreach` and `fused` are accepted, and change nothing).

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * p).sum().backward()
    >>> optim.Adam([p], lr=0.5).step(); round(p.item(), 4)
    0.5
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
        fused: bool | None = None, decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            dict(
                lr=lr,
                betas=betas,
                eps=eps,
                weight_decay=weight_decay,
                amsgrad=amsgrad,
                maximize=maximize,
                foreach=foreach,
                fused=fused,
                decoupled_weight_decay=decoupled_weight_decay,
            ),
        )

    def _check(self, group: dict[str, Any]) -> None:
        who = type(self).__name__
        for name in ("lr", "eps", "weight_decay"):
            number(who, name, group[name])
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ArgumentError(f"{who}: betas is {betas}", fix="use a pair such as (0.9, 0.999)")
        for i, beta in enumerate(betas):
            number(who, f"betas[{i}]", beta, high=1.0, below_high=True)

    def _update(self, group: dict[str, Any], parameters: list[Any], gradients: list[Any]) -> None:
        state = self.state
        held: dict[Any, dict[str, Any]] = {}
        for p in parameters:
            held[p] = one = state[p]
            if not one:
                one.update(step=0, exp_avg=zeros_like(p), exp_avg_sq=zeros_like(p))
                if group["amsgrad"]:
                    one["max_exp_avg_sq"] = zeros_like(p)
        how = (
            float(group["lr"]),
            float(group["betas"][0]),
            float(group["betas"][1]),
            float(group["eps"]),
            float(group["weight_decay"]),
            bool(group["decoupled_weight_decay"]),
        )
        for done, owners, grads in buckets(parameters, gradients, [one["step"] for one in held.values()]):
            states = [held[p] for p in owners]
            if group["amsgrad"]:
                for p, g, one in zip(owners, grads, states, strict=True):
                    _amsgrad(p, g, one, done + 1, *how)
                continue
            moments = [one["exp_avg"] for one in states], [one["exp_avg_sq"] for one in states]
            run(adam_step, [owners, grads, *moments], (*how, done + 1))
            for one in states:
                one["step"] = done + 1


def _amsgrad(
    p: Any,
    g: Any,
    state: dict[str, Any],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """One parameter's step with the largest second moment so far (Reddi et al. 2018)."""
    value = p.detach()
    if weight_decay:
        if decoupled:
            value = value * (1 - lr * weight_decay)
        else:
            g = g + value * weight_decay
    m = state["exp_avg"] * beta1 + g * (1 - beta1)
    v = state["exp_avg_sq"] * beta2 + g * g * (1 - beta2)
    top = maximum(state["max_exp_avg_sq"], v)
    scale = sqrt(top) / math.sqrt(1 - beta2**step) + eps
    p.rebind(value - m * (lr / (1 - beta1**step)) / scale)
    state.update(step=step, exp_avg=m, exp_avg_sq=v, max_exp_avg_sq=top)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([1.0])); (p * 0).sum().backward()
    >>> optim.AdamW([p], lr=0.5, weight_decay=0.1).step(); round(p.item(), 4)
    0.95
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
        fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, fused=fused,
                         decoupled_weight_decay=True)  # fmt: skip
