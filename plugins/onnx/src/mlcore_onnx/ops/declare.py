"""How an ONNX operator is declared: a function beside its name and the versions whose meaning it has.

```python
@onnx_op("LeakyRelu", 6)
def leaky_relu(x, *, alpha=0.01):
    return F.leaky_relu(x, alpha)
```

Parameters by position are the node's inputs (None where the node leaves one out), those by keyword its attributes with
their defaults. A version is the opset in which ONNX last changed the operator: `onnx_op(name, first, last)` answers for
those from first to last. Nothing else lists the operators.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

NEWEST: Final = 28
"""The newest opset whose operators have been read: what ONNX changes after it is refused, not guessed at."""

ML: Final = "ai.onnx.ml"
PREVIEW: Final = "ai.onnx.preview"
TRAINING: Final = "ai.onnx.preview.training"

# Keyword parameters that are no attributes: what a handler may ask for about its node.
_ASKED: Final = frozenset({"since", "device", "outputs"})


@dataclass(frozen=True, slots=True)
class Handler:
    """One declaration: what runs a node, and what has to be known about it before."""

    call: Callable[..., Any]
    domain: str
    name: str
    names: tuple[str, ...]  # of the inputs by position
    variadic: bool
    attributes: frozenset[str]
    required: frozenset[str]  # attributes without a default
    asks: frozenset[str]
    host: frozenset[int]  # inputs that are read as NumPy values, such as a shape
    state: frozenset[int]  # inputs that are kept, not trained, such as a running mean
    moves: bool  # values only change places: any type of element will do
    raw: bool  # takes values as they are: sequences, texts, types that only the host has
    random: bool  # a new result each time
    grows: bool  # how large its result is does not follow from how large its inputs are
    takes: Callable[[Any, dict[str, Any]], bool] | None = (
        None  # nodes that it runs; the others: ONNX's definition
    )

    def folds(self, sizes: list[int]) -> bool:
        """Whether a node of constants of these sizes is worked out when the model is loaded."""
        if self.random or self.grows or "device" in self.asks or (self.raw and sizes):
            return False
        return max(sizes, default=0) <= 1024


_table: Final[dict[tuple[str, str], list[tuple[int, int, Handler]]]] = {}


def onnx_op(
    name: str, first: int = 1, last: int = NEWEST, *, domain: str = "", host: tuple[str, ...] = (),
    state: tuple[str, ...] = (), moves: bool = False, raw: bool = False, random: bool = False, grows: bool = False,
    takes: Callable[[Any, dict[str, Any]], bool] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # fmt: skip
    """Declare what runs the operator `name` in the versions from `first` to `last`.

    `host` names the inputs that are wanted as NumPy arrays, `state` those that training leaves alone. `takes(node,
    attributes)` may leave some nodes to the operator's definition in ONNX.
    """

    def declare(call: Callable[..., Any]) -> Callable[..., Any]:
        parameters = list(inspect.signature(call).parameters.values())
        names = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        attributes = [p for p in keywords if p.name not in _ASKED]
        handler = Handler(
            call, domain, name, names, any(p.kind is p.VAR_POSITIONAL for p in parameters),
            frozenset(p.name for p in attributes),
            frozenset(p.name for p in attributes if p.default is p.empty),
            frozenset(p.name for p in keywords) & _ASKED,
            frozenset(map(names.index, host)), frozenset(map(names.index, state)), moves, raw, random, grows, takes,
        )  # fmt: skip
        place = _table.setdefault((domain, name), [])
        if any(first <= b and a <= last for a, b, _ in place):
            raise TypeError(f"{name} {first}-{last} is declared already")
        place.append((first, last, handler))
        return call

    return declare


def handler_of(domain: str, name: str, since: int) -> Handler | None:
    """What runs version `since` of an operator, or None."""
    return next((h for a, b, h in _table.get((domain, name), ()) if a <= since <= b), None)


def versions_of(domain: str, name: str) -> str:
    """The versions of an operator that are known here, for error texts.

    >>> versions_of("", "NoSuchOp")
    ''
    """
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b, _ in sorted(_table.get((domain, name), ()),
                                                                             key=lambda one: one[0]))  # fmt: skip


def all_names() -> list[tuple[str, str]]:
    """(domain, name) of every operator that is declared."""
    return sorted(_table)
