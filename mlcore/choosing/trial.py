"""A workload run for real on one device, for a bounded time, on a copy of the model."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.choosing.workload import arguments, tensors
from mlcore.compile.shape_only import inputs_like
from mlcore.dispatch import recording
from mlcore.dtypes import float32
from mlcore.errors import ArgumentTypeError
from mlcore.host import holds_values
from mlcore.ops import random
from mlcore.ops.creation import asarray, zeros
from mlcore.tensor import TensorBase

Loss = Callable[[Any, Any], Any]


def has_values(model: Any) -> bool:
    """Whether a model can be run: one that was made on shapes alone cannot."""
    return all(holds_values(one) for one in (*model.parameters(), *model.buffers()))


def run(
    model: Any,
    batch: Any,
    device: Device,
    training: bool,
    seconds: float,
    loss: Loss | None,
    dtype: Any = None,
) -> float:
    """Seconds of one step on `device`: the shortest of those that fit into the time, after one that does not count.

    The batch is sent there and the result waited for, as in a loop. A first step that takes longer than the time is
    the only one. The model, its gradients and the random numbers stay as they are.
    """
    state = random.get_state()
    try:
        with detect.device(device):
            twin = _twin(model, device, training)
            given = _real(arguments(model, batch) if loss is None else batch, dtype)
            step = _step(twin, training, loss)
            first = _timed(step, given, device)
            if first >= seconds:
                return first
            times: list[float] = []
            end = time.perf_counter() + seconds
            while len(times) < 3 or (time.perf_counter() < end and len(times) < 200):
                times.append(_timed(step, given, device))
                if sum(times) > 2 * seconds:
                    break
            return min(times)
    finally:
        random.set_state(state)


def _twin(model: Any, device: Device, training: bool) -> Any:
    with recording(False):
        try:
            twin = copy.deepcopy(model)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(
                f"{type(model).__name__} cannot be copied: {error}",
                cause="it is run on a copy, so that it stays as it is",
                fix="define __deepcopy__ for what it holds, or ask with how='estimate'",
            ) from error
        twin.zero_grad()
        return twin.to(device).train(training)


def _step(twin: Any, training: bool, loss: Loss | None) -> Callable[[Any], Any]:
    def forward(given: Any) -> Any:
        return twin(*given) if loss is None else loss(twin, given)

    def whole(given: Any) -> Any:
        total = None
        for one in tensors(forward(given)):
            if one.requires_grad:
                part = (one * one).sum() if one.shape else one
                total = part if total is None else total + part
        if total is not None:
            total.backward()
            twin.zero_grad()
        return total

    return whole if training else forward


def _timed(step: Callable[[Any], Any], host: Any, device: Device) -> float:
    started = time.perf_counter()
    found = step(_sent(host, device))
    for one in tensors(found):
        one.detach().numpy()
    device.synchronize()
    return time.perf_counter() - started


def _real(given: Any, dtype: Any) -> Any:
    """Shapes as inputs with values (numbers drawn for floats, zeros for integers); tensors and arrays as they are."""
    if isinstance(given, (tuple, list)) and not all(type(one) is int for one in given):
        return tuple(_real(one, dtype) for one in given)
    if isinstance(given, dict):
        return {name: _real(one, dtype) for name, one in given.items()}
    if isinstance(given, TensorBase) and holds_values(given):
        return given
    if isinstance(given, (TensorBase, tuple, list)):
        like = inputs_like(given, dtype)
        if like.dtype.kind == "f":
            return random.normal(like.shape, dtype=float32, device="reference").astype(like.dtype)
        return zeros(like.shape, dtype=like.dtype, device="reference")
    return asarray(given, device="reference") if hasattr(given, "__array__") else given


def _sent(given: Any, device: Device) -> Any:
    if isinstance(given, TensorBase):
        return given.detach().to(device)  # type: ignore[attr-defined]  # methods are attached to Tensor
    if isinstance(given, tuple):
        return tuple(_sent(one, device) for one in given)
    if isinstance(given, dict):
        return {name: _sent(one, device) for name, one in given.items()}
    return given
