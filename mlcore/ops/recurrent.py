"""Recurrent layers as composites, a whole sequence in one call: RNN, LSTM and GRU, and their gradients.

x is (T, N, F), a state (N, H), the weights (gates * H, F) and (gates * H, H), with PyTorch's order of gates. The
composites keep the gates after their activation, so that the backward pass multiplies and adds, and computes no gate
again. A gradient composite walks back through time and returns the gradient of what goes into the gates, of which the
gradients of the input and the weights are one matrix product each, for all steps together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcore.dtypes import floating
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.activation import relu, relu_grad, sigmoid, sigmoid_grad
from mlcore.ops.cases import Sample, sample
from mlcore.ops.creation import zeros
from mlcore.ops.elementwise import tanh
from mlcore.ops.linalg import contract
from mlcore.ops.nn import linear
from mlcore.ops.reduce import add_up
from mlcore.ops.shape import as_rows, concat, expand_dims, matrix_transpose, reshape, stack
from mlcore.ops.spec import Outs, composite, outs

# -- what the three share ------------------------------------------------------------------------------------


def _check(name: str, x: Any, w_ih: Any, w_hh: Any, gates: int, biases: Any, states: Any) -> tuple[int, ...]:
    """(T, N, H) of a call whose shapes fit together."""
    if x.ndim != 3 or w_ih.ndim != 2 or w_hh.ndim != 2:
        raise ShapeError(
            f"{name}: input {x.shape}, weights {w_ih.shape} and {w_hh.shape}",
            fix=f"use (T, N, F), ({gates} * H, F) and ({gates} * H, H)",
        )
    steps, batch, hidden = x.shape[0], x.shape[1], w_hh.shape[1]
    if w_ih.shape != (gates * hidden, x.shape[2]) or w_hh.shape[0] != gates * hidden:
        raise ShapeError(
            f"{name}: weights {w_ih.shape} and {w_hh.shape} for an input {x.shape}",
            cause=f"expected ({gates} * H, {x.shape[2]}) and ({gates} * H, H)",
        )
    if not steps:
        raise ShapeError(f"{name}: a sequence of length 0, input {x.shape}", fix="pass at least one step")
    for bias in biases:
        if bias is not None and bias.shape != (gates * hidden,):
            raise ShapeError(f"{name}: bias of shape {bias.shape}, expected {(gates * hidden,)}")
    for state in states:
        if state is not None and state.shape != (batch, hidden):
            raise ShapeError(f"{name}: state of shape {state.shape}, expected {(batch, hidden)}")
    return steps, batch, hidden


def _order(steps: int, reverse: bool) -> Sequence[int]:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _zero_state(like: Any, batch: int, hidden: int) -> Any:
    return zeros((batch, hidden), dtype=like.dtype, device=like.device)


def _parts(x: Any, count: int) -> list[Any]:
    """`count` equal pieces of the last dimension."""
    width = x.shape[-1] // count
    return [x[..., i * width : (i + 1) * width] for i in range(count)]


def _by_time(pieces: list[Any], reverse: bool) -> Any:
    return stack(pieces[::-1] if reverse else pieces)


def _hidden_weight_grad(gates: Any, hidden: Any, h0: Any, reverse: bool) -> Any:
    """The gradient of w_hh: every step's `gates` with the state before that step; `hidden` is (T, N, H)."""
    later, earlier = (gates[:-1], hidden[1:]) if reverse else (gates[1:], hidden[:-1])
    found = contract(matrix_transpose(as_rows(later)), as_rows(earlier))
    if h0 is None:
        return found
    return found + contract(matrix_transpose(gates[-1 if reverse else 0]), h0)


def _input_grads(gates: Any, x: Any, w_ih: Any, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    """The gradients of the input and of w_ih from the gradient of what goes into the gates."""
    gx = reshape(contract(as_rows(gates), w_ih), x.shape) if needs[0] else None
    return gx, contract(matrix_transpose(as_rows(gates)), as_rows(x)) if needs[1] else None


_SIZES: tuple[tuple[int, int, int, int], ...] = ((3, 2, 4, 5), (1, 1, 2, 3), (4, 0, 3, 2), (2, 19, 5, 33))


def _samples(gates: int, states: int, **more: Any) -> list[Sample]:
    """(T, N, F, H) with and without biases and states, both ways."""
    found = []
    for t, n, f, h in _SIZES:
        weights = [(t, n, f), (gates * h, f), (gates * h, h)]
        found.append(sample([*weights, (gates * h,), (gates * h,), *[(n, h)] * states], **more))
    t, n, f, h = _SIZES[0]
    plain = [(t, n, f), (gates * h, f), (gates * h, h)]
    found.append(sample([*plain, *[None] * (2 + states)], reverse=True, **more))
    found.append(sample([*plain, (gates * h,), None, *[(n, h)] * states], reverse=True, **more))
    return found


def _grad_samples(gates: int, more: int) -> list[Sample]:
    """Gradient of `more` steps beyond the last, w_hh, activations (T, N, 4H), a sequence, a first state or none."""
    return [
        sample(
            [(t + more, n, h), (gates * h, h), (t, n, 4 * h), (t, n, h), (n, h) if first else None],
            reverse=reverse,
        )
        for t, n, h, first, reverse in (
            (3, 2, 5, True, False), (3, 2, 4, False, True), (1, 0, 3, True, False), (2, 19, 33, True, True)
        )
    ]  # fmt: skip


# -- LSTM ------------------------------------------------------------------------------------------------------


def _lstm_rule(
    x: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, h0: Any = None, c0: Any = None, /, *,
    reverse: bool = False,
) -> Outs:  # fmt: skip
    steps, batch, hidden = _check("lstm", x, w_ih, w_hh, 4, (b_ih, b_hh), (h0, c0))
    specs = [(steps + 1, batch, hidden), (steps, batch, 4 * hidden), (steps, batch, hidden)]
    return outs([(shape, x.dtype) for shape in specs], bool(reverse))


def _lstm_vjp(
    g: Any, x: Any, w_ih: Any, w_hh: Any, h0: Any, c0: Any, y: Any, gates: Any, cells: Any, reverse: bool,
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:  # fmt: skip
    inner, gh, gc = lstm_layer_grad(g, w_hh, gates, cells, c0, reverse=reverse)
    gx, gw = _input_grads(inner, x, w_ih, needs)
    gw_hh = _hidden_weight_grad(inner, y[:-1], h0, reverse) if needs[2] else None
    gb = add_up(inner, axis=(0, 1)) if needs[3] or needs[4] else None
    return gx, gw, gw_hh, gb, gb, gh, gc


@composite(
    _lstm_rule, accepts=floating, public=False, outputs=("y", "gates", "cells"), ulp=64, domain=(-1, 1),
    samples=lambda: _samples(4, 2), vjp=_lstm_vjp,
)  # fmt: skip
def lstm_layer(
    x: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, h0: Any = None, c0: Any = None, /, *,
    reverse: bool = False,
) -> Any:  # fmt: skip
    """One direction of one LSTM layer over a sequence (Hochreiter and Schmidhuber 1997).

    Returns (y, gates, cells): y (T + 1, N, H) holds the state of each step and, in its last row, the last cell, so that
    one tensor carries every gradient; the gates (T, N, 4H) are i, f, g, o after their activation.
    """
    steps, batch, hidden = x.shape[0], x.shape[1], w_hh.shape[1]
    inputs = linear(x, w_ih, b_ih)
    h = _zero_state(x, batch, hidden) if h0 is None else h0
    c = _zero_state(x, batch, hidden) if c0 is None else c0
    states, kept, cells = [], [], []
    for t in _order(steps, reverse):
        i, f, g, o = _parts(inputs[t] + linear(h, w_hh, b_hh), 4)
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * tanh(c)
        states.append(h)
        cells.append(c)
        kept.append(concat([i, f, g, o], axis=-1))
    y = concat([_by_time(states, reverse), expand_dims(c, axis=0)], axis=0)
    return y, _by_time(kept, reverse), _by_time(cells, reverse)


def _lstm_grad_rule(
    g: Any, w_hh: Any, gates: Any, cells: Any, c0: Any = None, /, *, reverse: bool = False
) -> Outs:
    state = (cells.shape[1:], g.dtype)
    return outs([(gates.shape, g.dtype), state, state], bool(reverse))


@composite(
    _lstm_grad_rule, accepts=floating, public=False, outputs=("ggates", "gh0", "gc0"), ulp=128,
    domain=((-2, 2), (-0.5, 0.5), (0.05, 0.95), (-2, 2), (-2, 2)), samples=lambda: _grad_samples(4, 1),
)  # fmt: skip
def lstm_layer_grad(
    g: Any, w_hh: Any, gates: Any, cells: Any, c0: Any = None, /, *, reverse: bool = False
) -> Any:
    """Gradients of lstm_layer: of what goes into the gates (T, N, 4H), and of the first state and cell."""
    steps, (batch, hidden) = cells.shape[0], cells.shape[1:]
    gh, gc = _zero_state(g, batch, hidden), g[steps]
    found = []
    for t in reversed(_order(steps, reverse)):
        before = t + 1 if reverse else t - 1
        old = cells[before] if 0 <= before < steps else c0
        i, f, k, o = _parts(gates[t], 4)
        top, gh = tanh(cells[t]), gh + g[t]
        gc = gc + gh * o * (1 - top * top)
        gf = sigmoid_grad(gc * old, f) if old is not None else f * 0
        inner = concat(
            [sigmoid_grad(gc * k, i), gf, gc * i * (1 - k * k), sigmoid_grad(gh * top, o)], axis=-1
        )
        gc, gh = gc * f, contract(inner, w_hh)
        found.append(inner)
    return _by_time(found, not reverse), gh, gc


# -- GRU -------------------------------------------------------------------------------------------------------


def _gru_rule(
    x: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    h0: Any = None,
    /,
    *,
    reverse: bool = False,
) -> Outs:
    steps, batch, hidden = _check("gru", x, w_ih, w_hh, 3, (b_ih, b_hh), (h0,))
    specs = [(steps, batch, hidden), (steps, batch, 4 * hidden)]
    return outs([(shape, x.dtype) for shape in specs], bool(reverse))


def _gru_vjp(
    g: Any, x: Any, w_ih: Any, w_hh: Any, h0: Any, y: Any, gates: Any, reverse: bool, needs: tuple[bool, ...]
) -> tuple[Any, ...]:
    inner, gh = gru_layer_grad(g, w_hh, gates, y, h0, reverse=reverse)
    hidden = y.shape[-1]
    own = inner[..., : 3 * hidden]  # r, z, n from the input; r, z and the recurrent part of n from the state
    gx, gw = _input_grads(own, x, w_ih, needs)
    both, last = inner[..., : 2 * hidden], inner[..., 3 * hidden :]
    gw_hh = gb_ih = gb_hh = None
    if needs[2]:
        gw_hh = concat([_hidden_weight_grad(one, y, h0, reverse) for one in (both, last)], axis=0)
    if needs[3] or needs[4]:
        sums = add_up(inner, axis=(0, 1))
        gb_ih = sums[: 3 * hidden]
        gb_hh = concat([sums[: 2 * hidden], sums[3 * hidden :]], axis=0)
    return gx, gw, gw_hh, gb_ih, gb_hh, gh


@composite(
    _gru_rule, accepts=floating, public=False, outputs=("y", "gates"), ulp=64, domain=(-1, 1),
    samples=lambda: _samples(3, 1), vjp=_gru_vjp,
)  # fmt: skip
def gru_layer(
    x: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    h0: Any = None,
    /,
    *,
    reverse: bool = False,
) -> Any:
    """One direction of one GRU layer over a sequence (Cho et al. 2014; the reset gate after the product, as cuDNN).

    Returns (y (T, N, H), gates (T, N, 4H)): r, z and n after their activation, and the recurrent part of n.
    """
    steps, batch, hidden = x.shape[0], x.shape[1], w_hh.shape[1]
    inputs = linear(x, w_ih, b_ih)
    h = _zero_state(x, batch, hidden) if h0 is None else h0
    states, kept = [], []
    for t in _order(steps, reverse):
        xr, xz, xn = _parts(inputs[t], 3)
        hr, hz, hn = _parts(linear(h, w_hh, b_hh), 3)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = tanh(xn + r * hn)
        h = n + z * (h - n)
        states.append(h)
        kept.append(concat([r, z, n, hn], axis=-1))
    return _by_time(states, reverse), _by_time(kept, reverse)


def _gru_grad_rule(
    g: Any, w_hh: Any, gates: Any, y: Any, h0: Any = None, /, *, reverse: bool = False
) -> Outs:
    return outs([(gates.shape, g.dtype), (y.shape[1:], g.dtype)], bool(reverse))


@composite(
    _gru_grad_rule, accepts=floating, public=False, outputs=("ggates", "gh0"), ulp=128,
    domain=((-2, 2), (-0.5, 0.5), (0.05, 0.95), (-1, 1), (-1, 1)), samples=lambda: _grad_samples(3, 0),
)  # fmt: skip
def gru_layer_grad(g: Any, w_hh: Any, gates: Any, y: Any, h0: Any = None, /, *, reverse: bool = False) -> Any:
    """Gradients of gru_layer: of what goes into r, z, n and the recurrent part of n (T, N, 4H), and of h0."""
    steps, (batch, hidden) = y.shape[0], y.shape[1:]
    gh = _zero_state(g, batch, hidden)
    found = []
    for t in reversed(_order(steps, reverse)):
        before = t + 1 if reverse else t - 1
        old = y[before] if 0 <= before < steps else h0
        r, z, n, hn = _parts(gates[t], 4)
        gh = gh + g[t]
        gn = gh * (1 - z) * (1 - n * n)
        gz = sigmoid_grad(gh * (-n if old is None else old - n), z)
        gr = sigmoid_grad(gn * hn, r)
        found.append(concat([gr, gz, gn, gn * r], axis=-1))
        gh = gh * z + contract(concat([gr, gz, gn * r], axis=-1), w_hh)
    return _by_time(found, not reverse), gh


# -- RNN -------------------------------------------------------------------------------------------------------


def _kind(nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(f"rnn: nonlinearity={nonlinearity!r}", fix="use 'tanh' or 'relu'")
    return nonlinearity


def _rnn_rule(
    x: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, h0: Any = None, /, *,
    nonlinearity: str = "tanh", reverse: bool = False,
) -> Outs:  # fmt: skip
    shape = _check("rnn", x, w_ih, w_hh, 1, (b_ih, b_hh), (h0,))
    return outs([(shape, x.dtype)], _kind(nonlinearity), bool(reverse))


def _rnn_vjp(
    g: Any,
    x: Any,
    w_ih: Any,
    w_hh: Any,
    h0: Any,
    y: Any,
    nonlinearity: str,
    reverse: bool,
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:
    inner, _ = rnn_layer_grad(g, w_hh, y, nonlinearity=nonlinearity, reverse=reverse)
    # From the first output, which is on the tape: a gradient of higher order goes through the first state too.
    gh = contract(inner[-1 if reverse else 0], w_hh) if needs[5] else None
    gx, gw = _input_grads(inner, x, w_ih, needs)
    gw_hh = _hidden_weight_grad(inner, y, h0, reverse) if needs[2] else None
    gb = add_up(inner, axis=(0, 1)) if needs[3] or needs[4] else None
    return gx, gw, gw_hh, gb, gb, gh


@composite(
    _rnn_rule, accepts=floating, public=False, ulp=64, domain=(-1, 1), vjp=_rnn_vjp,
    samples=lambda: [*_samples(1, 1), *_samples(1, 1, nonlinearity="relu")[-2:]],
)  # fmt: skip
def rnn_layer(
    x: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, h0: Any = None, /, *,
    nonlinearity: str = "tanh", reverse: bool = False,
) -> Any:  # fmt: skip
    """One direction of one plain recurrent layer over a sequence (Elman 1990): the states (T, N, H)."""
    steps, batch, hidden = x.shape[0], x.shape[1], w_hh.shape[1]
    bend = tanh if nonlinearity == "tanh" else relu
    inputs = linear(x, w_ih, b_ih)
    h = _zero_state(x, batch, hidden) if h0 is None else h0
    states = []
    for t in _order(steps, reverse):
        h = bend(inputs[t] + linear(h, w_hh, b_hh))
        states.append(h)
    return _by_time(states, reverse)


def _rnn_grad_rule(
    g: Any, w_hh: Any, y: Any, /, *, nonlinearity: str = "tanh", reverse: bool = False
) -> Outs:
    return outs([(y.shape, g.dtype), (y.shape[1:], g.dtype)], _kind(nonlinearity), bool(reverse))


def _rnn_grad_samples() -> list[Sample]:
    sizes = ((3, 2, 5), (1, 0, 3), (2, 19, 33))
    shapes = [[(t, n, h), (h, h), (t, n, h)] for t, n, h in sizes]
    return [
        *(sample(one) for one in shapes), sample(shapes[0], reverse=True), sample(shapes[0], nonlinearity="relu")
    ]  # fmt: skip


@composite(
    _rnn_grad_rule, accepts=floating, public=False, outputs=("ggates", "gh0"), ulp=128,
    domain=((-2, 2), (-0.5, 0.5), (0.05, 0.95)), samples=_rnn_grad_samples,
)  # fmt: skip
def rnn_layer_grad(g: Any, w_hh: Any, y: Any, /, *, nonlinearity: str = "tanh", reverse: bool = False) -> Any:
    """Gradients of rnn_layer: of what goes into the nonlinearity (T, N, H), and of the first state."""
    gh = _zero_state(g, *y.shape[1:])
    found = []
    for t in reversed(_order(y.shape[0], reverse)):
        gh = gh + g[t]
        inner = gh * (1 - y[t] * y[t]) if nonlinearity == "tanh" else relu_grad(gh, y[t])
        found.append(inner)
        gh = contract(inner, w_hh)
    return _by_time(found, not reverse), gh
