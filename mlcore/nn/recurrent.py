"""RNN, LSTM and GRU over sequences: one, a padded batch or a packed one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.nn import init
from mlcore.nn.functional._common import probability
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.nn.recurrent_runs import over_segments, projected_lstm
from mlcore.nn.utils.rnn import PackedSequence, batch_sizes
from mlcore.ops.creation import empty
from mlcore.ops.index import take
from mlcore.ops.recurrent import gru_layer, lstm_layer, rnn_layer
from mlcore.ops.shape import concat, expand_dims, squeeze, stack, swapaxes

GATES = {
    "LSTM": 4,
    "GRU": 3,
    "RNN_TANH": 1,
    "RNN_RELU": 1,
}  # of each mode, PyTorch's name for what a layer computes


def sizes(name: str, **given: int) -> None:
    """Refuse sizes below 1."""
    if min(given.values()) < 1:
        said = ", ".join(f"{key} {value}" for key, value in given.items())
        raise ArgumentError(f"{name}: {said}", fix="each must be at least 1")


def draw(module: Any) -> None:
    """Draw all parameters again: uniform in ±1 / sqrt(hidden_size)."""
    bound = 1 / math.sqrt(module.hidden_size)
    for one in module.parameters():
        init.uniform_(one, -bound, bound)


def nonlinearity_mode(name: str, nonlinearity: str) -> str:
    """The mode of a nonlinearity."""
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(f"{name}: nonlinearity={nonlinearity!r}", fix="use 'tanh' or 'relu'")
    return f"RNN_{nonlinearity.upper()}"


def pair(name: str, hx: Any) -> tuple[Any, Any]:
    """State and cell as given, or None for both."""
    if hx is None:
        return None, None
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise ArgumentError(
            f"{name}: hx is a {type(hx).__name__}, expected a pair", fix="pass (first states, first cells)"
        )
    return hx[0], hx[1]


class RNNBase(Module):
    """What RNN, LSTM and GRU share: parameters, layers and directions; `_layer` runs one direction of one layer.

    `mode` is "LSTM", "GRU", "RNN_TANH" or "RNN_RELU". Of itself it computes nothing.
    """

    # One direction of one layer: (output (T, N, H), the last state, the last cell if there is one).
    _layer: Callable[..., tuple[Any, ...]]

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if mode not in GATES:
            raise ArgumentError(f"{name}: mode={mode!r}", fix=f"use one of {', '.join(GATES)}")
        sizes(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= proj_size < hidden_size or (proj_size and mode != "LSTM"):
            raise ArgumentError(
                f"{name}: proj_size={proj_size} with hidden_size={hidden_size}",
                cause="an LSTM alone projects its states, to fewer features",
                fix="use an LSTM with proj_size < hidden_size, or put a Linear after the layer",
            )
        self.mode, self.input_size, self.hidden_size, self.num_layers = (
            mode,
            input_size,
            hidden_size,
            num_layers,
        )
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout, self.proj_size = probability(name, dropout), proj_size
        if dropout and num_layers == 1:
            warnings.warn(
                f"{name}: dropout={dropout} drops nothing with one layer: it comes between layers",
                stacklevel=3,
            )
        out, rows, directions = proj_size or hidden_size, GATES[mode] * hidden_size, self._directions
        for layer in range(num_layers):
            width = input_size if layer == 0 else directions * out
            shapes = [(rows, width), (rows, out), (rows,), (rows,), (proj_size, hidden_size)]
            for direction in range(directions):
                for key, shape in zip(_keys(layer, direction, proj_size > 0), shapes, strict=False):
                    if bias or not key.startswith("bias"):
                        setattr(self, key, Parameter(empty(shape, dtype=dtype, device=device)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again: uniform in ±1 / sqrt(hidden_size)."""
        draw(self)

    def flatten_parameters(self) -> None:
        """Nothing: for programs that call it, as PyTorch's wants."""

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters of each layer and direction."""
        return [
            [one for one in self._weights(layer, direction) if one is not None]
            for layer in range(self.num_layers)
            for direction in range(self._directions)
        ]

    def _weights(self, layer: int, direction: int) -> tuple[Any, ...]:
        return tuple([getattr(self, name, None) for name in _keys(layer, direction, self.proj_size > 0)])

    def _run(self, input: Any, states: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        """The output, and each kind of state (layers * directions, N, H)."""
        if isinstance(input, PackedSequence):
            return self._run_packed(input, states)
        single = input.ndim == 2
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: expected a last dimension of {self.input_size}, with or without a batch,"
                f" got {input.shape}",
                fix="match input_size to the last dimension",
            )
        x = expand_dims(input, axis=1) if single else swapaxes(input, 0, 1) if self.batch_first else input
        if not x.shape[0]:
            raise ShapeError(
                f"{type(self).__name__}: a sequence of length 0, input {input.shape}",
                fix="pass at least one step",
            )
        x, last = self._stacked(x, self._checked(states, x.shape[1], single), self._layer)
        if single:
            return squeeze(x, 1), [squeeze(one, 1) for one in last]
        return (swapaxes(x, 0, 1) if self.batch_first else x), last

    def _run_packed(self, packed: Any, states: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        """As `_run`; the states are in the order of the original batch."""
        name, data = type(self).__name__, packed.data
        counts = batch_sizes(name, packed)
        if data.ndim != 2 or data.shape[1] != self.input_size:
            raise ShapeError(
                f"{name}: packed data of shape {data.shape}, expected (rows, {self.input_size})",
                fix="match input_size to the last dimension",
            )
        first = tuple(_ordered(one, packed.sorted_indices) for one in self._checked(states, counts[0], False))
        data, last = self._stacked(data, first, over_segments(self._layer, counts))
        return (
            PackedSequence(data, *packed[1:]),
            [_ordered(one, packed.unsorted_indices) for one in last],
        )

    def _stacked(self, x: Any, states: tuple[Any, ...], run: Callable[..., Any]) -> tuple[Any, list[Any]]:
        """All layers and directions, each by `run`."""
        directions = 2 if self.bidirectional else 1
        found: list[list[Any]] = [[] for _ in states]
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = F.dropout(x, self.dropout)
            outputs = []
            for direction in range(directions):
                first = tuple(None if s is None else s[layer * directions + direction] for s in states)
                made = run(x, self._weights(layer, direction), first, direction == 1)
                outputs.append(made[0])
                for kind, last in zip(found, made[1:], strict=True):
                    kind.append(last)
            x = outputs[0] if directions == 1 else concat(outputs, axis=-1)
        return x, [stack(kind) if len(kind) > 1 else expand_dims(kind[0], axis=0) for kind in found]

    def _checked(self, states: tuple[Any, ...], batch: int, single: bool) -> tuple[Any, ...]:
        """The states given by the caller, with their batch; None, which means zeros, stays."""
        if states[0] is None and states[-1] is None:
            return states
        count, found = self.num_layers * self._directions, []
        for width, state in zip((self.proj_size or self.hidden_size, self.hidden_size), states, strict=False):
            expected = (count, width) if single else (count, batch, width)
            if state is not None and state.shape != expected:
                raise ShapeError(
                    f"{type(self).__name__}: a first state of shape {state.shape}, expected {expected}",
                    cause="it is (layers * directions, batch, features), without the batch if the input has none",
                )
            found.append(expand_dims(state, axis=1) if single and state is not None else state)
        return tuple(found)

    def extra_repr(self) -> str:
        parts = [str(self.input_size), str(self.hidden_size)]
        if self.proj_size:
            parts.append(f"proj_size={self.proj_size}")
        if self.num_layers != 1:
            parts.append(f"num_layers={self.num_layers}")
        if not self.bias:
            parts.append("bias=False")
        if self.batch_first:
            parts.append("batch_first=True")
        if self.dropout:
            parts.append(f"dropout={self.dropout}")
        if self.bidirectional:
            parts.append("bidirectional=True")
        return ", ".join(parts)


@cache
def _keys(layer: int, direction: int, projected: bool) -> tuple[str, ...]:
    end = f"_l{layer}{'_reverse' if direction else ''}"
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    return tuple(one + end for one in names[: 4 + projected])


def _ordered(state: Any, order: Any) -> Any:
    """A state (layers, N, H) with its batch in another order."""
    return state if state is None or order is None else take(state, order, axis=1)


class RNN(RNNBase):
    """Elman's recurrent network: `h = tanh(W_ih x + b_ih + W_hh h + b_hh)`, or relu, in `num_layers` layers.

    Input (T, N, input_size), (N, T, input_size) with `batch_first`, or without N, or a `PackedSequence`; first state
    (layers * directions, N, hidden_size), zeros if not given. Returns (the last layer's states
    (T, N, directions * hidden_size), packed if the input is, and the last states). `dropout` drops between layers.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> y, h = nn.RNN(4, 8)(ml.zeros((5, 2, 4)))
    >>> y.shape, h.shape
    ((5, 2, 8), (1, 2, 8))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        mode = nonlinearity_mode("RNN", nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(
            mode,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )

    def _layer(
        self, x: Any, weights: tuple[Any, ...], states: tuple[Any, ...], reverse: bool
    ) -> tuple[Any, ...]:
        y = rnn_layer(x, *weights, *states, nonlinearity=self.nonlinearity, reverse=reverse)
        return y, y[0 if reverse else -1]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        output, (last,) = self._run(input, (hx,))
        return output, last


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) in `num_layers` layers.

    Arguments as `RNN`; `hx` is a pair of first states and cells (layers * directions, N, hidden_size), zeros if not
    given. Returns (the last layer's states (T, N, directions * hidden_size), (the last states, the last cells)). With
    `proj_size` the states, not the cells, are projected to so many features (Sak et al. 2014).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> y, (h, c) = nn.LSTM(4, 8, bidirectional=True)(ml.zeros((5, 2, 4)))
    >>> y.shape, h.shape, c.shape
    ((5, 2, 16), (2, 2, 8), (2, 2, 8))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device,
            dtype,
        )  # fmt: skip

    def _layer(
        self, x: Any, weights: tuple[Any, ...], states: tuple[Any, ...], reverse: bool
    ) -> tuple[Any, ...]:
        if self.proj_size:
            return projected_lstm(x, weights, states, reverse)
        both = lstm_layer(x, *weights, *states, reverse=reverse)[0]  # the states, and the last cell
        y = both[:-1]
        return y, y[0 if reverse else -1], both[-1]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, tuple[Any, Any]]:
        output, (last, cells) = self._run(input, pair("LSTM", hx))
        return output, (last, cells)


class GRU(RNNBase):
    """Gated recurrent units (Cho et al. 2014) in `num_layers` layers; arguments and results as `RNN`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> y, h = nn.GRU(4, 8, num_layers=2, batch_first=True)(ml.zeros((2, 5, 4)))
    >>> y.shape, h.shape
    ((2, 5, 8), (2, 2, 8))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )

    def _layer(
        self, x: Any, weights: tuple[Any, ...], states: tuple[Any, ...], reverse: bool
    ) -> tuple[Any, ...]:
        y = gru_layer(x, *weights, *states, reverse=reverse)[0]
        return y, y[0 if reverse else -1]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        output, (last,) = self._run(input, (hx,))
        return output, last
