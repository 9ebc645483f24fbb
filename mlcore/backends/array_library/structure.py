"""What moves and makes values: one method an operation, called once; it returns the kernel, or None."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore.backends.array_library.library import Library
from mlcore.dtype import DType
from mlcore.dtypes import bool_, from_numpy, int64


class Structure(Library):
    """Creation, casts, shapes, slices and gathering."""

    def _fill(self) -> Callable[..., Any]:
        full = self._full()
        return lambda shape, value, dtype: full(
            shape, value, dtype=self.native(dtype), **self._library_device
        )

    def _iota(self) -> Callable[..., Any] | None:
        arange = self.find("arange")
        if arange is None or int64 not in self.dtypes:
            return None

        def line(first: Any, stride: Any, size: int, dtype: DType) -> Any:
            count = arange(0, size, dtype=self.native(int64), **self._library_device)
            return self.cast(first + stride * self.cast(count, self._dtype_of(first)), dtype)

        made = self.compiled(line, 2)

        def run(start: Any, step: Any, size: int, dtype: DType) -> Any:
            kind = np.float64 if dtype.kind == "f" else np.int64
            wide = from_numpy(np.dtype(kind))
            if wide not in self.dtypes:
                return self.from_host((start + step * np.arange(size, dtype=kind)).astype(dtype.numpy))
            first, stride = (self.xp_asarray(np.asarray(v, dtype=kind)) for v in (start, step))
            return made(first, stride, size, dtype)

        return run

    def _astype(self) -> Callable[..., Any]:
        def run(x: Any, dtype: DType) -> Any:
            return (
                x != self.zero(x) if dtype is bool_ and x.dtype != self.native(bool_) else self.cast(x, dtype)
            )

        return run

    def _reshape(self) -> Callable[..., Any] | None:
        return self.find("reshape")

    def _permute_dims(self) -> Callable[..., Any] | None:
        return self.find("permute_dims")

    def _broadcast_to(self) -> Callable[..., Any] | None:
        return self.find("broadcast_to")

    def _where(self) -> Callable[..., Any] | None:
        return self.find("where")

    def _contract(self) -> Callable[..., Any] | None:
        return self.find("matmul")

    def _slice(self) -> Callable[..., Any]:
        return lambda x, key: x[tuple(slice(*one) for one in key)] if key else x

    def _slice_update(self) -> Callable[..., Any]:
        if hasattr(self.array_type, "at"):  # arrays that cannot be written have the functional form
            return lambda x, v, key: x.at[tuple(slice(*one) for one in key)].set(v) if key else v
        copy = self._copier()

        def run(x: Any, v: Any, key: Any) -> Any:
            if not key:
                return v
            y = copy(x)
            y[tuple(slice(*one) for one in key)] = v
            return y

        return run

    def _copier(self) -> Callable[[Any], Any]:
        """How to copy an array: the standard's way, or the method that most libraries have."""
        probe = self.xp_asarray(np.zeros(1, dtype=np.float32))
        try:
            self.xp_asarray(probe, copy=True)
        except TypeError:
            return lambda x: x.copy()
        return lambda x: self.xp_asarray(x, copy=True)

    def _concat(self) -> Callable[..., Any] | None:
        join = self.find("concat")
        return None if join is None else lambda *given: join(list(given[:-1]), axis=given[-1])

    def _gather(self) -> Callable[..., Any] | None:
        take, reshape = self.find("take"), self.find("reshape")
        if take is None or reshape is None:
            return None

        def run(x: Any, indices: Any, axis: int) -> Any:
            if len(indices.shape) == 1:
                return take(x, indices, axis=axis)
            picked = take(
                x, reshape(indices, (math.prod(indices.shape),)), axis=axis
            )  # the standard wants 1-d
            return reshape(picked, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

        return run

    def _index_add(self) -> Callable[..., Any] | None:
        if hasattr(self.array_type, "at"):

            def functional(x: Any, indices: Any, values: Any, axis: int) -> Any:
                return x.at[(*(slice(None),) * axis, indices)].add(values)

            return functional
        add_at = getattr(getattr(self.xp, "add", None), "at", None)
        if add_at is None:
            return None
        copy = self._copier()

        def run(x: Any, indices: Any, values: Any, axis: int) -> Any:
            y = copy(x)
            add_at(y, (*(slice(None),) * axis, indices), values)
            return y

        return run
