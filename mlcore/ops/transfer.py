"""Moving a tensor to another device; its gradient comes back the same way."""

from __future__ import annotations

from typing import Any

from mlcore import dispatch
from mlcore.dispatch import Op
from mlcore.ops.spec import _declare
from mlcore.tensor import wrap


def _no_body(x: Any, source: Any) -> Any:
    return x


transfer_op = _declare(
    Op(), "transfer", "The same values on another device.", None, ("x",), ("source",), family="transfer", body=_no_body,
    vjp=(lambda g, source: move(g, source),), public=False,
)  # fmt: skip


def move(tensor: Any, device: Any) -> Any:
    """`tensor` on `device`, through the host; recorded like an operation."""
    if device is tensor.device:
        return tensor
    dispatch.check_holds(tensor.dtype, device)
    array = device.from_host(tensor.device.to_host(tensor.array))
    if tensor.requires_grad and dispatch.is_recording():
        return dispatch.record(
            transfer_op, array, device, tensor.dtype, tensor.shape, (tensor,), (tensor.device,), None
        )
    return wrap(array, device, tensor.dtype, tensor.shape)
