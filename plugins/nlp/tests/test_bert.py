"""BERT against what Hugging Face's transformers computed (golden.npz), and from and to folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import golden_inputs as given
import numpy as np
import pytest
from mlcore_nlp import BertConfig, BertForSequenceClassification, BertModel, ByteTokenizer, from_pretrained

import mlcore as ml
from mlcore import nn, optim
from mlcore.errors import ArgumentError, FormatError, MlcoreError, OutOfRangeError, ShapeError, StateDictError
from mlcore.io import MissingFileError
from mlcore.nn import functional as F


def filled(model: Any) -> Any:
    model.load_state_dict({name: given.values(name, one.shape) for name, one in model.state_dict().items()})
    return model.eval()


def judge() -> Any:
    return filled(BertForSequenceClassification(BertConfig(**given.BERT).build(), num_labels=given.LABELS))


def batch() -> tuple[Any, Any, Any]:
    return (
        ml.asarray(given.ids(given.BERT["vocab_size"])),
        ml.asarray(given.mask("right")),
        ml.asarray(given.kinds()),
    )


def close(mine: Any, theirs: Any, what: str) -> None:
    np.testing.assert_allclose(np.asarray(mine.detach()), theirs, rtol=1e-5, atol=1e-5, err_msg=what)


def listed(model: Any) -> list[str]:
    return [f"{name} {one.shape}" for name, one in model.state_dict().items()]


def test_names_shapes_and_values(device: str, golden: dict[str, Any]) -> None:
    model = filled(BertConfig(**given.BERT).build())
    assert listed(model) == list(golden["bert.names"])
    assert listed(judge()) == list(golden["judge.names"])
    found = model(*batch())
    there = given.mask("right") != 0
    np.testing.assert_allclose(
        found.last_hidden_state.detach().numpy()[there], golden["bert.hidden"][there], rtol=1e-5, atol=1e-5
    )
    close(found.pooler_output, golden["bert.pooled"], "pooler")


def test_gradients_of_every_parameter(device: str, golden: dict[str, Any]) -> None:
    model = judge()
    logits = model(*batch())
    close(logits, golden["judge.logits"], "logits")
    loss = F.cross_entropy(logits, ml.asarray([2, 0]))
    close(loss, golden["judge.loss"], "loss")
    loss.backward()
    compared = 0
    for name, one in model.named_parameters():
        theirs = golden[f"judge.grad.{name}"]
        if name == "bert.embeddings.word_embeddings.weight":  # the row of padding has no gradient in either
            assert not theirs[0].any()
        close(one.grad, theirs, name)
        compared += theirs.size
    print(f"{compared} gradients compared on {device}")
    assert compared > 2500


def test_padding_changes_nothing(device: str) -> None:
    model = filled(BertConfig(**given.BERT).build())
    ids = ml.asarray(given.ids(30, (1, 6)))
    alone = model(ids).last_hidden_state
    more = ml.concat([ids, ml.full((1, 5), 7, dtype=ml.int64)], axis=1)
    mask = ml.asarray([[1] * 6 + [0] * 5])
    close(model(more, mask).last_hidden_state[:, :6], alone.detach().numpy(), "padded")


def test_a_folder_there_and_back(tmp_path: Path) -> None:
    model = filled(BertConfig(**given.BERT).build())
    model.tokenizer = ByteTokenizer()
    model.save_pretrained(tmp_path / "b")
    assert sorted(one.name for one in (tmp_path / "b").iterdir()) == [
        "config.json", "model.safetensors", "tokenizer_config.json",
    ]  # fmt: skip
    again = from_pretrained(tmp_path / "b")
    assert (type(again), type(again.tokenizer), again.training) == (BertModel, ByteTokenizer, False)
    assert nn.config.of(again) == nn.config.of(model) == BertConfig(**given.BERT)
    for name, one in model.state_dict().items():
        assert (np.asarray(again.state_dict()[name]) == np.asarray(one)).all(), name
    half = from_pretrained(tmp_path / "b", dtype=ml.bfloat16)
    assert {one.dtype for one in half.parameters()} == {ml.bfloat16}
    judging = judge()
    judging.save_pretrained(tmp_path / "j")
    twin = from_pretrained(tmp_path / "j")
    assert type(twin) is BertForSequenceClassification
    close(twin(*batch()), judging(*batch()).detach().numpy(), "judge")


@pytest.mark.parametrize("kind", ["safetensors", "sharded", "pytorch_model.bin"])
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_every_layout_of_a_folder(kind: str, prefix: str, tmp_path: Path) -> None:
    """With and without the prefix, the old names, a buffer of positions and the head of another task."""
    model = filled(BertConfig(**given.BERT).build())
    model.save_pretrained(tmp_path)
    tensors = {prefix + name: np.asarray(one) for name, one in model.state_dict().items()}
    tensors = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): one for name, one in tensors.items()}
    tensors = {name.replace("LayerNorm.bias", "LayerNorm.beta"): one for name, one in tensors.items()}
    tensors[f"{prefix}embeddings.position_ids"] = np.arange(16).reshape(1, 16)
    if prefix:
        tensors["cls.predictions.bias"] = np.zeros(3, np.float32)
    (tmp_path / "model.safetensors").unlink()
    if kind == "safetensors":
        ml.save(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    elif kind == "sharded":
        parts = [dict(list(tensors.items())[i::2]) for i in (0, 1)]
        where = {}
        for i, part in enumerate(parts, start=1):
            file = f"model-{i:05}-of-00002.safetensors"
            ml.save(part, tmp_path / file)
            where |= dict.fromkeys(part, file)
        (tmp_path / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": where})
        )
    else:
        ml.save(tensors, tmp_path / "pytorch_model.bin", format="pytorch")
    again = BertModel.from_pretrained(tmp_path)
    for name, one in model.state_dict().items():
        assert (np.asarray(again.state_dict()[name]) == np.asarray(one)).all(), name


def test_a_new_head_on_a_saved_encoder(tmp_path: Path) -> None:
    model = filled(BertConfig(**given.BERT).build())
    model.save_pretrained(tmp_path)
    found = BertForSequenceClassification.from_pretrained(tmp_path, num_labels=5)
    assert found(*batch()).shape == (2, 5)
    close(found.bert.pooler.dense.weight, np.asarray(model.pooler.dense.weight.detach()), "pooler")
    assert float(found.classifier.weight.detach().std()) > 0.005


def test_a_classifier_learns(device: str) -> None:
    """Which of two words comes first, from ids alone."""
    ml.manual_seed(0)
    bert = BertConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=8, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2,
    ).build()  # fmt: skip
    model = BertForSequenceClassification(bert)
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 12, (64, 8))
    first, second = rng.integers(0, 4, 64), rng.integers(4, 8, 64)
    labels = rng.integers(0, 2, 64)
    ids[np.arange(64), first], ids[np.arange(64), second] = 3 + labels, 4 - labels
    optimizer = optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ml.asarray(ids)), ml.asarray(labels))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < 0.5 < losses[0]


def small(**changes: Any) -> Any:
    return BertConfig(**{**given.BERT, **changes})


def folder(tmp_path: Path, **changes: Any) -> Path:
    filled(small().build()).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(content))
    return tmp_path


def encode(*ids: Any, **changes: Any) -> Any:
    """An encoder's output for ids and whatever follows them."""
    return lambda _: small(**changes).build()(*ids)


def read(cls: Any = BertModel, **changes: Any) -> Any:
    """A class reads a good folder whose config.json was changed."""
    return lambda path: cls(folder(path, **changes))


READ = BertModel.from_pretrained
BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (encode(ml.zeros((1, 17), dtype=ml.int64)), OutOfRangeError, "a text of 17 tokens, and 16 positions"),
    (encode(ml.asarray([[3, 31]])), OutOfRangeError, "31"),
    (encode(ml.asarray([[3, -1]])), OutOfRangeError, "-1"),
    (encode(ml.asarray([3, 4])), ShapeError, r"input_ids of shape \(2,\)"),
    (encode(ml.asarray([[3, 4]]), ml.ones((1, 3))), ShapeError, r"attention_mask \(1, 3\)"),
    (encode(ml.asarray([[3, 4]]), None, ml.asarray([[1]])), ShapeError, r"token_type_ids \(1, 1\)"),
    (encode(num_attention_heads=5), ArgumentError, "hidden_size 12 with 5 heads"),
    (encode(hidden_act="gleu"), ArgumentError, "did you mean 'gelu'"),
    (lambda path: READ(path / "none"), MissingFileError, "there is no folder"),
    (READ, MissingFileError, "has no config.json"),
    (read(READ, hidden_size=24), StateDictError, r"(?s)mismatched.*word_embeddings.*\(31, 12\)"),
    (read(READ, num_hidden_layers=1), StateDictError, "(?s)unexpected.*encoder.layer.1"),
    (read(READ, num_hidden_layers=3), StateDictError, "(?s)missing.*encoder.layer.2"),
    (read(READ, hidden_size="wide"), FormatError, "config.json makes no BertModel: .*hidden_size is a str"),
    (read(READ, hidden_act="magic"), FormatError, "hidden_act='magic'"),
    (read(READ, model_type="llama"), FormatError, "of a model of type 'llama'"),
    (
        read(from_pretrained, model_type="x", architectures=["Gpt9"]),
        FormatError,
        "(?s)Gpt9.*known:.*BertModel",
    ),
    (
        lambda _: BertForSequenceClassification(small(add_pooling_layer=False).build()),
        ArgumentError,
        "2 labels",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=text):
        call(tmp_path)


def test_what_is_wrong_with_a_config_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": NaN}')
    with pytest.raises(FormatError, match=r"config\.json.*NaN"):
        from_pretrained(tmp_path)
