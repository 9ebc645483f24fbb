"""The functions that bodies call and C has not, or not so: in C over `T`, by kind of dtype, for every dialect.

Each becomes a function of its own for each type it is used with (`ml_max_float`), and draws in what it calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from mlcore.codegen.bodies import CALL, typed
from mlcore.codegen.dialect import Dialect
from mlcore.dtypes import DType, float32

LIBRARY: Final[Mapping[str, Mapping[str, str]]] = {
    # A nan in either operand wins; of two zeros either may.
    "max": {
        "f": "T max(T a, T b) { return a > b || a != a ? a : b; }",
        "iu": "T max(T a, T b) { return a > b ? a : b; }",
    },
    "min": {
        "f": "T min(T a, T b) { return a < b || a != a ? a : b; }",
        "iu": "T min(T a, T b) { return a < b ? a : b; }",
    },
    "sigmoid": {"f": """\
T sigmoid(T x) {
    const T e = exp(-fabs(x));
    return (x < 0 ? e : T(1)) / (T(1) + e);
}"""},
    "floor_divide": {
        "f": """\
T floor_divide(T a, T b) {
    const T r = fmod(a, b);
    if (b == 0) return a / b;
    T q = (a - r) / b;
    if (r != 0 && (b < 0) != (r < 0)) q -= T(1);
    const T f = floor(q);
    return q != 0 ? (q - f > T(0.5) ? f + T(1) : f) : copysign(T(0), a / b);
}""",
        "i": """\
T floor_divide(T a, T b) {
    if (b == 0) return 0;
    if (b == -1) return T(0 - a);
    const T q = T(a / b);
    return a % b != 0 && (a < 0) != (b < 0) ? T(q - 1) : q;
}""",
    },
    "remainder": {
        "f": """\
T remainder(T a, T b) {
    const T r = fmod(a, b);
    return r != 0 ? ((b < 0) != (r < 0) ? r + b : r) : copysign(T(0), b);
}""",
        "i": """\
T remainder(T a, T b) {
    if (b == 0 || b == -1) return 0;
    const T r = T(a % b);
    return r != 0 && (r < 0) != (b < 0) ? T(r + b) : r;
}""",
    },
    "pow": {
        "i": """\
T pow(T x, T n) {
    T y = 1;
    if (n < 0) return x == 1 ? 1 : x == -1 ? (n & 1 ? -1 : 1) : 0;
    for (; n; n = T(n >> 1), x = T(x * x)) if (n & 1) y = T(y * x);
    return y;
}""",
        "u": """\
T pow(T x, T n) {
    T y = 1;
    for (; n; n = T(n >> 1), x = T(x * x)) if (n & 1) y = T(y * x);
    return y;
}""",
    },
    # By the width or more, or by less than 0: what shifting bit by bit would give.
    "left_shift": {
        "i": "T left_shift(T a, T n) { return n >= 0 && n < T(8 * sizeof(T)) ? T(a << n) : T(0); }",
        "u": "T left_shift(T a, T n) { return n < T(8 * sizeof(T)) ? T(a << n) : T(0); }",
    },
    "right_shift": {
        "i": "T right_shift(T a, T n) { return n >= 0 && n < T(8 * sizeof(T)) ? T(a >> n) : T(a < 0 ? -1 : 0); }",
        "u": "T right_shift(T a, T n) { return n < T(8 * sizeof(T)) ? T(a >> n) : T(0); }",
    },
}  # fmt: skip

# The bits of two-byte floats, in 32-bit arithmetic that every language has; rounding is to nearest, ties to even.
HALVES: Final[Mapping[str, str]] = {
    "ml_load_bfloat16": """\
{float} ml_load_bfloat16({u16} h) {{
    return {from32};
}}""",
    "ml_store_bfloat16": """\
{u16} ml_store_bfloat16({float} x) {{
    const {u32} u = {to32};
    if (x != x) return ({u16})((u >> 16) | 64);
    return ({u16})((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}}""",
    "ml_load_float16": """\
{float} ml_load_float16({u16} h) {{
    const {u32} sign = ({u32})(h & 0x8000) << 16, rest = ({u32})(h & 0x7fff);
    if (rest >= 0x7c00) {{ const {u32} u = sign | 0x7f800000 | (rest << 13); return {from32u}; }}
    if (rest >= 0x0400) {{ const {u32} u = sign | ((rest << 13) + 0x38000000); return {from32u}; }}
    const {float} small = ({float})rest * 5.9604644775390625e-8f;
    return sign ? -small : small;
}}""",
    "ml_store_float16": """\
{u16} ml_store_float16({float} x) {{
    const {u32} u = {to32}, sign = (u >> 16) & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return ({u16})(sign | 0x7e00 | ((a >> 13) & 0x3ff));
    if (a >= 0x477ff000) return ({u16})(sign | 0x7c00);
    if (a >= 0x38800000) return ({u16})(sign | ((a - 0x38000000 + 0xfff + ((a >> 13) & 1)) >> 13));
    if (a < 0x33000000) return ({u16})sign;
    const {u32} m = (a & 0x7fffff) | 0x800000, shift = 126 - (a >> 23);
    const {u32} kept = m >> shift, lost = m & ((1u << shift) - 1), middle = 1u << (shift - 1);
    return ({u16})(sign | (kept + (lost > middle || (lost == middle && (kept & 1)))));
}}""",
}  # fmt: skip

# The next representable value of two-byte floats, on their bits.
NEXT_HALF: Final = """\
{float} {name}({float} a, {float} b) {{
    const {u16} u = {store}(a), v = {store}(b);
    if (a != a || b != b) return a + b;
    if (a == b) return b;
    if (a == 0) return {load}(({u16})((v & 0x8000) | 1));
    return {load}(({u16})((a < b) == (a > 0) ? u + 1 : u - 1));
}}"""


class Functions:
    """Collects what one kernel calls, so that each function is defined once, before those that call it."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.parts: dict[str, str] = {}

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.parts.items())

    def rendered(self, text: str, dtype: DType) -> str:
        """A body in the dialect, for values of `dtype`: its type, its literals, its function names."""
        ctype = self.dialect.compute(dtype)
        single = ctype == self.dialect.types.get("float32")
        return CALL.sub(
            lambda found: self._name(found.group(1), dtype, ctype), typed(text, ctype, single=single)
        )

    def _name(self, name: str, dtype: DType, ctype: str) -> str:
        """What a body's function is called here; ours is defined by the way."""
        if name == "nextafter" and dtype.kind == "f" and dtype.itemsize == 2:
            return self._next_half(dtype)
        for library in (self.dialect.library, LIBRARY):
            source = library.get(name)
            text = next((t for kinds, t in source.items() if dtype.kind in kinds), None) if source else None
            if text is not None:
                return self._own(name, text, dtype, ctype)
        return self.dialect.functions.get(f"{name}:{ctype}", self.dialect.functions.get(name, name))

    def _own(self, name: str, text: str, dtype: DType, ctype: str) -> str:
        own = f"ml_{name}_{ctype.replace(' ', '_')}"
        if own not in self.parts:
            head, _, rest = text.partition(f" {name}(")
            made = f"{self.rendered(head, dtype)} {own}({self.rendered(rest, dtype)}"
            self.parts[own] = self.dialect.function.format(text=made)
        return own

    def _next_half(self, dtype: DType) -> str:
        own, load, store = (
            f"ml_nextafter_{dtype}",
            self.half(f"ml_load_{dtype}"),
            self.half(f"ml_store_{dtype}"),
        )
        text = NEXT_HALF.format(
            name=own,
            float=self.dialect.memory(float32),
            u16=self.dialect.types["uint16"],
            load=load,
            store=store,
        )
        self.parts.setdefault(own, self.dialect.function.format(text=text))
        return own

    # -- elements ------------------------------------------------------------------------------------------------

    def load(self, dtype: DType, array: str, index: str) -> str:
        """An element of an array as a value to compute with."""
        given = self.dialect.load.get(dtype.name)
        if given is not None:
            return given.format(p=array, i=index)
        if dtype.kind == "f" and dtype.itemsize == 2:
            return f"{self.half(f'ml_load_{dtype}')}({array}[{index}])"
        return f"{array}[{index}]"

    def store(self, dtype: DType, array: str, index: str, value: str) -> str:
        """The statement that stores a value as an element of an array."""
        given = self.dialect.store.get(dtype.name)
        if dtype.kind == "b":
            return f"{array}[{index}] = ({value}) ? 1 : 0;"
        value = f"({self.dialect.compute(dtype)})({value})"
        if given is not None:
            return given.format(p=array, i=index, v=value)
        if dtype.kind == "f" and dtype.itemsize == 2:
            return f"{array}[{index}] = {self.half(f'ml_store_{dtype}')}({value});"
        return f"{array}[{index}] = {value};"

    def half(self, name: str) -> str:
        """The name of a conversion of two-byte floats, which it defines."""
        if name not in self.parts:
            types, bits = self.dialect.types, self.dialect.as_bits
            text = HALVES[name].format(
                float=self.dialect.memory(float32), u16=types["uint16"], u32=types["uint32"],
                to32=bits["float32"].format(v="x"), from32u=bits["uint32"].format(v="u"),
                from32=bits["uint32"].format(v=f"(({types['uint32']})h << 16)"),
            )  # fmt: skip
            self.parts[name] = self.dialect.function.format(text=text)
        return name
