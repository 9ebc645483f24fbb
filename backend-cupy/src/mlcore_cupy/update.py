"""Optimizer steps: all parameters in one launch, over a table of addresses."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcore_cupy.runtime import Runtime

PIECE = 4096  # elements that one block takes
THREADS = 256
KEPT = 16  # tables of addresses
# References to an array that nobody but the list and its tensor has: those two, and getrefcount's own argument.
ALONE = 3


def _adam(
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int
) -> tuple[Any, ...]:
    root, rate = math.sqrt(1 - beta2**step), lr / (1 - beta1**step)
    return lr, beta1, beta2, eps, weight_decay, int(decoupled), root, rate


def _momentum(
    lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: bool, first: bool
) -> tuple[Any, ...]:
    return lr, momentum, dampening, weight_decay, int(nesterov), int(first)


def _plain(lr: float, weight_decay: float) -> tuple[Any, ...]:
    return lr, weight_decay


STEPS: dict[str, tuple[int, Callable[..., tuple[Any, ...]]]] = {
    "sgd_step": (0, _plain), "sgd_momentum_step": (1, _momentum), "adam_step": (2, _adam),
}  # fmt: skip
"""For each operation: how many states a parameter has, and the kernel's numbers from the operation's."""


class Step:
    """The kernel of one optimizer's step.

    A call returns new arrays; `update` writes over the old ones where nobody else refers to them, and so leaves the
    addresses, of which the table is made, as they are for the next step.
    """

    __slots__ = ("dtypes", "name", "numbers", "rt", "states", "tables")
    origin = "native"

    def __init__(self, rt: Runtime, name: str, dtypes: frozenset[Any]) -> None:
        self.rt, self.name, self.dtypes = rt, name, dtypes
        self.states, self.numbers = STEPS[name]
        self.tables: dict[tuple[int, ...], tuple[Any, int]] = {}

    def __call__(self, *args: Any) -> tuple[Any, ...]:
        count = self.numbers.__code__.co_argcount
        arrays, values = args[:-count], args[-count:]
        return self.rt.run(self._new, arrays, values)  # type: ignore[no-any-return]  # CuPy has no types

    def _new(self, arrays: Sequence[Any], values: Sequence[Any]) -> tuple[Any, ...]:
        n = len(arrays) // (2 + self.states)
        given = [self.rt.dense(one) for one in arrays]
        made = [self.rt.empty(one.shape, one.dtype) for one in (*given[:n], *given[2 * n :])]
        self._launch(given, made, n, values)
        return tuple(made)

    def update(self, arrays: list[Any], *values: Any) -> int:
        """See mlcore.optim.step.run: how many places of the list have a new array."""
        return self.rt.run(self._update, arrays, values)  # type: ignore[no-any-return]  # CuPy has no types

    def _update(self, arrays: list[Any], values: Sequence[Any]) -> int:
        n = len(arrays) // (2 + self.states)
        made, replaced, at = [], 0, 0
        for at in (*range(n), *range(2 * n, len(arrays))):
            one = arrays[at]
            own = one.flags.c_contiguous and one.base is None
            del one
            if own and sys.getrefcount(arrays[at]) <= ALONE:
                made.append(arrays[at])
            else:
                made.append(self.rt.empty(arrays[at].shape, arrays[at].dtype))
                replaced += 1
        given = [self.rt.dense(one) for one in arrays]
        self._launch(given, made, n, values)
        for at, one in zip((*range(n), *range(2 * n, len(arrays))), made, strict=True):
            arrays[at] = one
        return replaced

    def _launch(self, given: Sequence[Any], made: Sequence[Any], n: int, values: Sequence[Any]) -> None:
        table, pieces = self._lines(given, made, n)
        if self.rt.held is not None:
            self.rt.held.append(table)
        if pieces:
            numbers = self.numbers(*values)
            self.rt.launch("update", self.name, given[0].dtype, (pieces,), (THREADS,), table, *numbers)

    def _lines(self, given: Sequence[Any], made: Sequence[Any], n: int) -> tuple[Any, int]:
        """The table on the device, and how many lines it has; the last ones are kept, since addresses rarely change."""
        columns = (*given, *made)
        key = tuple([one.data.ptr for one in columns]) + tuple([one.size for one in columns[:n]])
        found = self.tables.get(key)
        if found is None:
            lines = np.concatenate([_pieces(columns[i::n]) for i in range(n)])
            table = self.rt.cupy.asarray(lines) if len(lines) else None
            if len(self.tables) >= KEPT:
                self.tables.clear()
            found = self.tables[key] = (table, len(lines))
        return found


def _pieces(arrays: Sequence[Any]) -> np.ndarray[Any, Any]:
    """The lines of one parameter: addresses, then where each piece begins and ends."""
    size = arrays[0].size
    starts = np.arange(0, size, PIECE, dtype=np.int64)
    lines = np.empty((len(starts), len(arrays) + 2), dtype=np.int64)
    lines[:, :-2] = np.array([one.data.ptr for one in arrays], dtype=np.uint64).view(np.int64)
    lines[:, -2], lines[:, -1] = starts, np.minimum(starts + PIECE, size)
    return lines
