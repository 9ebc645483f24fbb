"""Recurrent layers over a whole sequence: the inputs' product at once, then a few MLX functions a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcore.dtypes import floating
from mlcore_metal.catalog import kernel
from mlcore_metal.elementwise import narrow, relu, wide
from mlcore_metal.library import mx
from mlcore_metal.precise import sigmoid

Array = Any


def _order(steps: int, reverse: bool) -> Sequence[int]:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _by_time(pieces: list[Array], reverse: bool) -> Array:
    return mx.stack(pieces[::-1] if reverse else pieces)


def _inputs(x: Array, w: Array, b: Array) -> Array:
    """`x @ w.T + b` for all steps together."""
    rows = wide(x).reshape(x.shape[0] * x.shape[1], x.shape[2])
    y = (
        (rows @ wide(w).T).reshape(*x.shape[:2], w.shape[0])
        if x.size
        else _zeros((*x.shape[:2], w.shape[0]), x)
    )
    return y if b is None else y + wide(b)


def _zeros(shape: tuple[int, ...], like: Array) -> Array:
    return mx.zeros(shape, dtype=wide(like).dtype)


def _step(h: Array, w: Array, b: Array) -> Array:
    y = h @ w.T if h.size else mx.zeros((h.shape[0], w.shape[0]), dtype=h.dtype)
    return y if b is None else y + b


def _back(inner: Array, w: Array) -> Array:
    return inner @ w if inner.size else mx.zeros((inner.shape[0], w.shape[1]), dtype=inner.dtype)


def _state(state: Array, x: Array, hidden: int) -> Array:
    return _zeros((x.shape[1], hidden), x) if state is None else wide(state)


def _all(dtype: Any, *arrays: Array) -> tuple[Array, ...]:
    return tuple(narrow(one, dtype) for one in arrays)


def _maybe(x: Array) -> Array:
    return None if x is None else wide(x)


@kernel("lstm_layer", dtypes=floating)
def lstm_layer(
    x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, h0: Array, c0: Array, reverse: bool
) -> tuple[Array, ...]:
    """(states and, in the last row, the last cell; gates after their activation; cells)."""
    hidden, w, b = w_hh.shape[1], wide(w_hh), _maybe(b_hh)
    inputs = _inputs(x, w_ih, b_ih)
    h, c = _state(h0, x, hidden), _state(c0, x, hidden)
    states, kept, cells = [], [], []
    for t in _order(x.shape[0], reverse):
        i, f, g, o = mx.split(inputs[t] + _step(h, w, b), 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), mx.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * mx.tanh(c)
        states.append(h)
        cells.append(c)
        kept.append(mx.concatenate([i, f, g, o], axis=-1))
    y = mx.concatenate([_by_time(states, reverse), c[None]], axis=0)
    return _all(x.dtype, y, _by_time(kept, reverse), _by_time(cells, reverse))


@kernel("lstm_layer_grad", dtypes=floating)
def lstm_layer_grad(
    g: Array, w_hh: Array, gates: Array, cells: Array, c0: Array, reverse: bool
) -> tuple[Array, ...]:
    """Of what goes into the gates, and of the first state and cell."""
    dtype, steps = g.dtype, cells.shape[0]
    g, w, gates, cells, c0 = wide(g), wide(w_hh), wide(gates), wide(cells), _maybe(c0)
    gh, gc = mx.zeros_like(g[steps]), g[steps]
    found = []
    for t in reversed(_order(steps, reverse)):
        before = t + 1 if reverse else t - 1
        old = cells[before] if 0 <= before < steps else c0
        i, f, k, o = mx.split(gates[t], 4, axis=-1)
        top, gh = mx.tanh(cells[t]), gh + g[t]
        gc = gc + gh * o * (1 - top * top)
        gf = gc * old * (f * (1 - f)) if old is not None else mx.zeros_like(f)
        pieces = [gc * k * (i * (1 - i)), gf, gc * i * (1 - k * k), gh * top * (o * (1 - o))]
        inner = mx.concatenate(pieces, axis=-1)
        gc, gh = gc * f, _back(inner, w)
        found.append(inner)
    return _all(dtype, _by_time(found, not reverse), gh, gc)


@kernel("gru_layer", dtypes=floating)
def gru_layer(
    x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, h0: Array, reverse: bool
) -> tuple[Array, ...]:
    """(states; r, z and n after their activation, and the recurrent part of n)."""
    hidden, w, b = w_hh.shape[1], wide(w_hh), _maybe(b_hh)
    inputs = _inputs(x, w_ih, b_ih)
    h = _state(h0, x, hidden)
    states, kept = [], []
    for t in _order(x.shape[0], reverse):
        xr, xz, xn = mx.split(inputs[t], 3, axis=-1)
        hr, hz, hn = mx.split(_step(h, w, b), 3, axis=-1)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = mx.tanh(xn + r * hn)
        h = n + z * (h - n)
        states.append(h)
        kept.append(mx.concatenate([r, z, n, hn], axis=-1))
    return _all(x.dtype, _by_time(states, reverse), _by_time(kept, reverse))


@kernel("gru_layer_grad", dtypes=floating)
def gru_layer_grad(
    g: Array, w_hh: Array, gates: Array, y: Array, h0: Array, reverse: bool
) -> tuple[Array, ...]:
    """Of what goes into r, z, n and the recurrent part of n, and of the first state."""
    dtype, steps = g.dtype, y.shape[0]
    g, w, gates, y, h0 = wide(g), wide(w_hh), wide(gates), wide(y), _maybe(h0)
    gh = mx.zeros_like(y[0])
    found = []
    for t in reversed(_order(steps, reverse)):
        before = t + 1 if reverse else t - 1
        old = y[before] if 0 <= before < steps else h0
        r, z, n, hn = mx.split(gates[t], 4, axis=-1)
        gh = gh + g[t]
        gn = gh * (1 - z) * (1 - n * n)
        gz = gh * (-n if old is None else old - n) * (z * (1 - z))
        gr = gn * hn * (r * (1 - r))
        found.append(mx.concatenate([gr, gz, gn, gn * r], axis=-1))
        gh = gh * z + _back(mx.concatenate([gr, gz, gn * r], axis=-1), w)
    return _all(dtype, _by_time(found, not reverse), gh)


@kernel("rnn_layer", dtypes=floating)
def rnn_layer(
    x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, h0: Array, nonlinearity: str, reverse: bool
) -> Array:
    """The states."""
    w, b = wide(w_hh), _maybe(b_hh)
    inputs = _inputs(x, w_ih, b_ih)
    bend = mx.tanh if nonlinearity == "tanh" else relu
    h = _state(h0, x, w_hh.shape[1])
    states = []
    for t in _order(x.shape[0], reverse):
        h = bend(inputs[t] + _step(h, w, b))
        states.append(h)
    return narrow(_by_time(states, reverse), x.dtype)


@kernel("rnn_layer_grad", dtypes=floating)
def rnn_layer_grad(g: Array, w_hh: Array, y: Array, nonlinearity: str, reverse: bool) -> tuple[Array, ...]:
    """Of what goes into the nonlinearity, and of the first state."""
    dtype, g, w, y = g.dtype, wide(g), wide(w_hh), wide(y)
    gh = mx.zeros_like(g[0])
    found = []
    for t in reversed(_order(y.shape[0], reverse)):
        gh = gh + g[t]
        inner = (
            gh * (1 - y[t] * y[t]) if nonlinearity == "tanh" else mx.where(y[t] > 0, gh, mx.zeros_like(gh))
        )
        found.append(inner)
        gh = _back(inner, w)
    return _all(dtype, _by_time(found, not reverse), gh)
