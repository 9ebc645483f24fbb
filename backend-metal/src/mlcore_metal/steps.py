"""Optimizer steps over all parameters in one call; other rules are composed by the core."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from mlcore.dtypes import floating
from mlcore_metal.catalog import kernel, maker
from mlcore_metal.library import mx

Array = Any


def columns(tensors: Sequence[Array], states: int) -> list[Sequence[Array]]:
    """[(parameter, gradient, *states)] from the flattened lists."""
    n = len(tensors) // (2 + states)
    return list(zip(*(tensors[i * n : (i + 1) * n] for i in range(2 + states)), strict=True))


def rows(made: Sequence[Sequence[Array]]) -> tuple[Array, ...]:
    """New parameters first, then each new state."""
    return tuple(one for column in zip(*made, strict=True) for one in column)


def _decayed(p: Array, g: Array, lr: float, weight_decay: float, decoupled: bool) -> tuple[Array, Array]:
    if not weight_decay:
        return p, g
    return (p * (1 - lr * weight_decay), g) if decoupled else (p, g + p * weight_decay)


@kernel("sgd_step", dtypes=floating)
def sgd_step(*given: Any) -> tuple[Array, ...]:
    *tensors, lr, weight_decay = given
    made = []
    for p, g in columns(tensors, 0):
        made.append((p - (g + p * weight_decay if weight_decay else g) * lr,))
    return rows(made)


@kernel("sgd_momentum_step", dtypes=floating)
def sgd_momentum_step(*given: Any) -> tuple[Array, ...]:
    *tensors, lr, momentum, dampening, weight_decay, nesterov, first = given
    made = []
    for p, g, buffer in columns(tensors, 1):
        g_ = g + p * weight_decay if weight_decay else g
        b = g_ if first else buffer * momentum + g_ * (1 - dampening)
        made.append((p - (g_ + b * momentum if nesterov else b) * lr, b))
    return rows(made)


def adam(
    p: Array, g: Array, m: Array, v: Array, lr: float, beta1: float, beta2: float, eps: float,
    weight_decay: float, decoupled: bool, step: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """One parameter's Adam or AdamW by MLX's functions."""
    p, g = _decayed(p, g, lr, weight_decay, decoupled)
    m = m * beta1 + g * (1 - beta1)
    v = v * beta2 + g * g * (1 - beta2)
    scale = mx.sqrt(v) * (1 / math.sqrt(1 - beta2**step)) + eps
    return p - m * (lr / (1 - beta1**step)) / scale, m, v


@maker("adam_step", dtypes=floating)
def adam_step(op: Any, backend: Any) -> Callable[..., Any]:
    """By the kernel of this package on a GPU, one launch a parameter; by MLX's functions elsewhere."""
    from mlcore_metal import metal_kernels

    one: Callable[..., Any] = metal_kernels.adam if backend.own_kernels else adam

    def run(*given: Any) -> tuple[Array, ...]:
        *tensors, lr, beta1, beta2, eps, weight_decay, decoupled, step = given
        numbers = (lr, beta1, beta2, eps, weight_decay, decoupled, step)
        return rows([one(*parts, *numbers) for parts in columns(tensors, 2)])

    return run
