"""What moves or makes elements: views, joining, filling, indices, order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlcore.backends.kernel_library.arrays import KernelArray
from mlcore.backends.kernel_library.machine import Machine
from mlcore.backends.kernel_library.numbers import apart, astype, running
from mlcore.codegen import index
from mlcore.codegen.layout import bits
from mlcore.dtypes import DType, bool_, float64, int64
from mlcore.shapes import Shape

Slices = Sequence[tuple[int, int | None, int]]


def reshape(machine: Machine, x: KernelArray, shape: Shape) -> KernelArray:
    """A view where strides can say it, else a copy."""
    found = x.reshaped(shape)
    return machine.contiguous(x).view(shape) if found is None else found


def slice_update(machine: Machine, x: KernelArray, v: KernelArray, key: Slices) -> KernelArray:
    """A copy of `x`, then `v` into the slice of it."""
    y = machine.empty(x.shape, x.dtype)
    machine.copy(x, y)
    machine.copy(v, y.sliced(key))
    return y


def concat(machine: Machine, *given: Any) -> KernelArray:
    """Each array into its part of the result."""
    arrays: Sequence[KernelArray] = given[:-1]
    axis: int = given[-1]
    first = arrays[0]
    total = sum(x.shape[axis] for x in arrays)
    y = machine.empty((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)
    start = 0
    for x in arrays:
        part = y.view(x.shape, y.strides, start * y.strides[axis])
        machine.copy(x, part)
        start += x.shape[axis]
    return y


def fill(machine: Machine, shape: Shape, value: Any, dtype: DType) -> KernelArray:
    """One element, copied everywhere."""
    y = machine.empty(shape, dtype)
    if y.size:
        with np.errstate(all="ignore"):
            machine.copy(machine.constant(np.full((), value, dtype=dtype.numpy)), y)
    return y


def iota(machine: Machine, start: Any, step: Any, size: int, dtype: DType) -> KernelArray:
    """Counted in 64 bits. A device without float64 is sent floats that the host has counted."""
    whole = dtype.kind in "iu" and isinstance(start, int) and isinstance(step, int)
    kind = dtype if whole else float64
    if not whole and float64 not in machine.dtypes:
        counted = np.arange(size, dtype=np.float64 if dtype.kind == "f" else np.int64)
        return machine.constant((start + step * counted).astype(dtype.numpy))
    y = machine.empty((size,), kind)
    if size:
        words = [size, y.offset, *((start, step) if whole else (bits(start, kind), bits(step, kind)))]
        machine.run(("iota", kind.index), lambda: index.iota(machine.dialect, kind), [y], words, size)
    return astype(machine, y, dtype)


# -- indices -----------------------------------------------------------------------------------------------------------


def gather(machine: Machine, x: KernelArray, indices: KernelArray, axis: int) -> KernelArray:
    """Slices along an axis at indices of any shape."""
    x, indices = machine.contiguous(x), machine.contiguous(indices)
    y = machine.empty((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
    if y.size:
        inner = math.prod(x.shape[axis + 1 :])
        words = [y.size, indices.size, inner, x.shape[axis], x.offset, indices.offset, y.offset]
        key = ("gather", x.dtype.itemsize)
        machine.run(key, lambda: index.gather(machine.dialect, x.dtype), [x, indices, y], words, y.size)
    return y


def update(machine: Machine, op: str) -> Callable[..., KernelArray]:
    """index_add and scatter."""

    def run(x: KernelArray, indices: KernelArray, values: KernelArray, axis: int) -> KernelArray:
        x, values = machine.contiguous(x), machine.contiguous(values)
        if not indices.size or not x.size:
            return x
        order = order_of(machine, machine.contiguous(indices), False)
        places = gather(machine, indices, order, 0)
        y = machine.empty(x.shape, x.dtype)
        inner = math.prod(x.shape[axis + 1 :])
        words = [
            y.size, indices.size, inner, x.shape[axis], x.offset, order.offset, places.offset, values.offset, y.offset,
        ]  # fmt: skip
        key = (op, x.dtype.itemsize if op == "scatter" else x.dtype.name)
        arrays = [x, order, places, values, y]
        machine.run(key, lambda: index.update(machine.dialect, op, x.dtype), arrays, words, y.size)
        return y

    return run


def where_true(machine: Machine, x: KernelArray) -> tuple[KernelArray, ...]:
    """The coordinates of what is not 0: a running count says how many there are, and which is which."""
    if not x.size:
        return tuple(machine.empty((0,), int64) for _ in x.shape)
    flags = astype(machine, astype(machine, machine.contiguous(x), bool_), int64).view((x.size,))
    counted = running(machine, "scan_sum")(flags, 0)
    total = int(machine.to_host(counted.view((), (), counted.size - 1)))
    flat = machine.empty((total,), int64)
    words = [x.size, counted.offset, flat.offset]
    machine.run(("compact",), lambda: index.compact(machine.dialect), [counted, flat], words, x.size)
    found, inner = [], x.size
    for size in x.shape:
        inner //= size
        y = machine.empty((total,), int64)
        if total:
            words = [total, inner, size, flat.offset, y.offset]
            machine.run(("unravel",), lambda: index.unravel(machine.dialect), [flat, y], words, total)
        found.append(y)
    return tuple(found)


# -- order -------------------------------------------------------------------------------------------------------------


def order_of(machine: Machine, x: KernelArray, descending: bool) -> KernelArray:
    """The stable order of each line of a contiguous array: runs of 1, 2, 4, ... are merged."""
    length = x.shape[-1]
    form = "descending" if descending else "ascending"
    order = other = machine.empty(x.shape, int64)
    if not x.size:
        return order
    width, fresh = 1, 1
    while fresh or width < length:
        target = machine.empty(x.shape, int64) if fresh or other is order else other
        words = [x.size, length, width, fresh, x.offset, order.offset, target.offset]
        key = ("sort_indices", x.dtype.index, form)
        machine.run(
            key, lambda: index.merge(machine.dialect, x.dtype, form), [x, order, target], words, x.size
        )
        order, other = target, order
        width, fresh = width * 2, 0
    return order


def sort_indices(machine: Machine, x: KernelArray, axis: int, descending: bool) -> KernelArray:
    """The stable order along an axis."""
    if not x.shape:
        return fill(machine, (), 0, int64)
    turned, _, _ = apart(machine, x, (axis,))
    order = order_of(machine, machine.contiguous(turned), descending)
    rank = len(x.shape)
    return order.permuted([*range(axis), rank - 1, *range(axis, rank - 1)])


def searchsorted(machine: Machine, x1: KernelArray, x2: KernelArray, side: str) -> KernelArray:
    """A binary search for each element of `x2`."""
    x1, x2 = machine.contiguous(x1), machine.contiguous(x2)
    y = machine.empty(x2.shape, int64)
    if y.size:
        words = [y.size, x1.size, x1.offset, x2.offset, y.offset]
        key = ("searchsorted", x1.dtype.index, side)
        machine.run(
            key, lambda: index.searchsorted(machine.dialect, x1.dtype, side), [x1, x2, y], words, y.size
        )
    return y
