"""What a row is, and the list of all rows.

A row makes its inputs once, as NumPy arrays, and has one builder for mlcore and one for each rival. A builder
copies the inputs into its own library and returns a Task. Adding a row is one call of `add` or `both`.
"""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

Inputs = dict[str, Any]


def nothing() -> None:
    """What a library does whose calls return when their work is done."""


@dataclass(frozen=True)
class Task:
    """What is timed in one library: a callable, or a statement for timeit with its names."""

    step: Callable[[], Any] | str
    to_host: Callable[[Any], np.ndarray[Any, Any]]
    names: dict[str, Any] | None = None
    finish: Callable[[], None] = nothing  # waits for a device that works on after the call returned

    def values(self, repeats: int = 1) -> list[np.ndarray[Any, Any]]:
        """The results of so many runs, as float64 arrays: what is compared before anything is timed."""
        found: list[np.ndarray[Any, Any]] = []
        for _ in range(repeats):
            made = eval(self.step, self.names) if isinstance(self.step, str) else self.step()  # noqa: S307
            parts = made if isinstance(made, (tuple, list)) else (made,)
            found += [self.to_host(one).astype(np.float64) for one in parts]
        return found


Builder = Callable[[Inputs], Task]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    group: str
    name: str
    inputs: Callable[[np.random.Generator], Inputs]
    mine: Builder
    rivals: dict[
        str, Builder
    ]  # "torch", or "torch (a variant)": the word before the blank is what is imported
    tolerance: float = 1e-5  # of the largest difference, relative to the largest value
    steps: int = 1  # how many runs are compared: a training row compares its first losses

    def data(self) -> Inputs:
        """The inputs: the same in every library, process and run."""
        return self.inputs(np.random.default_rng(zlib.crc32(self.name.encode())))


ROWS: list[Row] = []


def add(row: Row) -> Row:
    """Put a row on the list."""
    if any(one.name == row.name for one in ROWS):
        raise ValueError(f"two rows are called {row.name!r}")
    ROWS.append(row)
    return row


def module_of(rival: str) -> str:
    """The module that a rival needs.

    >>> module_of("torch (fused AdamW)")
    'torch'
    """
    return rival.partition(" ")[0]


def installed(rival: str) -> bool:
    return importlib.util.find_spec(module_of(rival)) is not None


def load() -> list[Row]:
    """All rows. No library is imported by this, only by the first builder that is called."""
    from mlcore_bench import convolution, elementwise, matmul, overhead, reductions, training

    order = [one.GROUP for one in (overhead, elementwise, reductions, matmul, convolution, training)]
    return sorted(ROWS, key=lambda row: order.index(row.group))


# -- the two libraries -------------------------------------------------------------------------------------------


class Library:
    """What the rows need from a library, under one set of names, where the libraries' own names differ."""

    name: str
    nn: Any
    functional: Any
    optim: Any

    def tensor(self, array: np.ndarray[Any, Any], grad: bool = False, dtype: str | None = None) -> Any:
        """The library's own copy of an array."""
        raise TypeError(f"{type(self).__name__} does not define tensor()")

    def to_host(self, tensor: Any) -> np.ndarray[Any, Any]:
        raise TypeError(f"{type(self).__name__} does not define to_host()")

    def finish(self) -> None:
        """Wait until everything that was asked for is done."""

    def call(self, name: str, *args: Any, **how: Any) -> Any:
        """A function by mlcore's name."""
        raise TypeError(f"{type(self).__name__} does not define call()")

    def task(self, step: Callable[[], Any] | str, names: dict[str, Any] | None = None) -> Task:
        return Task(step, self.to_host, names, self.finish)


class Mlcore(Library):
    name = "mlcore"

    def __init__(self) -> None:
        import mlcore
        from mlcore import nn, optim
        from mlcore.nn import functional

        self.ml, self.nn, self.functional, self.optim = mlcore, nn, functional, optim

    def tensor(self, array: np.ndarray[Any, Any], grad: bool = False, dtype: str | None = None) -> Any:
        kind = self.ml.dtypes.as_dtype(dtype) if dtype else None
        return self.ml.asarray(array, dtype=kind, requires_grad=grad)

    def to_host(self, tensor: Any) -> np.ndarray[Any, Any]:
        if tensor.dtype is self.ml.bfloat16:
            tensor = tensor.detach().to(self.ml.float32)
        return np.asarray(tensor.detach())

    def finish(self) -> None:
        self.ml.default_device().backend.synchronize()

    def call(self, name: str, *args: Any, **how: Any) -> Any:
        return getattr(self.ml, name)(*args, **how)


class Torch(Library):
    name = "torch"
    NAMES: ClassVar = {"multiply": "mul", "max": "amax"}

    def __init__(self) -> None:
        import torch

        self.torch, self.nn, self.functional, self.optim = torch, torch.nn, torch.nn.functional, torch.optim

    def tensor(self, array: np.ndarray[Any, Any], grad: bool = False, dtype: str | None = None) -> Any:
        made = self.torch.from_numpy(np.array(array))
        if dtype:
            made = made.to(getattr(self.torch, dtype))
        return made.requires_grad_(grad)

    def to_host(self, tensor: Any) -> np.ndarray[Any, Any]:
        tensor = tensor.detach()
        return np.asarray(tensor.float() if tensor.dtype is self.torch.bfloat16 else tensor)

    def call(self, name: str, *args: Any, **how: Any) -> Any:
        how = {"dim" if key == "axis" else key: value for key, value in how.items()}
        home = self.functional if name == "gelu" else self.torch
        return getattr(home, self.NAMES.get(name, name))(*args, **how)


_LIBRARIES: dict[type[Library], Library] = {}


def library(kind: type[Library]) -> Any:
    """The one object of a library; the library is imported by the first use."""
    if kind not in _LIBRARIES:
        _LIBRARIES[kind] = kind()
    return _LIBRARIES[kind]


def both(
    group: str,
    name: str,
    build: Callable[[Any, Inputs], Task],
    inputs: Callable[[np.random.Generator], Inputs],
    **facts: Any,
) -> Row:
    """Add a row that mlcore and PyTorch run from the same builder: `build(library, inputs)`."""
    return add(
        Row(
            group,
            name,
            inputs,
            lambda data: build(library(Mlcore), data),
            {"torch": lambda data: build(library(Torch), data)},
            **facts,
        )
    )


def normal(**shapes: tuple[int, ...]) -> Callable[[np.random.Generator], Inputs]:
    """Inputs: float32 arrays of these shapes, normally distributed."""
    return lambda rng: {key: rng.standard_normal(shape, np.float32) for key, shape in shapes.items()}


def tensors(lib: Any, data: Inputs, grad: Iterable[str] = ()) -> dict[str, Any]:
    """The arrays among the inputs as tensors of a library; those named in `grad` require a gradient."""
    wanted = set(grad)
    return {key: lib.tensor(value, key in wanted) for key, value in data.items()}
