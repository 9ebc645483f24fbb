"""What attention keeps of the steps that are over, so that the next step costs one step."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.growing import Growing
from mlcore.ops.index import take


class KVCache:
    """The keys and values of every attention of a model, of the steps so far, for decoding step by step.

    Pass one object to every call of one sequence, or one batch of sequences, and the new positions alone as input:
    `MultiheadAttention`, `TransformerEncoder` and `TransformerDecoder` and their layers take it as `cache=`. Positions
    are then hidden from the earlier ones by `is_causal=True`. Attention of one's own calls `extend`, with any shape
    (batch, ..., length, width). A new sequence needs a new cache, or `clear()`. A step costs a step however many went
    before, where the device writes in place: the room for positions doubles when it is full.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    >>> x, cache = ml.random.normal((1, 4, 8)), nn.KVCache()
    >>> steps = [layer(x[:, i : i + 1], is_causal=True, cache=cache) for i in range(4)]
    >>> bool(abs(ml.concat(steps, axis=1) - layer(x, is_causal=True)).max() < 1e-5), cache.length
    (True, 4)
    """

    def __init__(self) -> None:
        self._grown: dict[Any, tuple[Growing, Growing]] = {}
        self._fixed: dict[Any, tuple[Any, Any]] = {}

    @property
    def length(self) -> int:
        """How many positions are held: where the next input begins."""
        return max((keys.length for keys, _ in self._grown.values()), default=0)

    @property
    def nbytes(self) -> int:
        """What the keys and values take in memory, with the room for more."""
        grown = [one.held for pair in self._grown.values() for one in pair]
        return sum(one.nbytes for one in [*grown, *(one for pair in self._fixed.values() for one in pair)])

    def length_of(self, owner: Any) -> int:
        """How many positions are held for one attention."""
        if owner in self._grown:
            return self._grown[owner][0].length
        return int(self._fixed[owner][0].shape[-2]) if owner in self._fixed else 0

    def get(self, owner: Any) -> tuple[Any, Any] | None:
        """The keys and values of one attention (any hashable object), or None."""
        if owner in self._grown:
            keys, values = self._grown[owner]
            return keys.value, values.value
        return self._fixed.get(owner)

    def extend(self, owner: Any, key: Any, value: Any) -> tuple[Any, Any]:
        """Put keys and values (batch, ..., length, width) behind those held for `owner`; all of them are returned."""
        if key.shape[:-1] != value.shape[:-1]:
            raise ShapeError(
                f"KVCache: keys {key.shape}, values {value.shape}", fix="they differ in width alone"
            )
        grown = self._grown.get(owner)
        if grown is None:
            self._grown[owner] = Growing(key), Growing(value)
            return key, value
        for old, new in zip(grown, (key, value), strict=True):
            if old.held.shape[:-2] != new.shape[:-2] or old.held.shape[-1] != new.shape[-1]:
                raise ShapeError(
                    f"KVCache: {new.shape} after {old.value.shape}",
                    cause="a cache belongs to one batch of sequences",
                    fix="use a new cache, or clear(), for other sequences",
                )
        for old, new in zip(grown, (key, value), strict=True):
            old.add(new)
        return grown[0].value, grown[1].value

    def keep(self, owner: Any, key: Any, value: Any) -> tuple[Any, Any]:
        """Hold keys and values that do not grow, such as those of an encoder's output."""
        self._fixed[owner] = key, value
        return key, value

    def truncate(self, length: int) -> None:
        """Forget all positions but the first `length`, such as guesses that were not accepted."""
        if not 0 <= length <= self.length:
            raise ArgumentError(
                f"KVCache.truncate: {length} of {self.length} positions", fix="use 0 to length"
            )
        for pair in self._grown.values():
            for one in pair:
                one.length = min(one.length, length)

    def reorder(self, indices: Any) -> None:
        """Replace the sequences of the batch by those at `indices`, a vector: what a beam search does."""
        for pair in self._grown.values():
            for one in pair:
                one.held = take(one.value, indices, axis=0)
        for owner, (key, value) in self._fixed.items():
            self._fixed[owner] = take(key, indices, axis=0), take(value, indices, axis=0)

    def clear(self) -> None:
        """Forget everything."""
        self._grown.clear()
        self._fixed.clear()

    def __repr__(self) -> str:
        count = len(self._grown) + len(self._fixed)
        return f"KVCache(length={self.length}, attentions={count}, nbytes={self.nbytes})"
