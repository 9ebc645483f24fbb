"""Kernels that are compiled together: an operation's, for all dtypes.

PoCL's compiler takes 0.2 s for any source, however short, and next to nothing for a kernel more, which it finishes when
that is first launched. Other drivers compile each kernel to the end at once, and get one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlcore.codegen import Dialect, KernelSource, cast, elementwise
from mlcore.codegen.bodies import op_body
from mlcore.dtypes import DType, all_dtypes
from mlcore.errors import UnsupportedOpError
from mlcore.ops import registry
from mlcore_oneapi.rows_form import of_op


def family(dialect: Dialect, source: KernelSource) -> list[KernelSource]:
    """The sources to compile with `source`, itself first."""
    found = {source.name: source}
    try:
        for one in _others(dialect, source):
            found.setdefault(one.name, one)
    except UnsupportedOpError:  # no operation of that name: a source of somebody's own
        pass
    return list(found.values())


def _others(dialect: Dialect, source: KernelSource) -> Iterator[KernelSource]:
    held = [d for d in all_dtypes if d.kind != "c" and dialect.has(d)]
    if source.op == "astype":
        first = next(d for d in held if d.name == source.dtypes[0])
        yield from (cast(dialect, first, d, source.form) for d in held if source.form in ("flat", "strided"))
        return
    if source.form != "flat" and not source.form.startswith("rows_s"):
        return
    op = registry.get(source.op)
    if not op.elementwise or op.c is None:
        return
    for dtype in held:
        if op_body(op, dtype) is None or not _holds(op.result[dtype.index], held):
            continue
        yield elementwise(dialect, op, dtype, "flat")
        if len(source.arrays) == 3:  # two inputs that broadcast
            yield of_op(dialect, op, dtype, "rows:sss", source.group or 1)


def _holds(result: DType | None, held: list[DType]) -> bool:
    return result is None or result in held
