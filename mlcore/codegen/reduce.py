"""Folds over axes, the place of an extremum, and running sums and products.

``each``: one work-item for an output (or line): right where outputs are many. ``group``: a group for an output, whose
work-items take every so-manyth element and fold their shares in a tree, always the same, so results repeat bit by
bit. A fold may be cut into `parts`, whose partial results a second launch folds.
"""

from __future__ import annotations

import re
from typing import Any, Final

from mlcore.codegen.bodies import op_body
from mlcore.codegen.dialect import Dialect
from mlcore.codegen.elementwise import expression
from mlcore.codegen.functions import Functions
from mlcore.codegen.source import KernelSource
from mlcore.codegen.template import kernel, local, walker
from mlcore.dtypes import DType, bool_, float32, int64
from mlcore.errors import DTypeError

BLOCK: Final = 64
"""Elements that are folded in a row before they join the others: errors of a long sum grow with n / BLOCK."""
WORDS: Final = ("outs", *walker("x"), *walker("r", dims="fold"), "count", "parts", "length", "offset_y")
ARG_WORDS: Final = ("outs", *walker("x"), "count", "stride_r", "offset_y")
SCAN_WORDS: Final = ("lines", *walker("x", "y"), "count", "stride_x", "stride_y")

_AT = """\
$index at_f = r * $w_stride_r_0;
if ($w_rank_fold > 1) {
    $walk_r
    at_f = at_r;
}
const $C x_ = $load;"""

_EACH = """
$loop_o($w_outs * $w_parts) {
    const $index out = $quotient(o, $w_parts), first = (o - out * $w_parts) * $w_length;
    const $index last = first + $w_length < $w_count ? first + $w_length : $w_count;
    $walk_x
    $A a = $init;
    for ($index r = first; r < last;) {
        const $index stop = r + $block < last ? r + $block : last;
        $A block = $start;
        for (; r < stop; ++r) {
            $at
            block = ($A)($fold_block);
        }
        a = ($A)($fold_a);
    }
    $store
}
"""

_GROUP = """
$local
const $int l = ($int)$local_id;
for ($index o = $group_id; o < $w_outs * $w_parts; o += $groups) {
    const $index out = $quotient(o, $w_parts), first = (o - out * $w_parts) * $w_length;
    const $index last = first + $w_length < $w_count ? first + $w_length : $w_count;
    $walk_x
    $A a = $init;
    for ($index r = first + l; r < last;) {
        const $index stop = r + $block * $group < last ? r + $block * $group : last;
        $A block = $start;
        for (; r < stop; r += $group) {
            $at
            block = ($A)($fold_block);
        }
        a = ($A)($fold_a);
    }
    shared_a[l] = a;
    $barrier
    for ($int s = $group / 2; s > 0; s /= 2) {
        if (l < s) {
            const $A block = shared_a[l + s];
            a = ($A)($fold_a);
            shared_a[l] = a;
        }
        $barrier
    }
    if (l == 0) {
        $store
    }
    $barrier
}
"""


def accumulator(op: Any, dtype: DType) -> DType:
    """The dtype that an operation's partial results have: float32 for two-byte floats, bool for any and all."""
    if op.c_init in ("true", "false"):
        return bool_
    return float32 if dtype.kind == "f" and dtype.itemsize == 2 else dtype


def reduction(
    dialect: Dialect, op: Any, dtype: DType, form: str = "group", *, result: DType | None = None
) -> KernelSource:
    """The kernel of a reduction with a `c=` body; `result` is the dtype of what it writes (default: its own).

    Partial results are written as `accumulator(op, dtype)`, and folded from that into the operation's dtype.
    """
    body = op_body(op, dtype)
    if body is None:
        raise DTypeError(f"{op.name} has no body for {dtype}", fix="compose it from other operations")
    f, acc = Functions(dialect), accumulator(op, dtype)
    result = result or (bool_ if acc is bool_ else dtype)
    fold = f.rendered(body, dtype)

    def over(a: str, x: str) -> str:
        return re.sub(r"\b[ax]\b", lambda found: a if found[0] == "a" else x, fold)

    names: dict[str, Any] = {
        "A": dialect.compute(acc), "C": dialect.compute(dtype), "at": _AT, "block": BLOCK,
        "load": f.load(dtype, "x", "at_x + at_f"), "fold_block": over("block", "x_"), "fold_a": over("a", "block"),
        "store": f.store(result, "y", f"{_word(WORDS, 'offset_y')} + o", "a"),
    }  # fmt: skip
    text = _EACH if form == "each" else _GROUP
    if op.c_init in ("lowest", "highest"):  # start from some element: to fold one in twice changes nothing
        text = text.replace("$A a = $init;", "$first_a")
        names["first_a"] = "$A a;\n{\n    const $index r = first;\n    $at\n    a = x_;\n}"
        names["start"] = "a"
    else:
        names["start"] = names["init"] = {"true": "1", "false": "0"}.get(op.c_init, op.c_init)
    group = dialect.group if form == "group" else 0
    return kernel(
        f, op.name, form, text, inputs=[("x", dtype)], outputs=[("y", result)], words=WORDS, group=group,
        walks={"walk_x": ("out", ["x"], "rank_dim"), "walk_r": ("r", ["r"], "rank_fold")},
        local=local(f, dialect.compute(acc), "shared_a", group or 1) if group else "", **names,
    )  # fmt: skip


def _word(words: tuple[str, ...], name: str) -> str:
    return f"w.v[{words.index(name)}]"


_BEATS: Final = {
    "f": "({v} {op} {b} || ({v} != {v} && {b} == {b}) || (({v} == {b} || ({v} != {v} && {b} != {b})) && {i} < {j}))",
    "iu": "({v} {op} {b} || ({v} == {b} && {i} < {j}))",
}

_ARG = """
$local
const $int l = ($int)$local_id;
for ($index o = $group_id; o < $w_outs; o += $groups) {
    $walk_x
    $C best = $load_first;
    $index place = 0;
    for ($index r = l; r < $w_count; r += $group) {
        const $C v = $load;
        if ($beats_element) { best = v; place = r; }
    }
    shared_v[l] = best;
    shared_i[l] = place;
    $barrier
    for ($int s = $group / 2; s > 0; s /= 2) {
        if (l < s) {
            const $C v = shared_v[l + s];
            const $index r = shared_i[l + s];
            if ($beats_element) { best = v; place = r; }
            shared_v[l] = best;
            shared_i[l] = place;
        }
        $barrier
    }
    if (l == 0) y[$w_offset_y + o] = place;
    $barrier
}
"""

_ARG_EACH = """
$loop_o($w_outs) {
    $walk_x
    $C best = $load_first;
    $index place = 0;
    for ($index r = 1; r < $w_count; ++r) {
        const $C v = $load;
        if ($beats_element) { best = v; place = r; }
    }
    y[$w_offset_y + o] = place;
}
"""


def arg_extremum(dialect: Dialect, op: str, dtype: DType, form: str = "group") -> KernelSource:
    """reduce_argmax and reduce_argmin: the place of the first extremum along one axis; nan is one."""
    f = Functions(dialect)
    beats = next(text for kinds, text in _BEATS.items() if dtype.kind in kinds)
    beats = beats.format(v="v", b="best", i="r", j="place", op=">" if op.endswith("max") else "<")
    group = dialect.group if form == "group" else 0
    shared = ""
    if group:
        shared = local(f, dialect.compute(dtype), "shared_v", group) + "\n"
        shared += local(f, dialect.index, "shared_i", group)
    element = f"at_x + r * {_word(ARG_WORDS, 'stride_r')}"
    return kernel(
        f, op, form, _ARG if group else _ARG_EACH, inputs=[("x", dtype)], outputs=[("y", int64)], words=ARG_WORDS,
        group=group, walks={"walk_x": ("o", ["x"], "rank_dim")}, local=shared, C=dialect.compute(dtype),
        load_first=f.load(dtype, "x", "at_x"), load=f.load(dtype, "x", element), beats_element=beats,
    )  # fmt: skip


SCANS: Final = {"scan_sum": ("a + x", "0"), "scan_prod": ("a * x", "1")}

_SCAN_EACH = """
$loop_o($w_lines) {
    $walk
    $A a = $init;
    for ($index r = 0; r < $w_count; ++r) {
        const $A x_ = $load;
        a = ($A)($fold);
        $store
    }
}
"""

_SCAN_GROUP = """
$local
const $int l = ($int)$local_id;
const $index length = ($w_count + $group - 1) / $group;
for ($index o = $group_id; o < $w_lines; o += $groups) {
    $walk
    const $index first = l * length, last = first + length < $w_count ? first + length : $w_count;
    $A a = $init;
    for ($index r = first; r < last; ++r) {
        const $A x_ = $load;
        a = ($A)($fold);
    }
    shared_a[l] = a;
    $barrier
    if (l == 0) {
        a = $init;
        for ($int i = 0; i < $group; ++i) {
            const $A x_ = shared_a[i];
            shared_a[i] = a;
            a = ($A)($fold);
        }
    }
    $barrier
    a = shared_a[l];
    for ($index r = first; r < last; ++r) {
        const $A x_ = $load;
        a = ($A)($fold);
        $store
    }
    $barrier
}
"""


def scan(dialect: Dialect, op: str, dtype: DType, form: str = "group") -> KernelSource:
    """scan_sum and scan_prod along one axis; ``group`` takes a group for a line, ``each`` a work-item."""
    f = Functions(dialect)
    body, init = SCANS[op]
    x_at, y_at = (f"at_{a} + r * {_word(SCAN_WORDS, f'stride_{a}')}" for a in "xy")
    group = dialect.group if form == "group" else 0
    ctype = dialect.compute(dtype)
    return kernel(
        f, op, form, _SCAN_GROUP if group else _SCAN_EACH, inputs=[("x", dtype)], outputs=[("y", dtype)],
        words=SCAN_WORDS, group=group, walks={"walk": ("o", ["x", "y"], "rank_dim")}, A=ctype, init=init,
        load=f.load(dtype, "x", x_at), fold=body.replace("x", "x_"), store=f.store(dtype, "y", y_at, "a"),
        local=local(f, ctype, "shared_a", group) if group else "",
    )  # fmt: skip


def carried(dialect: Dialect, op: str, dtype: DType, form: str = "flat") -> KernelSource:
    """What went before a block of a scan, folded into each of its elements: y = x1 + x2, or the product."""
    body = re.sub(r"\b[ax]\b", lambda found: "x1" if found[0] == "a" else "x2", SCANS[op][0])
    return expression(
        dialect, op, [("x1", dtype), ("x2", dtype)], [("y", dtype, body)], dtype=dtype, form=form, tag="carry"
    )
