"""Shapes written on `forward`: `x: Annotated[Tensor, "B C H W"]` is checked at every call, before anything runs.

A class without such annotations pays nothing: which ones it has is looked up once, and only a `forward` that has some
stays wrapped.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, NamedTuple

from mlcore.errors import ArgumentError, ArgumentTypeError, ShapeError
from mlcore.tensor import TensorBase

# Annotations that say nothing of a shape; a class that has only these is not looked at again.
_PLAIN = frozenset(("Any", "Tensor", "bool", "int", "float", "str", "None", Any, bool, int, float, str, None))


class Spec(NamedTuple):
    """A shape as written: dimensions before an ellipsis, and after it (None where there is no ellipsis)."""

    text: str
    before: tuple[str | int, ...]
    after: tuple[str | int, ...] | None


class _Either(NamedTuple):
    """Of a union: one of these, or None."""

    parts: tuple[Any, ...]


class _Tuple(NamedTuple):
    """Of a tuple: one for each member."""

    parts: tuple[Any, ...]


def parse(text: str) -> Spec:
    """Read `"B C H W"`: names, sizes, `_` for any size, and `...` for any number of dimensions.

    >>> parse("B ... 3")
    Spec(text='B ... 3', before=('B',), after=(3,))
    """
    parts: list[str | int] = []
    for word in text.replace(",", " ").split():
        if word.isdecimal():
            parts.append(int(word))
        elif word.isidentifier() or word == "...":
            parts.append(word)
        else:
            raise ArgumentError(f"{text!r} is not a shape: {word!r}", fix="write names, sizes, _ and one ...")
    if parts.count("...") > 1:
        raise ArgumentError(f"{text!r} has several ellipses", fix="one ... stands for all dimensions there")
    if "..." not in parts:
        return Spec(text, tuple(parts), None)
    place = parts.index("...")
    return Spec(text, tuple(parts[:place]), tuple(parts[place + 1 :]))


def _read(hint: Any) -> Any:
    """What an annotation says of shapes: a Spec, an _Either, a _Tuple; None for nothing."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        kind, *notes = typing.get_args(hint)
        if isinstance(kind, type) and issubclass(kind, TensorBase):
            text = next((one for one in notes if isinstance(one, str)), None)
            return None if text is None else parse(text)
        return None
    if origin is typing.Union or origin is types.UnionType:
        parts = tuple(_read(one) for one in typing.get_args(hint))
        return _Either(tuple(one for one in parts if one)) if any(parts) else None
    if origin is tuple:
        parts = tuple(_read(one) for one in typing.get_args(hint))
        return _Tuple(parts) if any(parts) else None
    return None


def _hints(function: Any) -> dict[str, Any]:
    """The annotations of a function; names that are local to where it was written are found in what it encloses."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    local = {name: cell.cell_contents for name, cell in cells if cell != types.CellType()}
    known = {
        **vars(sys.modules.get("typing", typing)),
        **function.__globals__,
        "Annotated": Annotated,
        **local,
    }
    found = {}
    for name, hint in function.__annotations__.items():
        if not isinstance(hint, str):
            found[name] = hint
            continue
        try:
            found[name] = eval(hint, known)  # noqa: S307  as typing.get_type_hints does, but one by one
        except Exception as error:
            if "Annotated" in hint:
                raise ArgumentTypeError(
                    f"forward: the annotation of {name!r} cannot be read: {error}",
                    annotation=hint,
                    fix="import what it names at the top of the module",
                ) from error
    return found


def _specs(function: Any) -> dict[str, Any]:
    return {name: spec for name, hint in _hints(function).items() if (spec := _read(hint)) is not None}


def watch(cls: type) -> None:
    """Called once for each class of modules: wrap a `forward` whose annotations may be shapes."""
    forward = cls.__dict__.get("forward")
    if not isinstance(forward, types.FunctionType):
        return
    hints = forward.__annotations__.values()
    if all(_is_plain(one) for one in hints):
        return
    specs = None if any(isinstance(one, str) for one in hints) else _specs(forward)
    if specs is None or specs:
        cls.forward = _checked(cls, forward, specs)  # type: ignore[attr-defined]  # a Module has one


def _is_plain(hint: Any) -> bool:
    try:
        return hint in _PLAIN
    except TypeError:
        return False


def _checked(cls: Any, forward: Callable[..., Any], specs: dict[str, Any] | None) -> Callable[..., Any]:
    code = forward.__code__
    names = code.co_varnames[1 : code.co_argcount]
    rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount] if code.co_flags & 4 else ""

    @wraps(forward)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal specs
        if specs is None:
            specs = _specs(forward)
            if not specs and cls.__dict__.get("forward") is checked:
                cls.forward = forward
        if not specs:
            return forward(self, *args, **kwargs)
        bound: dict[str, tuple[int, str]] = {}
        for name, value in zip(names, args, strict=False):
            if name in specs:
                _check(specs[name], value, f"argument {name!r}", bound)
        if rest in specs:
            for i, value in enumerate(args[len(names) :]):
                _check(specs[rest], value, f"argument '*{rest}' {i}", bound)
        for name, value in kwargs.items():
            if name in specs:
                _check(specs[name], value, f"argument {name!r}", bound)
        made = forward(self, *args, **kwargs)
        if "return" in specs:
            _check(specs["return"], made, "the result", bound)
        return made

    return checked


def _check(spec: Any, value: Any, what: str, bound: dict[str, tuple[int, str]]) -> None:
    """Hold a value against what was written, and note the sizes of names."""
    if isinstance(spec, Spec):
        if not isinstance(value, TensorBase):
            raise ArgumentTypeError(
                f"forward: {what} is a {type(value).__name__}", wanted=f"a tensor of {spec.text!r}"
            )
        trouble = _fit(spec, value.shape, what, bound)
        if trouble:
            _raise(spec, value.shape, what, bound, trouble)
    elif isinstance(spec, _Tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(spec.parts):
            held = len(value) if isinstance(value, (tuple, list)) else f"a {type(value).__name__}"
            raise ArgumentTypeError(f"forward: {what}: {len(spec.parts)} tensors wanted", found=held)
        for i, (part, one) in enumerate(zip(spec.parts, value, strict=True)):
            if part is not None:
                _check(part, one, f"{what} [{i}]", bound)
    elif isinstance(spec, _Either) and value is not None:
        _one_of(spec, value, what, bound)


def _one_of(spec: _Either, value: Any, what: str, bound: dict[str, tuple[int, str]]) -> None:
    for i, part in enumerate(spec.parts):
        tried = dict(bound)
        try:
            _check(part, value, what, tried)
        except (ShapeError, ArgumentTypeError):
            if i + 1 == len(spec.parts):
                raise
        else:
            bound.update(tried)
            return


def _fit(spec: Spec, shape: tuple[int, ...], what: str, bound: dict[str, tuple[int, str]]) -> str:
    """Bind what is written to a shape; the reason where it does not fit."""
    fixed = len(spec.before) + len(spec.after or ())
    if len(shape) < fixed or (spec.after is None and len(shape) != fixed):
        more = " or more" if spec.after is not None else ""
        return f"{len(shape)} dimensions, {fixed}{more} wanted"
    pairs = list(enumerate(spec.before))
    pairs += [(len(shape) - len(spec.after or ()) + i, one) for i, one in enumerate(spec.after or ())]
    for place, one in pairs:
        size = shape[place]
        if isinstance(one, int):
            if size != one:
                return f"dimension {place} is {size}, {one} wanted"
        elif one != "_":
            known = bound.setdefault(one, (size, what))
            if known[0] != size:
                return f"dimension {place} ({one}) is {size}, but {one} is {known[0]} in {known[1]}"
    return ""


def _raise(
    spec: Spec, shape: tuple[int, ...], what: str, bound: dict[str, tuple[int, str]], why: str
) -> None:
    raise ShapeError(
        f"forward: {what} has the shape {shape}, {spec.text!r} wanted",
        cause=why,
        bound=", ".join(f"{name}={size}" for name, (size, _) in bound.items()),
    )
