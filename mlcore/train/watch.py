"""The layer in which numbers stop being finite."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from mlcore import dispatch
from mlcore.errors import MlcoreError
from mlcore.ops.logic import isfinite, isnan
from mlcore.ops.reduce import sum as total
from mlcore.tensor import TensorBase


class NonFiniteError(MlcoreError, FloatingPointError):
    """A value of a network, or a gradient in it, is nan or infinite."""

    @property
    def layer(self) -> str:
        """The path of the module, such as "body.0"; empty for the model itself."""
        return self.details.get("layer", "")


@contextlib.contextmanager
def detect_nonfinite(model: Any, *, forward: bool = True, backward: bool = True) -> Iterator[None]:
    """While the block runs, stop where the first nan or infinity arises in `model`, and name the layer.

    `forward`: an output of a module that is not finite raises `NonFiniteError` at once; the inner module is named, and
    whether its input was finite. `backward`: so does the gradient of a module's output, and of a parameter: the first
    in the order of the backward pass. Each tensor is looked at, which costs a pass over it, so this is for
    finding a mistake; `optim.check_gradients` is for every step of a run.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1))
    >>> with detect_nonfinite(net):
    ...     net(ml.asarray([[1.0, float("nan")]]))
    Traceback (most recent call last):
    mlcore.train.watch.NonFiniteError: the output of '0' (Linear) is not finite: 2 of 2 nan
      layer: 0
      shape: (1, 2)
      cause: its input is not finite either: 1 of 2 nan
      ...
    """
    handles: list[Any] = []
    try:
        for name, module in model.named_modules():
            label = f"{name!r} ({type(module).__name__})" if name else f"the model ({type(module).__name__})"
            handles.append(module.register_forward_hook(_look_at(name, label, forward, backward)))
        if backward:
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    owner = name.rpartition(".")[0]
                    handles.append(parameter.register_hook(_gradient(owner, f"parameter {name!r}")))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _look_at(name: str, label: str, forward: bool, backward: bool) -> Callable[[Any, Any, Any], None]:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        for tensor in _tensors(output):
            problem = _problem(tensor) if forward else ""
            if problem:
                before = next(filter(None, map(_problem, _tensors(inputs))), "")
                weights = [f"{n!r} ({p})" for n, t in module.named_parameters() if (p := _problem(t))]
                cause = "its input and parameters are finite: it arises here"
                if before:
                    cause = f"its input is not finite either: {before}"
                elif weights:
                    cause = f"its parameters are not finite: {', '.join(weights[:4])}"
                _fail(name, f"the output of {label} is not finite: {problem}", tensor, cause)
            if backward and tensor.requires_grad:
                tensor.register_hook(_gradient(name, f"the output of {label}"))

    return hook


def _gradient(name: str, what: str) -> Callable[[Any], None]:
    def hook(gradient: Any) -> None:
        problem = _problem(gradient)
        if problem:
            cause = "it arises in what comes after it in the forward pass: the backward pass came from there"
            _fail(name, f"the gradient of {what} is not finite: {problem}", gradient, cause)

    return hook


def _fail(name: str, what: str, tensor: Any, cause: str) -> None:
    fix = "look for an overflow, a division by 0, the log or root of a number that is not positive, a rate too high"
    raise NonFiniteError(what, layer=name, shape=tensor.shape, cause=cause, fix=fix)


def _problem(tensor: Any) -> str:
    """What is not finite in it, such as "2 of 8 nan, 1 infinite"; nothing for one that is finite."""
    if tensor.dtype.kind not in "fc" or not tensor.size:
        return ""
    with dispatch.recording(False):
        if bool(isfinite(tensor).all()):
            return ""
        nans = int(total(isnan(tensor)).item())
        infinite = tensor.size - int(total(isfinite(tensor)).item()) - nans
    parts = [f"{count} {kind}" for count, kind in ((nans, "nan"), (infinite, "infinite")) if count]
    first, *rest = parts
    count, _, kind = first.partition(" ")
    return ", ".join([f"{count} of {tensor.size} {kind}", *rest])


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, TensorBase):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
