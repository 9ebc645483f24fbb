"""The registry: every operation and public function by name. Whatever needs a list of them iterates this."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from mlcore.dispatch import Op
from mlcore.errors import UnsupportedOpError, did_you_mean

_ops: dict[str, Op] = {}
_functions: dict[str, Function] = {}
_places = itertools.count()  # in the devices' tables; an operation without an entry here has one too
listeners: list[
    Callable[[Any], None]
] = []  # told of each operation and function that is declared from now on


class Function:
    """A public function made of operations, with no kernel or gradient of its own, such as `stack`."""

    __slots__ = ("call", "group", "method", "name", "operators", "reference", "samples")

    def __init__(self, call: Callable[..., Any], **facts: Any) -> None:
        self.call = call
        self.name = call.__name__
        self.group: str = facts.get("group", "")
        self.method: str | None = facts.get("method")
        self.operators: tuple[str, ...] = facts.get("operators", ())
        self.reference = facts.get("reference")
        self.samples = facts.get("samples")

    @property
    def doc(self) -> str:
        """Its documentation."""
        return inspect.getdoc(self.call) or ""

    @property
    def signature(self) -> inspect.Signature:
        """Its signature."""
        return inspect.signature(self.call)

    def __repr__(self) -> str:
        return f"<mlcore function {self.name}{self.signature}>"


def add_op(op: Op, listed: bool = True) -> None:
    """Register an operation and give it its place in the devices' tables; unlisted, it has only the place."""
    if listed and (op.name in _ops or (op.public and op.name in _functions)):
        raise ValueError(f"an operation named {op.name!r} is registered already")
    op.index = next(_places)
    if not listed:
        return
    _ops[op.name] = op
    for tell in listeners:
        tell(op)


def add_function(function: Function) -> None:
    """Register a public function; it may have the name of an operation that is not public, which it calls."""
    if function.name in _functions or (function.name in _ops and _ops[function.name].public):
        raise ValueError(f"a function named {function.name!r} is registered already")
    _functions[function.name] = function
    for tell in listeners:
        tell(function)


def all_ops() -> list[Op]:
    """Every operation, in the order of declaration."""
    return list(_ops.values())


def all_functions() -> list[Function]:
    """Every public function that is not itself an operation."""
    return list(_functions.values())


def everything() -> list[Any]:
    """Every operation, then every function."""
    return [*_ops.values(), *_functions.values()]


def get(name: str) -> Op:
    """The operation of that name.

    >>> get("tanh").name
    'tanh'
    """
    if name not in _ops:
        raise UnsupportedOpError(f"no operation is called {name!r}{did_you_mean(name, _ops)}")
    return _ops[name]


def public() -> Iterator[tuple[str, Any]]:
    """(name, callable) of everything that `mlcore` exports from the registry."""
    for op in _ops.values():
        if op.public:
            yield op.name, op
    for function in _functions.values():
        yield function.name, function.call
