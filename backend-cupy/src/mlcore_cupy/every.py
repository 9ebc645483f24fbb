"""Every kernel that the backends can ask for, as text: what CI compiles for every target, and for the emulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlcore.codegen import Dialect, KernelSource, cast, combined, copy, elementwise
from mlcore.codegen import index as places
from mlcore.codegen.bodies import op_body
from mlcore.codegen.elementwise import FORMS
from mlcore.codegen.product import contract
from mlcore.codegen.reduce import accumulator, arg_extremum, reduction, scan
from mlcore.dtypes import DType, all_dtypes
from mlcore.ops import registry
from mlcore_cupy.source import modules

FOLDS = ("each", "group")


def generated(dialect: Dialect) -> Iterator[KernelSource]:
    """All kernels of mlcore.codegen in a dialect, for the operations that are declared now."""
    known: set[str] = set()
    for source in _all(dialect):
        if source.name not in known:
            known.add(source.name)
            yield source


def _all(dialect: Dialect) -> Iterator[KernelSource]:
    held = [d for d in all_dtypes if d.kind != "c" and dialect.has(d)]
    for op in registry.all_ops():
        for dtype in held:
            if op_body(op, dtype) is None or not _fits(op, dtype, held):
                continue
            if op.family == "reduction":
                yield from _folds(dialect, op, dtype)
            elif op.elementwise:
                yield from (elementwise(dialect, op, dtype, form) for form in FORMS)
    for dtype in held:
        yield from (
            cast(dialect, dtype, target, form) for target in held if target is not dtype for form in FORMS
        )
        yield from (copy(dialect, dtype, form) for form in FORMS)
        yield from _others(dialect, dtype)
    yield from (places.compact(dialect), places.unravel(dialect), places.random_bits(dialect))


def _fits(op: Any, dtype: DType, held: list[DType]) -> bool:
    result = op.result[dtype.index]
    return result is None or result in held


def _folds(dialect: Dialect, op: Any, dtype: DType) -> Iterator[KernelSource]:
    """Whole folds, and the two halves of one that is cut into parts."""
    partial = accumulator(op, dtype)
    for result in {partial, partial if op.c_init in ("true", "false") else dtype}:
        yield from (reduction(dialect, op, dtype, form, result=result) for form in FOLDS)
    if partial is not dtype and op_body(op, partial) is not None:
        final = partial if op.c_init in ("true", "false") else dtype
        yield from (reduction(dialect, op, partial, form, result=final) for form in FOLDS)


def _others(dialect: Dialect, dtype: DType) -> Iterator[KernelSource]:
    """What looks for places, moves and multiplies, for the dtypes that each operation accepts."""
    makers = {
        **dict.fromkeys(("reduce_argmax", "reduce_argmin"), (arg_extremum, FOLDS)),
        **dict.fromkeys(("scan_sum", "scan_prod"), (scan, FOLDS)),
    }
    for name, (make, forms) in makers.items():
        if dtype in registry.get(name).accepts:
            yield from (make(dialect, name, dtype, form) for form in forms)
    for name in ("index_add", "scatter"):
        if dtype in registry.get(name).accepts:
            yield places.update(dialect, name, dtype)
    if dtype in registry.get("sort_indices").accepts:
        yield from (places.merge(dialect, dtype, form) for form in ("ascending", "descending"))
    if dtype in registry.get("searchsorted").accepts:
        yield from (places.searchsorted(dialect, dtype, side) for side in ("left", "right"))
    if dtype in registry.get("contract").accepts:
        yield contract(dialect, dtype)
    if dtype.kind in "iu":
        yield places.iota(dialect, dtype)
    yield places.gather(dialect, dtype)


def groups(dialect: Dialect, size: int = 128) -> Iterator[tuple[str, list[str], int]]:
    """(a text to compile, the sources in it as they are asked for, how many kernels that are)."""
    sources = list(generated(dialect))
    for at in range(0, len(sources), size):
        part = sources[at : at + size]
        yield combined(part), [one.text for one in part], len(part)
    for _, _, text in modules():
        yield text, [text], text.count("\nKERNEL")
