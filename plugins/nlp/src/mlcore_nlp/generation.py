"""Texts continued token by token: greedy or drawn, with a cache of keys and values, one text or a padded batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, ArgumentTypeError, OutOfRangeError
from mlcore_nlp.text import TextTokenizer, padded

Rows = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Choice:
    """How the next token is picked from the logits. Without numbers: the likeliest."""

    draws: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    generator: Any = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ArgumentError(
                f"generate: temperature={self.temperature}", fix="use a positive number, or do_sample=False"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ArgumentError(f"generate: top_k={self.top_k}", fix="keep at least one token")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ArgumentError(f"generate: top_p={self.top_p}", fix="use a share above 0, up to 1")

    def next(self, logits: Any) -> Rows:
        """One id for each row of logits (batch, vocabulary)."""
        if not self.draws:
            likeliest: Rows = ml.argmax(logits, axis=-1).numpy()
            return likeliest
        scaled = np.asarray(logits.to(dtype=ml.float32)).astype(np.float64) / self.temperature
        shares = self.shares(scaled)
        drawn = np.asarray(
            ml.random.uniform((len(shares), 1), device=logits.device, generator=self.generator)
        )
        below = np.cumsum(shares, axis=-1)
        places: Rows = (below <= drawn * below[:, -1:]).sum(axis=-1)
        found: Rows = np.minimum(places, shares.shape[-1] - 1)
        return found

    def shares(self, scaled: Rows) -> Rows:
        """Probabilities (batch, vocabulary), those of tokens left out by top_k and top_p zero."""
        if self.top_k is not None and self.top_k < scaled.shape[-1]:
            least = np.partition(scaled, -self.top_k, axis=-1)[:, [-self.top_k]]
            scaled = np.where(scaled >= least, scaled, -np.inf)
        shares = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        if self.top_p is not None and self.top_p < 1:
            order = np.argsort(-shares, axis=-1, kind="stable")
            sorted_ = np.take_along_axis(shares, order, axis=-1)
            before = (
                np.cumsum(sorted_, axis=-1) - sorted_
            )  # what is likelier: the token that passes top_p stays
            np.put_along_axis(shares, order, np.where(before < self.top_p, sorted_, 0.0), axis=-1)
            shares /= shares.sum(axis=-1, keepdims=True)
        found: Rows = shares
        return found


class _Row:
    """One text of a batch as it grows: its new ids, its text where that matters, and whether it is at its end."""

    def __init__(
        self, tokenizer: TextTokenizer | None, ends: frozenset[int], stop: tuple[str, ...],
        say: Callable[[str], Any] | None,
    ) -> None:  # fmt: skip
        self.ids: list[int] = []
        self.done = False
        self.text, self._said = "", 0
        self._ends, self._stop, self._say = ends, stop, say
        self._tokenizer = tokenizer
        self._pieces = tokenizer.watch() if tokenizer is not None and (stop or say) else None

    def add(self, one: int) -> None:
        """Take the next token."""
        if self.done:
            return
        if one in self._ends:
            self.finish()
            return
        self.ids.append(one)
        if self._pieces is not None:
            self._grow(self._pieces.add(one))

    def finish(self) -> None:
        """No token comes any more."""
        if not self.done and self._pieces is not None:
            self._grow(self._pieces.end())
        self.done = True
        self._speak(len(self.text))

    def whole(self) -> str:
        """The new text."""
        if self._pieces is not None or self._tokenizer is None:
            return self.text
        return self._tokenizer.decode(self.ids)

    def _grow(self, piece: str) -> None:
        before = len(self.text)
        self.text += piece
        for one in self._stop:
            at = self.text.find(one, max(0, before - len(one)))
            if at >= 0:
                self.text, self.done = self.text[:at], True
        held = 0 if self.done else max((_begun(self.text, one) for one in self._stop), default=0)
        self._speak(len(self.text) - held)

    def _speak(self, until: int) -> None:
        if self._say is not None and until > self._said:
            self._say(self.text[self._said : until])
            self._said = until


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


class Generates(nn.Module):
    """What a language model does with its logits. Needs `forward(ids, mask, cache, logits_to_keep)`."""

    tokenizer: Any
    eos_token_id: Any
    pad_token_id: int | None

    @property
    def context_length(self) -> int:
        """How many tokens a text may have."""
        raise NotImplementedError

    def generate(
        self, inputs: Any, *, max_new_tokens: int = 20, do_sample: bool | None = None,
        temperature: float | None = None, top_k: int | None = None, top_p: float | None = None,
        seed: int | None = None, generator: Any = None, stop: str | Sequence[str] | None = None,
        stream: Callable[[str], Any] | None = None, attention_mask: Any = None, use_cache: bool = True,
        eos_token_id: Any = None,
    ) -> Any:  # fmt: skip
        """Continue texts by up to `max_new_tokens` tokens, each text until it is at its end.

        `inputs` is a text or a list of texts, and what comes back is the new text of each; or ids, (length,) or
        (batch, length) with `attention_mask` 0 at padding on the left, and what comes back is all ids, the given and
        the new ones, with padding behind texts that ended.

        The likeliest token is taken, unless `do_sample=True` or one of `temperature`, `top_k`, `top_p` is given: then
        tokens are drawn by their probabilities, from `generator`, a new one of `seed`, or the default one. A text ends
        at `eos_token_id` (None: the model's own), at the texts in `stop`, which are left out, and where the model's
        context ends. `stream` is called with each new piece of one text. `use_cache=False` computes everything again at
        each step.
        """
        drawn = (
            any(one is not None for one in (temperature, top_k, top_p)) if do_sample is None else do_sample
        )
        if seed is not None:
            generator = ml.random.Generator(seed)
        choice = Choice(drawn, 1.0 if temperature is None else temperature, top_k, top_p, generator)
        if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 0:
            raise ArgumentError(f"generate: max_new_tokens={max_new_tokens!r}", fix="use 0 or more")
        texts = [inputs] if isinstance(inputs, str) else inputs
        is_text = (
            isinstance(texts, (list, tuple)) and bool(texts) and all(isinstance(one, str) for one in texts)
        )
        ids, mask = self._encoded(texts) if is_text else self._as_ids(inputs, attention_mask)
        rows = self._rows(len(ids), stop, stream, eos_token_id)
        count = min(max_new_tokens, self._room(ids.shape[1]))
        training = self.training
        self.eval()
        try:
            with ml.no_grad():
                for step in self._steps(ids, mask, count, choice, use_cache):
                    for row, one in zip(rows, step, strict=True):
                        row.add(int(one))
                    if all(row.done for row in rows):
                        break
        finally:
            self.train(training)
        for row in rows:
            row.finish()
        if is_text:
            found = [row.whole() for row in rows]
            return found[0] if isinstance(inputs, str) else found
        whole = self._joined(ids, rows)
        return whole[0] if np.ndim(inputs) == 1 else whole

    def _steps(self, ids: Any, mask: Any, count: int, choice: Choice, use_cache: bool) -> Iterator[Rows]:
        """The next id of each row, again and again."""
        cache = nn.KVCache() if use_cache else None
        given = ids
        for step in range(count):
            found = choice.next(self(given, mask, cache, logits_to_keep=1)[:, -1])
            yield found
            if step + 1 == count:
                return
            new = ml.asarray(found.reshape((-1, 1)), dtype=ml.int64, device=ids.device)
            given = new if use_cache else ml.concat([given, new], axis=1)
            if mask is not None:
                mask = ml.concat(
                    [mask, ml.ones((len(found), 1), dtype=mask.dtype, device=mask.device)], axis=1
                )

    # -- what goes in and comes out ------------------------------------------------------------------------------

    def _device(self) -> Any:
        return next(self.parameters()).device

    def _encoded(self, texts: Sequence[str]) -> tuple[Any, Any]:
        tokenizer = self._text_tokenizer("a text was given")
        alone = len(texts) == 1
        rows = [tokenizer.encode(one) for one in texts]
        if not all(rows):
            raise ArgumentError("generate: an empty text", fix="begin with at least one token")
        pad = tokenizer.pad_id if tokenizer.pad_id is not None else self._padding()
        batch = padded(rows, [[0] * len(one) for one in rows], pad, "left", self._device())
        return batch.input_ids, None if alone else batch.attention_mask

    def _as_ids(self, inputs: Any, mask: Any) -> tuple[Any, Any]:
        ids = ml.asarray(inputs, device=self._device())
        if ids.dtype.kind not in "iu" or ids.ndim not in (1, 2) or not ids.size:
            raise ArgumentTypeError(
                f"generate: inputs of shape {ids.shape} and dtype {ids.dtype}",
                fix="pass a text, a list of texts, or ids (length,) or (batch, length)",
            )
        ids = ids.reshape((1, -1)) if ids.ndim == 1 else ids
        if mask is None:
            return ids, None
        mask = ml.asarray(mask, device=self._device()).reshape(ids.shape)
        if not bool((mask[:, -1] != 0).all()):
            raise ArgumentError(
                "generate: padding at the end of a text", cause="new tokens come behind the last one",
                fix="pad on the left: tokenizer(texts, padding_side='left')",
            )  # fmt: skip
        return ids, mask

    def _text_tokenizer(self, why: str) -> TextTokenizer:
        if not isinstance(self.tokenizer, TextTokenizer):
            raise ArgumentError(
                f"generate: {why}, and the model has no tokenizer", fix="set model.tokenizer, or pass ids"
            )
        return self.tokenizer

    def _rows(self, count: int, stop: Any, stream: Any, eos: Any) -> list[_Row]:
        words = (stop,) if isinstance(stop, str) else tuple(stop or ())
        if any(not isinstance(one, str) or not one for one in words):
            raise ArgumentTypeError(f"generate: stop={stop!r}", fix="pass texts that are not empty")
        if stream is not None and count != 1:
            raise ArgumentError(f"generate: stream with {count} texts", fix="stream one text at a time")
        if words or stream:
            self._text_tokenizer("stop or stream was given")
        ends = frozenset(_as_list(self.eos_token_id if eos is None else eos))
        return [_Row(self.tokenizer, ends, words, stream) for _ in range(count)]

    def _room(self, length: int) -> int:
        if length >= self.context_length:
            raise OutOfRangeError(
                f"generate: a text of {length} tokens, and a context of {self.context_length}",
                fix="cut the text: the model needs room for at least one new token",
            )
        return self.context_length - length

    def _padding(self) -> int:
        ends = _as_list(self.eos_token_id)
        return self.pad_token_id if self.pad_token_id is not None else ends[0] if ends else 0

    def _joined(self, ids: Any, rows: list[_Row]) -> Any:
        width = max(len(row.ids) for row in rows)
        made = np.full((len(rows), width), self._padding(), np.int64)
        for place, row in zip(made, rows, strict=True):
            place[: len(row.ids)] = row.ids
        return ml.concat([ids.to(dtype=ml.int64), ml.asarray(made, device=ids.device)], axis=1)


def _as_list(ids: Any) -> list[int]:
    return [] if ids is None else [int(ids)] if isinstance(ids, int) else [int(one) for one in ids]
