"""apply(op, ...): check, kernel, record. The waist of mlcore: every operation passes here.

This file knows what an operation is (`Op`), which kernel of a device runs it, and how the tape is written. It
knows no particular operation, dtype rule or backend. Types for the compiled version are in dispatch.pxd.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mlcore import dtypes, shapes
from mlcore.backends import detect
from mlcore.backends.protocol import Array, Device, Kernel
from mlcore.dtypes import DType
from mlcore.errors import ArgumentTypeError, AutogradError, DeviceError, DTypeError, OutOfMemoryError
from mlcore.host import host_array, scalar_array
from mlcore.shapes import Shape
from mlcore.tensor import Node, Tensor, TensorBase, wrap, wrap_recorded

NATIVE, COMPOSITE, HOST = "native", "composite", "host"
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_LARGE = 1 << 26  # elements from which a result's size is held against the device's memory

# -- state -----------------------------------------------------------------------------------------------


class _State(threading.local):
    """What differs between threads. Only looked at while `_special` says that some thread left the default."""

    recording: bool = True
    interceptors: tuple[Callable[..., Any], ...] = ()
    saver: Callable[[Node], None] | None = None


_state = _State()
_special = 0
_special_lock = threading.Lock()
_serial = 0


def _leave_default(change: int) -> None:
    global _special
    with _special_lock:
        _special += change


def is_recording() -> bool:
    """Whether operations of this thread are recorded on the tape (False under no_grad)."""
    return _special == 0 or _state.recording


class recording:
    """Context manager and decorator that switches recording on or off for this thread."""

    __slots__ = ("before", "flag")

    def __init__(self, flag: bool = True) -> None:
        self.flag = flag
        self.before: list[bool] = []

    def __enter__(self) -> Any:
        _leave_default(1)
        self.before.append(_state.recording)
        _state.recording = self.flag
        return self

    def __exit__(self, *exc: object) -> None:
        _state.recording = self.before.pop()
        _leave_default(-1)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from functools import wraps

        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            with recording(self.flag):
                return function(*args, **kwargs)

        return inner


class intercept:
    """Context manager that passes every operation of this thread through `function(op, inputs, params, proceed)`.

    The profiler, the capture for compile and the anomaly detector are each one such function; `proceed()` runs
    the operation and returns its result.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __enter__(self) -> Any:
        _leave_default(1)
        _state.interceptors = (*_state.interceptors, self.function)
        return self

    def __exit__(self, *exc: object) -> None:
        _state.interceptors = _state.interceptors[:-1]
        _leave_default(-1)


class saving:
    """Context manager that hands each new node to `saver(node)`: checkpoint drops the saved values this way."""

    __slots__ = ("before", "saver")

    def __init__(self, saver: Callable[[Node], None]) -> None:
        self.saver = saver
        self.before: Callable[[Node], None] | None = None

    def __enter__(self) -> Any:
        _leave_default(1)
        self.before = _state.saver
        _state.saver = self.saver
        return self

    def __exit__(self, *exc: object) -> None:
        _state.saver = self.before
        _leave_default(-1)


# -- operations ------------------------------------------------------------------------------------------


class Op:
    """An operation, declared once: everything that anybody needs to know about it.

    Made by the families of `mlcore.ops.spec`.
    """

    # as declared
    name: str
    doc: str
    family: str  # "unary", "binary", "reduction", ...
    group: str  # the file it is declared in
    inputs: tuple[str, ...]
    optional: frozenset[str]  # the inputs that may be None
    params: tuple[str, ...]
    outputs: tuple[str, ...]
    accepts: frozenset[DType]
    promoted: frozenset[int] | None  # the inputs that are brought to one dtype; None: all
    rule: Any
    body: Any
    check: Any  # looks at values, where a kernel could not refuse them
    reference: Any
    c: Any
    c_init: str | None
    vjp: Any
    ulp: int
    domain: Any
    samples: Any
    method: str | None
    operators: tuple[str, ...]
    public: bool
    standard: str
    variadic: bool  # its one input is a list of tensors
    listed: bool  # its kernel returns a tuple, however long
    cacheable: bool
    casts_integers: bool
    elementwise: bool
    # worked out from those
    index: int
    n_inputs: int
    multiple: bool
    positional: int
    required: tuple[str, ...]
    signature: inspect.Signature
    __name__: str
    __qualname__: str
    __signature__: inspect.Signature
    cache: dict[Any, Any]
    result: list[Any]
    differentiable: bool
    vjps: Any
    vjp_all: Any
    plans: Any
    masks: list[int]
    needs_shapes: bool

    __slots__ = (
        "__dict__", "__weakref__", "accepts", "body", "cache", "cacheable", "casts_integers", "check", "differentiable",
        "elementwise", "index", "listed", "masks", "n_inputs", "name", "needs_shapes", "plans", "promoted", "result",
        "rule", "variadic", "vjp_all", "vjps",
    )  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(args, kwargs)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Bind the arguments as the declared signature says, then apply."""
        if self.variadic:
            given = args[0] if args else kwargs.pop(self.inputs[0], ())
            inputs = tuple(given) if isinstance(given, (list, tuple)) else (given,)
            args = args[1:]
        elif len(args) >= self.n_inputs:
            inputs = args[: self.n_inputs]
            args = args[self.n_inputs :]
        else:
            inputs = self._named_inputs(args, kwargs)
            args = ()
        if args:
            kwargs = self._named_params(args, kwargs)
        return apply(self, inputs, kwargs)

    def _named_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        inputs = list(args)
        for name in self.inputs[len(args) :]:
            if name in kwargs:
                inputs.append(kwargs.pop(name))
            elif name in self.optional:
                inputs.append(None)
            else:
                raise ArgumentTypeError(
                    f"{self.name}: missing argument {name!r}", expects=f"{self.name}{self.signature}"
                )
        return tuple(inputs)

    def _named_params(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if len(args) > self.positional:
            raise ArgumentTypeError(
                f"{self.name}: {self.n_inputs + len(args)} positional arguments, at most "
                f"{self.n_inputs + self.positional}",
                expects=f"{self.name}{self.signature}",
            )
        kwargs = dict(kwargs)
        for name, value in zip(self.params, args):
            if name in kwargs:
                raise ArgumentTypeError(
                    f"{self.name}: {name!r} given twice", expects=f"{self.name}{self.signature}"
                )
            kwargs[name] = value
        return kwargs

    def __repr__(self) -> str:
        return f"<mlcore op {self.name}{self.signature}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from mlcore.ops.registry import get

        return get, (self.name,)


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


# -- the table of a device --------------------------------------------------------------------------------


class Entry:
    """How one device runs one operation: `by_dtype` has a native kernel per dtype of the first input, or None."""

    __slots__ = ("by_dtype", "kernel", "origin")

    def __init__(self, op: Op, device: Device) -> None:
        kernel = device.backend.kernel(op)
        limits = getattr(kernel, "dtypes", None)
        held = device.backend.dtypes
        self.kernel = kernel
        self.origin = getattr(kernel, "origin", "native") if kernel is not None else None
        self.by_dtype: list[Kernel | None] = [
            kernel
            if kernel is not None and d in op.accepts and d in held and (limits is None or d in limits)
            else None
            for d in dtypes.all_dtypes
        ]

    def native(self, dtype: DType) -> Kernel | None:
        """The native kernel for inputs of `dtype`, or None."""
        return self.by_dtype[dtype.index]


def entry(op: Op, device: Device) -> Entry:
    """The table entry of `op` on `device`, made when it is first asked for."""
    table = device.table
    if table is None or op.index >= len(table):
        with _table_lock:
            table = list(device.table or ())
            table.extend([None] * (op.index + 16 - len(table)))
            device.table = table
    found: Entry | None = table[op.index]
    if found is None:
        found = table[op.index] = Entry(op, device)
    return found


_table_lock = threading.Lock()


def path(op: Op, dtype: DType, device: Device) -> str | None:
    """How `device` runs `op` on `dtype`: 'native', 'composite', 'host', or None where it cannot.

    The host needs no kernel, but the device must hold the dtype.
    """
    if dtype not in op.accepts or dtype not in device.backend.dtypes:
        return None
    if entry(op, device).native(dtype) is not None:
        return NATIVE
    if op.body is not None:
        return COMPOSITE
    return HOST if op.reference is not None else None


def coverage(device: Device, ops: Iterable[Op]) -> dict[str, dict[str, str]]:
    """{op name: {dtype name: 'native' | 'composite' | 'host'}} of a device, for the dtypes each op accepts."""
    found: dict[str, dict[str, str]] = {}
    for op in ops:
        ways = {d.name: path(op, d, device) for d in dtypes.all_dtypes}
        found[op.name] = {name: way for name, way in ways.items() if way is not None}
    return found


# -- inputs ----------------------------------------------------------------------------------------------


def constant(value: Any, dtype: DType, device: Device) -> Tensor:
    """A 0-d tensor of a Python scalar; small ones are kept, since code multiplies by 0.5 again and again."""
    if value == 0 or value != value:  # -0.0 equals 0.0 as a key, and nan equals nothing
        return wrap(device.backend.from_host(scalar_array(value, dtype)), device, dtype, ())
    key = (value, dtype.index)
    found = device.constants.get(key)
    if found is None:
        found = device.backend.from_host(scalar_array(value, dtype))
        if len(device.constants) > 1024:
            device.constants.clear()
        device.constants[key] = found
    return wrap(found, device, dtype, ())


def from_data(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor off the tape from host data (array-like), on a resolved device; copies."""
    where = detect.resolve(device)
    host = host_array(data, dtype)
    chosen = dtypes.from_numpy(host.dtype)
    check_holds(chosen, where)
    return wrap(where.backend.from_host(host), where, chosen, host.shape)


def check_holds(dtype: DType, device: Device) -> None:
    """Refuse a dtype that the device cannot hold."""
    if dtype not in device.backend.dtypes:
        held = ", ".join(d.name for d in dtypes.all_dtypes if d in device.backend.dtypes)
        raise DTypeError(f"device {device} cannot hold {dtype}", holds=held, fix="astype one of these first")


def check_memory(what: str, shape: Shape, dtype: DType, device: Device) -> None:
    """Refuse a result that is larger than the device's memory, before anything is allocated."""
    count = 1
    for dim in shape:
        count *= dim
    if count < _LARGE:
        return
    shapes.check_size(shape, what)
    limit = device.backend.memory_stats().limit
    if limit is not None and count * dtype.itemsize > limit:
        raise out_of_memory(what, shape, dtype, device)


def out_of_memory(what: str, shape: Shape, dtype: DType, device: Device) -> OutOfMemoryError:
    """The error for a result that did not fit."""
    count = 1
    for dim in shape:
        count *= dim
    stats = device.backend.memory_stats()
    return OutOfMemoryError(
        f"{what}: cannot allocate {count * dtype.itemsize:,} bytes for shape {shape}, {dtype}, on {device}",
        in_use=None if stats.in_use is None else f"{stats.in_use:,} bytes",
        limit=None if stats.limit is None else f"{stats.limit:,} bytes",
        fix="use a smaller size or batch, or a narrower dtype",
    )


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (bool, int, float, complex))


def prepare(op: Op, raw: tuple[Any, ...]) -> tuple[tuple[Any, ...], Device, DType | None]:
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


def _coerce(op: Op, i: int, value: Any, device: Device) -> Tensor:
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__"):
        return from_data(value, None, device)
    name = op.inputs[0 if op.variadic else i]
    raise ArgumentTypeError(
        f"{op.name}: argument {name!r} is a {type(value).__name__}, expected a Tensor",
        fix="convert it with mlcore.asarray(...)",
    )


def _accepted(op: Op, dtype: DType) -> DType:
    """The dtype to run `op` in: integers go to the default float where an op is about real numbers."""
    if op.casts_integers and dtype.kind in "biu":
        return dtypes.default_float()
    known = ", ".join(d.name for d in dtypes.all_dtypes if d in op.accepts)
    raise DTypeError(
        f"{op.name}: {dtype} is not accepted", accepts=known, fix="astype the input to one of these"
    )


def cast(tensor: Any, dtype: DType) -> Any:
    """astype, recorded."""
    return apply(_casts[0], (tensor,), {"dtype": dtype})


_casts: list[Op] = []  # the astype operation, put here by mlcore.ops: promotion needs it


# -- apply -----------------------------------------------------------------------------------------------


def unary(op: Op, x: Any) -> Any:
    """apply for an elementwise operation of one input: the fast path, then the general one."""
    if isinstance(x, TensorBase) and (_special == 0 or not _state.interceptors):
        return _unary(op, x)
    return apply(op, (x,), {})


def _unary(op: Op, x: Any) -> Any:
    device = x.device
    dtype = x.dtype
    table = device.table
    if table is not None and op.index < len(table):
        found = table[op.index]
        if found is not None:
            kernel = found.by_dtype[dtype.index]
            if kernel is not None:
                try:
                    array = kernel(x.array)
                except MemoryError:
                    raise out_of_memory(op.name, x.shape, dtype, device) from None
                if x.requires_grad and op.differentiable and (_special == 0 or _state.recording):
                    return record(op, array, device, op.result[dtype.index], x.shape, (x,), (), None)
                return wrap(array, device, op.result[dtype.index], x.shape)
    return apply(op, (x,), {})


def binary(op: Op, x: Any, y: Any) -> Any:
    """apply for an elementwise operation of two inputs: the fast path, then the general one."""
    if isinstance(x, TensorBase) and (_special == 0 or not _state.interceptors):
        if isinstance(y, TensorBase):
            if x.dtype is y.dtype and x.device is y.device:
                return _binary(op, x, y)
        elif (type(y) is float or type(y) is int) and (
            x.dtype.kind == "f" or (type(y) is int and x.dtype.kind == "i")
        ):
            return _binary(op, x, constant(y, x.dtype, x.device))
    return apply(op, (x, y), {})


def _binary(op: Op, x: Any, y: Any) -> Any:
    device = x.device
    dtype = x.dtype
    table = device.table
    if table is not None and op.index < len(table):
        found = table[op.index]
        if found is not None:
            kernel = found.by_dtype[dtype.index]
            if kernel is not None:
                shape = x.shape
                if shape is not y.shape and shape != y.shape:
                    if y.shape != ():
                        shape = shapes.broadcast(op.name, shape, y.shape)
                        check_memory(op.name, shape, dtype, device)
                if op.check is not None:
                    op.check(x, y)
                try:
                    array = kernel(x.array, y.array)
                except MemoryError:
                    raise out_of_memory(op.name, shape, dtype, device) from None
                if (
                    (x.requires_grad or y.requires_grad)
                    and op.differentiable
                    and (_special == 0 or _state.recording)
                ):
                    return record(op, array, device, op.result[dtype.index], shape, (x, y), (), None)
                return wrap(array, device, op.result[dtype.index], shape)
    return apply(op, (x, y), {})


def apply(op: Op, raw: tuple[Any, ...], params: dict[str, Any], device: Any = None) -> Any:
    """Run an operation: check the inputs, find the kernel, record. `params` by name, as the caller gave them."""
    if raw:
        inputs, device, dtype = prepare(op, raw)
    else:
        inputs, device, dtype = (), detect.resolve(device), None
    if _special != 0 and _state.interceptors:
        return _intercepted(op, inputs, params, device, dtype, _state.interceptors)
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


def _infer(op: Op, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """The op's rule: ((shape, dtype) of each output, canonical params), remembered per signature."""
    if not op.cacheable:
        return op.rule(*inputs, **params)
    try:
        key = (
            tuple([None if one is None else (one.shape, one.dtype.index) for one in inputs]),
            tuple(params.items()) if params else None,
        )
        found = op.cache.get(key)
    except TypeError:  # an unhashable parameter, such as a list of axes
        return op.rule(*inputs, **params)
    if found is None:
        found = op.rule(*inputs, **params)
        if len(op.cache) > 2048:
            op.cache.clear()
        op.cache[key] = found
    return found


def _run(op: Op, inputs: tuple[Any, ...], params: dict[str, Any], device: Device, dtype: DType | None) -> Any:
    if op.rule is None:  # a composite that no backend may replace: the tape sees its parts
        return op.body(*inputs, **params)
    try:
        outs, values = _infer(op, inputs, params)
    except TypeError as error:
        raise _bad_call(op, params, error) from error
    shape, result = outs[0]
    if op.check is not None:
        op.check(*inputs, *values)
    for out_shape, out_dtype in outs:
        if out_shape is not None:
            check_memory(op.name, out_shape, out_dtype, device)
    kernel = entry(op, device).by_dtype[(dtype or result).index]
    if result is not dtype and result not in device.backend.dtypes:
        check_holds(result, device)
    record_it = False
    if op.differentiable and (_special == 0 or _state.recording):
        for one in inputs:
            if one is not None and one.requires_grad:
                record_it = True
                break
    if kernel is None:
        if op.body is not None:
            return _compose(op, inputs, values, record_it, device)
        kernel = _host_kernel(op, device, dtype or result)
    try:
        made = kernel(*[None if one is None else one.array for one in inputs], *values)
    except MemoryError as error:
        if isinstance(error, OutOfMemoryError):
            raise
        raise out_of_memory(op.name, shape, result, device) from None
    if len(outs) == 1 and not op.listed:
        if shape is None:
            shape = tuple(made.shape)
        if record_it and result.kind in "fc":
            return record(op, made, device, result, shape, inputs, values, None)
        return wrap(made, device, result, shape)
    extra = tuple(
        [
            wrap(array, device, d, tuple(array.shape) if s is None else s)
            for array, (s, d) in zip(made[1:], outs[1:])
        ]
    )
    if record_it and result.kind in "fc":
        first = record(op, made[0], device, result, shape, inputs, values, extra)
    else:
        first = wrap(made[0], device, result, tuple(made[0].shape) if shape is None else shape)
    return (first, *extra)


def _bad_call(op: Op, params: dict[str, Any], error: TypeError) -> TypeError:
    """A TypeError of a rule's own call is the user's wrong argument name; any other is passed on."""
    if isinstance(error, (DTypeError, ArgumentTypeError)):
        return error
    unknown = [name for name in params if name not in op.params]
    if unknown:
        return ArgumentTypeError(
            f"{op.name}: unknown argument {unknown[0]!r}", expects=f"{op.name}{op.signature}"
        )
    missing = [name for name in op.required if name not in params]
    if missing:
        return ArgumentTypeError(
            f"{op.name}: missing argument {missing[0]!r}", expects=f"{op.name}{op.signature}"
        )
    return ArgumentTypeError(f"{op.name}: {error}", expects=f"{op.name}{op.signature}")


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
    global _serial
    edges: list[Any] = []
    need = 0
    i = 0
    for one in inputs:
        if one is None or not one.requires_grad:
            edges.append(None)
        else:
            edges.append(one if one.node is None else one.node)
            need |= op.masks[i if not op.variadic else 0]
        i += 1
    saved: list[Any] = []
    i = 0
    for one in inputs:
        if one is not None and (need >> (i if not op.variadic else 0)) & 1:
            saved.append(wrap(one.array, one.device, one.dtype, one.shape))
        else:
            saved.append(None)
        i += 1
    node = Node(op, device, tuple(edges), tuple(saved), params, None)
    if op.needs_shapes:
        node.shapes = tuple([None if one is None else (one.shape, one.dtype) for one in inputs])
    elif op.elementwise:
        for one in inputs:
            if one.shape is not shape and one.shape != shape:
                node.shapes = tuple([(other.shape, other.dtype) for other in inputs])
                break
    if need & (1 << 62):
        node.out = wrap(array, device, dtype, shape)
    node.extra = extra if need & (1 << 61) else None
    _serial += 1
    node.serial = _serial
    node.where = user_line()
    if _special != 0 and _state.saver is not None:
        _state.saver(node)
    return wrap_recorded(array, device, dtype, shape, node)


_internal: dict[str, bool] = {}


def user_line() -> tuple[Any, int] | None:
    """(code, instruction) of the nearest frame outside this package; `describe_line` turns it into text.

    Only two references are taken here: reading the line table would cost more than the operation.
    """
    frame: Any = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_filename
        inside = _internal.get(name)
        if inside is None:
            inside = _internal[name] = os.path.abspath(name).startswith(_PACKAGE)
        if not inside:
            return (frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return None


def describe_line(where: tuple[Any, int] | None) -> str:
    """'file.py:12, in forward' of what `user_line` returned."""
    if where is None:
        return "an unknown line"
    code, offset = where
    positions = list(code.co_positions())
    index = offset // 2
    line = positions[index][0] if 0 <= index < len(positions) else None
    return f"{code.co_filename}:{line or code.co_firstlineno}, in {code.co_name}"


def refuse_second_backward(node: Node) -> AutogradError:
    """The error for a node whose saved values are gone."""
    return AutogradError(
        f"backward through {node.op.name!r} a second time: the values it saved were freed by the first",
        made_at=describe_line(node.where),
        fix="pass retain_graph=True to the first backward, or compute the value again",
    )
