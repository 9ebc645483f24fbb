"""`Module.load_weights`: the tensors of a file into a module, under other names if need be, one at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mlcore.errors import ArgumentError, ArgumentTypeError, MlcoreError
from mlcore.io.opened import Leaf, Weights
from mlcore.io.weights import open_weights, read_tensor
from mlcore.nn import state

Rename = Callable[[str], str | None]


def load_weights(
    module: Any, path: str | os.PathLike[str], rename: Any, strict: bool, key: str | None
) -> state.Loaded:
    """What `Module.load_weights` does."""
    to_ours = renaming(rename)
    with open_weights(path) as weights:
        wanted = {name for name, *_ in state.entries(module)}
        part = _best(weights, to_ours, wanted) if key is None else part_of(weights, key)
        names = renamed(part, to_ours)
        done: list[str] = []

        def stored(name: str) -> state.Stored:
            info = weights.info(name)

            def read(device: Any) -> Any:
                found = read_tensor(weights, name, device)
                done.append(name)
                return found

            return state.Stored(tuple(info.shape), "c" if info.dtype.startswith("complex") else "f", read)

        given = {ours: stored(leaf) for ours, leaf in names.items()}
        try:
            return state.load(module, given, strict, False, source=os.fspath(path))
        except MlcoreError as error:
            if not done:
                raise
            taken = f"{len(done)} of {len(names)} tensors were taken over before"
            raise type(error)(error.what, **error.details, state=taken) from error


def _best(weights: Weights, to_ours: Rename, wanted: set[str]) -> dict[str, str]:
    """The dictionary of a file of which most is wanted, the outermost of equals."""
    parts = dict(dictionaries(weights.tree()))

    def fit(part: str) -> int:
        return len(wanted.intersection(filter(None, map(to_ours, parts[part]))))

    return parts[max(parts, key=lambda part: (fit(part), not part))] if parts else {}


def part_of(weights: Weights, key: str | None) -> dict[str, str]:
    """The names below one dictionary of a file (None: the outermost), and which tensor each is."""
    tree = weights.tree()
    parts = dict(dictionaries(tree)) or {"": {path or leaf: leaf for path, leaf in leaves(tree)}}
    if (key or "") not in parts:
        known = ", ".join(repr(one) for one in list(parts)[:8] if one)
        raise ArgumentError(f"{weights.path} holds no dictionary {key!r}", known=known or "none")
    return parts[key or ""]


def renamed(part: Mapping[str, str], to_ours: Rename) -> dict[str, str]:
    """New names and which tensor each is; what is renamed to None is left out. Two of one name are an error."""
    found: dict[str, str] = {}
    sources: dict[str, str] = {}
    for name, leaf in part.items():
        ours = to_ours(name)
        if ours is None:
            continue
        if ours in found:
            raise ArgumentError(
                f"{sources[ours]!r} and {name!r} would both be called {ours!r}",
                fix="make rename give each name of the file another one",
            )
        found[ours], sources[ours] = leaf, name
    return found


def dictionaries(tree: Any, path: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """Each dictionary of a tree under its dotted path, with the tensors below it by their dotted names there.

    >>> dict(dictionaries({"model": {"w": Leaf("model.w")}, "step": 3}))
    {'': {'model.w': 'model.w'}, 'model': {'w': 'model.w'}}
    """
    if isinstance(tree, Mapping):
        yield path, dict(leaves(tree))
        for name, below in tree.items():
            yield from dictionaries(below, f"{path}.{name}" if path else str(name))


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The tensors of a tree: where they stand, dotted, and their names in the file."""
    if isinstance(tree, Leaf):
        yield path, str(tree)
        return
    if isinstance(tree, Mapping):
        items: Iterable[tuple[Any, Any]] = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    else:
        return
    for name, below in items:
        yield from leaves(below, f"{path}.{name}" if path else str(name))


def renaming(rename: Any) -> Rename:
    """A function of names from a dict, a function, or pairs of regular expressions and replacements.

    >>> ours = renaming({"bert": "", "bert.head": None, "gamma": "weight"})
    >>> ours("bert.layer.0"), ours("bert.head.bias"), ours("gamma"), ours("gamma2")
    ('layer.0', None, 'weight', 'gamma2')
    >>> renaming([(r"^h[.](\\d+)", r"layers.\\1"), ("gamma$", "weight")])("h.3.gamma")
    'layers.3.weight'
    """
    if rename is None:
        return lambda name: name
    if isinstance(rename, Mapping):
        table = {str(old).removesuffix("."): new for old, new in rename.items()}
        return lambda name: _by_table(table, name)
    if callable(rename):
        return lambda name: _checked(rename(name), name)
    try:
        pairs = [(re.compile(pattern), new) for pattern, new in rename]
    except re.error as error:
        raise ArgumentError(f"load_weights: rename has a regular expression that is none: {error}") from error
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"load_weights: rename is a {type(rename).__name__}",
            expected="a dict, a function, or pairs of a regular expression and its replacement",
        ) from error

    def by_pairs(name: str) -> str:
        for pattern, new in pairs:
            name = pattern.sub(new, name)
        return name

    return by_pairs


def _by_table(table: Mapping[str, str | None], name: str) -> str | None:
    """The name with its longest beginning (whole parts between dots) that stands in the table replaced."""
    end = len(name)
    while True:
        start = name[:end] if end > 0 else ""
        if start in table:
            new = table[start]
            if new is None:
                return None
            rest = name[end + 1 :] if start else name
            return ".".join(part for part in (new.removesuffix("."), rest) if part)
        if end <= 0:
            return name
        end = max(name.rfind(".", 0, end), 0)


def _checked(new: Any, old: str) -> str | None:
    if new is not None and not isinstance(new, str):
        raise ArgumentTypeError(
            f"load_weights: rename({old!r}) gave a {type(new).__name__}",
            expected="a name, or None to leave it out",
        )
    return new
