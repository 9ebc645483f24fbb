"""What attention keeps of the steps that are over, so that the next step costs one step."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.ops.index import take
from mlcore.ops.shape import concat


class KVCache:
    """The keys and values of every attention of a model, of the steps so far, for decoding step by step.

    Pass one object to every call of one sequence, or one batch of sequences, and the new positions alone as input:
    `MultiheadAttention`, `TransformerEncoder` and `TransformerDecoder` and their layers take it as `cache=`. Positions
    are then hidden from the earlier ones by `is_causal=True`. Attention of one's own calls `extend`, with any shape
    (batch, ..., length, width). A new sequence needs a new cache, or `clear()`.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    >>> x, cache = ml.random.normal((1, 4, 8)), nn.KVCache()
    >>> steps = [layer(x[:, i : i + 1], is_causal=True, cache=cache) for i in range(4)]
    >>> bool(abs(ml.concat(steps, axis=1) - layer(x, is_causal=True)).max() < 1e-5), cache.length
    (True, 4)
    """

    def __init__(self) -> None:
        self._held: dict[Any, tuple[Any, Any]] = {}
        self._fixed: set[Any] = set()

    @property
    def length(self) -> int:
        """How many positions are held: where the next input begins."""
        return max((self.length_of(owner) for owner in self._held if owner not in self._fixed), default=0)

    @property
    def nbytes(self) -> int:
        """What the keys and values take in memory."""
        return sum(one.size * one.dtype.itemsize for held in self._held.values() for one in held)

    def length_of(self, owner: Any) -> int:
        """How many positions are held for one attention."""
        return self._held[owner][0].shape[-2] if owner in self._held else 0

    def get(self, owner: Any) -> tuple[Any, Any] | None:
        """The keys and values of one attention (any hashable object), or None."""
        return self._held.get(owner)

    def extend(self, owner: Any, key: Any, value: Any) -> tuple[Any, Any]:
        """Put keys and values (batch, ..., length, width) behind those held for `owner`; all of them are returned."""
        held = self._held.get(owner)
        if key.shape[:-1] != value.shape[:-1]:
            raise ShapeError(
                f"KVCache: keys {key.shape}, values {value.shape}", fix="they differ in width alone"
            )
        if held is not None:
            for old, new in zip(held, (key, value), strict=True):
                if old.shape[:-2] != new.shape[:-2] or old.shape[-1] != new.shape[-1]:
                    raise ShapeError(
                        f"KVCache: {new.shape} after {old.shape}",
                        cause="a cache belongs to one batch of sequences",
                        fix="use a new cache, or clear(), for other sequences",
                    )
            key, value = (concat([old, new], axis=-2) for old, new in zip(held, (key, value), strict=True))
        self._held[owner] = key, value
        return key, value

    def keep(self, owner: Any, key: Any, value: Any) -> tuple[Any, Any]:
        """Hold keys and values that do not grow, such as those of an encoder's output."""
        self._held[owner] = key, value
        self._fixed.add(owner)
        return key, value

    def truncate(self, length: int) -> None:
        """Forget all positions but the first `length`, such as guesses that were not accepted."""
        if not 0 <= length <= self.length:
            raise ArgumentError(
                f"KVCache.truncate: {length} of {self.length} positions", fix="use 0 to length"
            )
        for owner, (key, value) in self._held.items():
            if owner not in self._fixed:
                self._held[owner] = key[..., :length, :], value[..., :length, :]

    def reorder(self, indices: Any) -> None:
        """Replace the sequences of the batch by those at `indices`, a vector: what a beam search does."""
        for owner, (key, value) in self._held.items():
            self._held[owner] = take(key, indices, axis=0), take(value, indices, axis=0)

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._fixed.clear()

    def __repr__(self) -> str:
        return f"KVCache(length={self.length}, attentions={len(self._held)}, nbytes={self.nbytes})"
