"""The norm of gradients, and gradients held to one."""

from __future__ import annotations

import math
from typing import Any

from mlcore import dispatch
from mlcore.errors import ArgumentError, AutogradError
from mlcore.nn.old_names import old_name
from mlcore.ops.elementwise import astype, maximum, minimum
from mlcore.ops.reduce import norm
from mlcore.ops.shape import stack
from mlcore.tensor import TensorBase


def _list(parameters: Any) -> list[Any]:
    return [parameters] if isinstance(parameters, TensorBase) else list(parameters)


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Any:
    """The norm of all tensors taken as one vector (0-d); `foreach` is accepted and changes nothing.

    AutogradError for an infinite or nan norm if `error_if_nonfinite`, which names the first such tensor.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.utils.get_total_norm([ml.asarray([3.0]), ml.asarray([4.0])]).item()
    5.0
    """
    order = float(norm_type)
    if not order > 0:
        raise ArgumentError(f"get_total_norm: norm_type is {order}", fix="use norm_type > 0")
    given = _list(tensors)
    with dispatch.recording(False):
        if not given:
            return dispatch.from_data(0.0)
        place, dtype = given[0].device, given[0].dtype
        norms = [norm(one, order) for one in given]
        norms = [one if one.device is place and one.dtype is dtype else one.to(place, dtype) for one in norms]
        total = norms[0] if len(norms) == 1 else norm(stack(norms), order)
        if error_if_nonfinite and not math.isfinite(total.item()):
            first = next((i for i, one in enumerate(norms) if not math.isfinite(one.item())), None)
            raise AutogradError(
                f"the norm of the gradients is {total.item()}",
                cause=None
                if first is None
                else f"the gradient of parameter {first}, shape {given[first].shape}",
                fix="lower the learning rate, or look for the first non-finite value with hooks",
            )
    return total


def clip_grads_with_norm_(
    parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None
) -> None:
    """Scale all gradients by `max_norm / total_norm` where that is below 1."""
    bound = float(max_norm)
    if math.isnan(bound) or bound < 0:
        raise ArgumentError(f"clip_grads_with_norm_: max_norm is {bound}", fix="use max_norm >= 0")
    owners = [p for p in _list(parameters) if p.grad is not None]
    with dispatch.recording(False):
        scale = minimum(bound / (total_norm + 1e-6), 1.0)
        for p in owners:
            gradient = p.grad
            local = scale if scale.device is gradient.device else scale.to(gradient.device)
            p.grad = gradient * (local if local.dtype is gradient.dtype else astype(local, gradient.dtype))


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:  # fmt: skip
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
    total = get_total_norm([p.grad for p in owners], order, error_if_nonfinite)
    if owners:
        clip_grads_with_norm_(owners, max_norm, total)
    return total


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
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


clip_grad_norm = old_name(clip_grad_norm_)
