"""Optimizer steps and dropout, launched: one kernel a parameter, where the parts would be a dozen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlcore_oneapi import steps_source as source
from mlcore_oneapi.tools import Tools, numbers, real


def _run(
    tools: Tools, kernel: Any, given: list[Any], outputs: int, mode: int, values: tuple[float, ...]
) -> list[Any]:
    """The new parameter and states from a parameter, its gradient and its states."""
    held = [tools.arrays.contiguous(one) for one in given]
    first = held[0]
    made = [tools.arrays.empty(first.shape, first.dtype) for _ in range(outputs)]
    if first.size:
        places = [one.offset for one in held] + [0] * (4 - len(held))
        words = numbers(first.size, *places, mode, *(real(one, first.dtype) for one in values))
        tools.run(
            tools.get(kernel, first.dtype, local=(source.GROUP,)),
            (*held, *made),
            words,
            _items(tools, first.size),
        )
    return made


def _items(tools: Tools, count: int) -> tuple[int, ...]:
    return (source.GROUP * max(1, min(-(-count // 1024), 32 * tools.units)),)


def _each(states: int, run: Callable[..., list[Any]]) -> Callable[..., tuple[Any, ...]]:
    """A step over all parameters: the inputs are the parameters, the gradients, then each state; so are the outputs."""

    def step(tools: Tools, *given: Any) -> tuple[Any, ...]:
        count = next(i for i, one in enumerate(given) if not hasattr(one, "buffer"))
        tensors, params = given[:count], given[count:]
        n = count // (2 + states)
        made = [run(tools, list(tensors[i::n]), *params) for i in range(n)]
        return tuple(one for column in zip(*made, strict=True) for one in column)

    return step


def _adam(
    tools: Tools, given: list[Any], lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
    decoupled: bool, step: int,
) -> list[Any]:  # fmt: skip
    mode = 0 if not weight_decay else 1 if decoupled else 2
    values = (
        1 - lr * weight_decay, weight_decay, beta1, 1 - beta1, beta2, 1 - beta2, math.sqrt(1 - beta2**step), eps,
        lr / (1 - beta1**step),
    )  # fmt: skip
    return _run(tools, source.adam_step, given, 3, mode, values)


def _momentum(
    tools: Tools, given: list[Any], lr: float, momentum: float, dampening: float, weight_decay: float,
    nesterov: bool, first: bool,
) -> list[Any]:  # fmt: skip
    mode = bool(weight_decay) + 2 * bool(first) + 4 * bool(nesterov)
    return _run(tools, source.sgd_momentum_step, given, 2, mode, (weight_decay, momentum, 1 - dampening, lr))


def _sgd(tools: Tools, given: list[Any], lr: float, weight_decay: float) -> list[Any]:
    return _run(tools, source.sgd_step, given, 1, int(bool(weight_decay)), (weight_decay, lr))


adam_step = _each(2, _adam)
sgd_momentum_step = _each(1, _momentum)
sgd_step = _each(0, _sgd)


def dropout_mask(tools: Tools, x: Any, p: float, key: tuple[int, int], offset: int) -> Any:
    """x / (1 - p) where the stream's uniform number is at least p, else 0."""
    x = tools.arrays.contiguous(x)
    y = tools.arrays.empty(x.shape, x.dtype)
    if x.size:
        first = offset - 2**64 if offset >= 2**63 else offset
        words = numbers(
            x.size, x.offset, key[0], key[1], first, math.ceil(p * 2**24), real(1 / (1 - p), x.dtype)
        )
        kernel = tools.get(source.dropout_mask, x.dtype, local=(source.GROUP,))
        tools.run(kernel, (x, y), words, _items(tools, x.size))
    return y
