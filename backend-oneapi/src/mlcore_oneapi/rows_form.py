"""Two more forms of scalar formulas, beside the generator's ``flat`` and ``strided``.

``rows``: a group takes a row of the last dimension after the other and its work-items the elements of the row, with any
steps, so that where a row lies is worked out once, not for each element. Broadcasting, transposing and slicing come
down to this. ``unit``: each array is contiguous, or a single number, and the kernel knows which, so that a driver's
compiler loads vectors; a group takes a block of neighbours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final

from mlcore.backends.kernel_library import KernelArray
from mlcore.codegen import Dialect, KernelSource
from mlcore.codegen.bodies import op_body
from mlcore.codegen.elementwise import RANK, names_of
from mlcore.codegen.functions import Functions
from mlcore.codegen.layout import collapse, padded
from mlcore.codegen.template import kernel, walker
from mlcore.dtypes import DType, bool_
from mlcore.shapes import Shape
from mlcore_oneapi.dialect import GROUP

LONG: Final = 4096  # elements from which on a kernel that knows the steps pays for being compiled
LEAST: Final = 8  # elements of a row from which on a group has something to do

_TEXT = """
for ($index row = $group_id; row < $w_rows; row += $groups) {
    $walk
    for ($index j = $local_id; j < $w_columns; j += $group) {
        $loads
        $store
    }
}
"""
_UNIT = """
const $index block = ($w_n + $groups * $group - 1) / ($groups * $group) * $group, from = $group_id * block;
const $index to = from + block < $w_n ? from + block : $w_n;
for ($index i = from + $local_id; i < to; i += $group) {
    $loads
    $store
}
"""
WIDE: Final = 256  # work-items of a group of the unit form
Named = tuple[str, DType]


def source(
    dialect: Dialect, op: str, inputs: Sequence[Named], output: Named, body: str, dtype: DType, steps: str = "",
    group: int = GROUP,
) -> KernelSource:  # fmt: skip
    """The kernel of a formula over the inputs' names: in the unit form with `steps` such as ``11`` (two arrays) or
    ``10`` (an array and a number), else by rows; ``rows:11s`` says of each array, the output too, whether its step
    along a row is 1, 0, or whatever the launch says."""
    f = Functions(dialect)
    arrays = [*(name for name, _ in inputs), output[0]]
    along = steps.removeprefix("rows:") if steps.startswith("rows:") else "s" * len(arrays)
    steps = "" if steps.startswith("rows:") else steps
    if steps:
        words: tuple[str, ...] = ("n", *(f"offset_{name}" for name in arrays))
        places = {
            name: f"$w_offset_{name}" + (" + i" if step == "1" else "")
            for name, step in zip(arrays, steps + "1", strict=True)
        }
    else:
        words = ("rows", "columns", *walker(*arrays), *(f"step_{name}" for name in arrays))
        at = {"1": "at_{0} + j", "0": "at_{0}", "s": "at_{0} + j * $w_step_{0}"}
        places = {name: at[step].format(name) for name, step in zip(arrays, along, strict=True)}
    loads = "\n".join(
        f"const {dialect.compute(kind)} a_{name} = {f.load(kind, name, places[name])};"
        for name, kind in inputs
    )
    known = {name for name, _ in inputs}
    text = re.sub(r"\b[A-Za-z_]\w*\b", lambda found: f"a_{found[0]}" if found[0] in known else found[0], body)
    numbered = {f"w_{word}": f"w.v[{i}]" for i, word in enumerate(words)}

    def filled(line: str) -> str:
        return re.sub(r"\$(w_\w+)", lambda found: numbered[found[1]], line)

    return kernel(
        f, op, f"unit{steps}" if steps else f"rows_{along}", _UNIT if steps else _TEXT,
        inputs=list(inputs), outputs=[output], words=words, group=WIDE if steps else group,
        walks=None if steps else {"walk": ("row", arrays, "rank_dim")}, loads=filled(loads),
        store=filled(f.store(output[1], output[0], places[output[0]], f.rendered(text, dtype))),
    )  # fmt: skip


def of_op(dialect: Dialect, op: Any, dtype: DType, steps: str = "", group: int = GROUP) -> KernelSource:
    """The kernel of an operation with a scalar body."""
    body = op_body(op, dtype)
    assert body is not None
    inputs = [
        (name, bool_ if op.promoted and i not in op.promoted else dtype)
        for i, name in enumerate(names_of(op))
    ]
    return source(dialect, op.name, inputs, ("y", op.result[dtype.index] or dtype), body, dtype, steps, group)


def planned(shape: Shape, arrays: Sequence[KernelArray]) -> tuple[int, list[int], str] | None:
    """(rows, words, steps) for arrays of one shape; None where another form is the right one."""
    dims, strides = collapse(shape, [x.strides for x in arrays])
    if not 2 <= len(dims) <= RANK:
        return None
    last = len(dims) - 1
    if dims[last] < LEAST:  # a long dimension makes better rows, unless that scatters what is written
        return None
    rows = math.prod(dims[:last])
    words = [rows, dims[last], last, *padded(dims[:last], 1)]
    for x, steps in zip(arrays, strides, strict=True):
        words += [x.offset, *padded(steps[:last])]
    words += [steps[last] for steps in strides]
    if rows * dims[last] < LONG:
        return rows, words, "rows:" + "s" * len(arrays)
    return rows, words, "rows:" + "".join({1: "1", 0: "0"}.get(steps[last], "s") for steps in strides)
