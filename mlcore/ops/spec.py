"""Families of operations: an operation is one call of these, in one file.

`unary`, `binary`, `compare` and `elementwise` declare scalar formulas; `reduction` folds axes; `primitive` and
`composite` decorate a function whose signature is the operation's own. `function` registers a plain composition.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import Any

import numpy as np

from mlcore import dtypes
from mlcore.dispatch import BinaryOp, Op, UnaryOp
from mlcore.dtypes import DType
from mlcore.op import (
    DTYPE,
    EXTRA,
    EXTRA_BIT,
    GRADIENT,
    INPUT,
    MASK,
    MISSING,
    OUTPUT,
    OUTPUT_BIT,
    PARAM,
    SHAPE,
)  # fmt: skip
from mlcore.ops.guard import guarded
from mlcore.ops.registry import Function, add_function, add_op
from mlcore.shapes import Shape, broadcast

Outs = tuple[tuple[tuple[Shape | None, DType], ...], tuple[Any, ...]]


def out(shape: Shape | None, dtype: DType, *params: Any) -> Outs:
    """What a rule returns for one output: its shape and dtype, and the canonical parameters."""
    return ((shape, dtype),), params


def outs(specs: Iterable[tuple[Shape | None, DType]], *params: Any) -> Outs:
    """What a rule returns for several outputs."""
    return tuple(specs), params


# -- families of scalar formulas ----------------------------------------------------------------------------


def unary(name: str, doc: str, *, result: Any = None, method: bool = True, **facts: Any) -> Op:
    """Declare an elementwise operation of one tensor.

    `reference` is its NumPy function (on the whole array), `c` the scalar body over `x`, `vjp` its gradient; `result`
    maps the input's dtype to the output's (default: the same); `body` composes it where a backend has no kernel.
    """
    op = UnaryOp()
    rule = _elementwise_rule(name, op)
    return _declare(op, name, doc, rule, ("x",), (), family="unary", result=result, method=method, **facts)


def binary(name: str, doc: str, *, result: Any = None, method: bool = True, **facts: Any) -> Op:
    """Declare an elementwise operation of two tensors, `x1` and `x2`, that broadcast; `vjp` is a pair."""
    op = BinaryOp()
    rule = _elementwise_rule(name, op)
    return _declare(
        op, name, doc, rule, ("x1", "x2"), (), family="binary", result=result, method=method, **facts
    )


def _elementwise_rule(name: str, op: Op) -> Callable[..., Outs]:
    def rule(*inputs: Any) -> Outs:
        shape = inputs[0].shape if len(inputs) == 1 else broadcast(name, *(one.shape for one in inputs))
        return out(shape, op.result[inputs[-1].dtype.index])

    return rule


def to_bool(dtype: DType) -> DType:
    """The result dtype of comparisons."""
    return dtypes.bool_


def to_real(dtype: DType) -> DType:
    """The dtype of the parts of a complex number."""
    return {dtypes.complex64: dtypes.float32, dtypes.complex128: dtypes.float64}.get(dtype, dtype)


# -- families that decorate a rule or a body ------------------------------------------------------------------


def elementwise(**facts: Any) -> Callable[[Callable[..., Outs]], Op]:
    """Like `primitive` for a scalar formula with parameters or more than two inputs, which broadcast."""
    return primitive(elementwise=True, **facts)


def primitive(**facts: Any) -> Callable[[Callable[..., Outs]], Op]:
    """Declare an operation by its rule: a function with the operation's own signature and docstring.

    Parameters before `/` are the inputs (tensors), the others parameters. The body checks them and returns
    `out(shape, dtype, *canonical_params)`.
    """

    def declare(rule: Callable[..., Outs]) -> Op:
        inputs, params, optional = _split(rule)
        doc = inspect.getdoc(rule) or ""
        facts.setdefault("family", "primitive")
        return _declare(
            Op(), rule.__name__.rstrip("_"), doc, rule, inputs, params, optional=optional, **facts
        )

    return declare


def composite(rule: Callable[..., Outs] | None = None, **facts: Any) -> Callable[[Callable[..., Any]], Op]:
    """Declare an operation by its body, written in operations.

    With a `rule` (same signature) a backend may replace the body by one fused kernel; its gradient is `vjp`, or else
    replays the body. Without a rule the tape always sees the parts.
    """

    def declare(body: Callable[..., Any]) -> Op:
        inputs, params, optional = _split(body)
        doc = inspect.getdoc(body) or ""
        facts.setdefault("family", "composite")
        name = body.__name__.rstrip("_")
        return _declare(Op(), name, doc, rule, inputs, params, body=body, optional=optional, **facts)

    return declare


def same_as_first(*inputs: Any, **params: Any) -> Outs:
    """The rule of an operation whose output is like its first input; parameters as given."""
    return out(inputs[0].shape, inputs[0].dtype, *params.values())


def function(*, face: Any = None, **facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a public function made of operations; `method` names the Tensor method (True: its own name).

    With convert=False it is given NumPy arrays as they are. `face(checked)` may put a compiled face before
    the function, which takes the frequent calls a shorter way.
    """

    def declare(call: Callable[..., Any]) -> Callable[..., Any]:
        if facts.get("method") is True:
            facts["method"] = call.__name__
        facts.setdefault("group", call.__module__.rsplit(".", 1)[-1])
        checked = guarded(call, facts.pop("convert", True))
        if face is not None:
            checked = update_wrapper(face(checked), checked)
        add_function(Function(checked, **facts))
        return checked

    return declare


def reduction(
    name: str, doc: str, *, c: str | dict[str, str], c_init: str, reference: Callable[..., Any], **facts: Any
) -> Op:
    """Declare a fold over axes: `c` combines the accumulator `a` with an element `x`, from `c_init`."""
    from mlcore.shapes import normalize_axes, reduced

    result = facts.pop("result", None) or (lambda dtype: dtype)
    identity = facts.pop("identity", True)
    shown = facts.get("standard", name)

    def rule(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Outs:
        axes = normalize_axes(shown, axis, x.ndim)
        if not identity:
            _refuse_empty(shown, x.shape, axes)
        return out(reduced(x.shape, axes, bool(keepdims)), result(x.dtype), axes, bool(keepdims))

    op = Op()
    return _declare(
        op, name, doc, rule, ("x",), ("axis", "keepdims"), family="reduction", reference=reference, c=c, c_init=c_init,
        **facts,
    )  # fmt: skip


def _refuse_empty(name: str, shape: Shape, axes: tuple[int, ...]) -> None:
    from mlcore.errors import ArgumentError

    for axis in axes:
        if shape[axis] == 0:
            raise ArgumentError(
                f"{name}: dim {axis} of shape {shape} is empty", cause=f"{name} of nothing has no value",
                fix="check the size first, or use a reduction with an identity such as sum",
            )  # fmt: skip


# -- assembling an Op -----------------------------------------------------------------------------------------


def _split(function: Any) -> tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]:
    """(inputs, params, optional inputs) of a function: what stands before `/` are inputs.

    Read from the code object: inspect.signature would be a third of the time that importing mlcore takes.
    """
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    inputs, params = names[: code.co_posonlyargcount], names[code.co_posonlyargcount :]
    defaults = function.__defaults__ or ()
    first = code.co_argcount - len(defaults)
    optional = frozenset(one for i, one in enumerate(inputs) if i >= first and defaults[i - first] is None)
    return inputs, params, optional


def _declare(
    op: Op, name: str, doc: str, rule: Any, inputs: tuple[str, ...], params: tuple[str, ...], **facts: Any
) -> Op:
    """Fill in an Op from its declaration, and register it."""
    accepts = facts.pop("accepts", dtypes.everything)
    ignores = facts.pop("ignores", ())  # accepted for a standard's sake, without effect on the values
    op.name, op.inputs, op.params = name, inputs, tuple(p for p in params if p not in ignores)
    op.rule, op.body = _in_order(op, rule), facts.pop("body", None)
    op.accepts = frozenset(accepts)
    op.n_inputs, op.unasked = len(inputs), (MISSING,) * len(op.params)
    op.variadic = facts.pop("variadic", False)
    op.listed = facts.pop("listed", False)
    op.cacheable = facts.pop("cacheable", bool(inputs) and not op.variadic)
    op.check = facts.pop("check", None)
    op.optional = facts.pop("optional", frozenset())
    op.outputs = facts.pop("outputs", ("y",))
    op.multiple = len(op.outputs) > 1
    promoted = facts.pop("promote", None)
    op.promoted = None if promoted is None else frozenset(inputs.index(one) for one in promoted)
    op.family = facts.pop("family")
    op.autocast = facts.pop("autocast", None)
    op.elementwise = facts.pop("elementwise", op.family in ("unary", "binary"))
    op.casts_integers = facts.pop("casts_integers", op.elementwise and not op.accepts & dtypes.integers)
    op.result = _results(op.accepts, facts.pop("result", None))
    op.reference, op.c, op.c_init = (
        facts.pop("reference", None),
        facts.pop("c", None),
        facts.pop("c_init", None),
    )
    op.ulp, op.domain = facts.pop("ulp", 0), facts.pop("domain", None)
    op.flops, op.host = facts.pop("flops", None), facts.pop("host", "")
    op.samples = facts.pop("samples", None)
    method = facts.pop("method", False)
    op.method = name if method is True else method or None
    op.operators = facts.pop("operators", ())
    op.public = facts.pop("public", True)
    op.standard = facts.pop("standard", name)  # the Array API's name for what the kernel does
    op.group = facts.pop("group", None) or sys._getframe(2).f_globals["__name__"].rsplit(".", 1)[-1]
    if op.flops is None and op.body is None:
        op.flops = _per_output if op.elementwise else _per_input if op.group == "reduce" else _none
    _describe(op, facts.pop("signature", None))
    op.doc = inspect.cleandoc(doc)
    op.__doc__ = op.doc
    op.__name__ = op.__qualname__ = name
    _gradient(op, facts.pop("vjp", None))
    op.mask, op.second_mask = (*op.masks, 0, 0)[:2]
    registered = facts.pop("registered", True)
    if facts:
        raise TypeError(f"{name}: unknown declaration {sorted(facts)}")
    if op.reference is None and op.body is None:
        raise TypeError(f"{name}: an operation needs a reference or a body")
    add_op(op, registered)
    return op


def _per_output(y: Any, *inputs: Any) -> int:
    """The work of a scalar formula: one operation an element."""
    return int(y.size)


def _per_input(y: Any, x: Any, *others: Any) -> int:
    """The work of a fold."""
    return int(x.size)


def _none(y: Any, *inputs: Any) -> int:
    """The work of what moves or makes values."""
    return 0


def _in_order(op: Op, rule: Any) -> Any:
    """A rule that takes **params gets them in the declared order, however they were given."""
    if rule is None or not rule.__code__.co_flags & inspect.CO_VARKEYWORDS:
        return rule

    def ordered(*inputs: Any, **params: Any) -> Outs:
        missing = [name for name in op.params if name not in params]
        if missing or len(params) > len(op.params):
            raise TypeError(f"{op.name} takes {', '.join(op.params)}")
        found: Outs = rule(*inputs, **{name: params[name] for name in op.params})
        return found

    return ordered


def _results(accepts: Iterable[DType], result: Any) -> list[DType | None]:
    rule = result or (lambda dtype: dtype)
    return [rule(d) if d in accepts else None for d in dtypes.all_dtypes]


def _describe(op: Op, given: Any) -> None:
    """Where the public signature is: the rule's or body's, or plain inputs for scalar formulas."""
    if op.family in ("unary", "binary"):
        return
    source = given or (op.body if op.family == "composite" or op.rule is None else op.rule)
    op.described_by = source
    code, defaults = source.__code__, source.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    op.positional = sum(name in op.params for name in positional)
    without = {
        *positional[: code.co_argcount - len(defaults)],
        *(set(keywords) - set(source.__kwdefaults__ or ())),
    }
    op.required = tuple(name for name in op.params if name in without)


def _gradient(op: Op, vjp: Any) -> None:
    """Work out from the names of the vjp's parameters what the tape saves."""
    op.vjps = op.vjp_all = op.plans = None
    op.vjp = vjp
    op.needs_shapes = False
    op.differentiable = vjp is not None or (op.body is not None and op.rule is not None)
    everything = (1 << op.n_inputs) - 1
    if vjp is None:
        op.masks = [everything] * op.n_inputs
        return
    if isinstance(vjp, tuple) or op.family == "unary":
        op.vjps = vjp if isinstance(vjp, tuple) else (vjp,)
        if len(op.vjps) != op.n_inputs:
            raise TypeError(f"{op.name}: {len(op.vjps)} gradients for {op.n_inputs} inputs")
        plans = [_plan(op, one) if one is not None else ([], 0) for one in op.vjps]
        op.plans = [plan for plan, _ in plans]
        op.masks = [mask for _, mask in plans]
    else:
        op.vjp_all = vjp
        plan, mask = _plan(op, vjp)
        if op.body is not None and mask & EXTRA_BIT:
            mask |= everything  # a higher order replays the body, which needs the inputs
        op.plans = [plan]
        op.masks = [mask] * op.n_inputs


def _plan(op: Op, rule: Any) -> tuple[list[tuple[int, int]], int]:
    """[(where a vjp's argument comes from, its place)] and the mask of what must be saved for it."""
    plan, mask = [], 0
    for name in rule.__code__.co_varnames[: rule.__code__.co_argcount]:
        base, _, suffix = name.rpartition("_")
        if name == "g":
            plan.append((GRADIENT, 0))
        elif name in op.inputs:
            plan.append((INPUT, op.inputs.index(name)))
            mask |= 1 << op.inputs.index(name)
        elif name in op.params:
            plan.append((PARAM, op.params.index(name)))
        elif name == op.outputs[0] or name == "y":
            plan.append((OUTPUT, 0))
            mask |= OUTPUT_BIT
        elif name in op.outputs:
            plan.append((EXTRA, op.outputs.index(name) - 1))
            mask |= EXTRA_BIT
        elif suffix in ("shape", "dtype") and base in op.inputs:
            plan.append((SHAPE if suffix == "shape" else DTYPE, op.inputs.index(base)))
            op.needs_shapes = True
        elif name == "needs":
            plan.append((MASK, 0))
        else:
            raise TypeError(f"{op.name}: its vjp names {name!r}, which is no input, parameter or output")
    return plan, mask


def ufunc_reduce(ufunc: np.ufunc) -> Callable[..., Any]:
    """The reference of a reduction from a NumPy ufunc."""
    return lambda x, axis, keepdims: np.asarray(ufunc.reduce(x, axis=axis, keepdims=keepdims))
