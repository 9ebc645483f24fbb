"""Which function serves which operation, where it is not MLX's function of the same name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mlcore.dtypes import DType, everything

Call = Callable[..., Any]
MAKERS: dict[str, tuple[Callable[[Any, Any], Call | None], frozenset[DType]]] = {}


def kernel(*names: str, dtypes: Iterable[DType] = everything) -> Callable[[Call], Call]:
    """Enter a function as the kernel of operations, for dtypes of their first input."""

    def enter(call: Call) -> Call:
        for name in names:
            MAKERS[name] = (lambda op, backend: call, frozenset(dtypes))
        return call

    return enter


def maker(
    *names: str, dtypes: Iterable[DType] = everything
) -> Callable[[Callable[[Any, Any], Call | None]], Any]:
    """Enter a function that makes the kernel from the operation and the backend, or None to compose it."""

    def enter(make: Callable[[Any, Any], Call | None]) -> Any:
        for name in names:
            MAKERS[name] = (make, frozenset(dtypes))
        return make

    return enter


def find(op: Any, backend: Any) -> tuple[Call, frozenset[DType]] | None:
    """The kernel of an operation and the dtypes it takes, or None."""
    entry = MAKERS.get(op.name)
    if entry is None:
        return None
    make, dtypes = entry
    call = make(op, backend)
    return None if call is None else (call, dtypes & op.accepts)


def load() -> None:
    """Import the modules that enter kernels."""
    from mlcore_metal import (  # noqa: F401
        attention,
        convolution,
        creation,
        elementwise,
        linalg,
        neural,
        pooling,
        precise,
        recurrent,
        reduce,
        steps,
        structure,
    )
