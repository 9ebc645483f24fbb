"""Hyperparameters: declared once with their default and what they may be, checked for every group of parameters."""

from __future__ import annotations

import inspect
import math
from typing import Any

from mlcore.errors import ArgumentError, ArgumentTypeError, did_you_mean
from mlcore.tensor import TensorBase


def number(
    who: str, name: str, value: Any, low: float = 0.0, high: float = math.inf, below_high: bool = False
) -> float:
    """A hyperparameter as a float, refused when it is nan, infinite or outside its range."""
    if isinstance(value, TensorBase):
        if value.size != 1:  # type: ignore[attr-defined]  # the methods are attached to Tensor
            raise ArgumentError(
                f"{who}: {name} has shape {value.shape}", fix="use one number, or a 0-d tensor"
            )
        value = value.item()  # type: ignore[attr-defined]  # the methods are attached to Tensor
    if isinstance(value, bool) or (not isinstance(value, (int, float)) and not hasattr(value, "__float__")):
        raise ArgumentTypeError(f"{who}: {name} is a {type(value).__name__}, expected a number")
    given = float(value)
    if not math.isfinite(given) or given < low or given > high or (below_high and given == high):
        if high != math.inf:
            wanted = f"a number >= {low:g} and {'<' if below_high else '<='} {high:g}"
        else:
            wanted = f"a finite number >= {low:g}" if low != -math.inf else "a finite number"
        raise ArgumentError(f"{who}: {name} is {value}", fix=f"use {wanted}")
    return given


def count(who: str, name: str, value: Any, low: int = 1) -> int:
    """A hyperparameter that counts something, refused when it is no integer or too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ArgumentError(f"{who}: {name} is {value!r}", fix=f"use an integer of at least {low}")
    return value


class Hyper:
    """What `hyper` makes: a default, and what values are accepted."""

    __slots__ = ("below_high", "choices", "default", "high", "init", "kw_only", "low", "optional")

    def __init__(self, default: Any, low: float, high: float, below_high: bool, choices: tuple[Any, ...] | None,
                 optional: bool, kw_only: bool, init: bool) -> None:  # fmt: skip
        self.optional = optional
        self.default, self.low, self.high, self.below_high = default, low, high, below_high
        self.choices, self.kw_only, self.init = choices, kw_only, init

    def check(self, who: str, name: str, value: Any) -> None:
        """Refuse a value that is not of the kind of the default, or outside the range."""
        default = self.default
        if value is None and self.optional:
            return
        if self.choices is not None:
            if value not in self.choices:
                shown = ", ".join(repr(one) for one in self.choices)
                raise ArgumentError(f"{who}: {name}={value!r}", fix=f"use one of {shown}")
        elif isinstance(default, tuple):
            if not isinstance(value, (tuple, list)) or len(value) != len(default):
                kind = "a pair" if len(default) == 2 else f"{len(default)} numbers"
                raise ArgumentError(f"{who}: {name} is {value}", fix=f"use {kind} such as {default}")
            for i, (one, usual) in enumerate(zip(value, default)):
                if one is not None or usual is not None:
                    number(who, f"{name}[{i}]", one, self.low, self.high, self.below_high)
        elif isinstance(default, bool) or default is None:
            return
        elif isinstance(default, int):
            count(who, name, value, int(self.low))
        else:
            number(who, name, value, self.low, self.high, self.below_high)


def hyper(
    default: Any, *, low: float = 0.0, high: float = math.inf, below_high: bool = False,
    choices: tuple[Any, ...] | None = None, optional: bool = False, kw_only: bool = False, init: bool = True,
) -> Any:  # fmt: skip
    """Declare a hyperparameter of an `UpdateRule`; the default says of what kind it is.

    A float, or a tuple of floats, is checked to be finite and between `low` and `high` (less than it, with
    `below_high`), an int to be at least `low`; `choices` lists the values there are; a bool is a flag and None an
    option, and neither is checked. An `optional` one may also be None. `kw_only` arguments are given by name, and
    without `init` there is no argument: the value is always the default.
    """
    return Hyper(default, low, high, below_high, choices, optional, kw_only, init)


def flag(default: bool | None = None) -> Any:
    """Declare a switch that is given by name."""
    return hyper(default, kw_only=True)


def signature_of(fields: dict[str, Hyper]) -> inspect.Signature:
    """The constructor that the declared hyperparameters come to."""
    P = inspect.Parameter
    plain = [P("params", P.POSITIONAL_OR_KEYWORD)]
    named: list[inspect.Parameter] = []
    for name, one in fields.items():
        if one.init:
            kind = P.KEYWORD_ONLY if one.kw_only else P.POSITIONAL_OR_KEYWORD
            (named if one.kw_only else plain).append(P(name, kind, default=one.default))
    return inspect.Signature([*plain, *named])


def bound(
    who: str, signature: inspect.Signature, args: tuple[Any, ...], given: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a constructor by name, with the defaults; a misspelt one is told what it may have meant."""
    for name in given:
        if name not in signature.parameters:
            raise ArgumentTypeError(
                f"{who}: unknown argument {name!r}{did_you_mean(name, list(signature.parameters))}",
                expects=f"{who}{signature}",
            )
    try:
        found = signature.bind(*args, **given)
    except TypeError as error:
        raise ArgumentTypeError(f"{who}: {error}", expects=f"{who}{signature}") from None
    found.apply_defaults()
    return found.arguments
