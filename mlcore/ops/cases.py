"""Samples: what a declaration tells the conformance kit to try an operation on.

`samples=lambda: [dict(axis=0), sample([(2, 3), (3,)], axis=-1)]`: a plain dict gives parameters only, and the kit
chooses the shapes; a `sample` also says what the inputs look like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Shapes = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One case of an operation; made by `sample`."""

    params: Mapping[str, Any]
    shapes: Shapes | None = None
    integers: Mapping[str, int] = field(default_factory=dict)
    booleans: frozenset[str] = frozenset()
    derive: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    special: bool = True
    gradient: bool = True


def sample(
    shapes: Sequence[Sequence[int] | None] | None = None,
    /,
    *,
    integers: Mapping[str, int] | None = None,
    booleans: Sequence[str] = (),
    derive: Mapping[str, Callable[..., Any]] | None = None,
    special: bool = True,
    gradient: bool = True,
    **params: Any,
) -> Sample:
    """One conformance case.

    `shapes` has one shape per input (None: leave out an optional one); without it the kit chooses. `integers`
    names inputs that are int64 from 0 up to, not including, a bound (indices); `booleans` names inputs that are
    bool. `derive` makes an input from others, which the names of the function's parameters say (a list, where the
    operation takes any number of tensors). `special` and `gradient` are False where inf, nan and extremes, or
    finite differences, say nothing.

    >>> sample([(5, 4), (3,)], integers={"indices": 5}, axis=0).shapes
    ((5, 4), (3,))
    """
    chosen = None if shapes is None else tuple(None if one is None else tuple(one) for one in shapes)
    return Sample(params, chosen, integers or {}, frozenset(booleans), derive or {}, special, gradient)


def as_sample(given: Mapping[str, Any] | Sample) -> Sample:
    """A declared sample in full: a dict holds parameters only."""
    return given if isinstance(given, Sample) else Sample(dict(given))
