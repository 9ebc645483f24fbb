"""Sentence embeddings: pooling, folders of sentence-transformers, and MiniLM itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlcore_nlp import BertConfig, BertModel, ByteTokenizer, SentenceEncoder, from_pretrained

import mlcore as ml
from mlcore.errors import ArgumentError, FormatError, MlcoreError, UnsafeFileError
from mlcore.io import MissingFileError

TEXTS = ["one", "a second, longer text", "", "three words here", "x"]


def encoder(pooling: str = "mean", normalize: bool = True, max_length: int | None = None) -> SentenceEncoder:
    ml.manual_seed(0)
    config = BertConfig(
        vocab_size=259, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=24, initializer_range=0.5,
    )  # fmt: skip
    return SentenceEncoder(config.build(), ByteTokenizer(), pooling, normalize, max_length).eval()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_one_vector_of_many(pooling: str, normalize: bool, device: str) -> None:
    """In batches of any size, in any order, as each text alone by NumPy."""
    model = encoder(pooling, normalize)
    texts = [one or " " for one in TEXTS]
    for size in (1, 2, 32):
        found = model.encode(texts, batch_size=size).numpy()
        for text, mine in zip(texts, found, strict=True):
            hidden = model.bert(ml.asarray([list(text.encode())])).last_hidden_state.detach().numpy()[0]
            wanted = {"mean": hidden.mean(0), "max": hidden.max(0), "cls": hidden[0]}[pooling]
            wanted = wanted / np.linalg.norm(wanted) if normalize else wanted
            np.testing.assert_allclose(mine, wanted, rtol=1e-5, atol=1e-5)
    assert model.encode("one").shape == (12,)
    cosines = model.similarity(model.encode(texts), model.encode(texts)).numpy()
    np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-5)


def test_long_texts_are_cut() -> None:
    model = encoder(max_length=10)
    assert (model.encode("a" * 50) == model.encode("a" * 10)).all()
    assert encoder(max_length=99).max_length == 24


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_a_folder_there_and_back(pooling: str, normalize: bool, tmp_path: Path) -> None:
    model = encoder(pooling, normalize, 7)
    model.save_pretrained(tmp_path)
    again = from_pretrained(tmp_path)
    assert type(again) is SentenceEncoder
    assert (again.pooling, again.normalize, again.max_length) == (pooling, normalize, 7)
    assert (again.encode(["some text", "x"]) == model.encode(["some text", "x"])).all()


def test_a_folder_of_bert_alone(tmp_path: Path) -> None:
    bert = encoder().bert
    bert.save_pretrained(tmp_path)
    with pytest.raises(MissingFileError, match="no tokenizer"):
        SentenceEncoder.from_pretrained(tmp_path)
    bert.tokenizer = ByteTokenizer()
    bert.save_pretrained(tmp_path)
    found = SentenceEncoder.from_pretrained(tmp_path)
    assert (found.pooling, found.normalize, found.max_length) == ("mean", True, 24)
    assert type(from_pretrained(tmp_path)) is BertModel


def broken(path: Path, file: str, content: Any) -> Path:
    encoder().save_pretrained(path)
    (path / file).write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def part(kind: str, path: str = "") -> list[dict[str, str]]:
    return [{"path": path, "type": f"sentence_transformers.models.{kind}"}]


BAD: list[tuple[str, Any, type[MlcoreError], str]] = [
    ("modules.json", part("Dense"), FormatError, "(?s)part of type 'Dense'.*known:"),
    ("modules.json", part("Pooling", "../other"), UnsafeFileError, "'../other'"),
    ("modules.json", part("Pooling", "/etc"), UnsafeFileError, "'/etc'"),
    ("modules.json", {"a": 1}, FormatError, "no list of objects"),
    ("modules.json", "[NaN]", FormatError, "NaN"),
    ("modules.json", "[", FormatError, "not valid JSON"),
    ("1_Pooling/config.json", {"pooling_mode_lasttoken": True}, FormatError, "(?s)lasttoken.*known: cls, mean, max"),
    ("1_Pooling/config.json", dict.fromkeys(["pooling_mode_cls_token", "pooling_mode_mean_tokens"], True), FormatError,
     "cls, mean"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content", "error", "text"), BAD, ids=[text for *_, text in BAD])
def test_bad_folders(file: str, content: Any, error: type[MlcoreError], text: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=text):
        from_pretrained(broken(tmp_path, file, content))


def test_bad_calls() -> None:
    with pytest.raises(ArgumentError, match="pooling='median'"):
        encoder("median")
    with pytest.raises(ArgumentError, match="0 texts"):
        encoder().encode([])


# -- MiniLM ----------------------------------------------------------------------------------------------------------

HAPPY = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]


@pytest.mark.assets
def test_minilm_gives_the_two_cosines(device: str, mlcore_asset: Callable[[str], Path]) -> None:
    """.9429 and .2569, which sentence-transformers publishes and gets."""
    model = SentenceEncoder.from_pretrained(mlcore_asset("minilm"))
    assert (model.pooling, model.normalize, model.max_length) == ("mean", True, 256)
    assert str(next(model.parameters()).device).startswith(device)
    vectors = model.encode(HAPPY)
    assert vectors.shape == (3, 384)
    cosines = model.similarity(vectors[:1], vectors[1:]).numpy()[0]
    print(f"{device}: {cosines[0]:.4f} {cosines[1]:.4f}")
    np.testing.assert_allclose(cosines, [0.9429, 0.2569], atol=1e-3)


@pytest.mark.assets
def test_minilm_by_name_and_in_half_the_memory(mlcore_asset: Callable[[str], Path]) -> None:
    mlcore_asset("minilm")
    assert "nlp/minilm" in ml.list_models("nlp/*")
    model = ml.create_model("nlp/minilm", dtype=ml.bfloat16)
    vectors = model.encode(HAPPY).to(dtype=ml.float32)
    cosines = model.similarity(vectors[:1], vectors[1:]).numpy()[0]
    np.testing.assert_allclose(cosines, [0.9429, 0.2569], atol=2e-2)


@pytest.mark.assets
def test_minilms_tokenizer(mlcore_asset: Callable[[str], Path]) -> None:
    tokenizer = SentenceEncoder.from_pretrained(mlcore_asset("minilm")).tokenizer
    ids = tokenizer.encode("Unaffable tokenizers, naïvely!")
    spelt = [tokenizer.token(one) for one in ids]  # type: ignore[attr-defined]  # it is of the library's kind
    assert spelt == [
        "[CLS]",
        "una",
        "##ffa",
        "##ble",
        "token",
        "##izer",
        "##s",
        ",",
        "naive",
        "##ly",
        "!",
        "[SEP]",
    ]
    assert tokenizer.decode(ids) == "unaffable tokenizers, naively!"
