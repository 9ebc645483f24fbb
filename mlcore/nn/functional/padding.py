"""Padding with PyTorch's argument: pairs from the last dimension backwards."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops import shape
from mlcore.ops.index import gather

_NUMPY = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    """`input` with (before, after) added to the last dimension, then to the one before it, and so on.

    Modes 'constant' (with `value`, 0 by default; negative widths crop), 'reflect', 'replicate' and 'circular'.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> F.pad(ml.asarray([1.0, 2.0, 3.0]), (2, 0), mode="reflect").tolist()
    [3.0, 2.0, 1.0, 2.0, 3.0]
    """
    widths = tuple(int(one) for one in pad)
    if len(widths) % 2 or len(widths) > 2 * input.ndim:
        raise ArgumentError(
            f"pad: {widths} for a tensor of shape {input.shape}",
            fix="give (before, after) for each of the last dimensions",
        )
    pairs: list[Any] = [(0, 0)] * (input.ndim - len(widths) // 2) + [
        widths[i : i + 2] for i in range(len(widths) - 2, -1, -2)
    ]
    for axis, (before, after) in enumerate(pairs):
        if input.shape[axis] + min(before, 0) + min(after, 0) < 0:
            raise ShapeError(f"pad: cropping ({before}, {after}) from dim {axis} of {input.shape}")
    if mode == "constant":
        return _constant(input, pairs, 0 if value is None else value)
    if mode not in _NUMPY:
        raise ArgumentError(f"pad: mode={mode!r}", fix="use 'constant', 'reflect', 'replicate' or 'circular'")
    if value is not None and value != 0:
        raise ArgumentError(f"pad: value={value} with mode {mode!r}", fix="only 'constant' takes a value")
    for axis, pair in enumerate(pairs):
        if any(pair):
            input = gather(input, _source(input, axis, pair, mode), axis=axis)
    return input


def _constant(x: Any, pairs: list[Any], value: float) -> Any:
    if any(min(pair) < 0 for pair in pairs):
        x = x[tuple(slice(max(-a, 0), d - max(-b, 0)) for (a, b), d in zip(pairs, x.shape, strict=True))]
    return shape.pad(x, tuple((max(a, 0), max(b, 0)) for a, b in pairs), value=value)


def _source(x: Any, axis: int, pair: tuple[int, int], mode: str) -> Any:
    """Which element each place of the padded axis is a copy of."""
    size = x.shape[axis]
    room = {"reflect": size - 1, "circular": size, "replicate": None}[mode]
    if min(pair) < 0 or size == 0 or (room is not None and max(pair) > room):
        raise ShapeError(f"pad: widths {pair} along dim {axis} of {x.shape} in mode {mode!r}",
                         fix=f"use widths from 0 to {room}" if room is not None else "use widths >= 0")  # fmt: skip
    # NumPy types each mode by itself
    index = np.pad(np.arange(size), pair, mode=_NUMPY[mode])  # type: ignore[call-overload]
    return dispatch.from_data(index.astype(np.int64), None, x.device)
