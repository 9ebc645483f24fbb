"""RNN, LSTM and GRU over sequences, and their cells for one step."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.nn import init
from mlcore.nn.functional._common import probability
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.ops.creation import empty
from mlcore.ops.recurrent import gru_layer, lstm_layer, rnn_layer
from mlcore.ops.shape import concat, expand_dims, squeeze, stack, swapaxes


class _Recurrent(Module):
    """What the three share: parameters, layers and directions; `_layer` runs one direction of one layer."""

    _gates: ClassVar[int]
    # One direction of one layer: (output (T, N, H), the last state, the last cell if there is one).
    _layer: Callable[..., tuple[Any, ...]]

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if input_size < 1 or hidden_size < 1 or num_layers < 1:
            raise ArgumentError(
                f"{name}: input_size {input_size}, hidden_size {hidden_size}, num_layers {num_layers}",
                fix="each must be at least 1",
            )
        if proj_size:
            raise ArgumentError(
                f"{name}: proj_size={proj_size}",
                cause="states are not projected here",
                fix="put a Linear after it",
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout, self.proj_size = probability(name, dropout), proj_size
        directions = 2 if bidirectional else 1
        rows = self._gates * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else directions * hidden_size
            for direction in range(directions):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, width),
                    "weight_hh": (rows, hidden_size),
                }
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                for key, shape in shapes.items():
                    setattr(
                        self, _key(key, layer, direction), Parameter(empty(shape, dtype=dtype, device=device))
                    )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again: uniform in ±1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for one in self.parameters():
            init.uniform_(one, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: for programs that call it, as PyTorch's wants."""

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters of each layer and direction."""
        return [
            [one for one in self._weights(layer, direction) if one is not None]
            for layer in range(self.num_layers)
            for direction in range(2 if self.bidirectional else 1)
        ]

    def _weights(self, layer: int, direction: int) -> tuple[Any, ...]:
        return tuple([getattr(self, name, None) for name in _keys(layer, direction)])

    def _run(self, input: Any, states: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        """The output, and each kind of state (layers * directions, N, H), of input with or without a batch."""
        name = type(self).__name__
        single = input.ndim == 2
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: expected a last dimension of {self.input_size}, with or without a batch, got {input.shape}",
                fix="match input_size to the last dimension",
            )
        x = expand_dims(input, axis=1) if single else swapaxes(input, 0, 1) if self.batch_first else input
        if not x.shape[0]:
            raise ShapeError(
                f"{name}: a sequence of length 0, input {input.shape}", fix="pass at least one step"
            )
        states = tuple(self._checked(one, x, single) for one in states)
        directions = 2 if self.bidirectional else 1
        found: list[list[Any]] = [[] for _ in states]
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = F.dropout(x, self.dropout)
            outputs = []
            for direction in range(directions):
                first = tuple(None if s is None else s[layer * directions + direction] for s in states)
                made = self._layer(x, self._weights(layer, direction), first, direction == 1)
                outputs.append(made[0])
                for kind, last in zip(found, made[1:], strict=True):
                    kind.append(last)
            x = outputs[0] if directions == 1 else concat(outputs, axis=-1)
        last = [stack(kind) if len(kind) > 1 else expand_dims(kind[0], axis=0) for kind in found]
        if single:
            return squeeze(x, 1), [squeeze(one, 1) for one in last]
        return (swapaxes(x, 0, 1) if self.batch_first else x), last

    def _checked(self, state: Any, x: Any, single: bool) -> Any:
        """A state given by the caller, with its batch; or None, which means zeros."""
        if state is None:
            return None
        count = self.num_layers * (2 if self.bidirectional else 1)
        expected = (count, self.hidden_size) if single else (count, x.shape[1], self.hidden_size)
        if state.shape != expected:
            raise ShapeError(
                f"{type(self).__name__}: a first state of shape {state.shape}, expected {expected}",
                cause="it is (layers * directions, batch, hidden_size), without the batch if the input has none",
            )
        return expand_dims(state, axis=1) if single else state

    def extra_repr(self) -> str:
        parts = [str(self.input_size), str(self.hidden_size)]
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


def _key(name: str, layer: int, direction: int) -> str:
    return f"{name}_l{layer}{'_reverse' if direction else ''}"


@cache
def _keys(layer: int, direction: int) -> tuple[str, ...]:
    return tuple(_key(one, layer, direction) for one in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


class RNN(_Recurrent):
    """Elman's recurrent network: `h = tanh(W_ih x + b_ih + W_hh h + b_hh)`, or relu, in `num_layers` layers.

    Input (T, N, input_size), (N, T, input_size) with `batch_first`, or without N; first state (layers * directions, N,
    hidden_size), zeros if not given. Returns (the last layer's states
    (T, N, directions * hidden_size), the last states).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> y, h = nn.RNN(4, 8)(ml.zeros((5, 2, 4)))
    >>> y.shape, h.shape
    ((5, 2, 8), (1, 2, 8))
    """

    _gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(f"RNN: nonlinearity={nonlinearity!r}", fix="use 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )

    def _layer(
        self, x: Any, weights: tuple[Any, ...], states: tuple[Any, ...], reverse: bool
    ) -> tuple[Any, ...]:
        y = rnn_layer(x, *weights, *states, nonlinearity=self.nonlinearity, reverse=reverse)
        return y, y[0 if reverse else -1]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        output, (last,) = self._run(input, (hx,))
        return output, last


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) in `num_layers` layers.

    Input (T, N, input_size), (N, T, input_size) with `batch_first`, or without N; `hx` a pair of first states and cells
    (layers * directions, N, hidden_size), zeros if not given. Returns (the last layer's states
    (T, N, directions * hidden_size), (the last states, the last cells)).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> y, (h, c) = nn.LSTM(4, 8, bidirectional=True)(ml.zeros((5, 2, 4)))
    >>> y.shape, h.shape, c.shape
    ((5, 2, 16), (2, 2, 8), (2, 2, 8))
    """

    _gates = 4

    def _layer(
        self, x: Any, weights: tuple[Any, ...], states: tuple[Any, ...], reverse: bool
    ) -> tuple[Any, ...]:
        both = lstm_layer(x, *weights, *states, reverse=reverse)[0]  # the states, and the last cell
        y = both[:-1]
        return y, y[0 if reverse else -1], both[-1]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, tuple[Any, Any]]:
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise ArgumentError(
                f"LSTM: hx is a {type(hx).__name__}, expected a pair", fix="pass (first states, first cells)"
            )
        output, (last, cells) = self._run(input, (None, None) if hx is None else tuple(hx))
        return output, (last, cells)


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014) in `num_layers` layers; arguments and results as `RNN`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> y, h = nn.GRU(4, 8, num_layers=2, batch_first=True)(ml.zeros((2, 5, 4)))
    >>> y.shape, h.shape
    ((2, 5, 8), (2, 2, 8))
    """

    _gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )

    def _layer(
        self, x: Any, weights: tuple[Any, ...], states: tuple[Any, ...], reverse: bool
    ) -> tuple[Any, ...]:
        y = gru_layer(x, *weights, *states, reverse=reverse)[0]
        return y, y[0 if reverse else -1]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        output, (last,) = self._run(input, (hx,))
        return output, last


class _Cell(Module):
    """One step of a recurrent layer, with the layer's own composite over a sequence of length 1."""

    _gates: ClassVar[int]

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        if input_size < 1 or hidden_size < 1:
            raise ArgumentError(
                f"{type(self).__name__}: input_size {input_size}, hidden_size {hidden_size}",
                fix="each must be at least 1",
            )
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        how = dict(dtype=dtype, device=device)
        rows = self._gates * hidden_size
        self.weight_ih = Parameter(empty((rows, input_size), **how))
        self.weight_hh = Parameter(empty((rows, hidden_size), **how))
        self.bias_ih = Parameter(empty((rows,), **how)) if bias else None
        self.bias_hh = Parameter(empty((rows,), **how)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again: uniform in ±1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for one in self.parameters():
            init.uniform_(one, -bound, bound)

    def _step(self, op: Any, input: Any, states: tuple[Any, ...], **params: Any) -> tuple[Any, bool]:
        """(the composite's first output, whether the input had no batch)."""
        single = input.ndim == 1
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: expected (N, {self.input_size}) or ({self.input_size},), got {input.shape}"
            )
        x = expand_dims(expand_dims(input, axis=0) if single else input, axis=0)
        given = [expand_dims(one, axis=0) if single and one is not None else one for one in states]
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        made = op(x, *weights, *given, **params)
        return (made[0] if isinstance(made, tuple) else made), single

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of `RNN`: input (N, input_size) and state (N, hidden_size), zeros if not given, to the next state.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.RNNCell(4, 8)(ml.zeros((2, 4))).shape
    (2, 8)
    """

    _gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(f"RNNCell: nonlinearity={nonlinearity!r}", fix="use 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        y, single = self._step(rnn_layer, input, (hx,), nonlinearity=self.nonlinearity)
        return y[0, 0] if single else y[0]

    def extra_repr(self) -> str:
        return super().extra_repr() + (
            "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        )


class LSTMCell(_Cell):
    """One step of `LSTM`: input (N, input_size), `hx` a pair of state and cell, to the next (state, cell).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> h, c = nn.LSTMCell(4, 8)(ml.zeros((2, 4)))
    >>> h.shape, c.shape
    ((2, 8), (2, 8))
    """

    _gates = 4

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        both, single = self._step(lstm_layer, input, (None, None) if hx is None else tuple(hx))
        return (both[0, 0], both[1, 0]) if single else (both[0], both[1])


class GRUCell(_Cell):
    """One step of `GRU`: input (N, input_size) and state (N, hidden_size), zeros if not given, to the next state.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.GRUCell(4, 8)(ml.zeros((2, 4))).shape
    (2, 8)
    """

    _gates = 3

    def forward(self, input: Any, hx: Any = None) -> Any:
        y, single = self._step(gru_layer, input, (hx,))
        return y[0, 0] if single else y[0]
