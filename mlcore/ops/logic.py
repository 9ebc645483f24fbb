"""Elementwise comparison, logic, bit operations and tests of numbers (Array API names)."""

from __future__ import annotations

import numpy as np

from mlcore.dtypes import booleans, integers, real
from mlcore.ops.spec import binary, to_bool, unary

bits = booleans | integers

equal = binary(
    "equal", "Whether `x1 == x2`.", reference=np.equal, c="x1 == x2", result=to_bool, operators=("__eq__",)
)
not_equal = binary(
    "not_equal",
    "Whether `x1 != x2`.",
    reference=np.not_equal,
    c="x1 != x2",
    result=to_bool,
    operators=("__ne__",),
)
less = binary(
    "less", "Whether `x1 < x2`.", reference=np.less, c="x1 < x2", accepts=real | booleans, result=to_bool,
    operators=("__lt__",),
)  # fmt: skip
less_equal = binary(
    "less_equal", "Whether `x1 <= x2`.", reference=np.less_equal, c="x1 <= x2", accepts=real | booleans,
    result=to_bool, operators=("__le__",),
)  # fmt: skip
greater = binary(
    "greater", "Whether `x1 > x2`.", reference=np.greater, c="x1 > x2", accepts=real | booleans, result=to_bool,
    operators=("__gt__",),
)  # fmt: skip
greater_equal = binary(
    "greater_equal", "Whether `x1 >= x2`.", reference=np.greater_equal, c="x1 >= x2", accepts=real | booleans,
    result=to_bool, operators=("__ge__",),
)  # fmt: skip
logical_and = binary(
    "logical_and", "Whether both are true (not zero).", reference=np.logical_and, c="x1 != 0 && x2 != 0",
    result=to_bool,
)  # fmt: skip
logical_or = binary(
    "logical_or",
    "Whether either is true (not zero).",
    reference=np.logical_or,
    c="x1 != 0 || x2 != 0",
    result=to_bool,
)
logical_xor = binary(
    "logical_xor", "Whether exactly one is true (not zero).", reference=np.logical_xor, c="(x1 != 0) != (x2 != 0)",
    result=to_bool,
)  # fmt: skip
logical_not = unary(
    "logical_not", "Whether `x` is false (zero).", reference=np.logical_not, c="x == 0", result=to_bool
)
bitwise_and = binary(
    "bitwise_and", "Bitwise and.", reference=np.bitwise_and, c="x1 & x2", accepts=bits,
    operators=("__and__", "__rand__"),
)  # fmt: skip
bitwise_or = binary(
    "bitwise_or",
    "Bitwise or.",
    reference=np.bitwise_or,
    c="x1 | x2",
    accepts=bits,
    operators=("__or__", "__ror__"),
)
bitwise_xor = binary(
    "bitwise_xor", "Bitwise exclusive or.", reference=np.bitwise_xor, c="x1 ^ x2", accepts=bits,
    operators=("__xor__", "__rxor__"),
)  # fmt: skip
bitwise_left_shift = binary(
    "bitwise_left_shift",
    "Bits of `x1` shifted left by `x2`; by the width or more, or by less than 0, gives 0.",
    reference=np.left_shift,
    c={"iu": "left_shift(x1, x2)"},
    accepts=integers,
    domain=((-100, 100), (0, 70)),
    operators=("__lshift__", "__rlshift__"),
)
bitwise_right_shift = binary(
    "bitwise_right_shift",
    "Bits of `x1` shifted right by `x2`, keeping the sign; less than 0 counts as the width or more.",
    reference=np.right_shift,
    c={"iu": "right_shift(x1, x2)"},
    accepts=integers,
    domain=((-100, 100), (0, 70)),
    operators=("__rshift__", "__rrshift__"),
)
bitwise_invert = unary(
    "bitwise_invert", "All bits flipped; logical not for bool.", reference=np.invert,
    c={"b": "!x", "iu": "~x"}, accepts=bits, operators=("__invert__",),
)  # fmt: skip
isfinite = unary(
    "isfinite", "Neither infinite nor nan.", reference=np.isfinite, c={"f": "!(isnan(x) || isinf(x))", "biu": "true"},
    result=to_bool,
)  # fmt: skip
isinf = unary("isinf", "Infinite.", reference=np.isinf, c={"f": "isinf(x)", "biu": "false"}, result=to_bool)
isnan = unary(
    "isnan", "Not a number.", reference=np.isnan, c={"f": "isnan(x)", "biu": "false"}, result=to_bool
)
