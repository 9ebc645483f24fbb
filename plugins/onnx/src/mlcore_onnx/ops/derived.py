"""Operators that mlcore has under the same name, element by element: declared there, and only found here."""

from __future__ import annotations

from typing import Any, Final

from onnx import defs

import mlcore as ml
from mlcore.errors import DTypeError
from mlcore.ops import registry
from mlcore_onnx.ops.declare import all_names, onnx_op

# What ONNX calls by another name.
_OTHERS: Final = {
    "Add": ml.add, "Sub": ml.subtract, "Mul": ml.multiply, "Neg": ml.negative, "Not": ml.logical_not,
    "And": ml.logical_and, "Or": ml.logical_or, "Xor": ml.logical_xor, "BitwiseNot": ml.bitwise_invert,
    "GreaterOrEqual": ml.greater_equal, "LessOrEqual": ml.less_equal, "IsNaN": ml.isnan,
}  # fmt: skip


def declare() -> None:
    """Declare those that no file here declares itself; from opset 7 on they differ in the types they take only."""
    known = {name for domain, name in all_names() if not domain}
    there = {schema.name for schema in defs.get_all_schemas() if not schema.domain}
    found: dict[str, Any] = dict(_OTHERS)
    for op in registry.all_ops():
        name = "".join(part.capitalize() for part in op.name.split("_"))
        if op.family in ("unary", "binary") and op.public and name in there:
            found[name] = op
    for name, one in found.items():
        if name not in known:
            onnx_op(name)(_checked(name, one))


def _checked(name: str, op: Any) -> Any:
    """The operation, where it keeps whole numbers whole."""
    if not op.casts_integers:
        return op

    def run(x: Any) -> Any:
        if x.dtype.kind in "biu":
            raise DTypeError(f"{name} of {x.dtype}", fix="cast to a floating type first")
        return op(x)

    return run
