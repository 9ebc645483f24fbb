"""What a row is, and the list of all rows.

A row makes its inputs once, as NumPy arrays, and has one builder, `build(library, inputs)`, that every library
runs: it copies the inputs into the library and returns a Task. Adding a row is one call of `both`.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

Inputs = dict[str, Any]
Array = np.ndarray[Any, Any]

GROUPS: Final = (
    "overhead",
    "elementwise",
    "reductions",
    "matmul",
    "convolution",
    "sequences",
    "training",
)
"""The files of `groups/`."""

ORDER: Final = (*GROUPS[:-1], "training steps", "inference")
"""The groups of rows in the order of the table."""

CHANNELS_LAST: Final = "torch (channels last)"
ARGUMENTS: Final[Mapping[str, Mapping[str, Any]]] = {CHANNELS_LAST: {"channels_last": True}}
"""What the builder is called with for those of `Row.also` that are a library with an option."""

TORCH: Final[Mapping[str, Mapping[str, Any]]] = {"torch": {}}


def nothing() -> None:
    """What a library does whose calls return when their work is done."""


@dataclass(frozen=True)
class Work:
    """What a row cannot do without: arithmetic, and bytes read and written once.

    `kind` is the kind of arithmetic whose peak counts: "float32", "bfloat16", "float64", "int8" in matrix
    products, or "vector" for what runs element by element. `bytes` counts each input and output once; what
    a step keeps between its halves counts as often as it must be read.
    """

    flops: float = 0.0
    bytes: float = 0.0
    kind: str = "vector"


@dataclass(frozen=True)
class Task:
    """What is timed in one library: a callable, or a statement for timeit with its names."""

    step: Callable[[], Any] | str
    to_host: Callable[[Any], Array]
    names: dict[str, Any] | None = None
    finish: Callable[[], None] = nothing  # waits for a device that works on after the call returned

    def values(self, repeats: int = 1) -> list[Array]:
        """The results of so many runs: what is compared before anything is timed."""
        found: list[Array] = []
        for _ in range(repeats):
            made = eval(self.step, self.names) if isinstance(self.step, str) else self.step()  # noqa: S307
            parts = made if isinstance(made, (tuple, list)) else (made,)
            found += [np.array(self.to_host(one)) for one in parts]
        return found


def as_they_are(values: list[Array], data: Inputs) -> list[Array]:
    """Results that can be compared as they are."""
    return values


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    group: str
    name: str
    inputs: Callable[[np.random.Generator], Inputs]
    build: Callable[..., Task]
    work: Work = Work()
    # What PyTorch eager runs: a name and the builder's arguments; the fastest is what mlcore is held against.
    rivals: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: TORCH)
    also: tuple[str, ...] = ()  # other libraries that can run the builder, shown where they are installed
    tolerance: float = 1e-5  # of the largest difference, relative to the largest value
    steps: int = 1  # how many runs are compared: a training row compares its first losses
    comparable: Callable[[list[Array], Inputs], list[Array]] = as_they_are
    quick: bool = True  # part of --quick
    memory: bool = False  # has a row of peak memory too, from fresh processes

    @property
    def id(self) -> str:
        return f"{self.group}: {self.name}"

    def data(self) -> Inputs:
        """The inputs: the same in every library, process and run."""
        return self.inputs(np.random.default_rng(zlib.crc32(self.name.encode())))


ROWS: dict[str, Row] = {}


def both(
    group: str,
    name: str,
    build: Callable[..., Task],
    inputs: Callable[[np.random.Generator], Inputs],
    work: Work,
    **facts: Any,
) -> Row:
    """Put a row on the list that mlcore and PyTorch run from the same builder."""
    row = Row(group, name, inputs, build, work, **facts)
    if row.id in ROWS:
        raise ValueError(f"two rows are called {row.id!r}")
    ROWS[row.id] = row
    return row


def load() -> dict[str, Row]:
    """All rows, by "group: name". No library is imported by this, only by a builder that is called."""
    for name in GROUPS:
        importlib.import_module(f"mlcore.bench.groups.{name}")
    order = {group: at for at, group in enumerate(ORDER)}
    return dict(sorted(ROWS.items(), key=lambda item: order[item[1].group]))


def normal(**shapes: tuple[int, ...]) -> Callable[[np.random.Generator], Inputs]:
    """Inputs: float32 arrays of these shapes, normally distributed."""
    return lambda rng: {key: rng.standard_normal(shape, np.float32) for key, shape in shapes.items()}


def elements(*shapes: tuple[int, ...]) -> int:
    """How many elements arrays of these shapes have together.

    >>> elements((2, 3), (4,))
    10
    """
    return sum(int(np.prod(shape)) for shape in shapes)
