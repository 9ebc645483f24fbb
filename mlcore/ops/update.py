"""Optimizer steps: one operation over all parameters, so that a backend can do each in a single call.

Inputs are the flattened lists (parameters, then gradients, then each state), all of one length n; outputs are the
new parameters, then the new states. Hyperparameters are plain numbers. Nothing here is differentiable.
"""

from __future__ import annotations

import math
from typing import Any

from mlcore.dtypes import floating
from mlcore.ops.cases import Sample, sample
from mlcore.ops.elementwise import sqrt
from mlcore.ops.spec import Outs, composite, outs


def _rule(states: int) -> Any:
    """Outputs like the parameters: one list for them and one per state."""

    def rule(*tensors: Any, **params: Any) -> Outs:
        n = len(tensors) // (2 + states)
        same = [(one.shape, one.dtype) for one in tensors[:n]]
        return outs(same * (1 + states), *params.values())

    return rule


_SHAPES: list[tuple[int, ...]] = [(3, 4), (5,), (), (0, 2), (1029,)]


def _sgd_samples() -> list[Sample]:
    return [sample(_SHAPES * 2, lr=0.1, weight_decay=decay) for decay in (0.0, 0.01)]


def _momentum_samples() -> list[Sample]:
    how = dict(lr=0.1, momentum=0.9, dampening=0.0, weight_decay=0.0, nesterov=False, first=False)
    changes: list[dict[str, Any]] = [
        {},
        {"first": True},
        {"weight_decay": 0.01, "nesterov": True},
        {"dampening": 0.1},
    ]
    return [sample(_SHAPES * 3, **{**how, **change}) for change in changes]


def _adam_samples() -> list[Sample]:
    how = dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled=True, step=3)
    changes: list[dict[str, Any]] = [
        {},
        {"weight_decay": 0.01},
        {"weight_decay": 0.01, "decoupled": False, "step": 1},
    ]
    squares = {"tensors": lambda tensors: [*tensors[:15], *[one * one for one in tensors[15:]]]}
    return [sample(_SHAPES * 4, derive=squares, **{**how, **change}) for change in changes]


def _columns(tensors: Any, states: int) -> list[list[Any]]:
    n = len(tensors) // (2 + states)
    return [list(tensors[i * n : (i + 1) * n]) for i in range(2 + states)]


@composite(
    _rule(1), accepts=floating, public=False, variadic=True, promote=(), listed=True, ulp=8, samples=_momentum_samples
)  # fmt: skip
def sgd_momentum_step(
    tensors: Any,
    /,
    *rest: Any,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
) -> Any:
    """SGD with momentum (Sutskever et al. 2013, PyTorch's form); `first` starts the buffers from the gradient."""
    new_params, new_buffers = [], []
    for p, g, b in zip(*_columns((tensors, *rest), 1), strict=True):
        if weight_decay:
            g = g + p * weight_decay
        b = g if first else b * momentum + g * (1 - dampening)
        step = g + b * momentum if nesterov else b
        new_params.append(p - step * lr)
        new_buffers.append(b)
    return (*new_params, *new_buffers)


@composite(
    _rule(0),
    accepts=floating,
    public=False,
    variadic=True,
    promote=(),
    listed=True,
    ulp=8,
    samples=_sgd_samples,
)
def sgd_step(tensors: Any, /, *rest: Any, lr: float, weight_decay: float) -> Any:
    """Plain SGD."""
    new = []
    for p, g in zip(*_columns((tensors, *rest), 0), strict=True):
        new.append(p - (g + p * weight_decay if weight_decay else g) * lr)
    return tuple(new)


@composite(
    _rule(2),
    accepts=floating,
    public=False,
    variadic=True,
    promote=(),
    listed=True,
    ulp=16,
    samples=_adam_samples,
)
def adam_step(
    tensors: Any,
    /,
    *rest: Any,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
) -> Any:
    """Adam (Kingma and Ba 2015); `decoupled` weight decay makes it AdamW (Loshchilov and Hutter 2019)."""
    new_params, new_m, new_v = [], [], []
    correction1, correction2 = 1 - beta1**step, math.sqrt(1 - beta2**step)
    for p, g, m, v in zip(*_columns((tensors, *rest), 2), strict=True):
        if weight_decay:
            if decoupled:
                p = p * (1 - lr * weight_decay)
            else:
                g = g + p * weight_decay
        m = m * beta1 + g * (1 - beta1)
        v = v * beta2 + g * g * (1 - beta2)
        new_params.append(p - m * (lr / correction1) / (sqrt(v) / correction2 + eps))
        new_m.append(m)
        new_v.append(v)
    return (*new_params, *new_m, *new_v)
