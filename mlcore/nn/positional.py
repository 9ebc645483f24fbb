"""Where in a sequence a vector stands: sinusoidal, learned and rotary encodings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mlcore import dtypes
from mlcore.dispatch import from_data
from mlcore.errors import ArgumentError, OutOfRangeError, ShapeError
from mlcore.nn import init
from mlcore.nn.dropout import Dropout
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.nn.rope_scaling import rates
from mlcore.ops.creation import empty, iota_on
from mlcore.ops.elementwise import astype, cos, exp, sin
from mlcore.ops.shape import concat, expand_dims, reshape, slice_, stack


def _angles(like: Any, positions: Any, width: int, base: float) -> Any:
    """(*positions, width / 2): position * base ** (-2 i / width), in float32 or the wider dtype of `like`."""
    dtype = dtypes.float64 if like.dtype is dtypes.float64 else dtypes.float32
    rates = exp(astype(iota_on(like, width // 2), dtype) * (-2 * math.log(base) / width))
    return expand_dims(astype(positions, dtype), axis=-1) * rates


def _even(name: str, width: int, base: float) -> None:
    if width < 2 or width % 2 or not base > 0:
        raise ArgumentError(
            f"{name}: width {width}, base {base}", fix="use an even width and a positive base"
        )


class _Added(Module):
    """What is added to vectors (L, N, E), (N, L, E) with `batch_first`, or (L, E)."""

    embed_dim: int
    batch_first: bool
    _rows: Callable[[Any, int, int], Any]  # the encodings (length, embed_dim) from a position on

    def _table(self, input: Any, offset: int) -> Any:
        """The encodings of the positions of `input`, in a shape that broadcasts to it."""
        if input.ndim not in (2, 3) or input.shape[-1] != self.embed_dim or offset < 0:
            raise ShapeError(
                f"{type(self).__name__}: input {input.shape} at offset {offset}",
                fix=f"pass (L, N, {self.embed_dim}), with N first if batch_first, or without N",
            )
        across = input.ndim == 3 and not self.batch_first
        table = self._rows(input, input.shape[0 if across or input.ndim == 2 else 1], offset)
        return expand_dims(table, axis=1) if across else table


class SinusoidalPositionalEncoding(_Added):
    """Add sines and cosines of the position at many wavelengths (Vaswani et al. 2017, section 3.5), then drop some.

    Feature 2i is sin(p / base ** (2i / embed_dim)), feature 2i + 1 the cosine. No parameters, any length; `offset` is
    the position of the first vector, in decoding the cache's length.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> encode = nn.SinusoidalPositionalEncoding(4, batch_first=True)
    >>> encode(ml.zeros((1, 2, 4)))[0, 0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    def __init__(
        self, embed_dim: int, dropout: float = 0.0, batch_first: bool = False, base: float = 10000.0
    ) -> None:
        super().__init__()
        _even("SinusoidalPositionalEncoding", embed_dim, base)
        self.embed_dim, self.batch_first, self.base = embed_dim, batch_first, base
        self.dropout = Dropout(dropout)

    def _rows(self, input: Any, length: int, offset: int) -> Any:
        angles = _angles(input, iota_on(input, length) + offset, self.embed_dim, self.base)
        both = stack([sin(angles), cos(angles)], axis=-1)
        return astype(reshape(both, (length, self.embed_dim)), input.dtype)

    def forward(self, input: Any, offset: int = 0) -> Any:
        return self.dropout(input + self._table(input, offset))

    def extra_repr(self) -> str:
        return f"{self.embed_dim}" + (", batch_first=True" if self.batch_first else "")


class LearnedPositionalEncoding(_Added):
    """Add a learned vector for each of `max_length` positions (Gehring et al. 2017), then drop some.

    `weight` (max_length, embed_dim) starts normal with a standard deviation of 0.02. `offset` as in
    `SinusoidalPositionalEncoding`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.LearnedPositionalEncoding(16, 4)(ml.zeros((5, 2, 4)), offset=11).shape
    (5, 2, 4)
    """

    def __init__(
        self, max_length: int, embed_dim: int, dropout: float = 0.0, batch_first: bool = False, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if max_length < 1 or embed_dim < 1:
            raise ArgumentError(
                f"LearnedPositionalEncoding: {max_length} positions of {embed_dim}",
                fix="each must be at least 1",
            )
        self.max_length, self.embed_dim, self.batch_first = max_length, embed_dim, batch_first
        self.weight = Parameter(empty((max_length, embed_dim), dtype=dtype, device=device))
        self.dropout = Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the vectors again."""
        init.normal_(self.weight, std=0.02)

    def _rows(self, input: Any, length: int, offset: int) -> Any:
        if offset + length > self.max_length:
            raise OutOfRangeError(
                f"LearnedPositionalEncoding: positions {offset} to {offset + length - 1} of {self.max_length}",
                fix="use a larger max_length, or shorter sequences",
            )
        return self.weight[offset : offset + length]

    def forward(self, input: Any, offset: int = 0) -> Any:
        return self.dropout(input + self._table(input, offset))

    def extra_repr(self) -> str:
        return f"{self.max_length}, {self.embed_dim}" + (", batch_first=True" if self.batch_first else "")


def _columns(x: Any, start: int, stop: int) -> Any:
    """`x[..., start:stop]`, without the way through indexing: every step of decoding passes here."""
    return slice_(x, (*[(0, size, 1) for size in x.shape[:-1]], (start, stop, 1)))


class RotaryPositionalEncoding(Module):
    """Turn pairs of features by angles that grow with the position (Su et al. 2021), for queries and keys.

    Input (..., L, width), heads apart and the length last but one; the first `dim` features are turned, others stay.
    Pair i is features (i, i + dim / 2), or (2i, 2i + 1) when `interleaved`, turned by p * base ** (-2i / dim).
    `positions` (L,) or (..., L) replace offset, offset + 1, ... A product of a query and a key then depends on their
    distance alone. `scaling` stretches a model to longer texts: {"rope_type": "linear", "factor": 2.0}, or the kinds
    "llama3" and "yarn" with their numbers, as in a config.json.

    Layers that share positions share `tables(like, positions)`, which `turn(input, tables)` takes.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> from mlcore.nn import functional as F
    >>> rotary, q, k = nn.RotaryPositionalEncoding(8), ml.ones((2, 3, 5, 8)), ml.ones((2, 3, 5, 8))
    >>> F.scaled_dot_product_attention(rotary(q), rotary(k), k, is_causal=True).shape
    (2, 3, 5, 8)
    """

    def __init__(
        self, dim: int, base: float = 10000.0, interleaved: bool = False, scaling: Mapping[str, Any] | None = None
    ) -> None:  # fmt: skip
        super().__init__()
        _even("RotaryPositionalEncoding", dim, base)
        self.dim, self.base, self.interleaved = dim, base, interleaved
        self.scaling = None if scaling is None else dict(scaling)
        self._rates, self._factor = rates(dim, base, scaling)

    def tables(self, like: Any, positions: Any) -> tuple[Any, Any]:
        """Cosines and sines (*positions, dim / 2), in the dtype of `like` and on its device."""
        dtype = dtypes.float64 if like.dtype is dtypes.float64 else dtypes.float32
        turns = from_data(self._rates, dtype, like.device)
        angles = expand_dims(astype(positions, dtype), axis=-1) * turns
        c, s = cos(angles), sin(angles)
        if self._factor != 1:
            c, s = c * self._factor, s * self._factor
        return astype(c, like.dtype), astype(s, like.dtype)

    def turn(self, input: Any, tables: tuple[Any, Any]) -> Any:
        """The input with its pairs turned by what `tables` gave."""
        c, s = tables
        width, half = input.shape[-1], self.dim // 2
        if self.interleaved:
            x = input[..., : self.dim]
            a, b = x[..., ::2], x[..., 1::2]
            y = reshape(stack([a * c - b * s, b * c + a * s], axis=-1), x.shape)
            return y if width == self.dim else concat([y, input[..., self.dim :]], axis=-1)
        a, b = _columns(input, 0, half), _columns(input, half, self.dim)
        parts = [a * c - b * s, b * c + a * s]
        return concat(parts if width == self.dim else [*parts, _columns(input, self.dim, width)], axis=-1)

    def forward(self, input: Any, offset: int = 0, positions: Any = None) -> Any:
        if input.ndim < 2 or input.shape[-1] < self.dim:
            raise ShapeError(
                f"RotaryPositionalEncoding: input {input.shape}", fix=f"pass (..., L, {self.dim} or more)"
            )
        if positions is None:
            positions = iota_on(input, input.shape[-2]) + offset
        elif not positions.ndim or positions.shape[-1] != input.shape[-2]:
            raise ShapeError(
                f"RotaryPositionalEncoding: positions {positions.shape} for input {input.shape}",
                fix="give one for each place of the sequence",
            )
        return self.turn(input, self.tables(input, positions))

    def extra_repr(self) -> str:
        found = f"{self.dim}, base={self.base}" + (", interleaved=True" if self.interleaved else "")
        return found if self.scaling is None else f"{found}, scaling={self.scaling}"
