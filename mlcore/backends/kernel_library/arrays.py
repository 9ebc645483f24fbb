"""KernelArray: a view of a device's buffer, by offset and strides in elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlcore.codegen.layout import broadcast_strides, row_major
from mlcore.dtypes import DType
from mlcore.shapes import Shape


class KernelArray:
    """An array on a device. Several may share a buffer: nobody writes to one that somebody else may read.

    >>> from mlcore.dtypes import float32
    >>> x = KernelArray(None, (2, 3), float32)
    >>> x.permuted((1, 0)), x.permuted((1, 0)).contiguous
    (KernelArray((3, 2), float32, strides (1, 3)), False)
    """

    __slots__ = ("buffer", "contiguous", "dtype", "offset", "shape", "size", "strides")

    def __init__(
        self, buffer: Any, shape: Shape, dtype: DType, strides: Sequence[int] | None = None, offset: int = 0
    ) -> None:
        self.buffer = buffer
        self.shape = shape
        self.dtype = dtype
        self.offset = offset
        self.size = math.prod(shape)
        plain = row_major(shape)
        self.strides = plain if strides is None else tuple(strides)
        self.contiguous = strides is None or all(
            d == 1 or have == want for d, have, want in zip(shape, self.strides, plain, strict=True)
        )

    def view(self, shape: Shape, strides: Sequence[int] | None = None, offset: int = 0) -> KernelArray:
        """Other elements of the same buffer; `offset` counts from this array's first."""
        return KernelArray(self.buffer, shape, self.dtype, strides, self.offset + offset)

    def permuted(self, axes: Sequence[int]) -> KernelArray:
        """The dimensions in another order."""
        return self.view(tuple(self.shape[i] for i in axes), [self.strides[i] for i in axes])

    def broadcast(self, shape: Shape) -> KernelArray:
        """Repeated to `shape`, by strides of 0."""
        if shape == self.shape:
            return self
        return self.view(shape, broadcast_strides(self.shape, self.strides, shape))

    def sliced(self, key: Sequence[tuple[int, int | None, int]]) -> KernelArray:
        """The elements that a (start, stop, step) per dimension selects."""
        shape, strides, offset = [], [], 0
        for (start, stop, step), size, stride in zip(key, self.shape, self.strides, strict=True):
            places = range(*slice(start, stop, step).indices(size))
            shape.append(len(places))
            strides.append(stride * places.step)
            offset += stride * places.start if len(places) else 0
        return self.view(tuple(shape), strides, offset)

    def reshaped(self, shape: Shape) -> KernelArray | None:
        """Another shape of the same elements, or None where strides cannot say it."""
        if self.contiguous:
            return self.view(shape)
        strides = _regrouped(self.shape, self.strides, shape)
        return None if strides is None else self.view(shape, strides)

    def __repr__(self) -> str:
        return f"KernelArray({self.shape}, {self.dtype}, strides {self.strides})"


def _regrouped(old: Shape, strides: Sequence[int], new: Shape) -> list[int] | None:
    """The strides of a reshape: each run of new dimensions lies in a run of old ones that follow each other."""
    if 0 in old:
        return list(row_major(new))
    dims = [(d, s) for d, s in zip(old, strides, strict=True) if d != 1]
    found: list[int] = []
    i = j = 0
    while j < len(new):
        if new[j] == 1 and i == len(dims):
            found.append(0)
            j += 1
            continue
        have, want, first = dims[i][0], new[j], j
        last = i
        while have != want:
            if want < have:
                j += 1
                want *= new[j]
            else:
                if dims[last][1] != dims[last + 1][1] * dims[last + 1][0]:
                    return None
                last += 1
                have *= dims[last][0]
        step, steps = dims[last][1], []
        for size in reversed(new[first : j + 1]):
            steps.append(step)
            step *= size
        found += reversed(steps)
        i, j = last + 1, j + 1
    return found
