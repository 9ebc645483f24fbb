"""Helpers on parameters and their gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from mlcore import dispatch
from mlcore.errors import ArgumentError, AutogradError, ShapeError
from mlcore.ops.elementwise import astype, maximum, minimum
from mlcore.ops.reduce import norm
from mlcore.ops.shape import concat, reshape, stack
from mlcore.tensor import TensorBase


def _list(parameters: Any) -> list[Any]:
    return [parameters] if isinstance(parameters, TensorBase) else list(parameters)


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Any:
    """Scale all gradients together so that their norm, taken as one vector, is at most `max_norm`.

    Returns that norm (0-d), as it was. Nothing is read back to the host unless `error_if_nonfinite`, which raises
    AutogradError for an infinite or nan norm and leaves the gradients alone.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> p = nn.Parameter(ml.zeros((2,))); p.grad = ml.asarray([3.0, 4.0])
    >>> nn.utils.clip_grad_norm_([p], 1.0).item(), [round(v, 3) for v in p.grad.tolist()]
    (5.0, [0.6, 0.8])
    """
    max_norm, order = float(max_norm), float(norm_type)
    if math.isnan(max_norm) or max_norm < 0 or not order > 0:
        raise ArgumentError(
            f"clip_grad_norm_: max_norm {max_norm}, norm_type {order}",
            fix="use max_norm >= 0 and norm_type > 0",
        )
    owners = [p for p in _list(parameters) if p.grad is not None]
    with dispatch.recording(False):
        if not owners:
            return dispatch.from_data(0.0)
        place, dtype = owners[0].grad.device, owners[0].grad.dtype
        norms = [norm(p.grad, order) for p in owners]
        norms = [one if one.device is place and one.dtype is dtype else one.to(place, dtype) for one in norms]
        total = norms[0] if len(norms) == 1 else norm(stack(norms), order)
        if error_if_nonfinite and not math.isfinite(total.item()):
            first = next((i for i, one in enumerate(norms) if not math.isfinite(one.item())), None)
            raise AutogradError(
                f"clip_grad_norm_: the norm of the gradients is {total.item()}",
                cause=None
                if first is None
                else f"the gradient of parameter {first}, shape {owners[first].shape}",
                fix="lower the learning rate, or look for the first non-finite value with hooks",
            )
        scale = minimum(max_norm / (total + 1e-6), 1.0)
        for p in owners:
            gradient = p.grad
            local = scale if scale.device is gradient.device else scale.to(gradient.device)
            p.grad = gradient * (local if local.dtype is gradient.dtype else astype(local, gradient.dtype))
    return total


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Cut every element of every gradient to [-clip_value, clip_value].

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> p = nn.Parameter(ml.zeros((2,))); p.grad = ml.asarray([3.0, -0.5])
    >>> nn.utils.clip_grad_value_([p], 1.0); p.grad.tolist()
    [1.0, -0.5]
    """
    bound = float(clip_value)
    if not bound >= 0:
        raise ArgumentError(f"clip_grad_value_: clip_value is {bound}", fix="use a value >= 0")
    with dispatch.recording(False):
        for p in _list(parameters):
            if p.grad is not None:
                p.grad = minimum(maximum(p.grad, -bound), bound)


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All parameters, one after the other, as one 1-d tensor.

    >>> from mlcore import nn
    >>> nn.utils.parameters_to_vector(nn.Linear(3, 2).parameters()).shape
    (8,)
    """
    flat = [reshape(p, (-1,)) for p in parameters]
    if not flat:
        raise ArgumentError("parameters_to_vector: there are no parameters")
    return concat(flat, axis=0)


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Give the parameters, in order, the values of a 1-d tensor.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> layer = nn.Linear(2, 1)
    >>> nn.utils.vector_to_parameters(ml.zeros((3,)), layer.parameters()); layer.bias.tolist()
    [0.0]
    """
    owners = list(parameters)
    needed = sum(p.size for p in owners)
    if vec.shape != (needed,):
        raise ShapeError(
            f"vector_to_parameters: a vector of shape {vec.shape} for parameters of {needed} elements"
        )
    start = 0
    with dispatch.recording(False):
        for p in owners:
            part = reshape(vec.detach()[start : start + p.size], p.shape)
            p.rebind(part if part.dtype is p.dtype else astype(part, p.dtype))
            start += p.size
