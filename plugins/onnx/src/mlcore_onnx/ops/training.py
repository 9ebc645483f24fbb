"""Steps of optimizers, as ONNX's preview of training has them."""

from __future__ import annotations

from typing import Any

import mlcore as ml
from mlcore.errors import ArgumentError
from mlcore_onnx.ops.declare import TRAINING, onnx_op


def _groups(values: tuple[Any, ...], kinds: int) -> list[tuple[Any, ...]]:
    """(x, gradient, states) of each tensor: the inputs come all x first, then all gradients, ..."""
    count, rest = divmod(len(values), kinds)
    if rest or not count:
        raise ArgumentError(f"{len(values)} tensors for an optimizer that takes {kinds} of each kind")
    return [tuple(values[k * count + i] for k in range(kinds)) for i in range(count)]


def _in_order(made: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(one for column in zip(*made) for one in column)


@onnx_op("Adagrad", 1, domain=TRAINING, host=("rate", "turn"))
def adagrad(
    rate: Any,
    turn: Any,
    *values: Any,
    decay_factor: float = 0.0,
    epsilon: float = 0.0,
    norm_coefficient: float = 0.0,
) -> Any:
    step = float(rate.reshape(-1)[0]) / (1 + int(turn.reshape(-1)[0]) * decay_factor)
    made = []
    for x, g, h in _groups(values, 3):
        g = x * norm_coefficient + g
        h = h + g * g
        made.append((x - g * step / (ml.sqrt(h) + epsilon), h))
    return _in_order(made)


@onnx_op("Momentum", 1, domain=TRAINING, host=("rate", "turn"))
def momentum(
    rate: Any, turn: Any, *values: Any, alpha: float, beta: float, mode: str, norm_coefficient: float
) -> Any:
    if mode not in ("standard", "nesterov"):
        raise ArgumentError(f"Momentum: mode {mode!r}", fix="'standard' or 'nesterov'")
    step = float(rate.reshape(-1)[0])
    part = beta if int(turn.reshape(-1)[0]) > 0 else 1.0
    made = []
    for x, g, v in _groups(values, 3):
        g = x * norm_coefficient + g
        v = v * alpha + g * part
        made.append((x - (g + v * alpha if mode == "nesterov" else v) * step, v))
    return _in_order(made)


@onnx_op("Adam", 1, domain=TRAINING, host=("rate", "turn"))
def adam(
    rate: Any, turn: Any, *values: Any, alpha: float = 0.9, beta: float = 0.999, epsilon: float = 0.0,
    norm_coefficient: float = 0.0, norm_coefficient_post: float = 0.0,
) -> Any:  # fmt: skip
    step, t = float(rate.reshape(-1)[0]), int(turn.reshape(-1)[0])
    if t > 0:
        step = step * (1 - beta**t) ** 0.5 / (1 - alpha**t)
    made = []
    for x, g, v, h in _groups(values, 4):
        g = x * norm_coefficient + g
        v = v * alpha + g * (1 - alpha)
        h = h * beta + g * g * (1 - beta)
        made.append(((x - v * step / (ml.sqrt(h) + epsilon)) * (1 - norm_coefficient_post), v, h))
    return _in_order(made)
