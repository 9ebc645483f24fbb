"""Nested state (dicts, lists, tuples, numbers, text, tensors) as plain JSON plus named arrays, and back.

Only data: nothing that is read can name a class or a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlcore.errors import ArgumentTypeError, FormatError
from mlcore.tensor import TensorBase

Arrays = dict[str, np.ndarray[Any, Any]]


def flatten(tree: Any) -> tuple[Any, Arrays]:
    """Split `tree` into JSON-able data and a table of arrays, named by their path.

    Raises `ArgumentTypeError` naming the path of anything that is not plain data.

    >>> data, arrays = flatten({"model": {"weight": np.zeros(2)}, "betas": (0.9, 0.99)})
    >>> data
    {'model': {'weight': {'$array': 'model.weight'}}, 'betas': {'$tuple': [0.9, 0.99]}}
    >>> arrays
    {'model.weight': array([0., 0.])}
    """
    arrays: Arrays = {}
    return _encode(tree, (), arrays), arrays


def unflatten(data: Any, arrays: Mapping[str, Any], tensor: Callable[[Any], Any]) -> Any:
    """Put together what `flatten` took apart; `tensor` makes a Tensor of an array."""
    if isinstance(data, list):
        return [unflatten(item, arrays, tensor) for item in data]
    if not isinstance(data, dict):
        return data
    mark = next(iter(data), "")
    if not mark.startswith("$"):
        return {key: unflatten(value, arrays, tensor) for key, value in data.items()}
    content = data[mark]
    try:
        if mark == "$tuple":
            return tuple(unflatten(item, arrays, tensor) for item in content)
        if mark == "$dict":
            return {key: unflatten(value, arrays, tensor) for key, value in content}
        if mark == "$float":
            return float(content)
        if mark == "$complex":
            return complex(*map(float, content))
        if mark in ("$array", "$tensor"):
            return tensor(arrays[content]) if mark == "$tensor" else arrays[content]
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{mark} with {str(content)[:60]!r} makes no sense ({type(error).__name__}: {error})"
        ) from error
    raise FormatError(
        f"unknown kind of value {mark!r}", fix="read it with the mlcore that wrote it, or a newer one"
    )


def _encode(value: Any, path: tuple[str, ...], arrays: Arrays) -> Any:
    if isinstance(value, TensorBase):
        return {"$tensor": _keep(np.asarray(value), path, arrays)}
    if isinstance(value, np.ndarray):
        return {"$array": _keep(value, path, arrays)}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, complex):
        return {"$complex": [repr(value.real), repr(value.imag)]}
    if isinstance(value, tuple):
        return {"$tuple": [_encode(item, (*path, str(index)), arrays) for index, item in enumerate(value)]}
    if isinstance(value, list):
        return [_encode(item, (*path, str(index)), arrays) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        pairs = [(_key(key, path), _encode(item, (*path, str(key)), arrays)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {"$dict": [[key, item] for key, item in pairs]}
    raise ArgumentTypeError(
        f"{'.'.join(path) or 'the state'} is a {type(value).__name__}, which a checkpoint cannot hold",
        fix="store numbers, text, lists, tuples, dicts, arrays and tensors; a module by its state_dict()",
    )


def _key(key: Any, path: tuple[str, ...]) -> Any:
    if key is None or type(key) in (str, int, bool):
        return key
    raise ArgumentTypeError(f"{'.'.join(path) or 'the state'} has the key {key!r}; keys are str or int")


def _keep(array: np.ndarray[Any, Any], path: tuple[str, ...], arrays: Arrays) -> str:
    name = stem = ".".join(path) or "value"
    number = 1
    while name in arrays:  # {"a": {"b": x}, "a.b": y}
        number += 1
        name = f"{stem}~{number}"
    arrays[name] = array
    return name
