"""WordPiece and BPE through the `tokenizers` library: from tokenizer.json, or from what a GGUF file holds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tokenizers

from mlcore.errors import ArgumentError, ArgumentTypeError, FormatError
from mlcore.io import MissingFileError, atomic_write, strict_json
from mlcore_nlp.pretrained import write_json
from mlcore_nlp.text import SETTINGS, ByteTokenizer, CharTokenizer, TextTokenizer, _checked

FILE = "tokenizer.json"


def guarded_backend(what: str, call: Callable[[], Any]) -> Any:
    """What the library makes of a file's content, with an error of ours where it refuses (or panics)."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic in Rust is a BaseException
        raise FormatError(f"{what}: {str(error)[:200]}", cause="the tokenizers library refuses it") from None


class Tokenizer(TextTokenizer):
    """A tokenizer of the `tokenizers` library, by Hugging Face's names.

    `backend` is a `tokenizers.Tokenizer`; its own padding and cutting are switched off, `tokenizer(texts)` does both.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, *, bos_id: int | None = None, eos_id: int | None = None,
        pad_id: int | None = None, max_length: int | None = None, chat_template: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend
        self.bos_id, self.eos_id, self.pad_id = bos_id, eos_id, pad_id
        self.max_length, self.chat_template = max_length, chat_template
        self._settings = dict(settings or {})

    # -- where they come from --------------------------------------------------------------------------------

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> Tokenizer:
        """The tokenizer in a tokenizer.json. Raises `MissingFileError`, `FormatError`."""
        content = json.dumps(
            strict_json.read(Path(path))
        )  # read here: what is wrong with a file is told in one way
        return cls(guarded_backend(str(path), lambda: tokenizers.Tokenizer.from_str(content)), **options)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> TextTokenizer:
        """The tokenizer of a Hugging Face folder: tokenizer.json, and what tokenizer_config.json says beside it."""
        place = Path(folder)
        settings = strict_json.read(place / SETTINGS) if (place / SETTINGS).is_file() else {}
        kind = settings.get("tokenizer_class")
        if kind == "ByteTokenizer":
            return ByteTokenizer()
        if kind == "CharTokenizer":
            return CharTokenizer(settings.get("alphabet", ""))
        if not (place / FILE).is_file():
            raise MissingFileError(
                f"{place} has no {FILE}",
                fix="save the tokenizer as tokenizer.json, the format of `tokenizers`",
            )
        longest = settings.get("model_max_length")
        template = settings.get("chat_template")
        made = cls.from_file(
            place / FILE,
            max_length=longest if isinstance(longest, int) and 0 < longest < 1 << 30 else None,
            chat_template=template if isinstance(template, str) else None,
            settings=settings,
        )
        for name, key in (("bos_id", "bos_token"), ("eos_id", "eos_token"), ("pad_id", "pad_token")):
            setattr(made, name, made._id_of(settings.get(key)))
        return made

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> Tokenizer:
        """The tokenizer that a GGUF file's metadata describes: tokens, merges, how texts are parted, special tokens."""
        from mlcore_nlp import gguf

        return gguf.tokenizer(metadata)

    def _id_of(self, token: Any) -> int | None:
        text = token.get("content") if isinstance(token, Mapping) else token
        found: int | None = self.backend.token_to_id(text) if isinstance(text, str) else None
        return found

    # -- what they do ------------------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    def token(self, index: int) -> str | None:
        """The token of an id, as the vocabulary spells it."""
        found: str | None = self.backend.id_to_token(index)
        return found

    def _ids(self, text: str, special: bool) -> list[int]:
        return list(self.backend.encode(text, add_special_tokens=special).ids)

    def _text(self, ids: list[int], skip_special: bool) -> str:
        return str(self.backend.decode(ids, skip_special_tokens=skip_special))

    def _row(self, text: Any, limit: int | None, special: bool) -> tuple[list[int], list[int]]:
        if not isinstance(text, str) and not (isinstance(text, (tuple, list)) and len(text) == 2):
            raise ArgumentTypeError(
                f"Tokenizer: a {type(text).__name__} is no text", fix="pass str, or pairs of str"
            )
        parts = [text] if isinstance(text, str) else list(text)
        found = [self.backend.encode(_checked(one), add_special_tokens=False) for one in parts]
        if limit is not None:
            around = self.backend.num_special_tokens_to_add(len(parts) == 2) if special else 0
            room = limit - around
            if room < len(parts):
                raise ArgumentError(
                    f"max_length={limit}: nothing of the text is left",
                    cause=f"{around} tokens stand around it",
                )
            _cut(found, room)
        made = self.backend.post_process(found[0], found[1] if len(found) == 2 else None, special)
        return list(made.ids), list(made.type_ids)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json and tokenizer_config.json, which Hugging Face's libraries read."""
        place = Path(folder)
        with atomic_write(place / FILE) as file:
            file.write(self.backend.to_str(pretty=False).encode())
        names = {"bos_token": self.bos_id, "eos_token": self.eos_id, "pad_token": self.pad_id}
        said = {key: self.token(one) for key, one in names.items() if one is not None}
        if self.max_length is not None:
            said["model_max_length"] = self.max_length  # type: ignore[assignment]  # plain JSON
        if self.chat_template is not None:
            said["chat_template"] = self.chat_template
        write_json(place / SETTINGS, {"tokenizer_class": "PreTrainedTokenizerFast", **self._settings, **said})


def _cut(parts: list[Any], room: int) -> None:
    """Cut the texts, always the longer one, until all of them have room."""
    sizes = [len(one.ids) for one in parts]
    while sum(sizes) > room:
        sizes[sizes.index(max(sizes))] -= 1
    for one, size in zip(parts, sizes, strict=True):
        one.truncate(size)
