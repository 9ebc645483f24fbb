"""RNN, GRU and LSTM: mlcore's layers where a node asks for what they do, else step by step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError
from mlcore.nn import functional as F
from mlcore.ops.recurrent import gru_layer, lstm_layer, rnn_layer
from mlcore_onnx.ops.declare import onnx_op

_ACTIVATIONS: dict[str, Callable[[Any, float | None, float | None], Any]] = {
    "relu": lambda x, a, b: ml.relu(x),
    "tanh": lambda x, a, b: ml.tanh(x),
    "sigmoid": lambda x, a, b: ml.sigmoid(x),
    "affine": lambda x, a, b: x * _or(a, 1.0) + _or(b, 0.0),
    "leakyrelu": lambda x, a, b: F.leaky_relu(x, _or(a, 0.01)),
    "thresholdedrelu": lambda x, a, b: ml.where(ml.greater(x, _or(a, 1.0)), x, 0),
    "scaledtanh": lambda x, a, b: ml.tanh(x * _or(b, 1.0)) * _or(a, 1.0),
    "hardsigmoid": lambda x, a, b: ml.minimum(ml.maximum(x * _or(a, 0.2) + _or(b, 0.5), 0), 1),
    "elu": lambda x, a, b: F.elu(x, _or(a, 1.0)),
    "softsign": lambda x, a, b: F.softsign(x),
    "softplus": lambda x, a, b: ml.softplus(x),
}


def _with(of: Callable[..., Any], a: float | None, b: float | None, x: Any) -> Any:
    return of(x, a, b)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


class _Net:
    """What the three have in common: directions, layouts, lengths, activations."""

    def __init__(
        self, kind: str, defaults: tuple[str, ...], x: Any, r: Any, lens: Any, *, activations: Any,
        activation_alpha: Any, activation_beta: Any, clip: float | None, direction: str, hidden_size: int | None,
        layout: int,
    ) -> None:  # fmt: skip
        reverses = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
        if direction not in reverses:
            raise ArgumentError(f"{kind}: direction {direction!r}", fix=", ".join(reverses))
        self.reverses = reverses[direction]
        self.layout = layout
        self.x = ml.permute_dims(x, (1, 0, 2)) if layout else x
        self.steps, self.batch = self.x.shape[0], self.x.shape[1]
        self.hidden = r.shape[-1]
        self.clip = clip
        lengths = None if lens is None else np.asarray(lens).reshape(-1)
        self.lens = None if lengths is None or (lengths == self.steps).all() else lengths
        count = len(defaults)
        names = [n.lower() for n in (activations or defaults * len(self.reverses))]
        if len(names) != count * len(self.reverses) or any(n not in _ACTIVATIONS for n in names):
            raise ArgumentError(
                f"{kind}: activations {names}", fix=f"{count} a direction of {', '.join(_ACTIVATIONS)}"
            )
        self.plain = names == [n.lower() for n in defaults] * len(self.reverses) and not clip
        alphas, betas = list(activation_alpha or ()), list(activation_beta or ())
        self.functions: list[list[Callable[[Any], Any]]] = []
        for place in range(len(self.reverses)):
            found: list[Callable[[Any], Any]] = []
            for i in range(place * count, (place + 1) * count):
                a = alphas[i] if i < len(alphas) else None
                b = betas[i] if i < len(betas) else None
                found.append(partial(_with, _ACTIVATIONS[names[i]], a, b))
            self.functions.append(found)

    def first(self, state: Any, place: int) -> Any:
        """A direction's state before the first step."""
        if state is None:
            return ml.zeros((self.batch, self.hidden), dtype=self.x.dtype, device=self.x.device)
        return (ml.permute_dims(state, (1, 0, 2)) if self.layout else state)[place]

    def clipped(self, value: Any) -> Any:
        return value if not self.clip else ml.minimum(ml.maximum(value, -self.clip), self.clip)

    def walk(
        self, place: int, step: Callable[..., tuple[Any, ...]], states: tuple[Any, ...]
    ) -> tuple[Any, tuple[Any, ...]]:
        """Every step of a direction; a sequence that is over keeps its state, and gives 0."""
        order = range(self.steps)[::-1] if self.reverses[place] else range(self.steps)
        made: dict[int, Any] = {}
        for t in order:
            new = step(self.x[t], *states)
            made[t] = new[0]
            if self.lens is not None:
                on = ml.asarray((t < self.lens).reshape(-1, 1), device=self.x.device)
                made[t] = ml.where(on, new[0], 0)
                new = tuple(ml.where(on, a, b) for a, b in zip(new, states))
            states = new
        return ml.stack([made[t] for t in range(self.steps)], axis=0), states

    def done(self, ys: list[Any], states: list[tuple[Any, ...]], outputs: int) -> Any:
        """(Y, then the last states), in the layout that was asked for."""
        y = ml.stack(ys, axis=1)
        last = [ml.stack(list(one), axis=0) for one in zip(*states)]
        if self.layout:
            y = ml.permute_dims(y, (2, 0, 1, 3))
            last = [ml.permute_dims(one, (1, 0, 2)) for one in last]
        return (y, *last)[: max(outputs, 1)] if outputs > 1 else y


def _reordered(x: Any, order: tuple[int, ...]) -> Any:
    """Blocks of the first dimension in another order."""
    if x is None:
        return None
    size = x.shape[0] // (max(order) + 1)
    return ml.concat([x[i * size : (i + 1) * size] for i in order], axis=0)


def _biases(b: Any, place: int) -> tuple[Any, Any]:
    if b is None:
        return None, None
    half = b.shape[1] // 2
    return b[place, :half], b[place, half:]


def _gates(x: Any, w: Any, b: Any) -> Any:
    return F.linear(x, w, b)


def _pieces(x: Any, count: int) -> list[Any]:
    size = x.shape[-1] // count
    return [x[..., i * size : (i + 1) * size] for i in range(count)]


@onnx_op("RNN", 7, host=("lens",))
def rnn(
    x: Any, w: Any, r: Any, b: Any = None, lens: Any = None, initial_h: Any = None, *, activation_alpha: Any = None,
    activation_beta: Any = None, activations: Any = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0, outputs: int,
) -> Any:  # fmt: skip
    net = _Net("RNN", ("Tanh",), x, r, lens, activations=activations, activation_alpha=activation_alpha,
               activation_beta=activation_beta, clip=clip, direction=direction, hidden_size=hidden_size,
               layout=layout)  # fmt: skip
    ys, states = [], []
    for place, reverse in enumerate(net.reverses):
        b_ih, b_hh = _biases(b, place)
        h = net.first(initial_h, place)
        if net.plain and net.lens is None:
            y = rnn_layer(net.x, w[place], r[place], b_ih, b_hh, h, reverse=reverse)
            state = (y[0 if reverse else -1],)
        else:
            (f,) = net.functions[place]

            def step(
                xt: Any, h: Any, place: int = place, f: Any = f, b_ih: Any = b_ih, b_hh: Any = b_hh
            ) -> Any:
                return (f(net.clipped(_gates(xt, w[place], b_ih) + _gates(h, r[place], b_hh))),)

            y, state = net.walk(place, step, (h,))
        ys.append(y)
        states.append(state)
    return net.done(ys, states, outputs)


@onnx_op("GRU", 7, host=("lens",))
def gru(
    x: Any, w: Any, r: Any, b: Any = None, lens: Any = None, initial_h: Any = None, *, activation_alpha: Any = None,
    activation_beta: Any = None, activations: Any = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0, linear_before_reset: int = 0, outputs: int,
) -> Any:  # fmt: skip
    net = _Net("GRU", ("Sigmoid", "Tanh"), x, r, lens, activations=activations, activation_alpha=activation_alpha,
               activation_beta=activation_beta, clip=clip, direction=direction, hidden_size=hidden_size,
               layout=layout)  # fmt: skip
    ys, states = [], []
    for place, reverse in enumerate(net.reverses):
        b_ih, b_hh = _biases(b, place)
        h = net.first(initial_h, place)
        if net.plain and net.lens is None and linear_before_reset:
            order = (1, 0, 2)
            y = gru_layer(
                net.x,
                *(_reordered(one, order) for one in (w[place], r[place], b_ih, b_hh)),
                h,
                reverse=reverse,
            )[0]
            state = (y[0 if reverse else -1],)
        else:
            y, state = net.walk(place, _gru_step(net, place, w, r, b_ih, b_hh, linear_before_reset), (h,))
        ys.append(y)
        states.append(state)
    return net.done(ys, states, outputs)


def _gru_step(net: _Net, place: int, w: Any, r: Any, b_ih: Any, b_hh: Any, linear_before_reset: int) -> Any:
    f, g = net.functions[place]
    size = net.hidden

    def step(xt: Any, h: Any) -> Any:
        xz, xr, xh = _pieces(_gates(xt, w[place], b_ih), 3)
        late = None if b_hh is None else b_hh[2 * size :]
        hz, hr = _pieces(_gates(h, r[place, : 2 * size], None if b_hh is None else b_hh[: 2 * size]), 2)
        z, reset = f(net.clipped(xz + hz)), f(net.clipped(xr + hr))
        last = r[place, 2 * size :]
        inner = reset * _gates(h, last, late) if linear_before_reset else _gates(reset * h, last, late)
        new = g(net.clipped(xh + inner))
        return ((1 - z) * new + z * h,)

    return step


@onnx_op("LSTM", 7, host=("lens",))
def lstm(
    x: Any, w: Any, r: Any, b: Any = None, lens: Any = None, initial_h: Any = None, initial_c: Any = None,
    p: Any = None, *, activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None,
    clip: float | None = None, direction: str = "forward", hidden_size: int | None = None, input_forget: int = 0,
    layout: int = 0, outputs: int,
) -> Any:  # fmt: skip
    net = _Net("LSTM", ("Sigmoid", "Tanh", "Tanh"), x, r, lens, activations=activations,
               activation_alpha=activation_alpha, activation_beta=activation_beta, clip=clip, direction=direction,
               hidden_size=hidden_size, layout=layout)  # fmt: skip
    ys, states = [], []
    for place, reverse in enumerate(net.reverses):
        b_ih, b_hh = _biases(b, place)
        h, c = net.first(initial_h, place), net.first(initial_c, place)
        if net.plain and net.lens is None and p is None and not input_forget:
            order = (0, 2, 3, 1)  # ONNX has i, o, f, c
            whole = lstm_layer(
                net.x,
                *(_reordered(one, order) for one in (w[place], r[place], b_ih, b_hh)),
                h,
                c,
                reverse=reverse,
            )[0]
            y = whole[:-1]
            state = (y[0 if reverse else -1], whole[-1])
        else:
            y, state = net.walk(place, _lstm_step(net, place, w, r, b_ih, b_hh, p, input_forget), (h, c))
        ys.append(y)
        states.append(state)
    return net.done(ys, states, outputs)


def _lstm_step(net: _Net, place: int, w: Any, r: Any, b_ih: Any, b_hh: Any, p: Any, input_forget: int) -> Any:
    f, g, last = net.functions[place]
    peep = [0.0, 0.0, 0.0] if p is None else _pieces(p[place], 3)

    def step(xt: Any, h: Any, c: Any) -> Any:
        i, o, forget, new = _pieces(_gates(xt, w[place], b_ih) + _gates(h, r[place], b_hh), 4)
        i = f(net.clipped(i + peep[0] * c))
        forget = 1 - i if input_forget else f(net.clipped(forget + peep[2] * c))
        c = forget * c + i * g(net.clipped(new))
        o = f(net.clipped(o + peep[1] * c))
        return o * last(c), c

    return step
