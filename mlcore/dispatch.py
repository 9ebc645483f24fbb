"""apply(op, ...): check, kernel, record. The waist of mlcore: every operation passes here.

It knows no particular operation, dtype rule or backend. Types for the compiled version are in dispatch.pxd.
"""

from __future__ import annotations

from typing import Any

from mlcore import shapes
from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.backends.protocol import Array, Kernel
from mlcore.dtype import DType
from mlcore.errors import ArgumentTypeError, DTypeError, OutOfMemoryError
from mlcore.inputs import (
    cast,
    check_holds,
    check_memory,
    constant,
    from_data,
    is_large,
    out_of_memory,
    prepare,
)
from mlcore.lines import describe_line, user_line
from mlcore.modes import MODES, intercept, is_recording, recording, saving
from mlcore.op import EXTRA_BIT, INPUT_BITS, OUTPUT_BIT, OpFacts
from mlcore.shapes import Shape
from mlcore.table import Entry, Plan, coverage, entry, path
from mlcore.tensor import Node, TensorBase, new_node, wrap, wrap_recorded

__all__ = [
    "BinaryOp",
    "Entry",
    "Op",
    "UnaryOp",
    "apply",
    "binary",
    "call_one",
    "call_two",
    "call_view",
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
                except MemoryError:
                    raise out_of_memory(op.name, x.shape, dtype, device) from None
                result = op.result[dtype.index]
                if x.requires_grad and op.differentiable and (MODES.special == 0 or MODES.local.recording):
                    return _record_unary(op, array, device, result, x)
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
                except MemoryError:
                    raise out_of_memory(op.name, shape, dtype, device) from None
                result = op.result[dtype.index]
                if (
                    (x.requires_grad or y.requires_grad)
                    and op.differentiable
                    and (MODES.special == 0 or MODES.local.recording)
                ):
                    return _record_binary(op, array, device, result, shape, x, y)
                return wrap(array, device, result, shape)
    return apply(op, (x, y), {})


def apply(op: Op, raw: tuple[Any, ...], params: dict[str, Any], device: Any = None) -> Any:
    """Run an operation: check the inputs, find the kernel, record. `params` by name, as the caller gave them."""
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
    known = entry(op, device).plans
    if not op.cacheable:
        return _new_plan(op, inputs, params, device, dtype)
    key: Any = (
        tuple([None if one is None else (one.shape, one.dtype) for one in inputs]),
        tuple(params.items()) if params else None,
    )
    try:
        plan = known.get(key)
    except TypeError:  # an unhashable parameter, such as a list of axes
        return _new_plan(op, inputs, params, device, dtype)
    if plan is None:
        plan = _remember(known, key, _new_plan(op, inputs, params, device, dtype))
    return plan


def _remember(known: dict[Any, Plan], key: Any, plan: Plan) -> Plan:
    if len(known) > 2048:
        known.clear()
    known[key] = plan
    return plan


def _new_plan(
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
    return Plan(entry(op, device).by_dtype[(dtype or result).index], given, outs, values, single, large)


def call_one(op: Op, x: Any, given: tuple[Any, ...]) -> Any:
    """apply for one tensor and every parameter, in the declared order: the short way of methods."""
    if isinstance(x, TensorBase) and (MODES.special == 0 or not MODES.local.interceptors):
        return _one(op, x, given)
    return apply(op, (x,), dict(zip(op.params, given)))


def _one(op: Op, x: Any, given: tuple[Any, ...]) -> Any:
    device = x.device
    table = device.table
    if op.index >= len(table) or table[op.index] is None or op.result[x.dtype.index] is None:
        return apply(op, (x,), dict(zip(op.params, given)))
    found = table[op.index]
    shape = x.shape
    plan = found.last
    if (
        plan is None
        or x.dtype is not found.last_dtype
        or shape != found.last_shape
        or given != found.last_given
    ):
        plan = _find_one(op, found, x, given)
        if plan is None:
            return apply(op, (x,), dict(zip(op.params, given)))
    kernel = plan.kernel
    values = plan.values
    if kernel is None or plan.large or not plan.single or plan.shape is None or op.check is not None:
        return _execute(op, plan, (x,), device, x.dtype)
    try:
        if len(values) == 2:
            made = kernel(x.array, values[0], values[1])
        elif len(values) == 1:
            made = kernel(x.array, values[0])
        else:
            made = kernel(x.array, *values)
    except MemoryError as error:
        raise _refused(op, plan, device, error) from None
    if (
        x.requires_grad
        and op.differentiable
        and (MODES.special == 0 or MODES.local.recording)
        and plan.dtype.kind in "fc"
    ):
        return _record_one(op, plan, made, x)
    return wrap(made, device, plan.dtype, plan.shape)


def _find_one(op: Op, found: Entry, x: Any, given: tuple[Any, ...]) -> Plan | None:
    """The plan for one tensor; None where a parameter cannot be a key."""
    key = (x.shape, x.dtype, given)
    try:
        plan = found.plans.get(key)
    except TypeError:
        return None
    if plan is None:
        plan = _new_plan(op, (x,), dict(zip(op.params, given)), x.device, x.dtype)
        if not op.cacheable:
            return plan
        _remember(found.plans, key, plan)
    _keep_last(found, x, given, plan)
    return plan


def call_view(op: Op, x: Any, shape: Shape, values: tuple[Any, ...]) -> Any:
    """call_one where the caller has done what the rule would do: it knows the shape and the canonical parameters."""
    if isinstance(x, TensorBase) and (MODES.special == 0 or not MODES.local.interceptors):
        return _view(op, x, shape, values)
    return apply(op, (x,), dict(zip(op.params, values)))


def _view(op: Op, x: Any, shape: Shape, values: tuple[Any, ...]) -> Any:
    device = x.device
    table = device.table
    if op.index >= len(table) or table[op.index] is None:
        return _one(op, x, values)
    found = table[op.index]
    kernel = found.by_dtype[x.dtype.index]
    if kernel is None:
        return _one(op, x, values)
    if len(values) == 2:
        made = kernel(x.array, values[0], values[1])
    else:
        made = kernel(x.array, *values)
    if x.requires_grad and (MODES.special == 0 or MODES.local.recording):
        edge = x if x.node is None else x.node
        node = new_node(op, device, (edge,), _NOTHING[1], values)
        node.shapes = ((x.shape, x.dtype),)
        return _finish(node, 0, made, device, x.dtype, shape)
    return wrap(made, device, x.dtype, shape)


def call_two(op: Op, x: Any, y: Any) -> Any:
    """apply for two tensors and no parameter that are not elementwise: a matrix product."""
    if (
        isinstance(x, TensorBase)
        and isinstance(y, TensorBase)
        and (MODES.special == 0 or not MODES.local.interceptors)
    ):
        return _two(op, x, y)
    return apply(op, (x, y), {})


def _two(op: Op, x: Any, y: Any) -> Any:
    device = x.device
    table = device.table
    if (
        y.device is not device
        or x.dtype is not y.dtype
        or op.index >= len(table)
        or table[op.index] is None
        or op.result[x.dtype.index] is None
    ):
        return apply(op, (x, y), {})
    found = table[op.index]
    plan = found.last
    if (
        plan is None
        or x.dtype is not found.last_dtype
        or x.shape != found.last_shape
        or y.shape != found.last_given
    ):
        plan = _find_two(op, found, x, y)
    kernel = plan.kernel
    if kernel is None or plan.large or not plan.single or op.check is not None:
        return _execute(op, plan, (x, y), device, x.dtype)
    try:
        made = kernel(x.array, y.array)
    except MemoryError as error:
        raise _refused(op, plan, device, error) from None
    if (
        (x.requires_grad or y.requires_grad)
        and op.differentiable
        and (MODES.special == 0 or MODES.local.recording)
        and plan.dtype.kind in "fc"
    ):
        return _record_two(op, plan, made, x, y)
    return wrap(made, device, plan.dtype, plan.shape)


def _keep_last(found: Entry, x: Any, given: Any, plan: Plan) -> None:
    """Note the plan that was used last; in this order, since another thread may look in between."""
    found.last = None
    found.last_shape = x.shape
    found.last_dtype = x.dtype
    found.last_given = given
    found.last = plan


def _find_two(op: Op, found: Entry, x: Any, y: Any) -> Plan:
    key = (x.shape, x.dtype, y.shape)
    plan = found.plans.get(key)
    if plan is None:
        plan = _remember(found.plans, key, _new_plan(op, (x, y), {}, x.device, x.dtype))
    _keep_last(found, x, y.shape, plan)
    return plan


def _refused(op: Op, plan: Plan, device: Device, error: MemoryError) -> MemoryError:
    """The error for a result that did not fit, unless the kernel has told it already."""
    if isinstance(error, OutOfMemoryError):
        return error
    return out_of_memory(op.name, plan.shape or (), plan.dtype, device)


def _run(op: Op, inputs: tuple[Any, ...], params: dict[str, Any], device: Device, dtype: DType | None) -> Any:
    if op.rule is None:  # a composite that no backend may replace: the tape sees its parts
        return op.body(*inputs, **params)
    return _execute(op, _plan(op, inputs, params, device, dtype), inputs, device, dtype)


def _execute(op: Op, plan: Plan, inputs: tuple[Any, ...], device: Device, dtype: DType | None) -> Any:
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
        kernel = _host_kernel(op, device, dtype or result)
    try:
        made = kernel(*[None if one is None else one.array for one in inputs], *values)
    except MemoryError as error:
        raise _refused(op, plan, device, error) from None
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


# -- record ----------------------------------------------------------------------------------------------

_serial = 0


def _finish(node: Node, need: int, array: Array, device: Device, dtype: DType, shape: Shape) -> Any:
    """The tensor that a new node made, and what every node keeps."""
    global _serial
    if need & OUTPUT_BIT:
        node.out = wrap(array, device, dtype, shape)
    _serial += 1
    node.serial = _serial
    if need:  # only what saves values can be freed, and then asked for the line that made it
        node.where = user_line()
    if MODES.special != 0 and MODES.local.saver is not None:
        MODES.local.saver(node)
    return wrap_recorded(array, device, dtype, shape, node)


def _record_unary(op: Op, array: Array, device: Device, dtype: DType, x: Any) -> Any:
    """record for an elementwise operation of one input."""
    if op.needs_shapes:
        return record(op, array, device, dtype, x.shape, (x,), (), None)
    need = op.mask
    edge = x if x.node is None else x.node
    saved = (wrap(x.array, x.device, x.dtype, x.shape),) if need & 1 else _NOTHING[1]
    return _finish(new_node(op, device, (edge,), saved, ()), need, array, device, dtype, x.shape)


def _two_edges(op: Op, x: Any, y: Any) -> Node:
    """A node of two inputs with what must be saved of them; `need` is left in its serial."""
    need = 0
    head = tail = kept = other = None
    if x.requires_grad:
        head = x if x.node is None else x.node
        need = op.mask
    if y.requires_grad:
        tail = y if y.node is None else y.node
        need |= op.second_mask
    if need & 1:
        kept = wrap(x.array, x.device, x.dtype, x.shape)
    if need & 2:
        other = wrap(y.array, y.device, y.dtype, y.shape)
    node = new_node(op, x.device, (head, tail), (kept, other) if need & 3 else _NOTHING[2], ())
    node.serial = need
    return node


def _record_one(op: Op, plan: Plan, array: Array, x: Any) -> Any:
    """record for one tensor and a plan."""
    need = op.mask
    edge = x if x.node is None else x.node
    saved = (wrap(x.array, x.device, x.dtype, x.shape),) if need & 1 else _NOTHING[1]
    node = new_node(op, x.device, (edge,), saved, plan.values)
    if op.needs_shapes:
        node.shapes = plan.given
    return _finish(node, need, array, x.device, plan.dtype, plan.shape)


def _record_two(op: Op, plan: Plan, array: Array, x: Any, y: Any) -> Any:
    """record for two tensors and a plan."""
    node = _two_edges(op, x, y)
    need = node.serial
    if op.needs_shapes:
        node.shapes = plan.given
    return _finish(node, need, array, x.device, plan.dtype, plan.shape)


def _record_binary(op: Op, array: Array, device: Device, dtype: DType, shape: Shape, x: Any, y: Any) -> Any:
    """record for an elementwise operation of two inputs."""
    if op.needs_shapes:
        return record(op, array, device, dtype, shape, (x, y), (), None)
    node = _two_edges(op, x, y)
    need = node.serial
    if (x.shape is not shape and x.shape != shape) or (y.shape is not shape and y.shape != shape):
        node.shapes = ((x.shape, x.dtype), (y.shape, y.dtype))
    return _finish(node, need, array, device, dtype, shape)


def record(
    op: Op,
    array: Array,
    device: Device,
    dtype: DType,
    shape: Shape,
    inputs: tuple[Any, ...],
    params: tuple[Any, ...],
    extra: tuple[Any, ...] | None,
) -> Any:
    """A new tensor with its node: edges to what made it, and the values that its vjp names."""
    count = len(inputs)
    masks = op.masks
    variadic = op.variadic
    need = 0
    if count == 2:  # most operations: without the list
        first, second = inputs
        head = tail = None
        if first is not None and first.requires_grad:
            head = first if first.node is None else first.node
            need = masks[0]
        if second is not None and second.requires_grad:
            tail = second if second.node is None else second.node
            need |= masks[0 if variadic else 1]
        edges: Any = (head, tail)
    else:
        found: list[Any] = [None] * count
        for i in range(count):
            one = inputs[i]
            if one is not None and one.requires_grad:
                found[i] = one if one.node is None else one.node
                need |= masks[0 if variadic else i]
        edges = tuple(found)
    if need & INPUT_BITS:
        saved: list[Any] = [None] * count
        for i in range(count):
            one = inputs[i]
            if one is not None and (need >> (0 if variadic else i)) & 1:
                saved[i] = wrap(one.array, one.device, one.dtype, one.shape)
        node = new_node(op, device, edges, tuple(saved), params)
    else:
        node = new_node(op, device, edges, _NOTHING[count] if count < 4 else (None,) * count, params)
    if op.needs_shapes:
        node.shapes = tuple([None if one is None else (one.shape, one.dtype) for one in inputs])
    elif op.elementwise:
        for one in inputs:
            if one.shape is not shape and one.shape != shape:
                node.shapes = tuple([(other.shape, other.dtype) for other in inputs])
                break
    if need & EXTRA_BIT:
        node.extra = extra
    return _finish(node, need, array, device, dtype, shape)


_NOTHING = ((), (None,), (None, None), (None, None, None))
