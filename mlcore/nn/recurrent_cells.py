"""One step of a recurrent layer: RNNCell, LSTMCell and GRUCell."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ShapeError
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.nn.recurrent import GATES, draw, nonlinearity_mode, pair, sizes
from mlcore.ops.creation import empty
from mlcore.ops.recurrent import gru_layer, lstm_layer, rnn_layer
from mlcore.ops.shape import expand_dims


class RNNCellBase(Module):
    """What the cells share: parameters of `num_chunks` gates, and one step with the layer's own composite."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__()
        sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        how = dict(dtype=dtype, device=device)
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(empty((rows, input_size), **how))
        self.weight_hh = Parameter(empty((rows, hidden_size), **how))
        self.bias_ih = Parameter(empty((rows,), **how)) if bias else None
        self.bias_hh = Parameter(empty((rows,), **how)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again: uniform in ±1 / sqrt(hidden_size)."""
        draw(self)

    def _step(self, op: Any, input: Any, states: tuple[Any, ...], **params: Any) -> tuple[Any, bool]:
        """(the composite's first output, whether the input had no batch)."""
        single = input.ndim == 1
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: expected (N, {self.input_size}) or ({self.input_size},), got {input.shape}"
            )
        for state in states:
            expected = (self.hidden_size,) if single else (input.shape[0], self.hidden_size)
            if state is not None and state.shape != expected:
                raise ShapeError(
                    f"{type(self).__name__}: a state of shape {state.shape}, expected {expected}"
                )
        x = expand_dims(expand_dims(input, axis=0) if single else input, axis=0)
        given = [expand_dims(one, axis=0) if single and one is not None else one for one in states]
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        made = op(x, *weights, *given, **params)
        return (made[0] if isinstance(made, tuple) else made), single

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """One step of `RNN`: input (N, input_size) and state (N, hidden_size), zeros if not given, to the next state.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.RNNCell(4, 8)(ml.zeros((2, 4))).shape
    (2, 8)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        mode = nonlinearity_mode("RNNCell", nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, GATES[mode], device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        y, single = self._step(rnn_layer, input, (hx,), nonlinearity=self.nonlinearity)
        return y[0, 0] if single else y[0]

    def extra_repr(self) -> str:
        return super().extra_repr() + (
            "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        )


class LSTMCell(RNNCellBase):
    """One step of `LSTM`: input (N, input_size), `hx` a pair of state and cell, to the next (state, cell).

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> h, c = nn.LSTMCell(4, 8)(ml.zeros((2, 4)))
    >>> h.shape, c.shape
    ((2, 8), (2, 8))
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, GATES["LSTM"], device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        both, single = self._step(lstm_layer, input, pair("LSTMCell", hx))
        return (both[0, 0], both[1, 0]) if single else (both[0], both[1])


class GRUCell(RNNCellBase):
    """One step of `GRU`: input (N, input_size) and state (N, hidden_size), zeros if not given, to the next state.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.GRUCell(4, 8)(ml.zeros((2, 4))).shape
    (2, 8)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, GATES["GRU"], device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        y, single = self._step(gru_layer, input, (hx,))
        return y[0, 0] if single else y[0]
