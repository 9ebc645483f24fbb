"""LSTM layers: for each step one product with weights that are packed once, and one kernel for all that follows it."""

from __future__ import annotations

import math
from typing import Any

from mlcore_oneapi import cells_source as source
from mlcore_oneapi.products import Bias, Grid, Operand, linear, packed, panels
from mlcore_oneapi.products_source import COLUMN_BIAS
from mlcore_oneapi.tools import Tools, numbers


def _size(tools: Tools, count: int) -> tuple[int, ...]:
    return (source.GROUP * max(1, min(-(-count // source.GROUP), 16 * tools.units)),)


def lstm_layer(
    tools: Tools, x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, h0: Any, c0: Any, reverse: bool
) -> tuple[Any, Any, Any]:
    """(y, gates, cells) of a sequence."""
    steps, batch, hidden = x.shape[0], x.shape[1], w_hh.shape[1]
    arrays, dtype = tools.arrays, x.dtype
    y = arrays.empty((steps + 1, batch, hidden), dtype)
    gates, cells = (
        arrays.empty((steps, batch, 4 * hidden), dtype),
        arrays.empty((steps, batch, hidden), dtype),
    )
    count = batch * hidden
    if not count:
        return y, gates, cells
    inputs = linear(tools, x, w_ih, b_ih)
    state = arrays.zeros((batch, hidden), dtype) if h0 is None else arrays.contiguous(h0)
    cell = cells if c0 is None else arrays.contiguous(c0)
    z = arrays.empty((batch, 4 * hidden), dtype)
    grid = Grid(batch, 4 * hidden, hidden)
    weight = packed(tools, dtype, grid, Operand(w_hh, w_hh.offset, w_hh.strides[1], w_hh.strides[0]))
    bias = None if b_hh is None else Bias(COLUMN_BIAS, b_hh, b_hh.offset, b_hh.strides[0])
    result = Operand(z, 0, 4 * hidden, 1)
    kernel = tools.get(source.lstm_cell, dtype, local=(source.GROUP,))
    at, old, known = state.offset, cell.offset, c0 is not None
    for turn in range(steps):
        t = steps - 1 - turn if reverse else turn
        panels(tools, dtype, grid, Operand(state, at, hidden, 1), weight, result, bias)
        words = numbers(
            count, hidden, inputs.offset + t * 4 * count, 0, old, t * 4 * count, t * count, t * count, steps * count,
            int(known) + 2 * (turn == steps - 1),
        )  # fmt: skip
        tools.run(kernel, (inputs, z, cell, gates, cells, y), words, _size(tools, count))
        state, at, cell, old, known = y, t * count, cells, t * count, True
    return y, gates, cells


def lstm_layer_grad(
    tools: Tools, g: Any, w_hh: Any, gates: Any, cells: Any, c0: Any, reverse: bool
) -> tuple[Any, Any, Any]:
    """The gradients of what goes into the gates, and of the first state and cell."""
    arrays, dtype = tools.arrays, g.dtype
    g, gates, cells = (arrays.contiguous(one) for one in (g, gates, cells))
    steps, batch, hidden = cells.shape
    count = math.prod((batch, hidden))
    inner = arrays.empty(gates.shape, dtype)
    gh, gc = (arrays.empty((batch, hidden), dtype) for _ in range(2))
    if not count:
        return inner, gh, gc
    first = None if c0 is None else arrays.contiguous(c0)
    grid = Grid(batch, hidden, 4 * hidden)
    weight = packed(tools, dtype, grid, Operand(w_hh, w_hh.offset, w_hh.strides[0], w_hh.strides[1]))
    result = Operand(gh, 0, hidden, 1)
    kernel = tools.get(source.lstm_cell_grad, dtype, local=(source.GROUP,))
    for turn in range(steps):
        t = turn if reverse else steps - 1 - turn
        before = t + 1 if reverse else t - 1
        inside = 0 <= before < steps
        if not inside and first is not None:  # the kernel reads both cells from one array
            both = arrays.joined(cells.view((batch, hidden), None, t * count), first)
            old_cells, at, old = both, 0, count
        else:
            old_cells, at = cells, cells.offset + t * count
            old = cells.offset + before * count if inside else 0
        words = numbers(
            count, hidden, g.offset + t * count, 0, old, gates.offset + t * 4 * count, at, t * 4 * count,
            g.offset + steps * count, int(inside or first is not None) + 2 * (turn == 0),
        )  # fmt: skip
        tools.run(kernel, (g, gh, old_cells, gates, gc, inner), words, _size(tools, count))
        left = Operand(inner, t * 4 * count, 4 * hidden, 1)
        panels(tools, dtype, grid, left, weight, result)
    return inner, gh, gc
