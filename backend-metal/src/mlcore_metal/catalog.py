"""Which function serves which operation, where it is not MLX's function of the same name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mlcore.dtypes import DType, everything
from mlcore_metal.library import mx

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


FUSED = frozenset((
    "attention_grad", "batch_norm", "batch_norm_grad", "batch_norm_scale", "gelu", "gelu_grad", "layer_norm_grad",
    "log_softmax", "log_softmax_grad", "logsumexp", "mean", "rms_norm_grad", "softmax", "softmax_cross_entropy",
    "softmax_cross_entropy_grad", "softmax_grad", "squared_error", "squared_error_grad", "var",
))  # fmt: skip
"""Formulas of which `mx.compile` makes few kernels on a GPU. On a processor it would call a C++ compiler for each."""


class Fused:
    """A function compiled by MLX for each set of parameters and of inputs that are given."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.made: dict[Any, Call] = {}

    def __call__(self, *args: Any) -> Any:
        places = tuple(i for i, one in enumerate(args) if isinstance(one, mx.array))
        key = (places, tuple(one for i, one in enumerate(args) if i not in places))
        found = self.made.get(key)
        if found is None:
            rest = [None if i in places else one for i, one in enumerate(args)]  # no array is kept here
            found = self.made[key] = mx.compile(self._of(rest, places))
        return found(*(args[i] for i in places))

    def _of(self, rest: list[Any], places: tuple[int, ...]) -> Call:
        def run(*arrays: Any) -> Any:
            given = list(rest)
            for i, one in zip(places, arrays, strict=True):
                given[i] = one
            return self.call(*given)

        return run


def find(op: Any, backend: Any) -> tuple[Call, frozenset[DType]] | None:
    """The kernel of an operation and the dtypes it takes, or None."""
    entry = MAKERS.get(op.name)
    if entry is None:
        return None
    make, dtypes = entry
    call = make(op, backend)
    if call is not None and backend.runtime.gpu and op.name in FUSED:
        call = Fused(call)
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
