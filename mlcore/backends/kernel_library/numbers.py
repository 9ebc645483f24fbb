"""What computes: scalar formulas, casts, folds, scans, matrix products, random bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from mlcore.backends.kernel_library.arrays import KernelArray
from mlcore.backends.kernel_library.machine import Machine
from mlcore.codegen import RANK, cast, elementwise
from mlcore.codegen.index import random_bits
from mlcore.codegen.layout import collapse, padded
from mlcore.codegen.product import contract
from mlcore.codegen.reduce import accumulator, arg_extremum, carried, reduction, scan
from mlcore.dtypes import DType, int64, uint32
from mlcore.shapes import Shape, broadcast, reduced


def formula(machine: Machine, op: Any) -> Callable[..., KernelArray]:
    """The kernel of an operation with a scalar body."""
    lead = min(op.promoted) if op.promoted else 0
    results, name = op.result, op.name

    def run(*xs: KernelArray) -> KernelArray:
        shape, dtype = xs[0].shape, xs[lead].dtype
        if any(x.shape != shape for x in xs):
            shape = broadcast(name, *(x.shape for x in xs))
        y = machine.empty(shape, results[dtype.index] or dtype)
        arrays = [*(x.broadcast(shape) for x in xs), y]
        machine.walk(
            (name, dtype.index), lambda form: elementwise(machine.dialect, op, dtype, form), arrays, shape
        )
        return y

    return run


def astype(machine: Machine, x: KernelArray, dtype: DType) -> KernelArray:
    """The values as another dtype; the array itself where it has that already."""
    if x.dtype is dtype:
        return x
    y = machine.empty(x.shape, dtype)
    key = ("astype", x.dtype.index, dtype.index)
    machine.walk(key, lambda form: cast(machine.dialect, x.dtype, dtype, form), [x, y], x.shape)
    return y


# -- folds -----------------------------------------------------------------------------------------------------------


def apart(machine: Machine, x: KernelArray, axes: Sequence[int]) -> tuple[KernelArray, Shape, Shape]:
    """(x with `axes` moved behind the others, the shape of those others, the shape of `axes`)."""
    kept = [i for i in range(len(x.shape)) if i not in axes]
    turned = x.permuted([*kept, *axes])
    outer, inner = turned.shape[: len(kept)], turned.shape[len(kept) :]
    n = len(outer)
    strides = turned.strides
    if len(collapse(outer, [strides[:n]])[0]) > RANK or len(collapse(inner, [strides[n:]])[0]) > RANK:
        turned = machine.contiguous(turned)
    return turned, outer, inner


def _walker(shape: Shape, *views: tuple[int, Sequence[int]]) -> list[int]:
    """The words of a walk: dimensions, their sizes, and offset and strides of each view."""
    dims, strides = collapse(shape, [steps for _, steps in views])
    words = [len(dims), *padded(dims, 1)]
    for (offset, _), steps in zip(views, strides, strict=True):
        words += [offset, *padded(steps)]
    return words


def fold(machine: Machine, op: Any) -> Callable[..., KernelArray]:
    """The kernel of a reduction: one launch, or two where few results take many elements each."""

    def once(x: KernelArray, outer: Shape, inner: Shape, parts: int, result: DType) -> KernelArray:
        outs, count, n = math.prod(outer), math.prod(inner), len(outer)
        length = -(-count // parts) if count else 0
        parts = max(1, -(-count // length)) if count else 1
        y = machine.empty((outs, parts), result)
        form = "group" if machine.together(outs * parts, length) else "each"
        words = [
            outs, *_walker(outer, (x.offset, x.strides[:n])), *_walker(inner, (0, x.strides[n:])), count, parts,
            length, y.offset,
        ]  # fmt: skip
        key = (op.name, x.dtype.index, result.index, form)
        if outs:
            machine.run(
                key,
                lambda: reduction(machine.dialect, op, x.dtype, form, result=result),
                [x, y],
                words,
                outs * parts,
            )
        return y

    def run(x: KernelArray, axis: tuple[int, ...], keepdims: bool) -> KernelArray:
        turned, outer, inner = apart(machine, x, axis)
        partial = accumulator(op, x.dtype)
        final = partial if op.c_init in ("true", "false") else x.dtype
        parts = machine.parts(math.prod(outer), math.prod(inner))
        y = once(turned, outer, inner, parts, partial if parts > 1 else final)
        if parts > 1:
            y = once(y, y.shape[:1], y.shape[1:], 1, final)
        return y.view(reduced(x.shape, axis, keepdims))

    return run


def extremum(machine: Machine, name: str) -> Callable[..., KernelArray]:
    """reduce_argmax and reduce_argmin."""

    def run(x: KernelArray, axis: int, keepdims: bool) -> KernelArray:
        turned, outer, _ = apart(machine, x, (axis,))
        y = machine.empty(reduced(x.shape, (axis,), keepdims), int64)
        outs, count = math.prod(outer), x.shape[axis]
        form = "group" if machine.together(outs, count) else "each"
        words = [
            outs,
            *_walker(outer, (turned.offset, turned.strides[:-1])),
            count,
            turned.strides[-1],
            y.offset,
        ]
        key = (name, x.dtype.index, form)
        if outs:
            machine.run(
                key, lambda: arg_extremum(machine.dialect, name, x.dtype, form), [turned, y], words, outs
            )
        return y

    return run


def running(machine: Machine, name: str) -> Callable[..., KernelArray]:
    """scan_sum and scan_prod: a launch, or for few long lines several, over blocks and then over their totals."""

    def once(x: KernelArray, y: KernelArray) -> None:
        lines, count = math.prod(x.shape[:-1]), x.shape[-1]
        form = "group" if machine.together(lines, count) else "each"
        views = [(one.offset, one.strides[:-1]) for one in (x, y)]
        words = [lines, *_walker(x.shape[:-1], *views), count, x.strides[-1], y.strides[-1]]
        if x.size:
            key = (name, x.dtype.index, form)
            machine.run(key, lambda: scan(machine.dialect, name, x.dtype, form), [x, y], words, lines)

    def carry(x: KernelArray, y: KernelArray) -> None:
        if x.size:
            key = (name, "carry", x.dtype.index)
            machine.walk(
                key,
                lambda form: carried(machine.dialect, name, x.dtype, form),
                [x.broadcast(y.shape), y, y],
                y.shape,
            )

    def blocks(x: KernelArray, y: KernelArray, length: int) -> None:
        lines, count = x.shape
        whole = count // length
        cut, ends = (lines, whole, length), (lines, count - whole * length)
        once(*(one.view(cut, (count, length, 1)) for one in (x, y)))
        once(*(one.view(ends, (count, 1), whole * length) for one in (x, y)))
        totals = machine.contiguous(y.view((lines, whole), (count, length), length - 1))
        before = run(totals, 1)
        carry(
            before.view((lines, whole - 1, 1), (whole, 1, 0)),
            y.view((lines, whole - 1, length), (count, length, 1), length),
        )
        carry(before.view((lines, 1), (whole, 1), whole - 1), y.view(ends, (count, 1), whole * length))

    def run(x: KernelArray, axis: int) -> KernelArray:
        turned, outer, _ = apart(machine, x, (axis,))
        lines, count = math.prod(outer), x.shape[axis]
        if (
            x.size
            and machine.parts(lines, count) > 1
            and machine.dialect.compute(x.dtype) == machine.dialect.memory(x.dtype)
        ):
            turned = machine.contiguous(turned)
            y = machine.empty(turned.shape, x.dtype)
            blocks(turned.view((lines, count)), y.view((lines, count)), 16 * machine.dialect.group)
        else:
            y = machine.empty(turned.shape, x.dtype)
            if len(collapse(outer, [turned.strides[:-1], y.strides[:-1]])[0]) > RANK:
                turned = machine.contiguous(turned)
            once(turned, y)
        last = len(x.shape) - 1
        return y if axis == last else y.permuted([*range(axis), last, *range(axis, last)])

    return run


# -- products and bits -------------------------------------------------------------------------------------------------


def product(machine: Machine, x1: KernelArray, x2: KernelArray) -> KernelArray:
    """Matrix products over batches that broadcast; operands may be any views, transposed ones too."""
    batch = broadcast("matmul", x1.shape[:-2], x2.shape[:-2])
    rows, inner, columns = x1.shape[-2], x1.shape[-1], x2.shape[-1]
    y = machine.empty((*batch, rows, columns), x1.dtype)
    if not y.size:
        return y
    left, right = x1.broadcast((*batch, rows, inner)), x2.broadcast((*batch, inner, columns))
    if len(collapse(batch, [left.strides[:-2], right.strides[:-2]])[0]) > RANK:
        left, right = machine.contiguous(left), machine.contiguous(right)
    batches, tile = math.prod(batch), machine.dialect.tile
    words = [
        batches, *_walker(batch, (left.offset, left.strides[:-2]), (right.offset, right.strides[:-2])), rows, columns,
        inner, *left.strides[-2:], *right.strides[-2:], y.offset,
    ]  # fmt: skip
    groups = batches * -(-rows // tile) * -(-columns // tile)
    key = ("contract", x1.dtype.index)
    machine.run(key, lambda: contract(machine.dialect, x1.dtype), [left, right, y], words, groups)
    return y


def bits(machine: Machine, key: tuple[int, int], offset: int, shape: Shape) -> KernelArray:
    """Threefry's bits for the counters from `offset` on."""
    y = machine.empty(shape, uint32)
    if y.size:
        words = [y.size, y.offset, key[0], key[1], offset - 2**64 if offset >= 2**63 else offset]
        machine.run(("random_bits",), lambda: random_bits(machine.dialect), [y], words, y.size)
    return y
