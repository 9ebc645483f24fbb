"""PyTorch's deprecated names for what has a better one: they warn, and do the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any


def warn(old: str, new: str) -> None:
    """Say that a name is old."""
    warnings.warn(f"{old} is deprecated; use {new}", FutureWarning, stacklevel=3)


def old_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """`normal_` under the name `normal`: in place too, whatever the name may say."""
    new, old = function.__name__, function.__name__.rstrip("_")

    @wraps(function)
    def renamed(*args: Any, **kwargs: Any) -> Any:
        warn(old, new)
        return function(*args, **kwargs)

    renamed.__name__ = renamed.__qualname__ = old
    renamed.__doc__ = f"PyTorch's deprecated name of `{new}`."
    return renamed
