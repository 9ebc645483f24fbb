"""Which kernels an operation has: the forms by name, for printing one and for compiling all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from mlcore.codegen import index, product, reduce
from mlcore.codegen.bodies import op_body
from mlcore.codegen.dialect import Dialect
from mlcore.codegen.elementwise import FORMS, cast, copy, elementwise
from mlcore.codegen.source import KernelSource
from mlcore.dtypes import DType, all_dtypes, float32, int64, uint32
from mlcore.errors import ArgumentError, DTypeError, did_you_mean

Make = Callable[[Dialect, DType], KernelSource]
TOGETHER: Final = ("group", "each")
MOVED: Final = ("slice_update", "concat", "fill")
VIEWS: Final = ("reshape", "permute_dims", "broadcast_to", "slice")


def _by_form(forms: Iterable[str], make: Callable[[Dialect, DType, str], KernelSource]) -> dict[str, Make]:
    def of(form: str) -> Make:
        return lambda dialect, dtype: make(dialect, dtype, form)

    return {form: of(form) for form in forms}


def forms(op: Any) -> dict[str, Make]:
    """The kernels of an operation by their forms, the usual one first; none for what is a view or a composition.

    >>> from mlcore.ops.registry import get
    >>> list(forms(get("tanh"))), list(forms(get("max"))), list(forms(get("reshape")))
    (['flat', 'strided'], ['group', 'each'], [])
    """
    name = op.name
    if op.family == "reduction":
        return _by_form(TOGETHER, lambda d, t, form: reduce.reduction(d, op, t, form))
    if op.elementwise and op.c is not None:
        return _by_form(FORMS, lambda d, t, form: elementwise(d, op, t, form))
    if name in reduce.SCANS:
        return _by_form(TOGETHER, lambda d, t, form: reduce.scan(d, name, t, form))
    if name in ("reduce_argmax", "reduce_argmin"):
        return _by_form(TOGETHER, lambda d, t, form: reduce.arg_extremum(d, name, t, form))
    if name in MOVED:
        return _by_form(FORMS, lambda d, t, form: copy(d, t, form))
    return _STRUCTURE.get(name, {})


_STRUCTURE: Final[dict[str, dict[str, Make]]] = {
    "contract": {"tiled": product.contract},
    "gather": {"flat": index.gather},
    "index_add": {"flat": lambda d, t: index.update(d, "index_add", t)},
    "scatter": {"flat": lambda d, t: index.update(d, "scatter", t)},
    "where_true": {"compact": lambda d, t: index.compact(d), "unravel": lambda d, t: index.unravel(d)},
    "iota": {"flat": index.iota},
    "random_bits": {"flat": lambda d, t: index.random_bits(d)},
    "sort_indices": {
        "ascending": lambda d, t: index.merge(d, t, "ascending"),
        "descending": lambda d, t: index.merge(d, t, "descending"),
    },
    "searchsorted": {
        "left": lambda d, t: index.searchsorted(d, t, "left"),
        "right": lambda d, t: index.searchsorted(d, t, "right"),
    },
}


def dtypes_of(op: Any, dialect: Dialect) -> list[DType]:
    """The dtypes for which an operation has kernels in a dialect.

    Elements are moved as unsigned integers of their size, so what only moves takes every dtype the dialect has.
    """
    held = [d for d in all_dtypes if d.kind != "c" and dialect.has(d)]
    if op.name == "random_bits":
        return [uint32]
    if op.name == "where_true":
        return [int64]
    if op.name == "iota":
        return [d for d in held if d.kind in "iu" or d.name == "float64"]
    if op.c is not None:
        return [d for d in held if op_body(op, d) is not None]
    return [d for d in held if d in op.accepts]


def source_of(
    dialect: Dialect, op: Any, dtype: DType | None = None, form: str = "", *, to: DType | None = None
) -> KernelSource:
    """One kernel of an operation; by default for float32 (or the first dtype it has) and in its first form.

    Raises ArgumentError where it has none, and DTypeError for a dtype that it, or the dialect, does not take. `to` is
    what astype casts to.
    """
    makers = dict.fromkeys(FORMS) if op.name == "astype" else forms(op)
    if not makers:
        raise ArgumentError(f"{op.name} has no kernel of its own", **_instead(op))
    known = dtypes_of(op, dialect)
    chosen = dtype or (float32 if float32 in known else known[0])
    if chosen not in known:
        raise DTypeError(
            f"{op.name} has no {dialect.name} kernel for {chosen}", known=", ".join(d.name for d in known)
        )
    form = form or next(iter(makers))
    if form not in makers:
        raise ArgumentError(
            f"{op.name}: no form {form!r}{did_you_mean(form, makers)}", known=", ".join(makers)
        )
    if op.name == "astype":
        return cast(dialect, chosen, to or (float32 if chosen is not float32 else int64), form)
    make: Make = makers[form]  # type: ignore[assignment]  # all of them take these
    return make(dialect, chosen)


def _instead(op: Any) -> dict[str, str]:
    """Why an operation has no kernel."""
    if op.name in VIEWS:
        return {
            "cause": "it is a view: only offset and strides change",
            "fix": "ask for copy's kernel: concat",
        }
    if op.body is not None:
        return {"cause": "it is composed from other operations", "fix": "ask for those, such as multiply"}
    return {"cause": "its declaration has no c= body", "fix": "give it one, or a body of operations"}


def every(dialect: Dialect, ops: Iterable[Any]) -> Iterator[KernelSource]:
    """Every kernel of some operations, each once: what a test compiles."""
    seen: set[str] = set()
    for source in _each(dialect, ops):
        if source.name not in seen:
            seen.add(source.name)
            yield source


def _each(dialect: Dialect, ops: Iterable[Any]) -> Iterator[KernelSource]:
    held = [d for d in all_dtypes if d.kind != "c" and dialect.has(d)]
    for op in ops:
        if op.name == "astype":
            for form in FORMS:
                yield from (cast(dialect, a, b, form) for a in held for b in held if a is not b)
            continue
        for make in forms(op).values():
            yield from (make(dialect, dtype) for dtype in dtypes_of(op, dialect))
        if op.family == "reduction":
            yield from _partial(dialect, op)
        if op.name in reduce.SCANS:
            for form in FORMS:
                yield from (reduce.carried(dialect, op.name, dtype, form) for dtype in dtypes_of(op, dialect))


def _partial(dialect: Dialect, op: Any) -> Iterator[KernelSource]:
    """The two kernels of a fold in parts, where partial results have another dtype."""
    for dtype in dtypes_of(op, dialect):
        between = reduce.accumulator(op, dtype)
        if between is not dtype and dtype.kind == "f" and between.kind == "f":
            for form in TOGETHER:
                yield reduce.reduction(dialect, op, dtype, form, result=between)
                yield reduce.reduction(dialect, op, between, form, result=dtype)
