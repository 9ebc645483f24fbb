"""Which hand-written kernel serves which operation: a function of the operation's own arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mlcore.dtypes import all_dtypes
from mlcore_cupy import attention, channels, rows, windows
from mlcore_cupy.runtime import Runtime
from mlcore_cupy.source import ELEMENTS
from mlcore_cupy.update import STEPS, Step

FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "softmax": rows.softmax,
    "softmax_grad": rows.softmax_grad,
    "log_softmax": rows.log_softmax,
    "log_softmax_grad": rows.log_softmax_grad,
    "logsumexp": rows.logsumexp,
    "softmax_cross_entropy": rows.cross_entropy,
    "softmax_cross_entropy_grad": rows.cross_entropy_grad,
    "layer_norm": rows.layer_norm,
    "layer_norm_grad": rows.layer_norm_grad,
    "rms_norm": rows.rms_norm,
    "rms_norm_grad": rows.rms_norm_grad,
    "batch_norm": channels.batch_norm,
    "batch_norm_grad": channels.batch_norm_grad,
    "batch_norm_scale": channels.batch_norm_scale,
    "dropout_mask": channels.dropout_mask,
    "convolution": windows.convolution,
    "convolution_norm": windows.convolution_norm,
    "convolution_grad_input": windows.convolution_grad_input,
    "convolution_grad_weight": windows.convolution_grad_weight,
    "max_pool": windows.max_pool,
    "max_pool_grad": windows.max_pool_grad,
    "avg_pool": windows.avg_pool,
    "avg_pool_grad": windows.avg_pool_grad,
    "attention": attention.attention,
    "attention_grad": attention.attention_grad,
    "scaled_dot_product_attention": attention.scaled_dot_product_attention,
}
COVERED: Final = frozenset(d for d in all_dtypes if d.name in ELEMENTS)


class Native:
    """A function over kernels as the core's kernel, with the device and its stream current."""

    __slots__ = ("call", "dtypes", "name", "rt")
    origin = "native"

    def __init__(self, rt: Runtime, name: str, call: Callable[..., Any], dtypes: frozenset[Any]) -> None:
        self.rt, self.name, self.call, self.dtypes = rt, name, call, dtypes

    def __call__(self, *args: Any) -> Any:
        return self.rt.run(self.call, self.rt, *args)

    def __repr__(self) -> str:
        return f"<{self.rt.owner.type} kernel {self.name}>"


def written(rt: Runtime, op: Any, held: frozenset[Any]) -> Any:
    """The hand-written kernel of an operation, or None."""
    if op.name in STEPS:
        return Step(rt, op.name, COVERED & held)
    call = FUNCTIONS.get(op.name)
    return None if call is None else Native(rt, op.name, call, COVERED & held)
