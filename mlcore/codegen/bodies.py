"""The `c=` bodies of operations: which body a dtype gets, and what is spelt in it."""

from __future__ import annotations

import re
from typing import Any

from mlcore.dtypes import DType

CALL = re.compile(r"\b([A-Za-z_]\w*)(?=\()")
_CAST = re.compile(r"\bT\(")
_TYPE = re.compile(r"\bT\b")
_DECIMAL = re.compile(r"(?<![\w.])((?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?![\w.])")


def body_of(c: str | dict[str, str] | None, kind: str) -> str | None:
    """The body for a kind of dtype (one of "biufc"), or None where the declaration has none.

    >>> body_of({"f": "floor(x)", "iu": "x"}, "u"), body_of("x1 + x2", "f"), body_of({"f": "x"}, "b")
    ('x', 'x1 + x2', None)
    """
    if c is None or isinstance(c, str):
        return c
    return next((body for kinds, body in c.items() if kind in kinds), None)


def op_body(op: Any, dtype: DType) -> str | None:
    """The scalar body of an operation for inputs of `dtype`, or None: complex numbers have none."""
    if dtype not in op.accepts or dtype.kind == "c":
        return None
    return body_of(op.c, dtype.kind)


def typed(text: str, ctype: str, *, single: bool) -> str:
    """A body with the element type for `T`; where that is `single` precision, its literals are too.

    >>> typed("T(0.5) * x + T(x > 0)", "float", single=True)
    '(float)(0.5f) * x + (float)(x > 0)'
    """
    text = _TYPE.sub(ctype, _CAST.sub(f"({ctype})(", text))
    return _DECIMAL.sub(r"\1f", text) if single else text
