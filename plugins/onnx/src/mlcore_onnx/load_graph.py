"""A GraphProto made into a Plan: names become slots, nodes become steps, and what is constant is worked out now."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from onnx import AttributeProto, helper

from mlcore_onnx import load_function
from mlcore_onnx.load_fuse import fuse
from mlcore_onnx.load_node import (
    KNOWN,
    Own,
    check_attributes,
    check_counts,
    keywords_for,
    plain_value,
    schema_of,
)
from mlcore_onnx.load_plan import Constant, Plan, Step
from mlcore_onnx.load_scope import Scope
from mlcore_onnx.ops.declare import Handler, handler_of
from mlcore_onnx.values import HOST, on_host, size_of

_DEEPEST: Final = 24  # graphs inside graphs; a protobuf message holds some 30
_GRAPH: Final = AttributeProto.AttributeType.GRAPH


def compile_graph(graph: Any, scope: Scope, label: str) -> None:
    """Fill the scope's plan with what a graph does."""
    if scope.depth > _DEEPEST:
        raise scope.source.bad(
            f"graphs inside graphs, {_DEEPEST} deep and more ({label})", cause="no model is"
        )
    stored = _initializers(graph, scope, label)
    for one in graph.input:
        if one.name not in stored:
            scope.plan.inputs.append(scope.define(one.name, f"the input list of {label}"))
    for place, node in enumerate(graph.node):
        compile_node(node, scope, place)
    for one in graph.output:
        found = scope.find(one.name)
        if found is None:
            raise scope.source.bad(f"{label} gives {one.name!r}, which nothing makes",
                                   cause="an output must be an input, an initializer or a node's output")  # fmt: skip
        scope.plan.outputs.append(found)
        scope.plan.kinds.append(kind_of(one.type))
    finish(scope.plan)


def kind_of(proto: Any) -> tuple[Any, tuple[int, ...]] | None:
    """The NumPy type and the sizes (0 where unknown) that a TypeProto of a tensor gives; None: it gives none."""
    if not proto.HasField("tensor_type") or not proto.tensor_type.elem_type:
        return None
    dims = tuple(max(one.dim_value, 0) for one in proto.tensor_type.shape.dim)
    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(proto.tensor_type.elem_type)), dims
    except (KeyError, TypeError):
        return None


def finish(plan: Plan) -> None:
    """Leave out the steps that nobody needs, and note after which step each slot is empty again."""
    _prune(plan)
    fuse(plan)
    alive, lasting = set(plan.outputs), {place for place, _ in plan.constants}
    for step in reversed(plan.steps):
        used = set(step.uses())
        step.frees = tuple(used - alive - lasting)
        alive |= used
    plan.constants = [(place, one) for place, one in plan.constants if place in alive]


def _prune(plan: Plan) -> None:
    alive = set(plan.outputs)
    kept = []
    for step in reversed(plan.steps):
        if alive.isdisjoint(step.outputs):
            continue
        step.outputs = [one if one in alive else -1 for one in step.outputs]
        alive.update(step.uses())
        kept.append(step)
    plan.steps = kept[::-1]


# -- values that the file has -----------------------------------------------------------------------------------


def _initializers(graph: Any, scope: Scope, label: str) -> set[str]:
    """Take in the stored values; returns their names."""
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise scope.source.bad(f"the initializer {name!r} is sparse", fix="save the model with dense ones")
    uses = _uses(graph, scope, 0) if graph.initializer else {}
    stored: set[str] = set()
    for tensor in graph.initializer:
        what = f"the initializer {tensor.name!r}"
        if not tensor.name or tensor.name in stored:
            raise scope.source.bad(f"{what} of {label} is there twice, or has no name")
        stored.add(tensor.name)
        array = scope.source.array(tensor, what, once=scope.around is None)
        kinds = uses.get(tensor.name, set())
        held = None
        if kinds != {"host"} and scope.root.hold is not None:
            held = scope.root.hold(tensor.name, array, "state" in kinds)
        if held is None:
            scope.constant(tensor.name, Constant(on_host(array)), label)
        else:
            scope.held_value(tensor.name, held, label)
    return stored


def _uses(graph: Any, scope: Scope, depth: int) -> dict[str, set[str]]:
    """For each name, the ways in which nodes use it: "host", "state" or "plain"."""
    found: dict[str, set[str]] = {}
    if depth > _DEEPEST:
        return found
    for node in graph.node:
        handler = _quick_handler(node.domain, node.op_type, scope.opsets.get(_domain(node.domain), 0))
        for place, name in enumerate(node.input):
            kind = "plain"
            if handler is not None:
                kind = "host" if place in handler.host else "state" if place in handler.state else "plain"
            found.setdefault(name, set()).add(kind)
        for attribute in node.attribute:
            if attribute.type == _GRAPH:
                for name, kinds in _uses(attribute.g, scope, depth + 1).items():
                    found.setdefault(name, set()).update(kinds)
    for one in graph.output:
        found.setdefault(one.name, set()).add("plain")
    return found


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


@lru_cache(maxsize=4096)
def _quick_handler(domain: str, op: str, version: int) -> Handler | None:
    from onnx import defs

    if not version:
        return None
    try:
        return handler_of(_domain(domain), op, defs.get_schema(op, version, _domain(domain)).since_version)
    except Exception:  # whatever is wrong with it is said where the node is made ready
        return None


# -- nodes --------------------------------------------------------------------------------------------------------


def label_of(node: Any, place: int) -> str:
    """What a node is called in messages."""
    name = node.name or (f"makes {node.output[0]}" if node.output else "")
    return f"node {place} {node.op_type}" + (f" ({name[:80]!r})" if name else "")


def compile_node(node: Any, scope: Scope, place: int) -> None:
    """Add the step of one node, or what it comes to."""
    label = label_of(node, place)
    source = scope.source
    domain = _domain(node.domain)
    attributes = _attributes(node, scope, label)
    function = load_function.local(scope, domain, node)
    if function is not None:
        step = load_function.call(scope, function, attributes, label)
    else:
        version = scope.opsets.get(domain, 0)
        handler = handler_of(domain, node.op_type, version)
        schema: Any
        if domain in KNOWN and version:
            schema = schema_of(source, domain, node.op_type, version, label)
            check_counts(source, schema, node, label)
            check_attributes(source, schema, attributes, label)
            handler = handler_of(domain, schema.name, schema.since_version)
        elif handler is None or not version:
            raise load_function.unknown_domain(scope, domain, node.op_type, label)
        else:
            schema = Own(node.op_type, domain, version)
            schema.check(source, handler, node, label)
        if handler is None or (handler.takes is not None and not handler.takes(node, attributes)):
            step = load_function.from_schema(scope, schema, node, attributes, label)
        else:
            step = _step(scope, handler, schema, node, attributes, label)
    _connect(scope, step, node, label)


def _attributes(node: Any, scope: Scope, label: str) -> dict[str, Any]:
    """The node's attributes by name; in a function those that stand for what the caller gives."""
    found: dict[str, Any] = {}
    for one in node.attribute:
        if one.name in found:
            raise scope.source.bad(f"{label} has the attribute {one.name!r} twice", node=label)
        if one.ref_attr_name:
            if scope.given is None:
                raise scope.source.bad(
                    f"{label} refers to an attribute {one.ref_attr_name!r}", cause="only a function has such",
                    node=label,
                )  # fmt: skip
            given = scope.given.get(one.ref_attr_name)
            if given is None:
                continue
            renamed = AttributeProto()
            renamed.CopyFrom(given)
            renamed.name = one.name
            found[one.name] = renamed
        else:
            found[one.name] = one
    return found


def _step(
    scope: Scope, handler: Handler, schema: Any, node: Any, attributes: dict[str, Any], label: str
) -> Step:
    values, bodies = {}, {}
    for name, one in attributes.items():
        if one.type == _GRAPH:
            bodies[name] = _body(scope, one.g, f"{label}, {name}")
        else:
            values[name] = plain_value(scope.source, one, label)
    keywords = keywords_for(scope.source, handler, schema, values, label, set(bodies))
    if "since" in handler.asks:
        keywords["since"] = schema.since_version
    if "outputs" in handler.asks:
        keywords["outputs"] = len(node.output)
    return Step(handler, label, keywords, bodies)


def _body(scope: Scope, graph: Any, label: str) -> Plan:
    inner = Scope(scope.source, Plan(graph.name or label), scope.opsets, scope, scope.given, scope.active)
    compile_graph(graph, inner, label)
    return inner.plan


def _connect(scope: Scope, step: Step, node: Any, label: str) -> None:
    """Give a step its slots; work it out now where all that it needs is known."""
    for place, name in enumerate(node.input):
        found = scope.find(name) if name else -1
        if found is None:
            raise scope.source.bad(
                f"{label} needs {name!r}, which is not there",
                cause="nothing before it makes it: the nodes are not in order, or go in a circle, or one is missing",
                node=label,
            )
        step.inputs.append(found)
        if found in scope.constants:
            step.constants[place] = scope.constants[found]
    while step.inputs and step.inputs[-1] == -1:
        step.inputs.pop()
    made = _folded(scope, step)
    for place, name in enumerate(node.output):
        if made is not None and place < len(made):
            if name:
                scope.constant(name, Constant(made[place]), label)
        else:
            step.outputs.append(scope.define(name, label) if name else -1)
    if made is None:
        scope.plan.steps.append(step)


def _folded(scope: Scope, step: Step) -> tuple[Any, ...] | None:
    """The outputs of a step whose inputs are all constant, or None."""
    if step.bodies or any(i >= 0 and i not in scope.constants for i in step.inputs):
        return None
    values = [None if i < 0 else scope.constants[i].value for i in step.inputs]
    budget = scope.source.to_fold > 0 and not any(isinstance(one, list) for one in values)
    if not budget or not step.handler.folds(list(map(size_of, values))):
        return None
    slots: list[Any] = [None] * scope.plan.size
    for i in step.inputs:
        if i >= 0:
            slots[i] = scope.constants[i].value
    try:
        made = step.compute(slots, HOST)
    except Exception:  # it fails again if it is ever run: a branch that is not taken may hold anything
        return None
    found = made if type(made) is tuple else (made,)
    scope.source.to_fold -= sum(map(size_of, found))
    return found
