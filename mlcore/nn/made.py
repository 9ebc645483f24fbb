"""What a module was made with: its constructor's arguments as plain values, for `mlcore.nn.config`."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, NamedTuple

from mlcore.backends.device import Device
from mlcore.dtype import DType

_PLAIN = frozenset((bool, int, float, str, DType, Device))


class Made(NamedTuple):
    """A class and the arguments of a call of it."""

    kind: type
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Opaque(NamedTuple):
    """An argument that no text can say, such as a tensor; only its type is kept."""

    kind: str


def noted(kind: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Made:
    """The call of a class as it is kept."""
    return Made(kind, tuple([plain(one) for one in args]), {name: plain(one) for name, one in kwargs.items()})


def plain(value: Any) -> Any:
    """A value without references to anything large: modules as what they were made with, lists as tuples."""
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, (tuple, list)):
        return tuple(map(plain, value))
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    made = getattr(value, "_made", None)
    if isinstance(made, Made):
        return made
    if isinstance(value, (type, types.FunctionType)) and "<" not in value.__qualname__:
        return value
    if isinstance(value, types.BuiltinFunctionType) or hasattr(value, "usage"):  # an operation
        return value
    return (
        value if isinstance(value, (int, float, str)) else Opaque(type(value).__name__)
    )  # such as np.float64
