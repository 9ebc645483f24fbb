"""A rate for each layer from the sizes of its weights and of its step: LARS and LAMB, for large batches."""

from __future__ import annotations

import math
from typing import Any

from mlcore.errors import ArgumentError
from mlcore.ops.elementwise import maximum, minimum, sqrt, where
from mlcore.ops.reduce import sum as total
from mlcore.optim.hyper import flag, hyper
from mlcore.optim.rule import Group, UpdateRule


def length(x: Any) -> Any:
    """The Euclidean norm of all elements."""
    return sqrt(total(x * x))


def trust(weight: Any, step: Any) -> Any:
    """weight / step, and 1 where either is 0."""
    usable = step > 0
    ratio = weight / where(usable, step, 1.0)
    return where((weight > 0) & usable, ratio, 1.0)


class LARS(
    UpdateRule,
    op="lars_step",
    ulp=64,
    samples=[dict(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov, trust_coefficient=trust, eps=0.0,
                  special=False) for nesterov, trust in ((False, 0.001), (True, 0.1), (False, None))],
):  # fmt: skip
    """SGD with momentum and layer-wise adaptive rates (You, Gitman and Ginsburg 2017).

    The rate of each parameter is `lr * trust_coefficient * |p| / (|g| + weight_decay * |p| + eps)`, and `lr` alone
    where `p` or `g` is 0. Biases and parameters of norms usually go in a group with `trust_coefficient=None`, which is
    plain momentum, and `weight_decay=0`. `foreach` is accepted, and changes nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([3.0, 4.0])); p.grad = ml.asarray([0.0, 100.0])
    >>> optim.LARS([p], lr=1.0, weight_decay=0.0, trust_coefficient=0.25).step(); p.tolist()
    [3.0, 2.75]
    """

    lr: float = hyper(default=0.1)
    momentum: float = hyper(default=0.9)
    weight_decay: float = hyper(default=1e-4)
    nesterov: bool = hyper(default=False)
    trust_coefficient: float | None = hyper(default=0.001, optional=True)
    eps: float = hyper(default=0.0)
    foreach: bool | None = flag(default=None)
    maximize: bool = flag(default=False)
    differentiable: bool = flag(default=False)

    def check(self, group: Group) -> None:
        if group["nesterov"] and not group["momentum"]:
            raise ArgumentError("LARS: nesterov with momentum 0", fix="Nesterov needs momentum > 0")

    @staticmethod
    def rule(p: Any, g: Any, momentum_buffer: Any, /, *,
             lr: float, momentum: float, weight_decay: float, nesterov: bool, trust_coefficient: float | None,
             eps: float) -> Any:  # fmt: skip
        move = g + p * weight_decay if weight_decay else g
        if trust_coefficient is not None:
            weights, gradients = length(p), length(g)
            known = where((weights > 0) & (gradients > 0), weights, 0.0)
            rate = trust(known, gradients + weights * weight_decay + eps)
            move = move * where(known > 0, rate * trust_coefficient, 1.0)
        buffer = momentum_buffer * momentum + move * lr
        return p - (buffer * momentum + move * lr if nesterov else buffer), buffer


class LAMB(
    UpdateRule,
    op="lamb_step",
    ulp=64,
    samples=[dict(lr=0.1, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.01, bounds=bounds, step=3, positive=(1,),
                  special=False) for bounds in (None, (0.5, 2.0))],
):  # fmt: skip
    """Adam with layer-wise adaptive rates (You et al. 2020, algorithm 2), for very large batches.

    Each parameter's step is scaled to the length of the parameter: by `phi(|p|) / |step|`, where `phi` is the
    identity, or with `bounds` cuts `|p|` off to between them; by 1 where either is 0. Weight decay is decoupled.
    `foreach` is accepted, and changes nothing.

    >>> import mlcore as ml
    >>> from mlcore import nn, optim
    >>> p = nn.Parameter(ml.asarray([3.0, 4.0])); p.grad = ml.asarray([0.0, 100.0])
    >>> optim.LAMB([p], lr=0.1).step(); [round(one, 4) for one in p.tolist()]
    [3.0, 3.5]
    """

    lr: float = hyper(default=1e-3)
    betas: tuple[float, float] = hyper(default=(0.9, 0.999), high=1.0, below_high=True)
    eps: float = hyper(default=1e-6)
    weight_decay: float = hyper(default=0.0)
    bounds: tuple[float, float] | None = hyper(default=None)
    foreach: bool | None = flag(default=None)
    maximize: bool = flag(default=False)
    differentiable: bool = flag(default=False)

    def check(self, group: Group) -> None:
        bounds = group["bounds"]
        if bounds is not None and (len(bounds) != 2 or not 0 <= bounds[0] <= bounds[1]):
            raise ArgumentError(f"LAMB: bounds is {bounds}", fix="use a pair such as (0.0, 10.0), or None")

    @staticmethod
    def rule(p: Any, g: Any, exp_avg: Any, exp_avg_sq: Any, /, *,
             lr: float, betas: tuple[float, float], eps: float, weight_decay: float,
             bounds: tuple[float, float] | None, step: int) -> Any:  # fmt: skip
        beta1, beta2 = betas
        m = exp_avg * beta1 + g * (1 - beta1)
        v = exp_avg_sq * beta2 + g * g * (1 - beta2)
        move = m * (1 / (1 - beta1**step)) / (sqrt(v) / math.sqrt(1 - beta2**step) + eps)
        if weight_decay:
            move = move + p * weight_decay
        size = length(p)
        if bounds is not None:
            size = minimum(maximum(size, bounds[0]), bounds[1])
        return p - move * (trust(size, length(move)) * lr), m, v
