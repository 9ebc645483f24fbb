"""How one direction of a recurrent layer runs over a packed batch, and an LSTM with projected states over any."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

from mlcore.ops.creation import zeros
from mlcore.ops.linalg import matmul
from mlcore.ops.nn import linear
from mlcore.ops.recurrent import lstm_layer
from mlcore.ops.shape import concat, expand_dims, reshape

Run = Callable[..., tuple[Any, ...]]


def over_segments(run: Run, counts: list[int]) -> Run:
    """A run over packed data: over segments of steps with equally many sequences, states carried over.

    Forwards, the sequences that end leave their states behind; backwards, longer sequences run first and the others
    join with their first state. `counts` are the batch sizes.
    """
    segments, row = [], 0
    for batch, group in groupby(counts):
        steps = len(list(group))
        segments.append((row, steps, batch))
        row += steps * batch

    def whole(data: Any, weights: tuple[Any, ...], first: tuple[Any, ...], reverse: bool) -> tuple[Any, ...]:
        pieces: list[Any] = []
        ended: list[tuple[Any, ...]] = []
        states: tuple[Any, ...] = ()
        for row, steps, batch in reversed(segments) if reverse else segments:
            if not pieces:
                states = tuple(None if one is None else one[:batch] for one in first)
            elif reverse:
                states = tuple(_joined(*both, batch) for both in zip(states, first, strict=True))
            else:
                ended.append(tuple(one[batch:] for one in states))
                states = tuple(one[:batch] for one in states)
            x = reshape(data[row : row + steps * batch], (steps, batch, data.shape[1]))
            y, *last = run(x, weights, states, reverse)
            pieces.append(reshape(y, (steps * batch, y.shape[2])))
            states = tuple(last)
        if ended:
            states = tuple(concat(one, axis=0) for one in zip(states, *ended[::-1], strict=True))
        if len(pieces) == 1:
            return pieces[0], *states
        return concat(pieces[::-1] if reverse else pieces, axis=0), *states

    return whole


def _joined(state: Any, first: Any, batch: int) -> Any:
    """A state with the first states of the sequences that join."""
    here, width = state.shape
    if first is None:
        joining = zeros((batch - here, width), dtype=state.dtype, device=state.device)
    else:
        joining = first[here:batch]
    return concat([state, joining], axis=0)


def projected_lstm(
    x: Any, weights: tuple[Any, ...], states: tuple[Any, ...], reverse: bool
) -> tuple[Any, ...]:
    """(projected states (T, N, P), the last one, the last cell).

    The ordinary layer computes it: with m the state before its projection h = W_hr m, W_hh h is (W_hh W_hr) m. A first
    state is given projected, so then the first step takes it as more input.
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    h0, c0 = states
    inner = matmul(w_hh, w_hr)
    pieces, state, cell = [], None, c0
    if h0 is not None:
        more = expand_dims(concat([x[-1 if reverse else 0], h0], axis=-1), axis=0)
        both = lstm_layer(more, concat([w_ih, w_hh], axis=1), inner, b_ih, b_hh, None, c0)[0]
        pieces.append(both[:-1])
        state, cell = both[0], both[1]
        x = x[:-1] if reverse else x[1:]
    if x.shape[0]:
        both = lstm_layer(x, w_ih, inner, b_ih, b_hh, state, cell, reverse=reverse)[0]
        pieces.append(both[:-1])
        cell = both[-1]
    y = linear(concat(pieces[::-1] if reverse else pieces, axis=0) if len(pieces) > 1 else pieces[0], w_hr)
    return y, y[0 if reverse else -1], cell
