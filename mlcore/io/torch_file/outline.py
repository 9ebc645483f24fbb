"""From what a pickle gave to plain data with names in the tensors' places."""

from __future__ import annotations

from typing import Any, Final

from mlcore import dtypes
from mlcore.io.opened import Leaf
from mlcore.io.source import Source
from mlcore.io.torch_file.parts import Kind, Storage, Strided, whole

MAX_DEPTH: Final = 100
MAX_PART: Final = 500  # characters of a key in a name
_CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})
_PLAIN: Final = frozenset({str, int, bool, float, bytes, type(None), complex, bytearray})
_DTYPES: Final = {one.name: one for one in dtypes.all_dtypes}


class Outline:
    """`tree` is the plain data, with a `Leaf` in each tensor's place; `tensors` has them by name.

    A tensor that stands at several places has a name at each. Containers that stand at several places are spread out,
    and what holds itself, or is nested too deep to be walked through by an ordinary function, is refused.
    """

    def __init__(self, source: Source, tree: Any) -> None:
        self._source = source
        self._left = 200_000 + 4 * source.size
        self._doubled: dict[str, int] = {}
        self.tensors: dict[str, Strided] = {}
        self.tree = self._plain(tree, ())

    def _plain(self, value: Any, path: tuple[Any, ...]) -> Any:
        kind = type(value)
        if kind is Strided:
            self._left -= 4
            return self._leaf(value, path)
        if kind in _PLAIN:
            return value
        self._left -= 1 + len(value) if kind in _CONTAINERS else 1
        if len(path) > MAX_DEPTH or self._left < 0:
            self._source.fail(
                f"what it holds is nested too deep or without end at {_text(path[:6])!r}",
                cause=f"at most {MAX_DEPTH} levels are read, and nothing that holds itself",
            )
        if kind is dict:
            return {self._key(key, path): self._plain(item, (*path, key)) for key, item in value.items()}
        if kind is list or kind is tuple:
            return kind([self._plain(item, (*path, index)) for index, item in enumerate(value)])
        if kind is set or kind is frozenset:
            return kind(self._key(item, path) for item in value)
        if kind is Kind:
            return _DTYPES.get(value.name, f"torch.{value.name}")
        if kind is Storage:
            return self._leaf(whole(value), path)
        return self._source.fail(
            f"{_text(path)!r} is the class {value!r:.80}", cause="a class is code, not data"
        )

    def _key(self, key: Any, path: tuple[Any, ...]) -> Any:
        if type(key) in _PLAIN:
            return key
        if type(key) in (Kind, tuple):
            return self._plain(key, path)
        return self._source.fail(f"a {type(key).__name__} is a key in {_text(path)!r}")

    def _leaf(self, tensor: Strided, path: tuple[Any, ...]) -> Leaf:
        name = stem = _text(path) or "value"
        while name in self.tensors:  # {"a": {"b": x}, "a.b": y}
            self._doubled[stem] = self._doubled.get(stem, 1) + 1
            name = f"{stem}~{self._doubled[stem]}"
        self.tensors[name] = tensor
        return Leaf(name)


def _text(path: tuple[Any, ...]) -> str:
    return ".".join([text if len(text) <= MAX_PART else text[:MAX_PART] + "..." for text in map(str, path)])
