"""Tokenizers: from tokenizer.json, from a GGUF file's metadata, and those that need no file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from mlcore_nlp import ByteTokenizer, CharTokenizer, TextTokenizer, Tokenizer

from mlcore.errors import ArgumentError, ArgumentTypeError, FormatError, MlcoreError, OutOfRangeError
from mlcore.io import MissingFileError

TEXT = "I've 12345 cats!!\n\n  x I'LL  go\tnow é中文 don't 3.14"
# How each kind parts that text; the patterns are the ones published with the models (GPT-2, Llama 3, Qwen 2).
PARTS = {
    "gpt-2": ["I", "'ve", " 12345", " cats", "!!", "\n\n ", " x", " I", "'", "LL", " ", " go", "\t", "now", " é中文",
              " don", "'t", " 3", ".", "14"],
    "smollm": ["I", "'ve", " ", "1", "2", "3", "4", "5", " cats", "!!", "\n\n ", " x", " I", "'", "LL", " ", " go",
               "\t", "now", " é中文", " don", "'t", " ", "3", ".", "1", "4"],
    "llama-bpe": ["I", "'ve", " ", "123", "45", " cats", "!!\n\n", " ", " x", " I", "'LL", " ", " go", "\tnow",
                  " é中文", " don", "'t", " ", "3", ".", "14"],
    "qwen2": ["I", "'ve", " ", "1", "2", "3", "4", "5", " cats", "!!\n\n", " ", " x", " I", "'LL", " ", " go",
              "\tnow", " é中文", " don", "'t", " ", "3", ".", "1", "4"],
}  # fmt: skip
SAMPLES = [
    TEXT, "", " ", "a", "naïve café", "日本語のテキスト", "👩‍👩‍👧 family 🏳️‍🌈", "tabs\t\tand\r\nlines\n", "x" * 200,
    "<|end|> inside", "\u200b\ufeff zero width", "e\u0301 combining", "\U0010ffff last",
]  # fmt: skip


def bytes_as_text() -> list[str]:
    """GPT-2's letter for each byte, by the library itself."""
    return sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())


def metadata(pre: str = "smollm", **changes: Any) -> dict[str, Any]:
    """A small BPE over bytes, as a GGUF file describes one."""
    tokens = ["<|end|>", "<|begin|>", "<user>", *bytes_as_text()]
    merges = [
        "Ġ c",
        "a t",
        "Ġc at",
        "Ġcat s",
        "' v",
        "'v e",
        "1 2",
        "12 3",
        "4 5",
        "! !",
        "Ġ Ġ",
        "Ċ Ċ",
        "Ġ x",
    ]
    tokens += ["".join(one.split()) for one in merges]
    kinds = [3, 3, 4, *[1] * (len(tokens) - 3)]
    said = {
        "model": "gpt2", "pre": pre, "tokens": tokens, "merges": merges, "token_type": kinds, "bos_token_id": 1,
        "eos_token_id": 0, "add_bos_token": False, **changes,
    }  # fmt: skip
    found = {f"tokenizer.ggml.{name}": one for name, one in said.items()}
    return {**found, "tokenizer.chat_template": "{{ messages }}"}


@pytest.mark.parametrize("pre", PARTS)
def test_texts_are_parted_as_published(pre: str) -> None:
    tokenizer = Tokenizer.from_gguf(metadata(pre))
    spelt = tokenizers.decoders.ByteLevel()
    found = tokenizer.backend.pre_tokenizer.pre_tokenize_str(TEXT)
    assert [spelt.decode([one]) for one, _ in found] == PARTS[pre]


def test_a_tokenizer_of_a_gguf_file() -> None:
    tokenizer = Tokenizer.from_gguf(metadata())
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (1, 0, None)
    assert tokenizer.chat_template == "{{ messages }}"
    assert tokenizer.vocab_size == 3 + 256 + 13
    words = [tokenizer.token(one) for one in tokenizer.encode("I've 123 cats  x!!<|end|><user>")]
    assert words == ["I", "'ve", "Ġ", "1", "2", "3", "Ġcats", "Ġ", "Ġx", "!!", "<|end|>", "<user>"]
    assert tokenizer.decode(tokenizer.encode("a<|end|>b<user>")) == "ab<user>"
    assert tokenizer.decode(tokenizer.encode("a<|end|>b"), skip_special=False) == "a<|end|>b"
    begun = Tokenizer.from_gguf(metadata(add_bos_token=True))
    assert begun.encode("a")[0] == 1
    assert begun.encode("a", special=False) == tokenizer.encode("a")
    joined = Tokenizer.from_gguf(metadata("gpt-2")).encode("123 45")
    assert len(joined) == 3  # 123, a space, 45: there is no merge of a space and a digit


@pytest.mark.parametrize("pre", PARTS)
def test_what_is_encoded_is_decoded(pre: str) -> None:
    tokenizer = Tokenizer.from_gguf(metadata(pre, token_type=[1] * len(metadata()["tokenizer.ggml.tokens"])))
    for text in SAMPLES:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert "".join(tokenizer.pieces(ids)) == text


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    letters = [*"abc \n\t'12!", "é", "中", "👩", "\u200d", "ß", "\u0301"]
    return ["".join(draw.choices(letters, k=draw.randrange(1, 30))) for _ in range(count)]


@pytest.mark.parametrize(
    "tokenizer", [ByteTokenizer(), Tokenizer.from_gguf(metadata())], ids=["bytes", "bpe"]
)
def test_pieces_are_whole_characters(tokenizer: TextTokenizer) -> None:
    """300 drawn texts: what is said token by token is the text, and never half a character."""
    for text in texts(300, seed=0):
        pieces = list(tokenizer.pieces(tokenizer.encode(text)))
        assert "".join(pieces) == text
        assert not any("\ufffd" in one for one in pieces)
    assert list(ByteTokenizer().pieces([110, 195])) == ["n", "\ufffd"]  # a text that ends in mid-character


def wordpiece() -> tokenizers.Tokenizer:
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "happy",
        "un",
        "##happy",
        "##ness",
        "a",
        "person",
        "##s",
        "!",
    ]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({one: i for i, one in enumerate(words)}, unk_token="[UNK]")
    )
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.decoder = tokenizers.decoders.WordPiece()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    made.enable_truncation(2)  # files of published models have such: not ours to keep
    made.enable_padding(length=128)
    return made


def bert_folder(path: Path) -> Path:
    wordpiece().save(str(path / "tokenizer.json"))
    settings = {
        "pad_token": "[PAD]",
        "eos_token": {"content": "[SEP]"},
        "model_max_length": 9,
        "do_lower_case": True,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def test_wordpiece_of_a_folder(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(bert_folder(tmp_path))
    assert isinstance(tokenizer, Tokenizer)
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.bos_id, tokenizer.max_length) == (0, 3, None, 9)
    assert tokenizer.encode("Unhappy persons!") == [2, 5, 6, 9, 10, 11, 3]
    assert tokenizer.encode("Unhappy", special=False) == [5, 6]
    assert tokenizer.decode([2, 5, 6, 9, 10, 11, 3]) == "unhappy persons!"
    batch = tokenizer(["a happy person", "a"])
    assert batch.input_ids.tolist() == [[2, 8, 4, 9, 3], [2, 8, 3, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    left = tokenizer(["a happy person", "a"], padding_side="left")
    assert left.input_ids.tolist()[1] == [0, 0, 2, 8, 3]
    pair = tokenizer([("a", "happy person"), ("unhappy", "a")])
    assert pair.input_ids.tolist() == [[2, 8, 3, 4, 9, 3], [2, 5, 6, 3, 8, 3]]
    assert pair.token_type_ids.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]]
    cut = tokenizer(["a a a a a a a a a a a a a", "a"])
    assert cut.input_ids.shape == (2, 9)
    assert cut.input_ids.tolist()[0] == [2, *[8] * 7, 3]
    assert tokenizer([("a a a a a a", "happy")], max_length=6).input_ids.tolist() == [[2, 8, 8, 3, 4, 3]]
    tokenizer.save_pretrained(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path)
    assert isinstance(again, Tokenizer)
    assert (again.pad_id, again.eos_id, again.max_length) == (0, 3, 9)
    assert again.encode("Unhappy persons!") == [2, 5, 6, 9, 10, 11, 3]
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["do_lower_case"]


def test_own_tokenizers_there_and_back(tmp_path: Path) -> None:
    for made in (ByteTokenizer(), CharTokenizer("hello wörld")):
        made.save_pretrained(tmp_path)
        again = Tokenizer.from_pretrained(tmp_path)
        assert type(again) is type(made)
        assert again.encode("lo wö" if made.vocab_size < 99 else "x中") == made.encode(
            "lo wö" if made.vocab_size < 99 else "x中"
        )
    assert ByteTokenizer()("ab").input_ids.tolist() == [[97, 98]]
    assert ByteTokenizer().decode([256, 97, 257, 258]) == "a"
    assert ByteTokenizer().decode([256, 97], skip_special=False) == "<|256|>a"


BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda _: ByteTokenizer().decode([259]), OutOfRangeError, "id 259 of a vocabulary of 259"),
    (lambda _: ByteTokenizer().decode([-1]), OutOfRangeError, "id -1"),
    (lambda _: ByteTokenizer().decode([0.5]), ArgumentTypeError, "float64"),
    (lambda _: ByteTokenizer().encode(b"x"), ArgumentTypeError, "a bytes is no text"),  # type: ignore[arg-type]
    (lambda _: ByteTokenizer().encode("a\ud800"), ArgumentError, "lone surrogate at 1"),
    (lambda _: Tokenizer.from_gguf(metadata()).encode("\udfff"), ArgumentError, "lone surrogate at 0"),
    (lambda _: CharTokenizer("abc").encode("abd"), ArgumentError, "'d' is not in the alphabet"),
    (lambda _: ByteTokenizer()([]), ArgumentError, "no texts"),
    (lambda _: ByteTokenizer()(["a"], padding_side="both"), ArgumentError, "padding_side='both'"),
    (lambda _: Tokenizer.from_gguf(metadata())(["a", "bb"]), ArgumentError, "no token for padding"),
    (lambda p: Tokenizer.from_pretrained(bert_folder(p))(["a"], max_length=2), ArgumentError, "max_length=2"),
    (lambda p: Tokenizer.from_pretrained(p), MissingFileError, "no tokenizer.json"),
    (lambda p: Tokenizer.from_file(p / "x.json"), MissingFileError, "x.json"),
    (lambda _: Tokenizer.from_gguf({}), FormatError, "kind None"),
    (lambda _: Tokenizer.from_gguf(metadata("magic")), FormatError, "(?s)parted as 'magic'.*known:.*smollm"),
    (lambda _: Tokenizer.from_gguf(metadata(tokens=3)), FormatError, "no list of texts"),
    (lambda _: Tokenizer.from_gguf(metadata(merges=["a zz"])), FormatError, "merge 0 is 'a zz'"),
    (lambda _: Tokenizer.from_gguf(metadata(merges=["a b c"])), FormatError, "merge 0 is 'a b c'"),
    (lambda _: Tokenizer.from_gguf(metadata(token_type=[1])), FormatError, r"kinds of tokens of shape \(1,\)"),
    (lambda _: Tokenizer.from_gguf(metadata(token_type=["x"] * 272)), FormatError, "kinds of tokens"),
    (lambda _: Tokenizer.from_gguf(metadata(eos_token_id=272)), FormatError, "eos_token_id is 272 of 272"),
    (lambda _: Tokenizer.from_gguf(metadata(tokens=["a"] * 272)), FormatError, "272 tokens, of which 1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=text):
        call(tmp_path)


def test_a_damaged_file_gives_one_error(tmp_path: Path) -> None:
    """Every cut of a file, and 200 files with bytes changed: read, or refused with FormatError."""
    whole = wordpiece().to_str().encode()
    place, refused = tmp_path / "tokenizer.json", 0
    rng = np.random.default_rng(0)
    cut = [whole[:i] for i in range(0, len(whole), 7)]
    changed = []
    for _ in range(200):
        one = bytearray(whole)
        for at in rng.integers(0, len(one), 3):
            one[at] = rng.integers(32, 127)
        changed.append(bytes(one))
    others = [
        b"",
        b"[]",
        b"null",
        b'{"model": {"type": "BPE"}}',
        b'{"version": "9"}',
        b"\xff\xfe",
        b'{"a": NaN}',
    ]
    for content in [*cut, *changed, *others]:
        place.write_bytes(content)
        try:
            Tokenizer.from_file(place).encode("unhappy persons")
        except FormatError as error:
            refused += "tokenizer.json" in str(error)
    print(f"{len(cut) + len(changed) + len(others)} damaged files, {refused} refused")
    assert refused > 300
