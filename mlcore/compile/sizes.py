"""Sizes that are known when a graph runs: simple formulas of named dimensions, found by looking at several runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Vector = tuple[int, ...]
"""One size in each of several runs."""

_DIVISORS: Final = (2, 3, 4, 5, 6, 7, 8, 12, 14, 16, 32)


@dataclass(frozen=True, slots=True)
class Size:
    """`(factor * product of names + offset) // divisor`.

    >>> half = Size(("batch",), offset=1, divisor=2)
    >>> str(half), half.at({"batch": 5}), str(Size(("n", "m"), 4))
    ('(batch + 1) // 2', 3, '4 * n * m')
    """

    names: tuple[str, ...]
    factor: int = 1
    offset: int = 0
    divisor: int = 1

    def at(self, sizes: Mapping[str, int]) -> int:
        """Its value where the names have these sizes."""
        return (self.factor * math.prod(sizes[name] for name in self.names) + self.offset) // self.divisor

    @property
    def name(self) -> str | None:
        """The name that it is; None for a formula."""
        plain = len(self.names) == 1 and (self.factor, self.offset, self.divisor) == (1, 0, 1)
        return self.names[0] if plain else None

    def __str__(self) -> str:
        text = " * ".join([*([str(self.factor)] if self.factor != 1 else []), *self.names])
        if self.offset:
            text += f" {'+' if self.offset > 0 else '-'} {abs(self.offset)}"
        if self.divisor != 1:
            text = f"({text}) // {self.divisor}" if " " in text else f"{text} // {self.divisor}"
        return text


Dim = int | Size


def fit(values: Vector, known: Mapping[str, Vector]) -> Dim | None:
    """What size it is that has these values where the known ones have theirs; None where no simple formula fits.

    >>> known = {"n": (2, 5, 9), "m": (3, 7, 4)}
    >>> [str(fit(v, known)) for v in ((8, 8, 8), (3, 6, 10), (12, 70, 72), (1, 2, 4), (5, 1, 1))]
    ['8', 'n + 1', '2 * n * m', 'n // 2', 'None']
    """
    if len(set(values)) == 1:
        return values[0]
    for name, vector in known.items():
        if vector == values:
            return Size((name,))
    for count in (1, 2, 3):
        for names in itertools.combinations_with_replacement(known, count):
            found = _linear(values, names, known)
            if found is not None:
                return found
    halves = [
        Size((name,), 1, offset, divisor)
        for name, vector in known.items()
        for divisor in _DIVISORS
        for offset in ((0, divisor - 1) if any(n % divisor for n in vector) else (0,))
        if all(v == (n + offset) // divisor for v, n in zip(values, vector, strict=True))
    ]
    return halves[0] if len(halves) == 1 else None


def _linear(values: Vector, names: tuple[str, ...], known: Mapping[str, Vector]) -> Size | None:
    products = [math.prod(row) for row in zip(*(known[name] for name in names), strict=True)]
    other = next((i for i, one in enumerate(products) if one != products[0]), None)
    if other is None:
        return None
    factor, rest = divmod(values[other] - values[0], products[other] - products[0])
    if rest or not factor:
        return None
    offset = values[0] - factor * products[0]
    if any(v != factor * p + offset for v, p in zip(values, products, strict=True)):
        return None
    return Size(names, factor, offset)


def at(held: Any, sizes: Mapping[str, int]) -> Any:
    """Parameters of an operation with the formulas in them worked out."""
    if isinstance(held, Size):
        return held.at(sizes)
    if isinstance(held, (tuple, list)):
        return type(held)(at(one, sizes) for one in held)
    if isinstance(held, dict):
        return {name: at(one, sizes) for name, one in held.items()}
    return held


def is_fixed(held: Any) -> bool:
    """Whether no formula is in it."""
    if isinstance(held, Size):
        return False
    if isinstance(held, (tuple, list)):
        return all(map(is_fixed, held))
    return all(map(is_fixed, held.values())) if isinstance(held, dict) else True
