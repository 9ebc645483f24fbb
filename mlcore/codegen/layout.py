"""What a launch says about shapes: views as offsets and strides (in elements), and the words of a kernel."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Sequence

from mlcore.codegen.elementwise import RANK
from mlcore.dtypes import DType
from mlcore.shapes import Shape

View = tuple[int, Sequence[int]]  # offset and strides, in elements


def row_major(shape: Shape) -> tuple[int, ...]:
    """The strides of a contiguous array.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def broadcast_strides(shape: Shape, strides: Sequence[int], target: Shape) -> tuple[int, ...]:
    """The strides with which an array of `shape` is read as one of `target`: 0 where it repeats.

    >>> broadcast_strides((3, 1), (1, 1), (2, 3, 4))
    (0, 1, 0)
    """
    lead = len(target) - len(shape)
    return (0,) * lead + tuple(
        0 if have == 1 and want != 1 else step
        for have, want, step in zip(shape, target[lead:], strides, strict=True)
    )


def collapse(shape: Shape, strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """The same elements in the same order with as few dimensions as possible, for arrays walked together.

    >>> collapse((2, 3, 1, 4), [(12, 4, 4, 1), (0, 0, 0, 1)])
    ([6, 4], [[4, 1], [0, 1]])
    """
    dims: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for d, size in enumerate(shape):
        if size == 1:
            continue
        if dims and all(kept[-1] == one[d] * size for kept, one in zip(steps, strides, strict=True)):
            dims[-1] *= size
            for kept, one in zip(steps, strides, strict=True):
                kept[-1] = one[d]
            continue
        dims.append(size)
        for kept, one in zip(steps, strides, strict=True):
            kept.append(one[d])
    return dims, steps


def launches(shape: Shape, views: Sequence[View]) -> Iterator[tuple[str, list[int]]]:
    """The form and the words of each launch that walks views of one shape together: one, unless there are more
    than RANK dimensions that do not merge.

    >>> list(launches((2, 3), [(0, (3, 1)), (5, (0, 0))]))
    [('flat', [6, 0, 1, 5, 0])]
    """
    dims, strides = collapse(shape, [one for _, one in views])
    if len(dims) <= 1:
        words = [math.prod(shape)]
        for (offset, _), steps in zip(views, strides, strict=True):
            words += [offset, steps[0] if steps else 0]
        yield "flat", words
        return
    extra = max(0, len(dims) - RANK)
    for place in itertools.product(*map(range, dims[:extra])):
        words = strided_words(dims[extra:])
        for (offset, _), steps in zip(views, strides, strict=True):
            start = offset + sum(k * step for k, step in zip(place, steps, strict=False))
            words += [start, *padded(steps[extra:])]
        yield "strided", words


def strided_words(dims: Sequence[int]) -> list[int]:
    """The words before the arrays' own: how many elements, dimensions, and their sizes."""
    return [math.prod(dims), len(dims), *padded(dims, 1)]


def padded(values: Sequence[int], fill: int = 0) -> list[int]:
    """RANK numbers."""
    return [*values, *[fill] * (RANK - len(values))]


def bits(value: float, dtype: DType) -> int:
    """A number as the word that carries it to a kernel: the bits of a float (of float32 for two-byte ones).

    >>> hex(bits(1.0, __import__("mlcore.dtypes", fromlist=["float32"]).float32))
    '0x3f800000'
    """
    if dtype.kind != "f":
        return int(value)
    wide = dtype.itemsize == 8
    return int.from_bytes(struct.pack("<d" if wide else "<f", value), "little", signed=wide)
