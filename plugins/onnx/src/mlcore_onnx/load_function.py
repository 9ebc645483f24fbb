"""Functions: those of the model, and those by which ONNX itself says what an operator means."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from onnx import FunctionProto, NodeProto, helper

from mlcore.errors import UnsupportedOpError
from mlcore.tensor import Tensor
from mlcore_onnx import load_graph
from mlcore_onnx.load_file import Source
from mlcore_onnx.load_node import no_handler, plain_value
from mlcore_onnx.load_plan import Plan, Step
from mlcore_onnx.load_scope import Scope
from mlcore_onnx.ops.declare import NEWEST, Handler
from mlcore_onnx.values import dtype_of

_DEEPEST: Final = 40  # functions that call functions
_MOST: Final = 4096  # functions made ready, each with its attributes
_KEPT: Final = 64  # plans of one node for different sizes


class Functions:
    """The functions that a model brings along, and the plans made of them."""

    def __init__(self, source: Source, protos: Any = ()) -> None:
        self.protos: dict[tuple[str, str, str], Any] = {}
        self.plans: dict[Any, Plan] = {}
        for one in protos:
            key = (one.domain, one.name, one.overload)
            if key in self.protos:
                raise source.bad(f"the function {one.name!r} of domain {one.domain!r} is there twice")
            self.protos[key] = one


def local(scope: Scope, domain: str, node: Any) -> Any:
    """The model's own function that a node calls, or None."""
    functions = scope.source.functions
    return functions.protos.get((node.domain, node.op_type, node.overload)) or functions.protos.get(
        (domain, node.op_type, node.overload)
    )


def unknown_domain(scope: Scope, domain: str, op: str, label: str) -> UnsupportedOpError:
    """The error for an operator of a domain that the model does not import, or that nobody here knows."""
    imported = domain in scope.opsets
    return UnsupportedOpError(
        f"{scope.source.name}: {op} of domain {domain or 'ai.onnx'!r} ({label})",
        cause="no operators of this domain are known here"
        if imported
        else "the model does not import the domain",
        node=label,
        fix="export the model with operators of ONNX, or with the function that defines this one",
    )


def call(scope: Scope, proto: Any, attributes: dict[str, Any], label: str) -> Step:
    """The step that runs a function."""
    plan = _plan(scope, proto, attributes, label)
    count = len(proto.input)

    def run(*values: Any, device: Any) -> Any:
        padded = [*values, *(None,) * (count - len(values))]
        return tuple(plan.run(padded, (), device))

    return Step(_handler(proto.name, run), label, {}, {})


def _handler(name: str, run: Any) -> Handler:
    return Handler(
        run, "", name, (), True, frozenset(), frozenset(), frozenset({"device"}), frozenset(), frozenset(),
        moves=False, raw=True, random=False, grows=True,
    )  # fmt: skip


def _plan(scope: Scope, proto: Any, attributes: dict[str, Any], label: str) -> Plan:
    """A function made ready for these attributes."""
    source = scope.source
    name = (proto.domain, proto.name, proto.overload)
    if name in scope.active:
        chain = " -> ".join(one[1] for one in (*scope.active, name))
        raise source.bad(f"the function {proto.name!r} calls itself", cause=chain[:300], node=label)
    if len(scope.active) >= _DEEPEST:
        raise source.bad(f"functions that call functions, {_DEEPEST} deep and more", node=label)
    given = {one.name: one for one in proto.attribute_proto}
    given.update(attributes)
    key = (
        name,
        id(proto),
        tuple(sorted(scope.opsets.items())),
        tuple(sorted((k, v.SerializeToString(deterministic=True)) for k, v in given.items())),
    )
    found: Plan | None = source.functions.plans.get(key)
    if found is None:
        if len(source.functions.plans) >= _MOST:
            raise source.bad(f"functions called with more than {_MOST} sets of attributes", node=label)
        found = source.functions.plans[key] = _compile(scope, proto, given, (*scope.active, name), label)
    return found


def _compile(
    scope: Scope,
    proto: Any,
    given: dict[str, Any],
    active: tuple[Any, ...],
    label: str,
    partial: bool = False,
) -> Plan:
    """A function's plan; `partial`: outputs that nobody asked for may be missing."""
    from mlcore_onnx.load_model import opsets_of

    inner = Scope(
        scope.source,
        Plan(proto.name),
        opsets_of(scope.source, proto.opset_import, scope.opsets),
        None,
        given,
        active,
    )
    where = f"{label}, function {proto.name}"
    for name in proto.input:
        inner.plan.inputs.append(inner.define(name, where))
    for place, node in enumerate(proto.node):
        load_graph.compile_node(node, inner, place)
    for name in proto.output:
        found = inner.find(name)
        if found is None:
            if not partial:
                raise scope.source.bad(
                    f"the function {proto.name!r} gives {name!r}, which nothing makes", node=label
                )
            found = inner.plan.slot()  # stays empty
        inner.plan.outputs.append(found)
    load_graph.finish(inner.plan)
    return inner.plan


# -- operators that ONNX defines by other operators -----------------------------------------------------------------


def from_schema(scope: Scope, schema: Any, node: Any, attributes: dict[str, Any], label: str) -> Step:
    """The step of an operator that has no handler, by its definition in ONNX, where it has one."""
    domain_version = scope.opsets.get("", NEWEST)
    complete = dict(attributes)
    for name, formal in schema.attributes.items():
        default = formal.default_value
        if name not in complete and default is not None and default.type:
            complete[name] = default
    if schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= domain_version]
        if versions:
            body = schema.get_function_with_opset_version(max(versions))
            proto = body if isinstance(body, FunctionProto) else FunctionProto.FromString(body)
            scope.source.keep.append(proto)
            return call(scope, proto, complete, label)
    if schema.has_context_dependent_function:
        versions = [v for v in schema.context_dependent_function_opset_versions if v <= domain_version]
        if versions:
            return _context_step(scope, schema, node, attributes, max(versions), label)
    raise no_handler(scope.source, schema, label)


def _context_step(
    scope: Scope, schema: Any, node: Any, attributes: dict[str, Any], version: int, label: str
) -> Step:
    """The step of an operator whose definition depends on the types that come in: made when they are known."""
    plain = NodeProto(op_type=node.op_type, domain=node.domain, name=node.name)
    plain.input.extend(node.input)
    plain.output.extend(node.output)
    plain.attribute.extend(attributes.values())
    if any(one.type == load_graph._GRAPH for one in plain.attribute):
        raise no_handler(scope.source, schema, label)
    for one in plain.attribute:
        if not one.ref_attr_name:
            plain_value(scope.source, one, label)
    plans: dict[Any, Plan] = {}
    scope = scope.apart()

    def plan_for(values: list[Any]) -> Plan:
        """By the ranks, so that one serves all sizes; by the sizes where the definition depends on them."""
        for exact in (False, True):
            types = tuple(_type(scope, one, schema, label, exact) for one in values)
            found = plans.get(types)
            if found is None:
                found = _from_context(scope, schema, plain, version, list(types), label, exact)
                if found is not None:
                    if len(plans) >= _KEPT:
                        plans.clear()
                    plans[types] = found
            if found is not None:
                return found
        raise no_handler(scope.source, schema, label)

    def run(*values: Any, device: Any) -> Any:
        padded = [*values, *(None,) * (len(plain.input) - len(values))]
        plan = plan_for(padded)
        kept = [one for name, one in zip(plain.input, padded) if name]
        full = padded if len(plan.inputs) >= len(padded) else kept
        return tuple(plan.run([*full, *(None,) * (len(plan.inputs) - len(full))], (), device))

    return Step(_handler(schema.name, run), label, {}, {})


def _type(scope: Scope, value: Any, schema: Any, label: str, exact: bool) -> bytes:
    """The TypeProto of a value, with its sizes or only its rank."""
    if value is None:
        return b""
    if not isinstance(value, (Tensor, np.ndarray)):
        raise no_handler(scope.source, schema, label)
    sizes = value.shape if exact else [None] * value.ndim
    kind = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(dtype_of(value)), sizes)
    return bytes(kind.SerializeToString(deterministic=True))


def _from_context(
    scope: Scope, schema: Any, node: Any, version: int, types: list[bytes], label: str, last: bool
) -> Plan | None:
    """The plan of ONNX's definition for these types; None where it needs to know more."""
    try:
        body = schema.get_context_dependent_function_with_opset_version(
            version, node.SerializeToString(), types
        )
        proto = FunctionProto.FromString(body)
    except Exception as error:  # onnx's own, of which there is no list
        if not last:
            return None
        raise no_handler(scope.source, schema, label) from error
    if not proto.node:
        return None
    attributes = {one.name: one for one in node.attribute}
    return _compile(scope, proto, attributes, (*scope.active, ("", schema.name, "")), label, True)
