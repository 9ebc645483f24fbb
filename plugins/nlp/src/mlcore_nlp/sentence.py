"""Texts as vectors whose angles say how near their meanings are, as sentence-transformers' folders describe it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, NoReturn

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, FormatError, UnsafeFileError
from mlcore.io import MissingFileError, strict_json
from mlcore.nn import functional as F
from mlcore_nlp.bert import BertModel, allowed
from mlcore_nlp.pretrained import write_json
from mlcore_nlp.text import Batch, TextTokenizer

MODULES: Final = "modules.json"
POOLING: Final = "1_Pooling"
_WAYS: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
}


class SentenceEncoder(nn.Module):
    """An encoder, one vector for each text from those of its tokens (`pooling`: "mean", "max" or "cls"), of length 1.

    `encode(texts)` gives (count, hidden_size); `similarity` their cosines.

    >>> from mlcore_nlp import BertConfig, ByteTokenizer, SentenceEncoder
    >>> tiny = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    >>> small = BertConfig(vocab_size=259, **tiny)
    >>> encoder = SentenceEncoder(small.build(), ByteTokenizer()).eval()
    >>> encoder.encode(["one", "two", "three"]).shape
    (3, 8)
    """

    def __init__(
        self, bert: BertModel, tokenizer: TextTokenizer, pooling: str = "mean", normalize: bool = True,
        max_length: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if pooling not in _WAYS.values():
            raise ArgumentError(f"SentenceEncoder: pooling={pooling!r}", known=", ".join(_WAYS.values()))
        self.bert, self.tokenizer, self.pooling, self.normalize = bert, tokenizer, pooling, normalize
        most = bert.embeddings.position_embeddings.num_embeddings
        self.max_length = most if max_length is None else min(max_length, most)

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        """One vector for each row of ids."""
        hidden = self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state
        there = allowed(input_ids, attention_mask).reshape((*input_ids.shape, 1))
        if self.pooling == "cls":
            found = hidden[:, 0]
        elif self.pooling == "max":
            found = ml.where(there, hidden, float("-inf")).max(axis=1)
        else:
            counted = there.astype(hidden.dtype)
            found = (hidden * counted).sum(axis=1) / counted.sum(axis=1).clip(1e-9, None)
        return F.normalize(found, dim=-1) if self.normalize else found

    def encode(self, texts: str | Sequence[str], batch_size: int = 32) -> Any:
        """The vectors of texts (count, hidden_size), or of one text (hidden_size,), without gradients.

        Texts of like lengths are computed together; what is longer than `max_length` tokens is cut.
        """
        given = [texts] if isinstance(texts, str) else list(texts)
        if not given or batch_size < 1:
            raise ArgumentError(
                f"encode: {len(given)} texts in batches of {batch_size}", fix="pass at least one"
            )
        order = sorted(range(len(given)), key=lambda i: -len(given[i]))
        device = next(self.bert.parameters()).device
        training = self.training
        self.eval()
        try:
            with ml.no_grad():
                parts = [
                    self(*self._batch([given[i] for i in order[at : at + batch_size]], device))
                    for at in range(0, len(given), batch_size)
                ]
                back = sorted(range(len(given)), key=order.__getitem__)
                found = ml.take(ml.concat(parts, axis=0), ml.asarray(back, device=device), axis=0)
        finally:
            self.train(training)
        return found[0] if isinstance(texts, str) else found

    def _batch(self, texts: Sequence[str], device: Any) -> Batch:
        return self.tokenizer(texts, max_length=self.max_length, device=device)

    @staticmethod
    def similarity(first: Any, second: Any) -> Any:
        """The cosines of vectors (m, width) and (n, width): (m, n)."""
        return F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).mT

    # -- folders -------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, device: Any = None, dtype: Any = None
    ) -> SentenceEncoder:
        """The encoder in a folder of sentence-transformers, or of BERT alone (then the mean of the tokens, length 1).

        Raises as `BertModel.from_pretrained` does, and `FormatError` for a part that is not known here.
        """
        place = Path(folder)
        bert = BertModel.from_pretrained(place, device=device, dtype=dtype, add_pooling_layer=False)
        if bert.tokenizer is None:
            raise MissingFileError(f"{place} has no tokenizer.json", fix="pass a folder with a tokenizer")
        pooling, normalize = _parts(place)
        longest = _table(place / "sentence_bert_config.json").get("max_seq_length")
        return cls(
            bert, bert.tokenizer, pooling, normalize, longest if isinstance(longest, int) else None
        ).eval()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder that this class and sentence-transformers read."""
        place = Path(folder)
        self.bert.tokenizer = self.tokenizer
        self.bert.save_pretrained(place)
        (place / POOLING).mkdir(exist_ok=True)
        names = ["", POOLING, *(["2_Normalize"] if self.normalize else [])]
        kinds = ("Transformer", "Pooling", "Normalize")
        listed = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kinds[i]}"}
            for i, path in enumerate(names)
        ]
        write_json(place / MODULES, listed)
        ways = {key: way == self.pooling for key, way in _WAYS.items()}
        write_json(
            place / POOLING / "config.json", {"word_embedding_dimension": self.bert.hidden_size, **ways}
        )
        write_json(
            place / "sentence_bert_config.json", {"max_seq_length": self.max_length, "do_lower_case": False}
        )


def _table(path: Path) -> Mapping[str, Any]:
    return strict_json.read(path) if path.is_file() else {}


def _parts(folder: Path) -> tuple[str, bool]:
    """How a folder makes one vector of many, and whether to length 1."""
    if not (folder / MODULES).is_file():
        return "mean", True
    pooling, normalize = "mean", False
    for part in _modules(folder / MODULES):
        kind, path = str(part.get("type", "")).rpartition(".")[2], str(part.get("path", ""))
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path:
            raise UnsafeFileError(
                f"{folder / MODULES}: a part lies in {path!r}", cause="that is not in the folder"
            )
        if kind == "Pooling":
            pooling = _pooling(_table(folder / path / "config.json"), folder / path)
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise FormatError(
                f"{folder / MODULES}: a part of type {kind!r}", known="Transformer, Pooling, Normalize"
            )
    return pooling, normalize


def _modules(path: Path) -> list[Mapping[str, Any]]:
    def fail(problem: str) -> NoReturn:
        raise FormatError(f"{path} cannot be read: it {problem}")

    found = strict_json.parse(b'{"parts":' + path.read_bytes() + b"}", fail)["parts"]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        fail("is no list of objects")
    parts: list[Mapping[str, Any]] = found
    return parts


def _pooling(config: Mapping[str, Any], place: Path) -> str:
    chosen = [way for key, way in _WAYS.items() if config.get(key)] or [config.get("pooling_mode", "mean")]
    others = [key for key in config if key.startswith("pooling_mode_") and config[key] and key not in _WAYS]
    if len(chosen) != 1 or others or chosen[0] not in _WAYS.values():
        raise FormatError(
            f"{place}: pooling by {', '.join([*map(str, chosen), *others])}", known=", ".join(_WAYS.values())
        )
    return str(chosen[0])
