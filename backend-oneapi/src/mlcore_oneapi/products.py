"""Matrix products of any operands without copies that they do not need: contract, linear and linear's gradients."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from mlcore.dtypes import DType, float64
from mlcore_oneapi.products_source import (
    COLUMN_BIAS,
    NO_BIAS,
    pack,
    panel_product,
    tiled_product,
)
from mlcore_oneapi.tools import Tools, numbers

VECTORS: Final = 2
TILE, SIDE = 32, 8
NEAR, FEW = 512, 64  # elements between rows, and rows of A, up to which B is read as it lies
PACKED: Final = 64  # rows of B that one work-item packs


class Operand(NamedTuple):
    """A matrix, or a grid of them: strides of rows, columns, repeats, and of the two batch dimensions."""

    array: Any
    at: int
    row: int
    column: int
    repeat: int = 0
    outer: int = 0
    batch: int = 0


class Grid(NamedTuple):
    """How large a product is: rows, columns, inner, repeats of inner, the two batch dimensions, and how much of the
    inner dimension the last repeat has (0: all)."""

    m: int
    n: int
    inner: int
    repeats: int = 1
    outer: int = 1
    batch: int = 1
    tail: int = 0


class Bias(NamedTuple):
    """What is added: a number for each column, or for each row."""

    how: int
    array: Any
    at: int
    step: int


def width(dtype: DType) -> int:
    """Columns of a panel."""
    return (8 if dtype is float64 else 16) * VECTORS


def product(
    tools: Tools, dtype: DType, grid: Grid, a: Operand, b: Operand, c: Operand, bias: Bias | None = None
) -> None:
    """C = A B + bias. C's columns lie side by side; everything else has any strides."""
    if tools.processor:
        panels(tools, dtype, grid, a, packed(tools, dtype, grid, b), c, bias)
        return
    kernel = tools.get(tiled_product, dtype, TILE, SIDE, local=(SIDE, SIDE, 1))
    size = (_up(grid.n, TILE) * SIDE, _up(grid.m, TILE) * SIDE, grid.outer * grid.batch)
    _launch(
        tools,
        kernel,
        grid,
        a,
        Panels(b.array, b.at, 0, b.row, b.repeat, b.outer, b.batch, b.column),
        c,
        bias,
        size,
    )


class Panels(NamedTuple):
    """B as panels of columns: where the first is, and the strides of panels, rows, repeats and batches."""

    array: Any
    at: int
    panel: int
    inner: int
    repeat: int
    outer: int
    batch: int
    column: int = 1


def panels(
    tools: Tools, dtype: DType, grid: Grid, a: Operand, b: Panels, c: Operand, bias: Bias | None = None
) -> None:
    """The same with B in panels already."""
    rows = 8 if grid.m > 4 else 4 if grid.m > 1 else 1
    kernel = tools.get(panel_product, dtype, rows, VECTORS)
    size = (_up(grid.n, width(dtype)), _up(grid.m, rows), grid.outer * grid.batch)
    _launch(tools, kernel, grid, a, b, c, bias, size)


def _launch(
    tools: Tools,
    kernel: Any,
    grid: Grid,
    a: Operand,
    b: Panels,
    c: Operand,
    bias: Bias | None,
    size: tuple[int, ...],
) -> None:
    how, extra, extra_at, step = bias or (NO_BIAS, a.array, 0, 0)
    words = numbers(
        grid.m, grid.n, grid.inner, grid.repeats, a.at, a.row, a.column, a.repeat, a.outer, a.batch,
        b.at, b.panel, b.inner, b.repeat, b.outer, b.batch, c.at, c.row, c.outer, c.batch,
        grid.batch, how, extra_at, step, b.column, grid.tail or grid.inner,
    )  # fmt: skip
    tools.run(kernel, (a.array, b.array, extra, c.array), words, size)


def packed(tools: Tools, dtype: DType, grid: Grid, b: Operand, always: bool = False) -> Panels:
    """B in panels: itself where its rows already lie side by side and no panel is broken, else a packed copy. Rows
    that lie far apart share a few lines of a cache, so what is read often is packed all the same."""
    side = width(dtype)
    if not always and b.column == 1 and grid.n % side == 0 and (abs(b.row) <= NEAR or grid.m <= FEW):
        return Panels(b.array, b.at, side, b.row, b.repeat, b.outer, b.batch)
    count = _up(grid.n, side)
    outer, batch = (grid.outer if b.outer else 1), (grid.batch if b.batch else 1)
    one = grid.repeats * grid.inner * side
    made = tools.arrays.empty((outer * batch * count * one,), dtype)
    chunks = _up(grid.inner, PACKED)
    words = numbers(
        grid.n,
        grid.inner,
        grid.repeats,
        b.at,
        b.row,
        b.column,
        b.repeat,
        b.outer,
        b.batch,
        batch,
        PACKED,
        chunks,
    )
    tools.run(
        tools.get(pack, dtype, VECTORS), (b.array, made), words, (count, chunks * grid.repeats, outer * batch)
    )
    whole = count * one
    return Panels(
        made, 0, one, side, grid.inner * side,
        batch * whole if b.outer else 0, whole if b.batch else 0,
    )  # fmt: skip


def _up(count: int, size: int) -> int:
    return -(-count // size)


# -- the operations ------------------------------------------------------------------------------------------------


def contract(tools: Tools, x1: Any, x2: Any) -> Any:
    """x1 @ x2, the leading dimensions broadcasting."""
    (m, inner), n = x1.shape[-2:], x2.shape[-1]
    lead = _broadcast(x1.shape[:-2], x2.shape[:-2])
    y = tools.arrays.empty((*lead, m, n), x1.dtype)
    if not math.prod(y.shape):
        return y
    if not inner:
        return tools.arrays.zeros(y.shape, x1.dtype)
    left, right = (_batches(one, lead) for one in (x1, x2))
    grids = _two(lead, left, right)
    if grids is None:  # more than two dimensions of a batch that do not join
        x1, x2 = tools.arrays.contiguous(x1), tools.arrays.contiguous(x2)
        left, right = (_batches(one, lead) for one in (x1, x2))
        grids = _two(lead, left, right)
    if grids is None:
        x1, x2 = (tools.arrays.contiguous(one.broadcast((*lead, *one.shape[-2:]))) for one in (x1, x2))
        grids = _two(lead, *(_batches(one, lead) for one in (x1, x2)))
    assert grids is not None
    (outer, l1, r1), (batch, l2, r2) = grids
    if batch > 1 and r1 == 0 and r2 == 0 and outer == 1 and l2 == m * x1.strides[-2]:
        m, batch = m * batch, 1  # one matrix on the right for all: a taller one on the left
    a = Operand(x1, x1.offset, x1.strides[-2], x1.strides[-1], 0, l1, l2)
    b = Operand(x2, x2.offset, x2.strides[-2], x2.strides[-1], 0, r1, r2)
    c = Operand(y, y.offset, n, 1, 0, batch * m * n, m * n)
    product(tools, x1.dtype, Grid(m, n, inner, 1, outer, batch), a, b, c)
    return y


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    return tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))


def _batches(x: Any, lead: tuple[int, ...]) -> list[int]:
    """The strides of a batch's dimensions, 0 where it repeats."""
    own, strides = x.shape[:-2], x.strides[:-2]
    missing = len(lead) - len(own)
    return [0] * missing + [
        0 if have == 1 and want != 1 else step
        for have, want, step in zip(own, lead[missing:], strides, strict=True)
    ]


def _two(lead: tuple[int, ...], left: list[int], right: list[int]) -> list[tuple[int, int, int]] | None:
    """Two (size, stride of the left, stride of the right); None where more dimensions do not join."""
    found: list[tuple[int, int, int]] = []
    for size, a, b in zip(lead, left, right, strict=True):
        if size == 1:
            continue
        if found and found[-1][1] == size * a and found[-1][2] == size * b:
            found[-1] = (found[-1][0] * size, a, b)
        else:
            found.append((size, a, b))
    if len(found) > 2:
        return None
    return [(1, 0, 0)] * (2 - len(found)) + found


def linear(tools: Tools, x: Any, weight: Any, bias: Any) -> Any:
    """x @ weight.T + bias."""
    n, inner = weight.shape
    y = tools.arrays.empty((*x.shape[:-1], n), x.dtype)
    m = math.prod(x.shape[:-1])
    if not m or not n:
        return y
    if not inner:
        return (
            tools.arrays.zeros(y.shape, x.dtype)
            if bias is None
            else tools.arrays.contiguous(bias.broadcast(y.shape))
        )
    a = _rows(tools, x)
    more = None if bias is None else Bias(COLUMN_BIAS, bias, bias.offset, bias.strides[0])
    b = Operand(weight, weight.offset, weight.strides[1], weight.strides[0])
    product(tools, x.dtype, Grid(m, n, inner), a, b, Operand(y, y.offset, n, 1), more)
    return y


def _rows(tools: Tools, x: Any) -> Operand:
    """All leading dimensions as rows; a copy where they do not join."""
    step = _row_step(x)
    if step is None:
        x = tools.arrays.contiguous(x)
        step = x.shape[-1]
    return Operand(x, x.offset, step, x.strides[-1])


def _row_step(x: Any) -> int | None:
    step: int | None = None
    size = 1
    for have, stride in zip(reversed(x.shape[:-1]), reversed(x.strides[:-1])):
        if have == 1:
            continue
        if step is None:
            step = stride
        elif stride != step * size:
            return None
        size *= have
    return 0 if step is None else step


def linear_grad(tools: Tools, g: Any, x: Any, weight: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    """The gradients of the input, the weight and the bias that `needs` names."""
    n, inner = weight.shape
    m = math.prod(x.shape[:-1])
    left = _rows(tools, g)
    found = []
    if needs[0]:
        gx = tools.arrays.empty(x.shape, x.dtype)
        if m and inner:
            b = Operand(weight, weight.offset, weight.strides[0], weight.strides[1])
            product(tools, x.dtype, Grid(m, inner, n), left, b, Operand(gx, gx.offset, inner, 1))
        found.append(gx)
    if needs[1]:
        gw = tools.arrays.empty(weight.shape, x.dtype) if m else tools.arrays.zeros(weight.shape, x.dtype)
        if m and n and inner:
            turned = Operand(left.array, left.at, left.column, left.row)
            right = _rows(tools, x)
            product(tools, x.dtype, Grid(n, inner, m), turned, right, Operand(gw, gw.offset, inner, 1))
        found.append(gw)
    if needs[2]:
        found.append(tools.arrays.sum_rows(g))
    return tuple(found)
