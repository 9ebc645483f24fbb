"""Calls that make no sense: what a public function says in place of Python's own TypeError or AttributeError."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from mlcore.dispatch import from_data
from mlcore.errors import ArgumentTypeError, MlcoreError, OutOfMemoryError
from mlcore.tensor import TensorBase

_TENSORS = ("x", "x1", "x2", "weights")


def guarded(call: Callable[..., Any], convert: bool = True) -> Callable[..., Any]:
    """`call`, its NumPy arrays made tensors, its TypeErrors told with the signature, its MemoryErrors as our own."""
    signature = inspect.signature(call)
    names = [p.name for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    leading = 0
    while convert and leading < len(names) and names[leading] in _TENSORS:
        leading += 1

    @wraps(call)
    def inner(*args: Any, **kwargs: Any) -> Any:
        try:
            if leading and not (args and isinstance(args[0], TensorBase)):
                args = tuple(_tensor(one) if i < leading else one for i, one in enumerate(args))
            return call(*args, **kwargs)
        except (TypeError, AttributeError) as error:
            if isinstance(error, MlcoreError):
                raise
            raise _explained(call.__name__, signature, names[:leading], args, kwargs, error) from error
        except MemoryError as error:
            if isinstance(error, MlcoreError):
                raise
            raise OutOfMemoryError(
                f"{call.__name__}: {error or 'out of memory'}", fix="use a smaller size"
            ) from None

    return inner


def _tensor(value: Any) -> Any:
    return from_data(value) if isinstance(value, (np.ndarray, np.generic)) else value


def _explained(
    name: str, signature: inspect.Signature, tensors: list[str], args: Any, kwargs: Any, error: Exception
) -> Exception:
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    shown = f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}"
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError as mismatch:
        return ArgumentTypeError(f"{name}: {mismatch}", expects=shown)
    for one in tensors:
        value = given.get(one)
        if not isinstance(value, TensorBase):
            return ArgumentTypeError(
                f"{name}: argument {one!r} is a {type(value).__name__}, expected a Tensor",
                fix="convert it with mlcore.asarray(...)",
            )
    said = ", ".join(f"{key}={_short(value)}" for key, value in given.items() if key not in tensors)
    return ArgumentTypeError(f"{name}: {error}", given=said, expects=shown)


def _short(value: Any) -> str:
    text = f"a tensor of shape {value.shape}" if isinstance(value, TensorBase) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
