"""apply(op, ...): check, kernel, record. The waist of mlcore: every operation passes here.

It knows no particular operation, dtype rule or backend. Types for the compiled version are in dispatch.pxd.
"""

from __future__ import annotations

from typing import Any

from mlcore import shapes
from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.backends.protocol import Kernel
from mlcore.dtype import DType
from mlcore.errors import ArgumentTypeError, DTypeError
from mlcore.inputs import (
    cast,
    check_holds,
    check_memory,
    constant,
    from_data,
    is_large,
    prepare,
)
from mlcore.lines import describe_line, user_line
from mlcore.modes import MODES, intercept, is_recording, recording, saving
from mlcore.op import OpFacts
from mlcore.recovery import recover
from mlcore.table import Entry, Plan, asked_for, coverage, entry, look_up, path, recall, remember
from mlcore.tape import record, record_binary, record_unary
from mlcore.tensor import TensorBase, wrap

__all__ = [
    "BinaryOp",
    "Entry",
    "Op",
    "UnaryOp",
    "apply",
    "binary",
    "cast",
    "check_holds",
    "constant",
    "coverage",
    "describe_line",
    "entry",
    "from_data",
    "intercept",
    "is_recording",
    "path",
    "record",
    "recording",
    "saving",
    "unary",
    "user_line",
]


class Op(OpFacts):
    """An operation that can be called."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(args, kwargs)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Bind the arguments as the declared signature says, then apply."""
        inputs, params = self.bind(args, kwargs)
        return apply(self, inputs, params)


class UnaryOp(Op):
    """One tensor in, one of the same shape out, no parameters."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs:
            return unary(self, args[0])
        return self.call(args, kwargs)


class BinaryOp(Op):
    """Two tensors in, one of their broadcast shape out, no parameters."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 2 and not kwargs:
            return binary(self, args[0], args[1])
        return self.call(args, kwargs)


def _call_kernel(kernel: Kernel, arrays: list[Any], values: tuple[Any, ...]) -> Any:
    return kernel(*arrays, *values)


if __file__.endswith(".py"):  # uncompiled; dispatch.pxd has the C function, which makes no tuple of them
    globals()["call_kernel"] = _call_kernel


# -- apply -----------------------------------------------------------------------------------------------


def unary(op: Op, x: Any) -> Any:
    """apply for an elementwise operation of one input: the fast path, then the general one."""
    if isinstance(x, TensorBase) and (MODES.special == 0 or not MODES.local.interceptors):
        return _unary(op, x)
    return apply(op, (x,), {})


def _unary(op: Op, x: Any) -> Any:
    device = x.device
    dtype = x.dtype
    table = device.table
    if op.index < len(table):
        found = table[op.index]
        if found is not None:
            kernel = found.by_dtype[dtype.index]
            if kernel is not None:
                try:
                    array = kernel(x.array)
                except Exception as error:
                    recover(op, error, x.shape, dtype, device)
                    return apply(op, (x,), {})
                result = op.result[dtype.index]
                if x.requires_grad and op.differentiable and (MODES.special == 0 or MODES.local.recording):
                    return record_unary(op, array, device, result, x)
                return wrap(array, device, result, x.shape)
    return apply(op, (x,), {})


def binary(op: Op, x: Any, y: Any) -> Any:
    """apply for an elementwise operation of two inputs: the fast path, then the general one."""
    if isinstance(x, TensorBase) and (MODES.special == 0 or not MODES.local.interceptors):
        if isinstance(y, TensorBase):
            return _binary(op, x, y)
        if type(y) is float or type(y) is int:
            return _scaled(op, x, y)
    return apply(op, (x, y), {})


def _scaled(op: Op, x: Any, value: Any) -> Any:
    """A tensor and a Python number, which takes the tensor's dtype where that can hold it."""
    kind = x.dtype.kind
    if kind == "f" or (kind == "i" and type(value) is int):
        return _binary(op, x, constant(value, x.dtype, x.device))
    return apply(op, (x, value), {})


def _binary(op: Op, x: Any, y: Any) -> Any:
    device = x.device
    dtype = x.dtype
    if dtype is not y.dtype or device is not y.device:
        return apply(op, (x, y), {})
    table = device.table
    if op.index < len(table):
        found = table[op.index]
        if found is not None:
            kernel = found.by_dtype[dtype.index]
            if kernel is not None:
                shape = x.shape
                if shape is not y.shape and y.shape != () and shape != y.shape:
                    shape = shapes.broadcast(op.name, shape, y.shape)
                    check_memory(op.name, shape, dtype, device)
                if op.check is not None:
                    op.check(x, y)
                try:
                    array = kernel(x.array, y.array)
                except Exception as error:
                    recover(op, error, shape, dtype, device)
                    return apply(op, (x, y), {})
                result = op.result[dtype.index]
                if (
                    (x.requires_grad or y.requires_grad)
                    and op.differentiable
                    and (MODES.special == 0 or MODES.local.recording)
                ):
                    return record_binary(op, array, device, result, shape, x, y)
                return wrap(array, device, result, shape)
    return apply(op, (x, y), {})


def apply(op: Op, raw: tuple[Any, ...], params: dict[str, Any], device: Any = None) -> Any:
    """Run an operation: check the inputs, find the kernel, record. `params` by name, as the caller gave them."""
    if op.cacheable and (MODES.special == 0 or not MODES.local.interceptors):
        if not raw:
            device = detect.resolve(device)
            known = _known(op, raw, params, device)
            if known is not None:
                return execute(op, known, raw, device)
        elif isinstance(raw[0], TensorBase):
            known = _known(op, raw, params, _device_of(raw[0]))
            if known is not None:
                return execute(op, known, raw, _device_of(raw[0]))
    if MODES.special != 0 and MODES.local.autocast is not None:
        raw = MODES.local.autocast(op, raw)
    if len(raw) == 1 and isinstance(raw[0], TensorBase) and op.result[raw[0].dtype.index] is not None:
        return _start(op, raw, params, raw[0].device, raw[0].dtype)
    if not raw:
        return _start(op, raw, params, detect.resolve(device), None)
    if len(raw) == 2 and op.promoted is None:  # two tensors that are alike: there is nothing to prepare
        x, y = raw
        if (
            isinstance(x, TensorBase)
            and isinstance(y, TensorBase)
            and x.dtype is y.dtype
            and x.device is y.device
            and op.result[x.dtype.index] is not None
        ):
            return _start(op, raw, params, x.device, x.dtype)
    inputs, device, dtype = prepare(op, raw)
    return _start(op, inputs, params, device, dtype)


def _known(op: Op, raw: tuple[Any, ...], params: dict[str, Any], device: Device) -> Plan | None:
    """The plan of a call whose inputs are tensors like those of a recent one: they need no preparation."""
    table = device.table
    if op.index >= len(table):
        return None
    found = table[op.index]
    if found is None or found.recent[0] is None:
        return None
    for one in raw:
        if one is not None and (not isinstance(one, TensorBase) or _device_of(one) is not device):
            return None
    return recall(found, raw, asked_for(op, params))


def _device_of(tensor: Any) -> Device:
    found: Device = tensor.device
    return found


def _start(
    op: Op, inputs: tuple[Any, ...], params: dict[str, Any], device: Device, dtype: DType | None
) -> Any:
    if MODES.special != 0 and MODES.local.interceptors:
        return _intercepted(op, inputs, params, device, dtype, MODES.local.interceptors)
    return _run(op, inputs, params, device, dtype)


def _intercepted(
    op: Op,
    inputs: tuple[Any, ...],
    params: dict[str, Any],
    device: Device,
    dtype: DType | None,
    functions: tuple[Any, ...],
) -> Any:
    if not functions:
        return _run(op, inputs, params, device, dtype)

    def proceed() -> Any:
        return _intercepted(op, inputs, params, device, dtype, functions[:-1])

    return functions[-1](op, inputs, params, proceed)


def _plan(
    op: Op, inputs: tuple[Any, ...], params: dict[str, Any], device: Device, dtype: DType | None
) -> Plan:
    """What this call comes to, remembered per signature."""
    found = entry(op, device)
    if not op.cacheable:
        return new_plan(op, inputs, params, device, dtype)
    asked = asked_for(op, params)
    plan = look_up(found, tuple([None if one is None else (one.shape, one.dtype) for one in inputs]), asked)
    if plan is None:
        plan = remember(found, asked, new_plan(op, inputs, params, device, dtype))
    return plan


def new_plan(
    op: Op, inputs: tuple[Any, ...], params: dict[str, Any], device: Device, dtype: DType | None
) -> Plan:
    """Ask the op's rule: this is where shapes and dtypes are checked."""
    try:
        outs, values = op.rule(*inputs, **params)
    except TypeError as error:
        raise _bad_call(op, params, error) from error
    result = outs[0][1]
    if result is not dtype and result not in device.backend.dtypes:
        check_holds(result, device)
    large = False
    for shape, _ in outs:
        if shape is not None and is_large(shape):
            large = True
    single = len(outs) == 1 and not op.listed
    given = tuple([None if one is None else (one.shape, one.dtype) for one in inputs])
    kind = dtype or result
    kernel = entry(op, device).by_dtype[kind.index]
    if kernel is not None and op.variadic:
        takes = getattr(
            kernel, "takes", None
        )  # a kernel that depends on the parameters, such as an optimizer's rule
        if takes is not None and not takes(given, values):
            kernel = None
    return Plan(kernel, kind, given, outs, values, single, large)


def go_on(op: Op, plan: Plan, inputs: tuple[Any, ...], device: Device, error: Exception) -> Any:
    """The result of a call whose kernel raised, got another way; raises where there is none."""
    on_host = plan.kernel is None
    recover(op, error, plan.shape or (), plan.kind, device, plan.dtype)
    if on_host:  # there is no further way
        raise error
    plan.kernel = None
    return execute(op, plan, inputs, device)


def _run(op: Op, inputs: tuple[Any, ...], params: dict[str, Any], device: Device, dtype: DType | None) -> Any:
    if op.rule is None:  # a composite that no backend may replace: the tape sees its parts
        return op.body(*inputs, **params)
    return execute(op, _plan(op, inputs, params, device, dtype), inputs, device)


def execute(op: Op, plan: Plan, inputs: tuple[Any, ...], device: Device) -> Any:
    """Run what a plan says, and record it."""
    values = plan.values
    result = plan.dtype
    if op.check is not None:
        op.check(*inputs, *values)
    if plan.large:
        for out_shape, out_dtype in plan.outs:
            if out_shape is not None:
                check_memory(op.name, out_shape, out_dtype, device)
    record_it = False
    if op.differentiable and (MODES.special == 0 or MODES.local.recording):
        for one in inputs:
            if one is not None and one.requires_grad:
                record_it = True
                break
    kernel = plan.kernel
    if kernel is None:
        if op.body is not None:
            return _compose(op, inputs, values, record_it, device)
        kernel = _host_kernel(op, device, plan.kind)
    arrays = [None if one is None else one.array for one in inputs]
    try:
        made = call_kernel(kernel, arrays, values)  # type: ignore[name-defined]  # noqa: F821
    except Exception as error:
        return go_on(op, plan, inputs, device, error)
    if plan.single:
        shape = plan.shape
        if shape is None:
            shape = tuple(made.shape)
        if record_it and result.kind in "fc":
            return record(op, made, device, result, shape, inputs, values, None)
        return wrap(made, device, result, shape)
    return _several(op, plan, made, inputs, record_it, device)


def _several(op: Op, plan: Plan, made: Any, inputs: tuple[Any, ...], record_it: bool, device: Device) -> Any:
    """The results of an op with more than one output; the first carries the gradient."""
    wrapped = [
        wrap(array, device, d, tuple(array.shape) if s is None else s)
        for array, (s, d) in zip(made, plan.outs)
    ]
    first = wrapped[0]
    extra = tuple(wrapped[1:])
    if record_it and first.dtype.kind in "fc":
        first = record(op, first.array, device, first.dtype, first.shape, inputs, plan.values, extra)
    return (first, *extra)


def _bad_call(op: Op, params: dict[str, Any], error: TypeError) -> TypeError:
    """A TypeError of a rule's own call is the user's wrong argument name; any other is passed on."""
    if isinstance(error, (DTypeError, ArgumentTypeError)):
        return error
    unknown = [name for name in params if name not in op.params]
    if unknown:
        return ArgumentTypeError(f"{op.name}: unknown argument {unknown[0]!r}", expects=op.usage)
    missing = [name for name in op.required if name not in params]
    if missing:
        return ArgumentTypeError(f"{op.name}: missing argument {missing[0]!r}", expects=op.usage)
    return ArgumentTypeError(f"{op.name}: {error}", expects=op.usage)


def _compose(
    op: Op, inputs: tuple[Any, ...], values: tuple[Any, ...], record_it: bool, device: Device
) -> Any:
    """Run a composite's body; with a vjp of its own it becomes one node, else the tape sees its parts."""
    params = dict(zip(op.params, values))
    if not record_it or (op.vjps is None and op.vjp_all is None):
        return op.body(*inputs, **params)
    with recording(False):
        made = op.body(*inputs, **params)
    first, extra = (made, None) if isinstance(made, TensorBase) else (made[0], tuple(made[1:]))
    out = record(op, first.array, device, first.dtype, first.shape, inputs, values, extra)
    return out if extra is None else (out, *extra)


def _host_kernel(op: Op, device: Device, dtype: DType) -> Kernel:
    from mlcore.backends import fallback

    if op.reference is None:
        raise DTypeError(
            f"{op.name}: no kernel for {dtype} on {device} and no composite",
            fix="use another dtype or device",
        )
    return fallback.kernel(op, device, dtype, user_line)
