"""Metal's shading language as a dialect of mlcore's kernel generator."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mlcore.codegen import Dialect

TYPES: Final = {
    "bool": "bool", "int8": "char", "int16": "short", "int32": "int", "int64": "long", "uint8": "uchar",
    "uint16": "ushort", "uint32": "uint", "uint64": "ulong", "float16": "half", "bfloat16": "bfloat",
    "float32": "float",
}  # fmt: skip
_PRECISE = (
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "exp", "fmod", "log", "log10", "log2",
    "pow", "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh",
)  # fmt: skip
_PLAIN = ("ceil", "copysign", "fabs", "floor", "isinf", "isnan", "rint", "signbit", "trunc")

# Functions that the language lacks. expm1 and log1p are W. Kahan's; erf is W. J. Cody's (1969), as in the core.
_LIBRARY: Final = {
    "expm1": {"f": """\
T expm1(T x) {
    const T u = exp(x);
    if (u == T(1)) return x;
    const T less = u - T(1);
    if (less == T(-1) || isinf(u)) return less;
    return less * (x / log(u));
}"""},
    "log1p": {"f": """\
T log1p(T x) {
    const T u = T(1) + x;
    if (u == T(1) || isinf(u)) return x;
    return log(u) * (x / (u - T(1)));
}"""},
    "hypot": {"f": """\
T hypot(T a, T b) {
    const T x = fabs(a), y = fabs(b), large = x > y ? x : y, small = x > y ? y : x;
    if (isinf(x) || isinf(y)) return isinf(x) ? x : y;
    if (large != large || small != small) return a + b;
    const T ratio = large == T(0) ? T(0) : small / large;
    return large * sqrt(T(1) + ratio * ratio);
}"""},
    "nextafter": {"f": """\
T nextafter(T a, T b) {
    if (a != a || b != b) return a + b;
    if (a == b) return b;
    uint u = as_type<uint>(a);
    if (a == T(0)) u = (as_type<uint>(b) & 0x80000000u) | 1u;
    else u = (a < b) == (a > T(0)) ? u + 1u : u - 1u;
    return as_type<T>(u);
}"""},
    "erf": {"f": """\
T erf(T x) {
    const T size = fabs(x) > T(6) ? T(6) : fabs(x), square = x * x;
    if (size < T(0.46875)) {
        const T top = (((T(0.185777706184603153) * square + T(3.1611237438705656)) * square + T(113.864154151050156))
            * square + T(377.485237685302021)) * square + T(3209.37758913846947);
        const T bottom = (((square + T(23.6012909523441209)) * square + T(244.024637934444173)) * square
            + T(1282.61652607737228)) * square + T(2844.23683343917062);
        return x * (top / bottom);
    }
    const T top = (((((((T(2.15311535474403846e-8) * size + T(0.564188496988670089)) * size + T(8.88314979438837594))
        * size + T(66.1191906371416295)) * size + T(298.635138197400131)) * size + T(881.952221241769090)) * size
        + T(1712.04761263407058)) * size + T(2051.07837782607147)) * size + T(1230.33935479799725);
    const T bottom = (((((((size + T(15.7449261107098347)) * size + T(117.693950891312499)) * size
        + T(537.181101862009858)) * size + T(1621.38957456669019)) * size + T(3290.79923573345963)) * size
        + T(4362.61909014324716)) * size + T(3439.36767414372164)) * size + T(1230.33935480374942);
    const T far = T(1) - exp(-size * size) * (top / bottom);
    return x != x ? x : x < T(0) ? -far : far;
}"""},
}  # fmt: skip

METAL: Final = Dialect(
    name="metal",
    types=TYPES,
    launch="kernel void {name}({params}, uint3 thread_position_in_grid [[thread_position_in_grid]], "
    "uint3 threads_per_grid [[threads_per_grid]])\n{{\n{body}\n}}",
    group_launch="kernel void {name}({params}, uint3 thread_position_in_threadgroup "
    "[[thread_position_in_threadgroup]], uint3 threadgroup_position_in_grid [[threadgroup_position_in_grid]], "
    "uint3 threadgroups_per_grid [[threadgroups_per_grid]])\n{{\n{body}\n}}",
    buffer="{const}device {type}* {name} [[buffer({i})]]",
    words="constant {type}& {name} [[buffer({i})]]",
    global_id="thread_position_in_grid.x",
    global_size="threads_per_grid.x",
    local_id="thread_position_in_threadgroup.x",
    group_id="threadgroup_position_in_grid.x",
    groups="threadgroups_per_grid.x",
    barrier="threadgroup_barrier(metal::mem_flags::mem_threadgroup);",
    local="threadgroup {type} {name}[{size}];",
    function="inline {text}",
    pointer="{const}device {type}* {name}",
    functions={
        **{name: f"metal::precise::{name}" for name in _PRECISE},
        **{name: f"metal::{name}" for name in _PLAIN},
    },
    library=_LIBRARY,
    load={"float16": "(float){p}[{i}]", "bfloat16": "(float){p}[{i}]"},
    store={"float16": "{p}[{i}] = (half)({v});", "bfloat16": "{p}[{i}] = (bfloat)({v});"},
    as_bits={"float32": "as_type<uint>({v})", "uint32": "as_type<float>({v})"},
    prelude="#include <metal_stdlib>\nusing namespace metal;",
    suffix=".metal",
)
"""A complete source, as Apple's compiler takes it."""

THROUGH_MLX: Final = replace(
    METAL,
    launch="    const auto w = ml_words(words);\n{body}",
    store={**METAL.store, "bfloat16": "{p}[{i}] = (bfloat16_t)({v});"},
    prelude="",
)
"""What `mx.fast.metal_kernel` takes: the body alone. The words come as an array named `words`."""

HEADER: Final = """\
template <typename P> struct MlWords { P v; };
template <typename P> inline MlWords<P> ml_words(P v) { return MlWords<P>{v}; }
"""
