"""What every tokenizer here does, and two that need no file: bytes and characters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, ArgumentTypeError, OutOfRangeError
from mlcore_nlp.pretrained import write_json

UNFINISHED: Final = "\ufffd"  # what bytes that are no whole character are decoded to
SETTINGS: Final = "tokenizer_config.json"


class Batch(NamedTuple):
    """Texts as tensors (batch, length) of int64, padded: what a model takes, in its order."""

    input_ids: Any
    attention_mask: Any  # 1 for a token, 0 for padding
    token_type_ids: Any  # 0 for the first text of a pair, 1 for the second

    def to(self, device: Any) -> Batch:
        """The same on a device."""
        return Batch(*(one.to(device) for one in self))


class TextTokenizer:
    """Base of the tokenizers: text to ids and back. Ids of special tokens are None where there is no such token."""

    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    chat_template: str | None = None
    """How a conversation becomes a text, as the model's authors wrote it (a Jinja template). It is data: never run."""
    max_length: int | None = None
    """How many tokens of a text are kept, or None for all."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        raise NotImplementedError

    def _ids(self, text: str, special: bool) -> list[int]:
        raise NotImplementedError

    def _text(self, ids: list[int], skip_special: bool) -> str:
        raise NotImplementedError

    def encode(self, text: str, special: bool = True) -> list[int]:
        """The ids of a text; with `special` those that the model expects around it, such as [CLS] and [SEP]."""
        return self._ids(_checked(text), special)

    def decode(self, ids: Any, skip_special: bool = True) -> str:
        """The text of ids (a list, array or tensor of one dimension), without the special tokens."""
        return self._text(self._known(ids), skip_special)

    def _known(self, ids: Any) -> list[int]:
        found = np.asarray(ids)
        if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
            raise ArgumentTypeError(
                f"decode: ids of shape {found.shape} and dtype {found.dtype}", fix="pass integers, in one row"
            )
        wrong = found[(found < 0) | (found >= self.vocab_size)]
        if wrong.size:
            raise OutOfRangeError(
                f"decode: id {wrong[0]} of a vocabulary of {self.vocab_size}",
                fix="pass ids of this tokenizer",
            )
        return [int(one) for one in found]

    def watch(self) -> Pieces:
        """A reader of ids that come one by one."""
        return Pieces(self)

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of ids that come one by one, as soon as it is certain; joined it is what `decode` gives."""
        reader = self.watch()
        for one in ids:
            if piece := reader.add(one):
                yield piece
        if piece := reader.end():
            yield piece

    def __call__(
        self, texts: str | Sequence[str] | Sequence[tuple[str, str]], *, max_length: int | None = None,
        padding_side: str = "right", special: bool = True, device: Any = None,
    ) -> Batch:  # fmt: skip
        """Texts (or pairs of texts) as one batch, padded to the longest.

        Texts longer than `max_length` (None: the tokenizer's own) are cut; what stands around a text stays.
        Raises ArgumentError for a batch of different lengths where there is no token for padding.
        """
        if padding_side not in ("left", "right"):
            raise ArgumentError(f"padding_side={padding_side!r}", fix="use 'left' or 'right'")
        given = [texts] if isinstance(texts, str) else list(texts)
        if not given:
            raise ArgumentError("a batch of no texts", fix="pass at least one")
        limit = self.max_length if max_length is None else max_length
        if limit is not None and limit < 1:
            raise ArgumentError(f"max_length={limit}", fix="keep at least one token")
        rows = [self._row(one, limit, special) for one in given]
        return padded(
            [ids for ids, _ in rows], [kinds for _, kinds in rows], self.pad_id, padding_side, device
        )

    def _row(self, text: Any, limit: int | None, special: bool) -> tuple[list[int], list[int]]:
        if not isinstance(text, str):
            raise ArgumentTypeError(
                f"{type(self).__name__}: a {type(text).__name__} is no text", fix="pass str"
            )
        ids = self.encode(text, special)[:limit]
        return ids, [0] * len(ids)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the tokenizer's files to a folder."""
        raise NotImplementedError


class Pieces:
    """Ids to text, one by one. A character may take several tokens: nothing is said before the last of them."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._decode = tokenizer.decode
        self._before: list[
            int
        ] = []  # said already; a token's text may depend on whether something stands before it
        self._new: list[int] = []

    def add(self, one: int) -> str:
        """The text that is certain with one more id, often none."""
        self._new.append(int(one))
        text = self._text()
        if not text or text.endswith(UNFINISHED):
            return ""
        self._before, self._new = self._new, []
        return text

    def end(self) -> str:
        """What is left, finished or not."""
        return self._text() if self._new else ""

    def _text(self) -> str:
        return self._decode(self._before + self._new)[len(self._decode(self._before)) :]


def padded(ids: list[list[int]], kinds: list[list[int]], pad_id: int | None, side: str, device: Any) -> Batch:
    """Rows of different lengths as one batch."""
    width = max(map(len, ids))
    if pad_id is None and any(len(one) != width for one in ids):
        raise ArgumentError(
            "texts of different lengths, and no token for padding",
            fix="set tokenizer.pad_id, or pass one text",
        )
    made = np.zeros((3, len(ids), width), np.int64)
    made[0] = pad_id or 0
    for row, (one, kind) in enumerate(zip(ids, kinds, strict=True)):
        place = slice(0, len(one)) if side == "right" else slice(width - len(one), width)
        made[0, row, place], made[1, row, place], made[2, row, place] = one, 1, kind
    return Batch(*(ml.asarray(one, device=device) for one in made))


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise ArgumentTypeError(f"a {type(text).__name__} is no text", fix="pass a str")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ArgumentError(
            f"the text has a lone surrogate at {error.start}", cause="it is no valid Unicode text",
            fix="decode it with the right encoding",
        ) from None  # fmt: skip
    return text


class ByteTokenizer(TextTokenizer):
    """The bytes of a text as ids 0 to 255; 256 begins a text, 257 ends it, 258 is padding. Any text, no file.

    >>> tokenizer = ByteTokenizer()
    >>> tokenizer.encode("né"), tokenizer.decode([110, 195, 169])
    ([110, 195, 169], 'né')
    """

    bos_id, eos_id, pad_id = 256, 257, 258

    @property
    def vocab_size(self) -> int:
        return 259

    def _ids(self, text: str, special: bool) -> list[int]:
        return list(text.encode("utf-8"))

    def _text(self, ids: list[int], skip_special: bool) -> str:
        names = b"" if skip_special else b"<|%d|>"
        found = b"".join(bytes([one]) if one < 256 else names % one if names else b"" for one in ids)
        return found.decode("utf-8", "replace")

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        write_json(Path(folder) / SETTINGS, {"tokenizer_class": "ByteTokenizer"})


class CharTokenizer(TextTokenizer):
    """The characters of a text: those of an `alphabet`, sorted, from id 1 on; 0 is padding.

    Raises ArgumentError naming a character that the alphabet has not.

    >>> tokenizer = CharTokenizer("hello world")
    >>> tokenizer.vocab_size, tokenizer.decode(tokenizer.encode("hole"))
    (9, 'hole')
    """

    pad_id: ClassVar[int] = 0  # type: ignore[misc]  # the same for all of them

    def __init__(self, alphabet: str) -> None:
        self.alphabet = "".join(sorted(set(_checked(alphabet))))
        self._place = {one: i for i, one in enumerate(self.alphabet, start=1)}

    @property
    def vocab_size(self) -> int:
        return len(self.alphabet) + 1

    def _ids(self, text: str, special: bool) -> list[int]:
        try:
            return [self._place[one] for one in text]
        except KeyError as error:
            raise ArgumentError(
                f"the character {error.args[0]!r} is not in the alphabet",
                known=self.alphabet[:80], fix="make the tokenizer from all texts, or leave it out",
            ) from None  # fmt: skip

    def _text(self, ids: list[int], skip_special: bool) -> str:
        return "".join(self.alphabet[one - 1] for one in ids if one)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        write_json(Path(folder) / SETTINGS, {"tokenizer_class": "CharTokenizer", "alphabet": self.alphabet})
