"""Elementwise kernels: scalar formulas of the operations, chains of them, casts and copies.

Each comes in two forms. ``flat``: every array is contiguous or one element (step 0), whatever the shape.
``strided``: any strides of up to RANK dimensions, which broadcasting, permuting, slicing and flipping come down to.
Shapes and strides are arguments, so nothing is compiled again for another shape.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from mlcore.codegen.bodies import op_body
from mlcore.codegen.dialect import Dialect
from mlcore.codegen.functions import Functions
from mlcore.codegen.source import WORDS, KernelSource, build
from mlcore.dtypes import DType, bool_, float32, float64, iinfo, uint8, uint16, uint32, uint64
from mlcore.errors import ArgumentError, DTypeError

RANK: Final = 8
"""Dimensions that a strided kernel takes, after `layout.collapse` has merged those that lie one behind the other."""
FORMS: Final = ("flat", "strided")

Named = tuple[str, DType]


def elementwise(dialect: Dialect, op: Any, dtype: DType, form: str = "flat") -> KernelSource:
    """The kernel of an elementwise operation with a `c=` body, for inputs of `dtype`.

    >>> from mlcore.codegen.dialect import Dialect
    >>> from mlcore.dtypes import float32
    >>> from mlcore.ops.registry import get
    >>> c = Dialect("C", {"float32": "float", "int64": "long", "uint64": "unsigned long", "uint32": "unsigned int"},
    ...     launch="void {name}({params})\\n{{\\n{body}\\n}}", buffer="{const}{type}* {name}",
    ...     words="const {type} {name}", global_id="0", global_size="1")
    >>> print(elementwise(c, get("subtract"), float32).text, end="")
    typedef struct { long v[7]; } Words7;
    void ml_subtract_float32_flat(const float* x1, const float* x2, float* y, const Words7 w)
    {
        const long n = w.v[0];
        for (long i = 0; i < n; i += 1) {
            const long at_x1 = w.v[1] + i * w.v[2], at_x2 = w.v[3] + i * w.v[4], at_y = w.v[5] + i * w.v[6];
            const float a_x1 = x1[at_x1];
            const float a_x2 = x2[at_x2];
            y[at_y] = (float)(a_x1 - a_x2);
        }
    }
    """
    names = names_of(op)
    body = op_body(op, dtype)
    if body is None:
        raise DTypeError(f"{op.name} has no scalar body for {dtype}", fix="compose it from other operations")
    inputs = [
        (name, bool_ if op.promoted and i not in op.promoted else dtype) for i, name in enumerate(names)
    ]
    result = op.result[dtype.index] or dtype
    return expression(dialect, op.name, inputs, [("y", result, body)], dtype=dtype, form=form)


def names_of(op: Any) -> tuple[str, ...]:
    """What the scalar body of an operation calls its inputs: `x`, or `x1`, `x2`, ..."""
    return ("x",) if len(op.inputs) == 1 else tuple(f"x{i + 1}" for i in range(len(op.inputs)))


def expression(
    dialect: Dialect,
    name: str,
    inputs: Sequence[Named],
    outputs: Sequence[tuple[str, DType, str]],
    *,
    dtype: DType,
    form: str = "flat",
    lines: Sequence[tuple[str, str]] = (),
    scalars: Sequence[str] = (),
    tag: str = "",
) -> KernelSource:
    """A kernel of one's own formulas, in the language of the `c=` bodies.

    `outputs` are (name, dtype, expression) over the inputs' names, computed in `dtype` (float32 for two-byte floats);
    `lines` are (name, expression) worked out before them, in order; `scalars` are numbers of that dtype that the last
    words of a launch carry as bits (`layout.bits`).
    """
    if form not in FORMS:
        raise ArgumentError(f"{name}: no form {form!r}", known=", ".join(FORMS))
    f = Functions(dialect)
    arrays = [*(array for array, _ in inputs), *(array for array, _, _ in outputs)]
    head, words = (_flat if form == "flat" else _strided)(f, arrays)
    ctype = dialect.compute(dtype)
    known = dict.fromkeys((*(array for array, _ in inputs), *scalars, *(line for line, _ in lines)))
    body: list[str] = []
    for array, kind in inputs:
        body.append(f"const {dialect.compute(kind)} a_{array} = {f.load(kind, array, f'at_{array}')};")
    for line, text in lines:
        body.append(f"const {ctype} a_{line} = ({ctype})({f.rendered(_local(text, known), dtype)});")
    for array, kind, text in outputs:
        body.append(f.store(kind, array, f"at_{array}", f.rendered(_local(text, known), dtype)))
    first = [
        f"const {ctype} a_{scalar} = {_scalar(dialect, dtype, f'{WORDS}.v[{len(words) + i}]')};"
        for i, scalar in enumerate(scalars)
    ]
    text = "\n".join(
        [f"    const {dialect.index} n = {WORDS}.v[0];", *(f"    {line}" for line in first),
         f"    for ({dialect.index} i = {dialect.global_id}; i < n; i += {dialect.global_size}) {{",
         *(f"        {line}" for line in (*head, *body)), "    }"]
    )  # fmt: skip
    return build(
        dialect, op=name, form=form, inputs=inputs, outputs=[(a, d) for a, d, _ in outputs],
        words=(*words, *scalars), body=text, parts=f, tag=tag,
    )  # fmt: skip


def _local(text: str, known: dict[str, None]) -> str:
    """An expression over the values that were read, which the kernel keeps apart from the arrays by their names."""
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda found: f"a_{found[0]}" if found[0] in known else found[0], text)


def _scalar(dialect: Dialect, dtype: DType, word: str) -> str:
    """A number out of a word: its bits for floats, itself for integers."""
    if dtype.kind != "f":
        return f"({dialect.compute(dtype)}){word}"
    bits = "uint64" if dtype is float64 else "uint32"
    return dialect.as_bits[bits].format(v=f"({dialect.types[bits]}){word}")


def _flat(f: Functions, arrays: list[str]) -> tuple[list[str], tuple[str, ...]]:
    index = f.dialect.index
    words = ("n", *(word for array in arrays for word in (f"offset_{array}", f"step_{array}")))
    places = ", ".join(
        f"at_{array} = {WORDS}.v[{1 + 2 * i}] + i * {WORDS}.v[{2 + 2 * i}]" for i, array in enumerate(arrays)
    )
    return [f"const {index} {places};"], words


def _strided(f: Functions, arrays: list[str]) -> tuple[list[str], tuple[str, ...]]:
    return walk(f, arrays, "i", 1), (
        "n", "rank", *(f"dim_{d}" for d in range(RANK)),
        *(word for array in arrays for word in (f"offset_{array}", *(f"stride_{array}_{d}" for d in range(RANK)))),
    )  # fmt: skip


def walk(f: Functions, arrays: list[str], item: str, first: int) -> list[str]:
    """Lines that turn `item`, a place in row-major order, into `at_x` for each of the arrays.

    The words from `first` on are rank, RANK sizes, and for each array its offset and RANK strides.
    """
    index, int_ = f.dialect.index, f.dialect.types.get("int32", f.dialect.index)
    places = ", ".join(
        f"at_{array} = {WORDS}.v[{first + 1 + RANK + i * (RANK + 1)}]" for i, array in enumerate(arrays)
    )
    steps = [
        f"    at_{array} += k * {WORDS}.v[{first + 2 + RANK + i * (RANK + 1)} + d];"
        for i, array in enumerate(arrays)
    ]
    return [
        f"{index} rest = {item}, {places};",
        f"for ({int_} d = ({int_}){WORDS}.v[{first}] - 1; d >= 0; --d) {{",
        f"    const {index} q = {quotient(f)}(rest, {WORDS}.v[{first + 1} + d]);",
        f"    const {index} k = rest - q * {WORDS}.v[{first + 1} + d];",
        *steps,
        "    rest = q;",
        "}",
    ]


def quotient(f: Functions) -> str:
    """The name of a division of two indices that are not negative: in 32 bits where they fit, which is much faster."""
    index, u32, u64 = f.dialect.index, f.dialect.types["uint32"], f.dialect.types["uint64"]
    text = (
        f"{index} ml_quotient({index} a, {index} b) {{\n"
        f"    return (({u64})(a | b) >> 32) ? a / b : ({index})(({u32})a / ({u32})b);\n}}"
    )
    f.parts.setdefault("ml_quotient", f.dialect.function.format(text=text))
    return "ml_quotient"


# -- chains ------------------------------------------------------------------------------------------------------


def chain(
    dialect: Dialect,
    name: str,
    steps: Sequence[tuple[str, Any, Sequence[str]]],
    dtype: DType,
    form: str = "flat",
) -> KernelSource:
    """Several elementwise operations as one kernel: nothing between them is written to memory.

    `steps` are (result, operation, arguments); arguments that no step made are the inputs, in the order they are
    first named; the last result is the output. Between the steps the dtype stays `dtype`.
    """
    made = [result for result, _, _ in steps]
    given = dict.fromkeys(one for _, _, arguments in steps for one in arguments if one not in made)
    lines = [(result, _inlined(op, dtype, arguments)) for result, op, arguments in steps]
    _, op, _ = steps[-1]
    return expression(
        dialect, name, [(one, dtype) for one in given],
        [("out", op.result[dtype.index] or dtype, lines[-1][1])], dtype=dtype, form=form, lines=lines[:-1],
    )  # fmt: skip


def _inlined(op: Any, dtype: DType, arguments: Sequence[str]) -> str:
    body = op_body(op, dtype)
    if body is None:
        raise DTypeError(f"{op.name} has no scalar body for {dtype}")
    places = dict(zip(names_of(op), arguments, strict=True))
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda found: places.get(found[0], found[0]), body)


# -- casts and copies ----------------------------------------------------------------------------------------------


def cast(dialect: Dialect, source: DType, target: DType, form: str = "flat") -> KernelSource:
    """astype: floats become integers by truncation, saturated, nan 0; anything that is not 0 is true."""
    text = "x"
    if target.kind == "b":
        text = "x != 0"
    elif source.kind == "f" and target.kind in "iu":
        text = _saturated(target, dialect)
    elif source is float64 and target.kind == "f" and target.itemsize == 2 and target.name == "float16":
        return _narrowed(dialect, source, target, form)
    return expression(
        dialect, "astype", [("x", source)], [("y", target, text)], dtype=source, form=form, tag="to"
    )


def _saturated(target: DType, dialect: Dialect) -> str:
    info, ctype = iinfo(target), dialect.compute(target)
    top = float(info.max + 1)  # exact, unlike the largest value itself
    low = f"x <= {float(info.min)!r}" if info.min else "x <= -1.0"
    least = integer(dialect, target, info.min)
    return f"x != x ? ({ctype})0 : x >= {top!r} ? {integer(dialect, target, info.max)} : {low} ? {least} : ({ctype})x"


def integer(dialect: Dialect, dtype: DType, value: int) -> str:
    """An integer literal of a dtype; the smallest of all has none of its own in C."""
    ctype = dialect.compute(dtype)
    if value < 0 and value == iinfo(dtype).min:
        return f"({ctype})(-({ctype}){-(value + 1)}{dialect.wide if dtype.itemsize == 8 else ''} - 1)"
    suffix = {"u": "U", "i": ""}[dtype.kind] + (dialect.wide if dtype.itemsize == 8 else "")
    return f"({ctype}){value}{suffix}"


def _narrowed(dialect: Dialect, source: DType, target: DType, form: str) -> KernelSource:
    """float64 to float16 rounds once: through a float32 that keeps, in its last bit, that something was cut off."""
    f32, u32 = dialect.memory(float32), dialect.types["uint32"]
    bits, back = dialect.as_bits["float32"], dialect.as_bits["uint32"]
    odd = (
        f"{f32} ml_odd({dialect.memory(source)} x) {{\n    {f32} y = ({f32})x;\n    {u32} u = {bits.format(v='y')};\n"
        f"    if (y != y || (u & 0x7f800000) == 0x7f800000 || y == x) return y;\n"
        f"    if ((y < 0 ? -({dialect.memory(source)})y : ({dialect.memory(source)})y) > (x < 0 ? -x : x)) u -= 1;\n"
        f"    u |= 1;\n    return {back.format(v='u')};\n}}"
    )
    made = expression(
        dialect, "astype", [("x", source)], [("y", target, "ml_odd(x)")], dtype=source, form=form, tag="to"
    )
    return KernelSource(
        made.name, made.op, made.form, made.dtypes, made.arrays, made.words, made.group, made.body,
        (("ml_odd", dialect.function.format(text=odd)), *made.parts), dialect,
    )  # fmt: skip


def copy(dialect: Dialect, dtype: DType, form: str = "flat") -> KernelSource:
    """The elements bit by bit: dtypes of one size share a kernel."""
    moved = carrier(dtype)
    return expression(dialect, "copy", [("x", moved)], [("y", moved, "x")], dtype=moved, form=form)


def carrier(dtype: DType) -> DType:
    """The unsigned dtype of the same size, as which elements are moved.

    >>> from mlcore.dtypes import bfloat16
    >>> carrier(bfloat16)
    uint16
    """
    return _CARRIERS[dtype.itemsize]


_CARRIERS: Final = {one.itemsize: one for one in (uint8, uint16, uint32, uint64)}
