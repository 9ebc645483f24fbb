"""A NodeProto made ready for its handler: its schema, its attributes, and the checks that ONNX asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from onnx import AttributeProto, defs

from mlcore.errors import UnsupportedOpError
from mlcore_onnx.load_file import Source
from mlcore_onnx.ops import declare

_TYPES: Final = AttributeProto.AttributeType
KNOWN: Final = {
    "": (7, declare.NEWEST),
    declare.ML: (1, 5),
    declare.PREVIEW: (1, 1),
    declare.TRAINING: (1, 1),
}
"""The opsets that are read, by domain."""


@dataclass(frozen=True)
class Own:
    """Stands for ONNX's schema of an operator that only a declaration here knows: one of a domain of its own."""

    name: str
    domain: str
    since_version: int
    attributes: dict[str, Any] = field(default_factory=dict)

    def check(self, source: Source, handler: Any, node: Any, label: str) -> None:
        """Refuse a node whose inputs are not those of the declaration."""
        if len(node.input) > len(handler.names) and not handler.variadic:
            raise source.bad(f"{label} has {len(node.input)} inputs", cause=f"it is declared with {len(handler.names)}",
                             node=label)  # fmt: skip


def schema_of(source: Source, domain: str, op: str, version: int, label: str) -> Any:
    """What ONNX says of an operator in an opset."""
    low, high = KNOWN[domain]
    if version > high or (version < low and not _unchanged(domain, op, version, low)):
        raise UnsupportedOpError(
            f"{source.name}: opset {version} of domain {domain or 'ai.onnx'!r}, in which {op} ({label}) is used",
            cause=f"opsets {low} to {high} of it are known here", node=label,
            fix="convert the model with onnx.version_converter, or export it for a known opset",
        )  # fmt: skip
    try:
        schema = defs.get_schema(op, version, domain)
    except Exception as error:
        raise UnsupportedOpError(
            f"{source.name}: {op} (domain {domain or 'ai.onnx'!r}, opset {version}, {label})",
            cause="ONNX has no such operator in that opset", node=label,
            fix="a custom operator needs its own definition: export the model with operators of ONNX",
        ) from error  # fmt: skip
    if schema.deprecated:
        raise UnsupportedOpError(
            f"{source.name}: {op} (domain {domain or 'ai.onnx'!r}, opset {version}, {label})",
            cause=f"ONNX took it out in opset {schema.since_version}", node=label,
            fix="export the model for an older opset, or with what replaced it",
        )  # fmt: skip
    return schema


def _unchanged(domain: str, op: str, version: int, low: int) -> bool:
    """Whether an operator of an older opset means what it means in the oldest one that is known."""
    try:
        return bool(
            defs.get_schema(op, version, domain).since_version
            == defs.get_schema(op, low, domain).since_version
        )
    except Exception:
        return False


def check_counts(source: Source, schema: Any, node: Any, label: str) -> None:
    """Refuse a node with fewer or more inputs or outputs than its operator has."""
    given, made = len(node.input), len(node.output)
    if (
        not schema.min_input <= given <= schema.max_input
        or not schema.min_output <= made <= schema.max_output
    ):
        raise source.bad(
            f"{label} has {given} inputs and {made} outputs",
            cause=f"{schema.name} has {_range(schema.min_input, schema.max_input)} inputs and"
            f" {_range(schema.min_output, schema.max_output)} outputs",
            node=label,
        )
    for place, one in enumerate(node.input):
        formal = schema.inputs[min(place, len(schema.inputs) - 1)]
        if not one and formal.option == defs.OpSchema.FormalParameterOption.Single:
            raise source.bad(f"{label} leaves out its input {formal.name!r}", node=label)


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} or more" if high > 1 << 20 else f"{low} to {high}"


def plain_value(source: Source, attribute: Any, label: str) -> Any:
    """An attribute's value, other than a graph."""
    kind = attribute.type
    what = f"the attribute {attribute.name!r} of {label}"
    try:
        if kind == _TYPES.FLOAT:
            return attribute.f
        if kind == _TYPES.INT:
            return attribute.i
        if kind == _TYPES.STRING:
            return attribute.s.decode()
        if kind == _TYPES.TENSOR:
            return source.array(attribute.t, what)
        if kind == _TYPES.FLOATS:
            return tuple(attribute.floats)
        if kind == _TYPES.INTS:
            return tuple(attribute.ints)
        if kind == _TYPES.STRINGS:
            return tuple(one.decode() for one in attribute.strings)
        if kind == _TYPES.TENSORS:
            return tuple(source.array(one, what) for one in attribute.tensors)
        if kind == _TYPES.TYPE_PROTO:
            return attribute.tp
    except UnicodeDecodeError as error:
        raise source.bad(f"{what} is no UTF-8 text", node=label) from error
    name = _TYPES.Name(kind) if kind in _TYPES.values() else str(kind)
    raise UnsupportedOpError(f"{source.name}: {what} is of type {name}", node=label,
                             fix="export the model without it")  # fmt: skip


def check_attributes(source: Source, schema: Any, attributes: dict[str, Any], label: str) -> None:
    """Refuse attributes that the operator does not have, that have another type, or that are missing."""
    for name, one in attributes.items():
        formal = schema.attributes.get(name)
        if formal is None:
            raise source.bad(
                f"{label} has an attribute {name!r}", node=label,
                cause=f"{schema.name} (version {schema.since_version}) has {', '.join(schema.attributes) or 'none'}",
            )  # fmt: skip
        if int(getattr(formal.type, "value", formal.type)) != one.type:
            raise source.bad(
                f"the attribute {name!r} of {label} is of type {one.type}", node=label,
                cause=f"{schema.name} wants type {getattr(formal.type, 'name', formal.type)}",
            )  # fmt: skip
    for name, formal in schema.attributes.items():
        if formal.required and name not in attributes:
            raise source.bad(
                f"{label} has no attribute {name!r}", cause=f"{schema.name} needs it", node=label
            )


def keywords_for(
    source: Source, handler: Any, schema: Any, values: dict[str, Any], label: str, bodies: set[str]
) -> dict[str, Any]:
    """The keyword arguments of a handler: the attributes that it reads; one it does not read must say nothing."""
    keywords = {}
    for name, value in values.items():
        if name in handler.attributes:
            keywords[name] = value
            continue
        formal = schema.attributes.get(name)
        default = None if formal is None else formal.default_value
        if default is not None and default.type and plain_value(source, default, label) == value:
            continue
        raise UnsupportedOpError(
            f"{source.name}: {schema.name} ({label}) with {name}={value!r}"[:300],
            cause=f"this attribute of version {schema.since_version} is not read here", node=label,
            fix="export the model without it",
        )  # fmt: skip
    missing = handler.required - set(keywords) - bodies
    if missing:
        raise source.bad(
            f"{label} has no attribute {min(missing)!r}", cause=f"{schema.name} needs it", node=label
        )
    return keywords


def no_handler(source: Source, schema: Any, label: str) -> UnsupportedOpError:
    """The error for an operator that nothing here runs."""
    domain = schema.domain or "ai.onnx"
    known = declare.versions_of(schema.domain, schema.name)
    return UnsupportedOpError(
        f"{source.name}: {schema.name} (domain {domain!r}, version {schema.since_version}, {label})",
        cause=f"versions {known} of it are known here" if known else "it is not among the operators that run here",
        node=label,
        fix="export the model for another opset" if known else
        "write it with other operators, or declare it with mlcore_onnx.ops.declare.onnx_op",
    )  # fmt: skip
