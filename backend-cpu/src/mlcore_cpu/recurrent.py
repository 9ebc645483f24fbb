"""Recurrent layers: one product for the inputs of all steps, then a kernel that walks through time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlcore_cpu.loader import kernels as K

Linear = Callable[[Any, Any, Any], Any]

FUSED_BYTES = (
    768 * 1024
)  # of both weights: with these in a core's second cache, a step multiplies its input itself


def _project(linear: Linear, x: Any, weight: Any, bias: Any) -> Any:
    """x (T, N, F) @ weight.T + bias, in float32 or float64."""
    made = linear(K.dense(x).reshape(-1, x.shape[2]), K.dense(weight), bias)
    return made.reshape(x.shape[0], x.shape[1], weight.shape[0])


def _added(*biases: Any) -> Any:
    """The sum of the biases there are, or None."""
    given = [K.dense(one) for one in biases if one is not None]
    return None if not given else given[0] if len(given) == 1 else given[0] + given[1]


def _narrow(made: Any, like: Any) -> Any:
    """Results in the input's dtype."""
    code = K.dtype_code(like)
    if isinstance(made, tuple):
        return tuple([one if one.dtype == like.dtype else K.cast(one, code) for one in made])
    return made if made.dtype == like.dtype else K.cast(made, code)


def lstm(linear: Linear) -> Callable[..., Any]:
    """lstm_layer over a `linear` for dense arrays."""

    def call(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, h0: Any, c0: Any, reverse: bool) -> Any:
        bias = _added(b_ih, b_hh)
        if (w_ih.size + w_hh.size) * w_ih.itemsize <= FUSED_BYTES:
            given = map(K.dense, (w_ih, w_hh, bias, h0, c0))
            return _narrow(K.lstm_fused(x, *given, reverse), x)
        gates = _project(linear, x, w_ih, bias)
        return _narrow(K.lstm_forward(gates, K.dense(w_hh), K.dense(h0), K.dense(c0), reverse), x)

    return call


def lstm_grad(g: Any, w_hh: Any, gates: Any, cells: Any, c0: Any, reverse: bool) -> Any:
    """lstm_layer_grad."""
    return _narrow(K.lstm_backward(*map(K.dense, (g, w_hh, gates, cells, c0)), reverse), g)


def gru(linear: Linear) -> Callable[..., Any]:
    """gru_layer over a `linear` for dense arrays."""

    def call(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, h0: Any, reverse: bool) -> Any:
        bias_n, early = None, None
        if b_hh is not None:  # the part of n stays apart: the reset gate is multiplied with it
            size = 2 * w_hh.shape[1]
            early = K.dense(b_hh).copy()
            bias_n = early[size:].copy()
            early[size:] = 0
        inputs = _project(linear, x, w_ih, _added(b_ih, early))
        return _narrow(K.gru_forward(inputs, K.dense(w_hh), bias_n, K.dense(h0), reverse), x)

    return call


def gru_grad(g: Any, w_hh: Any, gates: Any, y: Any, h0: Any, reverse: bool) -> Any:
    """gru_layer_grad."""
    return _narrow(K.gru_backward(*map(K.dense, (g, w_hh, gates, y, h0)), reverse), g)


def rnn(linear: Linear) -> Callable[..., Any]:
    """rnn_layer over a `linear` for dense arrays."""

    def call(
        x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, h0: Any, nonlinearity: str, reverse: bool
    ) -> Any:
        inputs = _project(linear, x, w_ih, _added(b_ih, b_hh))
        return _narrow(K.rnn_forward(inputs, K.dense(w_hh), K.dense(h0), nonlinearity == "relu", reverse), x)

    return call


def rnn_grad(g: Any, w_hh: Any, y: Any, nonlinearity: str, reverse: bool) -> Any:
    """rnn_layer_grad."""
    return _narrow(K.rnn_backward(*map(K.dense, (g, w_hh, y)), nonlinearity == "relu", reverse), g)
