"""What an opened file of weights is, whatever its format: names, dtypes and shapes at once, values when asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from mlcore.errors import FormatError, did_you_mean

Array = np.ndarray[Any, Any]
Buffer = Callable[[tuple[int, ...], Any], Array]
"""Makes the memory that an array is read into, such as `numpy.empty`."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file: what `read` will give, and how the file keeps it.

    `dtype` is the name of the NumPy dtype that it is read as ("float32", "bfloat16", "float8_e4m3fn"), or the format's
    own name where there is none. `nbytes` is what it takes in the file, `stored` the file's own name of its dtype.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    stored: str = ""


class Leaf(str):
    """A tensor's name, in the place of the tensor in a nested structure."""

    __slots__ = ()


class Weights(Mapping[str, Array]):
    """An opened file or folder of named tensors: a mapping of names to arrays, each read when it is asked for.

    A format's reader derives from it, fills `infos` (in the file's order) and `metadata`, and defines `read`; `view`
    too where the file can be mapped, `close` where something stays open, and `tree` where tensors lie in nested
    dictionaries. Arrays from `view` and ``weights[name]`` are only to be looked at; those from `read` belong to the
    caller.
    """

    format: str = ""

    def __init__(
        self, path: Path, infos: Mapping[str, TensorInfo], metadata: Mapping[str, Any] | None = None
    ) -> None:
        self.path = path
        self.infos: Mapping[str, TensorInfo] = MappingProxyType(dict(infos))
        self.metadata: dict[str, Any] = dict(metadata or {})

    @abstractmethod
    def read(self, name: str, buffer: Buffer = np.empty) -> Array:
        """A new array of a tensor's values in native byte order, in memory of `buffer` wherever that can be."""

    def view(self, name: str) -> Array:
        """A tensor's values to look at: without a copy where the file is mapped, and then as long as it is open."""
        return self.read(name)

    def slice(self, name: str, index: Any) -> Array:
        """A part of a tensor, as ``array[index]``; where the file is mapped nothing else of it is read."""
        return np.array(self.view(name)[index])

    def tree(self) -> Any:
        """The structure that was saved, a `Leaf` in each tensor's place: one dictionary unless a format has more."""
        return {name: Leaf(name) for name in self.infos}

    def info(self, name: str) -> TensorInfo:
        """What the file says of one tensor. Raises `FormatError` (never a bare KeyError) if it holds none so called."""
        found = self.infos.get(name)
        if found is None:
            raise FormatError(f"{self.path} holds no tensor {name!r}{did_you_mean(str(name), self.infos)}")
        return found

    def close(self) -> None:
        """Give up what is open. Arrays that were read stay; views may not."""

    def __getitem__(self, name: str) -> Array:
        if name not in self.infos:
            raise KeyError(name)
        return self.view(name)

    def __contains__(self, name: object) -> bool:
        return name in self.infos

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def __len__(self) -> int:
        return len(self.infos)

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        size = sum(info.nbytes for info in self.infos.values())
        return f"<{self.format or type(self).__name__} {self.path}: {len(self)} tensors, {size:,} bytes>"


_PLAIN: Final = (dict, list, tuple)


def fill(tree: Any, make: Callable[[str], Any]) -> Any:
    """A tree of plain dicts, lists and tuples with `make(name)` in the place of each leaf.

    >>> fill({"a": Leaf("a"), "more": [1, Leaf("b")]}, str.upper)
    {'a': 'A', 'more': [1, 'B']}
    """
    kind = type(tree)
    if kind is Leaf:
        return make(str(tree))
    if kind not in _PLAIN:
        return tree
    if kind is dict:
        return {key: fill(value, make) for key, value in tree.items()}
    return kind(fill(value, make) for value in tree)
