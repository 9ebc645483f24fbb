"""When a kernel raises: what that means, and another way for the operation where only its kernel is at fault."""

from __future__ import annotations

import warnings

from mlcore.backends import failure
from mlcore.backends.device import Device
from mlcore.backends.protocol import Kernel
from mlcore.config import log
from mlcore.dtype import DType
from mlcore.errors import KernelError, KernelWarning, MlcoreError, render
from mlcore.inputs import no_memory
from mlcore.lines import describe_line, user_line
from mlcore.op import OpFacts
from mlcore.shapes import Shape


def recover(
    op: OpFacts, error: Exception, shape: Shape, dtype: DType, device: Device, result: DType | None = None
) -> None:
    """Raise what a kernel's exception means; return where the call can go another way, without that kernel.

    That is so for a kernel that does not compile: the device's table no longer has it for `dtype`, a warning says
    so, and the operation is composed from others, or runs on the host as MLCORE_FALLBACK says. `shape` and `result`
    (None: as `dtype`) are those of what was to be made.
    """
    if isinstance(error, MemoryError):
        raise no_memory(error, op.name, shape, result or dtype, device) from None
    known = failure.explained(error, device, op.name)
    if isinstance(known, KernelError) and (op.body is not None or op.reference is not None):
        _withdraw(op, dtype, device)
        _tell(op, f"for {dtype} ", device, known)
        return
    if known is error:
        raise error
    raise known from error


def kernel_of(op: OpFacts, device: Device) -> Kernel | None:
    """The backend's kernel for `op`; None where it has none, or one that does not compile."""
    try:
        found: Kernel | None = device.backend.kernel(op)
    except Exception as error:
        known = failure.explained(error, device, op.name)
        if isinstance(known, KernelError) and (op.body is not None or op.reference is not None):
            _tell(op, "", device, known)
            return None
        if known is error:
            raise
        raise known from error
    return found


def _withdraw(op: OpFacts, dtype: DType, device: Device) -> None:
    """Take a kernel out of the device's table, and out of what was worked out with it."""
    found = device.table[op.index]
    found.by_dtype[dtype.index] = None
    for plan in list(found.plans.values()):
        if plan.kind is dtype:
            plan.kernel = None


def _tell(op: OpFacts, dtype: str, device: Device, error: MlcoreError) -> None:
    """Say loudly, once for an operation, dtype and device, what does not compile and what runs instead."""
    way = "composed from other operations" if op.body is not None else "run on the host"
    what = f"the kernel of {op.name!r} {dtype}does not compile on {device}: it is {way} instead"
    details = {
        "backend": failure.provider(device),
        **{key: value for key, value in error.details.items() if key != "in"},
        "called": f"at {describe_line(user_line())}",
    }
    details.setdefault("cause", error.what)
    text = render(what, {key: value for key, value in details.items() if value})
    log.error("%s", text)
    warnings.warn(text, KernelWarning, stacklevel=4)
