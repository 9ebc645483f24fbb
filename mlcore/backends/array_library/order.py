"""What looks for places: extremes, sorting, searching, and running sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore.backends.array_library.library import Library
from mlcore.dtypes import int64


class Order(Library):
    """Places of elements, and scans."""

    def _where_true(self) -> Callable[..., Any] | None:
        call = self.find("nonzero")
        return None if call is None else lambda x: tuple(self.cast(one, int64) for one in call(x))

    def _reduce_argmax(self) -> Callable[..., Any] | None:
        return self._extremum("argmax")

    def _reduce_argmin(self) -> Callable[..., Any] | None:
        return self._extremum("argmin")

    def _extremum(self, name: str) -> Callable[..., Any] | None:
        call = self.find(name)
        if call is None:
            return None
        return lambda x, axis, keepdims: self.cast(
            self._wrapped(call(x, axis=axis, keepdims=keepdims)), int64
        )

    def _wrapped(self, made: Any) -> Any:
        return made if isinstance(made, self.array_type) else self.xp_asarray(made)

    def _scan_sum(self) -> Callable[..., Any] | None:
        return self._scan("cumulative_sum")

    def _scan_prod(self) -> Callable[..., Any] | None:
        return self._scan("cumulative_prod")

    def _scan(self, name: str) -> Callable[..., Any] | None:
        call = self.find(name)
        return None if call is None else lambda x, axis: self.cast(call(x, axis=axis), self._dtype_of(x))

    def _sort_indices(self) -> Callable[..., Any] | None:
        argsort, flip = self.find("argsort"), self.find("flip")
        if argsort is None or flip is None:
            return None
        stable = self._stable(argsort)

        def run(x: Any, axis: int, descending: bool) -> Any:
            if not descending:
                return self.cast(argsort(x, axis=axis, **stable), int64)
            # The stable descending order is the ascending order of the reversed array, reversed.
            order = self.cast(argsort(flip(x, axis=axis), axis=axis, **stable), int64)
            last = self.xp_asarray(np.asarray(x.shape[axis] - 1, dtype=np.int64))
            return flip(last - order, axis=axis)

        return run

    def _stable(self, argsort: Callable[..., Any]) -> dict[str, Any]:
        probe = self.xp_asarray(np.zeros(2, dtype=np.float32))
        for how in ({"stable": True}, {"kind": "stable"}):
            try:
                argsort(probe, axis=0, **how)
            except (TypeError, ValueError):
                continue
            return how
        return {}

    def _searchsorted(self) -> Callable[..., Any] | None:
        call = self.find("searchsorted")
        return (
            None
            if call is None
            else lambda x1, x2, side: self.cast(self._wrapped(call(x1, x2, side=side)), int64)
        )
