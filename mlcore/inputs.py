"""What operations take: data and scalars as tensors, one device, one accepted dtype, sizes that fit in memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore import dtypes, shapes
from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.dtype import DType
from mlcore.errors import ArgumentTypeError, DeviceError, DTypeError, OutOfMemoryError
from mlcore.host import host_array, scalar_array
from mlcore.op import OpFacts
from mlcore.shapes import Shape
from mlcore.tensor import Tensor, TensorBase, wrap

_LARGE = 1 << 26  # elements from which a result's size is held against the device's memory


def constant(value: Any, dtype: DType, device: Device) -> Any:
    """A 0-d tensor of a Python scalar; small ones are kept, since code multiplies by 0.5 again and again."""
    known = device.constants.get(dtype)
    if known is None:
        known = device.constants[dtype] = {}
    found = known.get(value)
    if found is not None:
        return found
    made = getattr(device.backend, "number", None)  # a backend that keeps numbers as they are
    if made is None:
        found = wrap(device.from_host(scalar_array(value, dtype)), device, dtype, ())
    else:
        found = wrap(made(value, dtype), device, dtype, ())
    if value == 0 or value != value:  # -0.0 equals 0.0 as a key, and nan equals nothing
        return found
    if len(known) > 1024:
        known.clear()
    known[value] = found
    return found


def from_data(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor off the tape from host data (array-like), on a resolved device; copies."""
    where = detect.resolve(device)
    host = host_array(data, dtype)
    chosen = dtypes.from_numpy(host.dtype)
    check_holds(chosen, where)
    return wrap(where.from_host(host), where, chosen, host.shape)


def check_holds(dtype: DType, device: Device) -> None:
    """Refuse a dtype that the device cannot hold."""
    if dtype not in device.backend.dtypes:
        held = ", ".join(d.name for d in dtypes.all_dtypes if d in device.backend.dtypes)
        raise DTypeError(f"device {device} cannot hold {dtype}", holds=held, fix="astype one of these first")


def is_large(shape: Shape) -> bool:
    """Whether a result of this shape has to be held against the device's memory first."""
    count = 1
    for dim in shape:
        count *= dim
    return count >= _LARGE


def check_memory(what: str, shape: Shape, dtype: DType, device: Device) -> None:
    """Refuse a result that is larger than the device's memory, before anything is allocated."""
    if not is_large(shape):
        return
    shapes.check_size(shape, what)
    count = math.prod(shape)
    limit = device.backend.memory_stats().limit
    if limit is not None and count * dtype.itemsize > limit:
        raise out_of_memory(what, shape, dtype, device)


def out_of_memory(what: str, shape: Shape, dtype: DType, device: Device, cause: str = "") -> OutOfMemoryError:
    """The error for a result that did not fit; `cause` is what its allocator said."""
    count = 1
    for dim in shape:
        count *= dim
    stats = device.backend.memory_stats()
    return OutOfMemoryError(
        f"{what}: cannot allocate {count * dtype.itemsize:,} bytes for shape {shape}, {dtype}, on {device}",
        cause=cause,
        in_use=None if stats.in_use is None else f"{stats.in_use:,} bytes",
        limit=None if stats.limit is None else f"{stats.limit:,} bytes",
        fix="use a smaller size or batch, or a narrower dtype",
    )


def no_memory(error: MemoryError, what: str, shape: Shape, dtype: DType, device: Device) -> OutOfMemoryError:
    """What a kernel's MemoryError becomes: its own account, where it has one, with the operation's name."""
    if not isinstance(error, OutOfMemoryError):
        said = "" if type(error).__module__.startswith("numpy") else str(error)  # it says no more than we do
        return out_of_memory(what, shape, dtype, device, said)
    return OutOfMemoryError(f"{what} on {device}: {error.what}", **error.details)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (bool, int, float, complex))


def prepare(op: OpFacts, raw: tuple[Any, ...]) -> tuple[tuple[Any, ...], Device, DType | None]:
    """Inputs as tensors of one device and, where the op promotes, of one accepted dtype."""
    device = None
    for one in raw:
        if isinstance(one, TensorBase):
            if device is None:
                device = one.device
            elif one.device is not device:
                raise DeviceError(
                    f"{op.name}: operands live on different devices: {device} and {one.device}",
                    fix=f"move one of them, e.g. x.to({str(device)!r})",
                )
    if device is None:
        device = detect.resolve(None)
    inputs = list(raw)
    weak: list[int] = []
    common: Any = None
    for i, one in enumerate(raw):
        promotes = op.promoted is None or i in op.promoted
        if isinstance(one, np.generic):  # NumPy's scalars are as weak as Python's
            inputs[i] = one = one.item()
        if one is None:
            if op.variadic or op.inputs[i] not in op.optional:
                raise ArgumentTypeError(
                    f"{op.name}: argument {op.inputs[0 if op.variadic else i]!r} is None", fix="pass a tensor"
                )
        elif _is_scalar(one):
            weak.append(i)
        else:
            if not isinstance(one, TensorBase):
                inputs[i] = one = _coerce(op, i, one, device)
            if promotes:
                common = one.dtype if common is None else dtypes.promote_types(common, one.dtype)
    if common is None and op.promoted is None and not weak and raw:
        common = inputs[0].dtype if inputs[0] is not None else None
    for i in weak:
        if op.promoted is None or i in op.promoted:
            scalar = dtypes.scalar_dtype(inputs[i])
            common = scalar if common is None else dtypes.promote_scalar(common, inputs[i])
    if common is not None and common not in op.accepts:
        common = _accepted(op, common)
    for i, one in enumerate(inputs):
        if one is None:
            continue
        if op.promoted is None or i in op.promoted:
            if i in weak:
                inputs[i] = constant(one, common, device)
            elif one.dtype is not common:
                inputs[i] = cast(one, common)
        elif i in weak:
            inputs[i] = constant(one, dtypes.scalar_dtype(one), device)
    if common is not None and common not in device.backend.dtypes:
        check_holds(common, device)
    return tuple(inputs), device, common


def _coerce(op: OpFacts, i: int, value: Any, device: Device) -> Tensor:
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__"):
        return from_data(value, None, device)
    name = op.inputs[0 if op.variadic else i]
    raise ArgumentTypeError(
        f"{op.name}: argument {name!r} is a {type(value).__name__}, expected a Tensor",
        fix="convert it with mlcore.asarray(...)",
    )


def _accepted(op: OpFacts, dtype: DType) -> DType:
    """The dtype to run `op` in: integers go to the default float where an op is about real numbers."""
    if op.casts_integers and dtype.kind in "biu":
        return dtypes.default_float()
    known = ", ".join(d.name for d in dtypes.all_dtypes if d in op.accepts)
    raise DTypeError(
        f"{getattr(op, 'standard', op.name)}: {dtype} is not accepted",
        accepts=known,
        fix="astype the input to one of these",
    )


def cast(tensor: Any, dtype: DType) -> Any:
    """astype, recorded."""
    return _casts[0](tensor, dtype=dtype)


_casts: list[Any] = []  # the astype operation, put here by mlcore.ops: promotion needs it
