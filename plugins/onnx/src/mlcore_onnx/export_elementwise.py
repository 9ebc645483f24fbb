"""Elementwise operations. Those whose names ONNX has too are found in the registry; the rest are formulas here."""

from __future__ import annotations

import math
from typing import Any, Final

import onnx.defs

from mlcore.compile.graph import Node
from mlcore.dtypes import int32, int64
from mlcore.ops import registry
from mlcore_onnx.export_build import HANDLERS, Builder, Handled, handles, refuse

_OTHER_NAMES: Final = {
    "subtract": "Sub", "multiply": "Mul", "divide": "Div", "maximum": "Max", "minimum": "Min", "negative": "Neg",
}  # fmt: skip
_ROUNDING: Final = ("floor", "ceil", "round", "trunc")


def derive() -> None:
    """Handlers of the elementwise operations without parameters that ONNX has under the same name (or one above)."""
    schemas: dict[str, list[Any]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            schemas.setdefault(schema.name.lower(), []).append(schema)
    for op in registry.all_ops():
        if not op.elementwise or op.params or op.name in HANDLERS:
            continue
        wanted = _OTHER_NAMES.get(op.name, op.name.replace("_", "")).lower()
        known = sorted(schemas.get(wanted, ()), key=lambda one: one.since_version)
        if known and known[-1].min_input <= op.n_inputs <= known[-1].max_input:
            HANDLERS[op.name] = _plain(known, op.name)


def _plain(schemas: list[Any], op: str) -> Handled:
    name, first = schemas[-1].name, schemas[0].since_version

    def function(b: Builder, node: Node, *inputs: str) -> str:
        if op in _ROUNDING and node.inputs[0].dtype.kind in "biu":  # type: ignore[union-attr]  # never None here
            return inputs[0]
        made: str = b.make(name, inputs)
        return made

    def accepts(opset: int, inputs: tuple[Any, ...], params: dict[str, Any]) -> bool:
        return bool(opset >= first)

    return Handled(function, accepts)


@handles("astype")
def _astype(b: Builder, node: Node, x: str) -> str:
    return b.cast(x, node.outputs[0].dtype)


@handles("positive", "conj")
def _same(b: Builder, node: Node, x: str) -> str:
    return x


@handles("square")
def _square(b: Builder, node: Node, x: str) -> Any:
    return b.make("Mul", [x, x])


@handles("not_equal")
def _not_equal(b: Builder, node: Node, x: str, y: str) -> Any:
    return b.make("Not", [b.make("Equal", [x, y])])


@handles("relu6", accepts=lambda inputs, params: inputs[0].dtype.kind == "f")
def _relu6(b: Builder, node: Node, x: str) -> Any:
    return b.make("Clip", [x, b.like(0, node.outputs[0]), b.like(6, node.outputs[0])])


@handles("silu")
def _silu(b: Builder, node: Node, x: str) -> Any:
    return b.make("Mul", [x, b.make("Sigmoid", [x])])


@handles("gelu", since=20)
def _gelu(b: Builder, node: Node, x: str) -> Any:
    return b.make("Gelu", [x], approximate=node.params["approximate"])


@handles("rsqrt")
def _rsqrt(b: Builder, node: Node, x: str) -> Any:
    return b.make("Reciprocal", [b.make("Sqrt", [x])])


@handles("trunc")
def _trunc(b: Builder, node: Node, x: str) -> Any:
    if node.outputs[0].dtype.kind != "f":
        return x
    below = b.make("Less", [x, b.like(0, node.outputs[0])])
    return b.make("Where", [below, b.make("Ceil", [x]), b.make("Floor", [x])])


@handles("log2", "log10")
def _log(b: Builder, node: Node, x: str) -> Any:
    base = math.log(2 if node.op.name == "log2" else 10)
    return b.make("Div", [b.make("Log", [x]), b.like(base, node.outputs[0])])


@handles("log1p")
def _log1p(b: Builder, node: Node, x: str) -> Any:
    """`log(1 + x)`, corrected for what the sum lost where it is small."""
    y = node.outputs[0]
    one = b.like(1, y)
    u = b.make("Add", [x, one])
    rest = b.make("Sub", [u, one])
    nothing = b.make("Equal", [rest, b.like(0, y)])
    safe = b.make("Where", [nothing, one, rest])
    small = b.make("Mul", [b.make("Log", [u]), b.make("Div", [x, safe])])
    large = b.make("Greater", [b.make("Abs", [x]), one])
    return b.make("Where", [large, b.make("Log", [u]), b.make("Where", [nothing, x, small])])


@handles("expm1")
def _expm1(b: Builder, node: Node, x: str) -> Any:
    """`exp(x) - 1`, by way of tanh where the difference would lose its digits."""
    y = node.outputs[0]
    one = b.like(1, y)
    t = b.make("Tanh", [b.make("Mul", [x, b.like(0.5, y)])])
    small = b.make("Less", [b.make("Abs", [x]), one])
    near = b.make("Div", [b.make("Mul", [t, b.like(2, y)]), b.make("Sub", [one, t])])
    return b.make("Where", [small, near, b.make("Sub", [b.make("Exp", [x]), one])])


@handles("isfinite")
def _isfinite(b: Builder, node: Node, x: str) -> Any:
    given = node.inputs[0]
    if given.dtype.kind != "f":  # type: ignore[union-attr]  # it is no optional input
        return b.make("Equal", [x, x])
    return b.make("Less", [b.make("Abs", [x]), b.like(math.inf, given)])


@handles("isnan", "isinf")
def _isnan(b: Builder, node: Node, x: str) -> Any:
    if node.inputs[0].dtype.kind != "f":  # type: ignore[union-attr]
        return b.make("Not", [b.make("Equal", [x, x])])
    if node.op.name == "isnan":
        return b.make("IsNaN", [x])
    return b.make("Equal", [b.make("Abs", [x]), b.like(math.inf, node.inputs[0])])


def _negative(b: Builder, x: str, like: Any) -> str:
    """Whether the sign is set: that of -0 shows in its reciprocal."""
    zero = b.like(0, like)
    below = b.make("Less", [x, zero])
    if like.dtype.kind != "f":
        return str(below)
    minus = b.make("Less", [b.make("Reciprocal", [x]), zero])
    return str(b.make("Or", [below, b.make("And", [b.make("Equal", [x, zero]), minus])]))


@handles("signbit")
def _signbit(b: Builder, node: Node, x: str) -> str:
    return _negative(b, x, node.inputs[0])


@handles("copysign")
def _copysign(b: Builder, node: Node, x: str, y: str) -> Any:
    size = b.make("Abs", [x])
    return b.make("Where", [_negative(b, y, node.inputs[1]), b.make("Neg", [size]), size])


@handles("hypot")
def _hypot(b: Builder, node: Node, x: str, y: str) -> Any:
    """The larger side times `sqrt(1 + ratio ** 2)`, which does not overflow."""
    out = node.outputs[0]
    a, c = b.make("Abs", [x]), b.make("Abs", [y])
    large, small = b.make("Max", [a, c]), b.make("Min", [a, c])
    one = b.like(1, out)
    bare = b.make(
        "Or", [b.make("Equal", [large, b.like(0, out)]), b.make("Equal", [large, b.like(math.inf, out)])]
    )
    ratio = b.make("Div", [small, b.make("Where", [bare, one, large])])
    root = b.make("Sqrt", [b.make("Add", [b.make("Mul", [ratio, ratio]), one])])
    return b.make("Where", [bare, large, b.make("Mul", [large, root])])


@handles("logaddexp")
def _logaddexp(b: Builder, node: Node, x: str, y: str) -> Any:
    out = node.outputs[0]
    large = b.make("Max", [x, y])
    apart = b.make("Abs", [b.make("Sub", [x, y])])
    bare = b.make("Equal", [x, y])  # of two infinities there is no difference
    gap = b.make("Where", [bare, b.like(0, out), apart])
    return b.make("Add", [large, b.make("Softplus", [b.make("Neg", [gap])])])


@handles("atan2")
def _atan2(b: Builder, node: Node, y: str, x: str) -> Any:
    """The angle of the point (x, y), from that of its first octants."""
    out = node.outputs[0]
    zero, one = b.like(0, out), b.like(1, out)
    a, c = b.make("Abs", [y]), b.make("Abs", [x])
    steep = b.make("Greater", [a, c])
    large, small = b.make("Max", [a, c]), b.make("Min", [a, c])
    safe = b.make("Where", [b.make("Equal", [large, zero]), one, large])
    ratio = b.make(
        "Where", [b.make("Equal", [a, c]), b.make("Min", [large, one]), b.make("Div", [small, safe])]
    )
    ratio = b.make("Where", [b.make("Equal", [large, zero]), zero, ratio])
    ratio = b.make(
        "Where", [b.make("And", [b.make("Equal", [a, c]), b.make("Greater", [large, zero])]), one, ratio]
    )
    angle = b.make("Atan", [ratio])
    angle = b.make("Where", [steep, b.make("Sub", [b.like(math.pi / 2, out), angle]), angle])
    left = _negative(b, x, node.inputs[1])
    angle = b.make("Where", [left, b.make("Sub", [b.like(math.pi, out), angle]), angle])
    return b.make("Where", [_negative(b, y, node.inputs[0]), b.make("Neg", [angle]), angle])


@handles("floor_divide")
def _floor_divide(b: Builder, node: Node, x: str, y: str) -> Any:
    kind = node.outputs[0].dtype.kind
    if kind == "f":
        return b.make("Floor", [b.make("Div", [x, y])])
    if kind == "i":  # ONNX's quotient is cut off: what is left over goes first
        x = b.make("Sub", [x, b.make("Mod", [x, y])])
    return b.make("Div", [x, y])


@handles("remainder")
def _remainder(b: Builder, node: Node, x: str, y: str) -> Any:
    out = node.outputs[0]
    if out.dtype.kind != "f":
        return b.make("Mod", [x, y])
    rest, zero = b.make("Mod", [x, y], fmod=1), b.like(0, out)
    other = b.make("Xor", [b.make("Less", [rest, zero]), b.make("Less", [y, zero])])
    wrong = b.make("And", [other, b.make("Not", [b.make("Equal", [rest, zero])])])
    return b.make("Where", [wrong, b.make("Add", [rest, y]), rest])


@handles("bitwise_left_shift", "bitwise_right_shift")
def _shift(b: Builder, node: Node, x: str, y: str) -> Any:
    """By the width or more, or by less than 0, nothing is left but the sign."""
    out, left = node.outputs[0], node.op.name == "bitwise_left_shift"
    width = 8 * out.dtype.itemsize
    inside = b.make("Less", [y, b.like(width, out)])
    if out.dtype.kind == "i":
        inside = b.make("And", [inside, b.make("GreaterOrEqual", [y, b.like(0, out)])])
    held = b.make("Where", [inside, y, b.like(width - 1, out)])
    if out.dtype.kind == "u":
        made = b.make("BitShift", [x, held], direction="LEFT" if left else "RIGHT")
    else:  # ONNX shifts unsigned numbers only: two products or quotients, as 2 ** 63 is no int64
        half = b.make("Div", [held, b.like(2, out)])
        made = x
        for part in (half, b.make("Sub", [held, half])):
            powers = b.constant([2**i for i in range(width // 2 + 1)], out.dtype)
            power = b.make("Gather", [powers, part if out.dtype is int64 else b.cast(part, int64)])
            if not left:
                made = b.make("Sub", [made, b.make("Mod", [made, power])])
            made = b.make("Mul" if left else "Div", [made, power])
    return b.make("Where", [inside, made, b.like(0, out)]) if left or out.dtype.kind == "u" else made


def _as_bool(b: Builder, value: Any, name: str) -> str:
    """Whether it is not 0."""
    return (
        name if value.dtype.kind == "b" else str(b.make("Not", [b.make("Equal", [name, b.like(0, value)])]))
    )


_LOGIC: Final = {"and": "And", "or": "Or", "xor": "Xor", "not": "Not", "invert": "Not"}


@handles("logical_and", "logical_or", "logical_xor", "logical_not")
def _logical(b: Builder, node: Node, *inputs: str) -> Any:
    given = [_as_bool(b, value, name) for value, name in zip(node.inputs, inputs, strict=True)]
    return b.make(_LOGIC[node.op.name.rpartition("_")[2]], given)


@handles("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert")
def _bitwise(b: Builder, node: Node, *inputs: str) -> Any:
    """Of bool: ONNX has other operations for it."""
    kind = _LOGIC[node.op.name.rpartition("_")[2]]
    bitwise = {"And": "BitwiseAnd", "Or": "BitwiseOr", "Xor": "BitwiseXor", "Not": "BitwiseNot"}
    if node.outputs[0].dtype.kind == "b":
        return b.make(kind, inputs)
    if b.opset < 18:
        raise refuse(node, b.opset, "ONNX has it for integers from opset 18 on")
    return b.make(bitwise[kind], inputs)


_ORDER: Final = {
    "less": "Less",
    "less_equal": "LessOrEqual",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
}


@handles(*_ORDER)
def _compare(b: Builder, node: Node, *inputs: str) -> Any:
    """ONNX orders numbers, not truth values."""
    given = [
        b.cast(name, int32) if value is not None and value.dtype.kind == "b" else name
        for value, name in zip(node.inputs, inputs, strict=True)
    ]
    return b.make(_ORDER[node.op.name], given)


@handles("where")
def _where(b: Builder, node: Node, condition: str, x: str, y: str) -> Any:
    if node.outputs[0].dtype.kind != "b":
        return b.make("Where", [condition, x, y])
    # ONNX Runtime has no Where of bool
    one, other = b.make("And", [condition, x]), b.make("And", [b.make("Not", [condition]), y])
    return b.make("Or", [one, other])


@handles("relu")
def _relu(b: Builder, node: Node, x: str) -> Any:
    out = node.outputs[0]
    return b.make("Relu", [x]) if out.dtype.kind == "f" else b.make("Max", [x, b.like(0, out)])


derive()
