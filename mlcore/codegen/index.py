"""Kernels that move elements by indices, make them from counters, and search and order them.

What is indexed is seen as (outer, size, inner), contiguous; indices are int64 and valid. Repeated indices add up in
their order, found through a stable sort of them, so no atomics are needed and results repeat bit by bit.
"""

from __future__ import annotations

from typing import Final

from mlcore.codegen.dialect import Dialect
from mlcore.codegen.elementwise import carrier
from mlcore.codegen.functions import Functions
from mlcore.codegen.source import KernelSource
from mlcore.codegen.template import kernel
from mlcore.dtypes import DType, float64, int64, uint32

GATHER_WORDS: Final = ("n", "count", "inner", "size", "offset_x", "offset_indices", "offset_y")
UPDATE_WORDS: Final = (
    "n", "count", "inner", "size", "offset_x", "offset_order", "offset_places", "offset_values", "offset_y",
)  # fmt: skip
COMPACT_WORDS: Final = ("n", "offset_before", "offset_y")
UNRAVEL_WORDS: Final = ("n", "inner", "size", "offset_x", "offset_y")
IOTA_WORDS: Final = ("n", "offset_y", "start", "step")
RANDOM_WORDS: Final = ("n", "offset_y", "key_0", "key_1", "counter")
MERGE_WORDS: Final = ("n", "length", "width", "fresh", "offset_x", "offset_order", "offset_y")
SEARCH_WORDS: Final = ("n", "length", "offset_x1", "offset_x2", "offset_y")

_GATHER = """
$loop_i($w_n) {
    const $index row = $quotient(i, $w_inner), k = i - row * $w_inner;
    const $index o = $quotient(row, $w_count), j = row - o * $w_count;
    const $index p = indices[$w_offset_indices + j];
    y[$w_offset_y + i] = x[$w_offset_x + (o * $w_size + p) * $w_inner + k];
}
"""


def gather(dialect: Dialect, dtype: DType) -> KernelSource:
    """y[o, j, k] = x[o, indices[j], k], bit by bit: dtypes of one size share a kernel."""
    moved = carrier(dtype)
    return kernel(
        Functions(dialect), "gather", "flat", _GATHER, inputs=[("x", moved), ("indices", int64)],
        outputs=[("y", moved)], words=GATHER_WORDS,
    )  # fmt: skip


_UPDATE = """
$loop_i($w_n) {
    const $index row = $quotient(i, $w_inner), k = i - row * $w_inner;
    const $index o = $quotient(row, $w_size), p = row - o * $w_size;
    $index low = 0, high = $w_count;
    while (low < high) {
        const $index middle = (low + high) / 2;
        if (places[$w_offset_places + middle] < p) low = middle + 1; else high = middle;
    }
    $finish
}
"""

_ADD = """\
$C a = $load;
for (; low < $w_count && places[$w_offset_places + low] == p; ++low) {
    const $index j = order[$w_offset_order + low];
    a = ($C)(a + $value);
}
$store"""

_PUT = """\
$index from = -1;
for (; low < $w_count && places[$w_offset_places + low] == p; ++low) from = order[$w_offset_order + low];
if (from >= 0) y[$w_offset_y + i] = values[$w_offset_values + (o * $w_count + from) * $w_inner + k];
else y[$w_offset_y + i] = x[$w_offset_x + i];"""


def _word(words: tuple[str, ...], name: str) -> str:
    return f"w.v[{words.index(name)}]"


def update(dialect: Dialect, op: str, dtype: DType) -> KernelSource:
    """index_add and scatter: y is x, with values[o, j, k] added to (put at) place indices[j].

    `order` is the stable order of the indices and `places` are the indices in that order; the last of equal ones wins.
    """
    f = Functions(dialect)
    if op == "scatter":
        dtype = carrier(dtype)
    names = {a: _word(UPDATE_WORDS, a) for a in ("offset_x", "offset_values", "offset_y", "count", "inner")}
    value = f"{names['offset_values']} + (o * {names['count']} + j) * {names['inner']} + k"
    return kernel(
        f, op, "flat", _UPDATE, words=UPDATE_WORDS, finish=_ADD if op == "index_add" else _PUT,
        inputs=[("x", dtype), ("order", int64), ("places", int64), ("values", dtype)], outputs=[("y", dtype)],
        C=dialect.compute(dtype), load=f.load(dtype, "x", f"{names['offset_x']} + i"),
        value=f.load(dtype, "values", value), store=f.store(dtype, "y", f"{names['offset_y']} + i", "a"),
    )  # fmt: skip


_COMPACT = """
$loop_i($w_n) {
    const $index now = before[$w_offset_before + i], earlier = i ? before[$w_offset_before + i - 1] : 0;
    if (now > earlier) y[$w_offset_y + earlier] = i;
}
"""

_UNRAVEL = """
$loop_i($w_n) {
    const $index q = x[$w_offset_x + i] / $w_inner;
    y[$w_offset_y + i] = q - q / $w_size * $w_size;
}
"""


def compact(dialect: Dialect) -> KernelSource:
    """The flat places of the elements that count, from `before`, the running count with the element included."""
    return kernel(
        Functions(dialect), "where_true", "flat", _COMPACT, inputs=[("before", int64)], outputs=[("y", int64)],
        words=COMPACT_WORDS,
    )  # fmt: skip


def unravel(dialect: Dialect) -> KernelSource:
    """One coordinate of flat places: ``x / inner % size``."""
    return kernel(
        Functions(dialect), "where_true", "unravel", _UNRAVEL, inputs=[("x", int64)], outputs=[("y", int64)],
        words=UNRAVEL_WORDS,
    )  # fmt: skip


_IOTA = """
$loop_i($w_n) {
    $store
}
"""


def iota(dialect: Dialect, dtype: DType) -> KernelSource:
    """start + step * i, for integers in 64 bits, and for float64, whose start and step are the words' bits."""
    f = Functions(dialect)
    start, step = _word(IOTA_WORDS, "start"), _word(IOTA_WORDS, "step")
    value = f"{start} + {step} * i"
    if dtype.kind == "f":
        real = dialect.as_bits["uint64"]
        first, by = (real.format(v=f"({dialect.types['uint64']}){word}") for word in (start, step))
        value = f"{first} + {by} * ({dialect.memory(float64)})i"
    store = f.store(dtype, "y", f"{_word(IOTA_WORDS, 'offset_y')} + i", value)
    return kernel(f, "iota", "flat", _IOTA, inputs=[], outputs=[("y", dtype)], words=IOTA_WORDS, store=store)


ROTATIONS: Final = ((13, 15, 26, 6), (17, 29, 16, 24))  # Threefry-2x32 (Salmon et al. 2011), table 2

_RANDOM = """
const $u32 k0 = ($u32)$w_key_0, k1 = ($u32)$w_key_1, k2 = k0 ^ k1 ^ 0x1BD11BDA;
$loop_i($w_n) {
    const $u64 counter = ($u64)$w_counter + ($u64)i;
    $u32 a = ($u32)(counter >> 32) + k0, b = ($u32)counter + k1;
    $rounds
    y[$w_offset_y + i] = a ^ b;
}
"""


def random_bits(dialect: Dialect) -> KernelSource:
    """Threefry-2x32 with 20 rounds: element i is the two words of the block of counter + i, xored."""
    lines = []
    for block in range(5):
        for turn in ROTATIONS[block % 2]:
            lines.append(f"a += b; b = ((b << {turn}) | (b >> {32 - turn})) ^ a;")
        lines.append(f"a += k{(block + 1) % 3}; b += k{(block + 2) % 3} + {block + 1};")
    return kernel(
        Functions(dialect), "random_bits", "flat", _RANDOM, inputs=[], outputs=[("y", uint32)], words=RANDOM_WORDS,
        rounds="\n".join(lines),
    )  # fmt: skip


# -- order ---------------------------------------------------------------------------------------------------------

_BEFORE: Final = {
    ("f", False): "({a} < {b} || ({b} != {b} && {a} == {a}))",
    ("f", True): "({a} > {b} || ({a} != {a} && {b} == {b}))",
    ("i", False): "({a} < {b})",
    ("i", True): "({a} > {b})",
}


def before(dtype: DType, descending: bool, a: str, b: str) -> str:
    """Whether `a` comes before `b` in an order in which nan is the largest number."""
    return _BEFORE["f" if dtype.kind == "f" else "i", descending].format(a=a, b=b)


_MERGE = """
$loop_i($w_n) {
    const $index line = $quotient(i, $w_length) * $w_length, p = i - line;
    const $index start = $quotient(p, 2 * $w_width) * 2 * $w_width;
    const $index middle = start + $w_width < $w_length ? start + $w_width : $w_length;
    const $index end = middle + $w_width < $w_length ? middle + $w_width : $w_length;
    const $index me = $w_fresh ? p : order[$w_offset_order + i];
    const $C v = $mine;
    $index low = p < middle ? middle : start, high = p < middle ? end : middle;
    const $index origin = low;
    while (low < high) {
        const $index probe = (low + high) / 2;
        const $index it = $w_fresh ? probe : order[$w_offset_order + line + probe];
        const $C u = $other;
        if (p < middle ? $u_first : !$v_first) low = probe + 1; else high = probe;
    }
    y[$w_offset_y + line + p + (low - origin) - (p < middle ? 0 : middle - start)] = me;
}
"""


def merge(dialect: Dialect, dtype: DType, form: str = "ascending") -> KernelSource:
    """One pass of a stable merge sort of the indices of lines: runs of `width` become runs of twice that.

    Each element finds its place in the joined run by a search in the other half. `fresh` marks the first pass, whose
    indices are the places themselves.
    """
    f, down = Functions(dialect), form == "descending"
    base = f"{_word(MERGE_WORDS, 'offset_x')} + line"
    return kernel(
        f, "sort_indices", form, _MERGE, inputs=[("x", dtype), ("order", int64)], outputs=[("y", int64)],
        words=MERGE_WORDS, C=dialect.compute(dtype), mine=f.load(dtype, "x", f"{base} + me"),
        other=f.load(dtype, "x", f"{base} + it"), u_first=before(dtype, down, "u", "v"),
        v_first=before(dtype, down, "v", "u"),
    )  # fmt: skip


_SEARCH = """
$loop_i($w_n) {
    const $C v = $wanted;
    $index low = 0, high = $w_length;
    while (low < high) {
        const $index probe = (low + high) / 2;
        const $C u = $element;
        if ($further) low = probe + 1; else high = probe;
    }
    y[$w_offset_y + i] = low;
}
"""


def searchsorted(dialect: Dialect, dtype: DType, form: str = "left") -> KernelSource:
    """Where each of `x2` goes in the sorted `x1`: before its equals (``left``) or after them (``right``)."""
    f = Functions(dialect)
    further = before(dtype, False, "u", "v") if form == "left" else f"!{before(dtype, False, 'v', 'u')}"
    return kernel(
        f, "searchsorted", form, _SEARCH, inputs=[("x1", dtype), ("x2", dtype)], outputs=[("y", int64)],
        words=SEARCH_WORDS, C=dialect.compute(dtype), further=further,
        wanted=f.load(dtype, "x2", f"{_word(SEARCH_WORDS, 'offset_x2')} + i"),
        element=f.load(dtype, "x1", f"{_word(SEARCH_WORDS, 'offset_x1')} + probe"),
    )  # fmt: skip
