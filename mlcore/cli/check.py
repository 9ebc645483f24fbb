"""``mlcore check``: whether a network's layers fit together and what they cost, without running it.

mlcore check my.models:Net --in "B 3 224 224"
mlcore check my.models:Net width=64 depth=18 --in "B 3 224 224" --size B=8
mlcore check my.models:Tagger --in "B T int64" --in mask="B T bool"
mlcore check torch_like:build --in "1 80 T float16" --size T=3000 --json

The model is a class, a function that makes a module, or a module. Names are sizes that may be anything; those which
--size does not give are 2, 3, 5, ... in the order of their appearance.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any

from mlcore.cli.output import print_json
from mlcore.dtypes import DType, all_dtypes
from mlcore.errors import ArgumentError, ArgumentTypeError, UnsupportedOpError
from mlcore.hub import create_model

_FREE_SIZES = (2, 3, 5, 7, 11, 13, 17, 19)  # sizes that names get: unlike each other, so that mistakes show


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check", help="whether a network's layers fit together, and what they cost, without running it",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_model(parser)
    parser.add_argument("--train", action="store_true", help="in training mode (default: evaluation)")
    parser.add_argument("--json", action="store_true", help="print the rows and totals as JSON")
    parser.set_defaults(run=run)


def add_model(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a model and its inputs; `asked` reads them."""
    parser.add_argument(
        "model",
        metavar="MODULE:NAME",
        help="a module class, what makes or is a module, or a model's name (vision/resnet18)",
    )
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="the constructor's arguments")
    parser.add_argument(
        "--in", dest="inputs", action="append", default=[], metavar="SHAPE",
        help='an input: names and sizes, then perhaps a dtype: "B 3 224 224"; NAME="..." for a keyword',
    )  # fmt: skip
    parser.add_argument("--size", action="append", default=[], metavar="NAME=N", help="the size of a name")


@dataclass(frozen=True, slots=True)
class Asked:
    """A model and its inputs, as a command line gives them; `named` has the names of each input's dimensions."""

    model: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sizes: dict[str, int]
    named: dict[str, dict[int, str]]


def asked(arguments: argparse.Namespace, *, real: bool) -> Asked:
    """Read what `add_model` declares; the model has values where `real`."""
    from mlcore.compile.capture import input_names

    sizes = dict(size_of(one) for one in arguments.size)
    fixed = set(sizes)
    args, kwargs = inputs(arguments.inputs, sizes)
    model = build(arguments.model, arguments.arguments, real=real)
    named = {}
    words = [word.rpartition("=")[2] for word in arguments.inputs]
    given = [word.partition("=")[0].strip() if "=" in word else None for word in arguments.inputs]
    places = iter(args)
    names = input_names(model, args, kwargs)
    for text, key in zip(words, given, strict=True):
        tensor = kwargs[key] if key is not None else next(places)
        axes = text.replace(",", " ").strip("() ").split()
        free = {i: one for i, one in enumerate(axes) if one in sizes and one not in fixed}
        if free:
            named[names[id(tensor)]] = free
    return Asked(model, args, kwargs, sizes, named)


def run(arguments: argparse.Namespace) -> int:
    from mlcore.nn.tabulate import trace

    sizes = dict(size_of(one) for one in arguments.size)
    args, kwargs = inputs(arguments.inputs, sizes)
    model = build(arguments.model, arguments.arguments)
    found = trace(model, args, kwargs, arguments.train)
    if arguments.json:
        print_json({"sizes": sizes, **found.to_dict()})
        return 0 if found.trouble is None else 2
    if sizes:
        print(", ".join(f"{name} = {size}" for name, size in sizes.items()) + "\n")
    print(found)
    if found.trouble is None:
        print("\nthe shapes fit")
        return 0
    raise found.trouble


def inputs(words: list[str], sizes: dict[str, int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of forward; names without a size are given one in `sizes`."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if equals:
            kwargs[name.strip()] = _input(text, sizes)
        else:
            args.append(_input(word, sizes))
    return tuple(args), kwargs


def _input(text: str, sizes: dict[str, int]) -> Any:
    from mlcore.compile.shape_only import blank
    from mlcore.nn.annotated import parse

    words = text.replace(",", " ").strip("() ").split()
    known: dict[str, DType] = {one.name: one for one in all_dtypes}
    dtype = known[words.pop()] if words and words[-1] in known else None
    spec = parse(" ".join(words))
    if spec.after is not None or "_" in spec.before:
        raise ArgumentError(f"check: {text!r} leaves a dimension open", fix="give names and sizes")
    shape = []
    for one in spec.before:
        if isinstance(one, str) and one not in sizes:
            sizes[one] = next((n for n in _FREE_SIZES if n not in sizes.values()), 2)
        shape.append(sizes[one] if isinstance(one, str) else one)
    return blank(shape, dtype)


def size_of(text: str) -> tuple[str, int]:
    """A size as it is given on the command line: ``B=8``."""
    name, _, value = text.partition("=")
    if not value.isdecimal() or not name.isidentifier():
        raise ArgumentError(f"check: --size {text!r}", fix="write NAME=N, as in B=8")
    return name, int(value)


def build(text: str, words: list[str], *, real: bool = False) -> Any:
    """The module that `pkg.module:Name` is or makes; unless `real`, without values where its constructor allows it."""
    from mlcore.compile.shape_only import shape_only
    from mlcore.nn.module import Module

    given = dict(_value(word) for word in words)
    made = _imported(text) if ":" in text or "/" not in text else _named(text)
    if isinstance(made, Module):
        if given:
            raise ArgumentError(f"check: {text} is a module already", fix=f"leave out {', '.join(words)}")
        return made
    if not callable(made):
        raise ArgumentTypeError(
            f"check: {text} is a {type(made).__name__}", fix="name a Module class or a function"
        )
    try:
        with contextlib.nullcontext() if real else shape_only():
            found = made(**given)
    except UnsupportedOpError:  # its constructor looks at values: then it gets some
        found = made(**given)
    if not isinstance(found, Module):
        raise ArgumentTypeError(f"check: {text} made a {type(found).__name__}, not a Module")
    return found


def _named(text: str) -> Any:
    """A model by its name: its weights, if it has any, are not fetched to look at shapes."""
    return functools.partial(create_model, text)


def _value(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals or not name.isidentifier():
        raise ArgumentError(f"check: {word!r}", fix="write name=value")
    try:
        return name, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return name, text


def _imported(text: str) -> Any:
    module, colon, name = text.partition(":")
    if not colon or not name:
        raise ArgumentError(f"check: {text!r} names no model", fix="write module:Name, as in my.models:Net")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ArgumentError(
            f"check: {text}: {error}", fix="write module:Name, as in my.models:Net"
        ) from error
    finally:
        sys.path.remove(os.getcwd())
    return found
