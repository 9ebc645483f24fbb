"""Gaps of the standard: dtypes that our operations accept and its functions need not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.dtypes import bool_, uint8

if TYPE_CHECKING:
    from mlcore.backends.array_library.library import Library


def _truths(backend: Library, call: Callable[..., Any]) -> Callable[..., Any]:
    """Logical functions are for bools: compare anything else with 0 first."""

    def run(*inputs: Any) -> Any:
        name = backend.native(bool_)
        return call(*[x if x.dtype == name else x != backend.zero(x) for x in inputs])

    return run


def _bools_as_numbers(backend: Library, call: Callable[..., Any]) -> Callable[..., Any]:
    """Order is for numbers: bools compare as 0 and 1."""

    def run(*inputs: Any) -> Any:
        name = backend.native(bool_)
        return call(*[backend.cast(x, uint8) if x.dtype == name else x for x in inputs])

    return run


def _floats_only(found: bool) -> Callable[..., Callable[..., Any]]:
    """Tests that are the same for every integer and bool."""

    def gap(backend: Library, call: Callable[..., Any]) -> Callable[..., Any]:
        kinds = [backend.native(d) for d in backend.dtypes if d.kind in "biu"]
        full, answer = backend._full(), backend.native(bool_)
        return lambda x: full(x.shape, found, dtype=answer) if any(x.dtype == k for k in kinds) else call(x)

    return gap


def _itself(kinds: str) -> Callable[..., Callable[..., Any]]:
    """Functions that change nothing for some kinds of numbers."""

    def gap(backend: Library, call: Callable[..., Any]) -> Callable[..., Any]:
        same = [backend.native(d) for d in backend.dtypes if d.kind in kinds]
        return lambda x: x if any(x.dtype == k for k in same) else call(x)

    return gap


def _any_count(backend: Library, call: Callable[..., Any]) -> Callable[..., Any]:
    """The standard leaves shifts by less than 0 open: they count as the width, which moves every bit out."""
    where, signed = backend.find("where"), [(backend.native(d), d) for d in backend.dtypes if d.kind == "i"]

    def run(x: Any, count: Any) -> Any:
        dtype = next((d for name, d in signed if x.dtype == name), None)
        if dtype is None or where is None:
            return call(x, count)
        width = backend.xp_asarray(np.asarray(dtype.bits, dtype=dtype.numpy))
        return call(x, where(count < backend.zero(x), width, count))

    return run


GAPS: dict[str, Callable[..., Callable[..., Any]]] = {
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor", "logical_not"), _truths),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal"), _bools_as_numbers),
    **dict.fromkeys(("bitwise_left_shift", "bitwise_right_shift"), _any_count),
    "isnan": _floats_only(False), "isinf": _floats_only(False), "isfinite": _floats_only(True),
    "positive": _itself("biufc"), "conj": _itself("iuf"),
    **dict.fromkeys(("floor", "ceil", "trunc", "round"), _itself("iu")),
}  # fmt: skip
