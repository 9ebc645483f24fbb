"""Moving a tensor to another device; its gradient comes back the same way."""

from __future__ import annotations

from typing import Any

from mlcore import dispatch
from mlcore.backends import detect
from mlcore.dispatch import Op
from mlcore.dtypes import as_dtype
from mlcore.ops import elementwise
from mlcore.ops.spec import _declare, function
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


@function()
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """The values of `x` as another dtype, and on another `device` if one is given.

    Floats become integers by truncation; out of range, and from nan, the result is unspecified but never a crash.
    Raises DTypeError for complex to real: take `real(x)` or `abs(x)`. `x` itself with ``copy=False``, where nothing
    has to change.

    >>> import mlcore as ml
    >>> ml.astype(ml.asarray([1.7, -1.7]), ml.int32).tolist()
    [1, -1]
    """
    if device is not None:
        x = move(x, detect.resolve(device))
    return x if as_dtype(dtype) is x.dtype and not copy else elementwise.astype(x, dtype)
