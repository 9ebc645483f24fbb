"""The decoder against what Hugging Face's transformers computed (golden.npz): values, gradients, texts, the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import golden_inputs as given
import numpy as np
import pytest
from mlcore_nlp import ByteTokenizer, LlamaConfig, LlamaForCausalLM, from_pretrained

import mlcore as ml
from mlcore import nn, optim
from mlcore.errors import ArgumentError, FormatError, MlcoreError, OutOfRangeError, ShapeError, StateDictError
from mlcore.nn import functional as F
from mlcore.testing import gradcheck

CASES = sorted(given.LLAMAS)


def made(case: str = "plain", **changes: Any) -> Any:
    return LlamaConfig(**{**given.LLAMA, **given.LLAMAS[case], **changes}).build()


def filled(case: str = "plain", **changes: Any) -> Any:
    model = made(case, **changes)
    model.load_state_dict({name: given.values(name, one.shape) for name, one in model.state_dict().items()})
    return model.eval()


def ids() -> Any:
    return ml.asarray(given.ids(given.LLAMA["vocab_size"]))


def close(mine: Any, theirs: Any, what: str = "") -> None:
    np.testing.assert_allclose(np.asarray(mine.detach()), theirs, rtol=1e-5, atol=1e-5, err_msg=what)


@pytest.mark.parametrize("case", CASES)
def test_names_shapes_and_values(case: str, device: str, golden: dict[str, Any]) -> None:
    model = filled(case)
    assert [f"{name} {one.shape}" for name, one in model.state_dict().items()] == list(
        golden[f"{case}.names"]
    )
    logits = model(ids())
    close(logits[:, -given.KEPT :], golden[f"{case}.logits"], "logits")
    loss = F.cross_entropy(logits[:, :-1].reshape((-1, logits.shape[-1])), ids()[:, 1:].reshape((-1,)))
    close(loss, golden[f"{case}.loss"], "loss")
    padded = model(ids(), ml.asarray(given.mask("left")))
    close(padded[:, -given.KEPT :], golden[f"{case}.padded"], "padded on the left")


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_texts_are_the_same(case: str, use_cache: bool, device: str, golden: dict[str, Any]) -> None:
    """Greedy, a batch with padding on the left; then each text alone, without padding."""
    model, mask = filled(case), given.mask("left")
    found = model.generate(ids(), attention_mask=mask, max_new_tokens=given.NEW, use_cache=use_cache)
    assert (found.numpy() == golden[f"{case}.generated"]).all()
    for row, there, theirs in zip(ids().numpy(), mask, golden[f"{case}.generated"], strict=True):
        alone = model.generate(row[there != 0], max_new_tokens=given.NEW, use_cache=use_cache)
        assert alone.tolist()[-given.NEW :] == theirs[-given.NEW :].tolist()


def test_gradients_of_every_parameter(device: str, golden: dict[str, Any]) -> None:
    model = filled()
    logits = model(ids())
    F.cross_entropy(logits[:, :-1].reshape((-1, logits.shape[-1])), ids()[:, 1:].reshape((-1,))).backward()
    compared = 0
    for name, one in model.named_parameters():
        close(one.grad, golden[f"plain.grad.{name}"], name)
        compared += one.size
    print(f"{compared} gradients compared on {device}")
    assert compared > 3000


@pytest.mark.parametrize("pieces", [[1] * 10, [4, 1, 5], [10], [9, 1]], ids=str)
@pytest.mark.parametrize("case", ["plain", "tied", "yarn"])
@pytest.mark.parametrize("side", [None, "left"])
def test_by_steps_with_a_cache_as_at_once(
    case: str, pieces: list[int], side: str | None, device: str
) -> None:
    model, cache = filled(case), nn.KVCache()
    mask = None if side is None else ml.asarray(given.mask(side))
    whole, at, found = model(ids(), mask), 0, []
    with ml.no_grad():
        for n in pieces:
            seen = None if mask is None else mask[:, : at + n]
            found.append(model(ids()[:, at : at + n], seen, cache))
            at += n
    there = given.mask(side or "none") != 0 if side else np.ones((2, 10), bool)
    np.testing.assert_allclose(
        ml.concat(found, axis=1).numpy()[there], whole.detach().numpy()[there], rtol=1e-5, atol=1e-5
    )
    assert cache.length == 10


def test_gradients_by_differences() -> None:
    """Rotary positions, grouped heads, RMSNorm and SwiGLU together, by input and by weight."""
    model = LlamaConfig(
        vocab_size=7, hidden_size=8, intermediate_size=6, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.5,
    ).build().to(ml.float64)  # fmt: skip
    layer, rotary = model.model.layers[0], model.model.rotary
    x = ml.random.normal((2, 3, 8), dtype=ml.float64).requires_grad_()
    tables = rotary.tables(x, ml.arange(3))
    assert gradcheck(lambda x: layer(x, rotary, tables, None, None), [x])
    mask = ml.asarray([[[[True, False, False], [True, True, False], [False, True, True]]]])
    assert gradcheck(lambda x: layer(x, rotary, tables, mask, None), [x])


def test_it_learns_a_text_and_says_it(device: str) -> None:
    ml.manual_seed(0)
    text = "the cat sat on the mat. "
    model = LlamaConfig(
        vocab_size=259, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True,
    ).build()  # fmt: skip
    model.tokenizer = ByteTokenizer()
    given_ids = model.tokenizer(text * 2).input_ids
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        logits = model(given_ids[:, :-1])
        loss = F.cross_entropy(logits.reshape((-1, 259)), given_ids[:, 1:].reshape((-1,)))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < 5 < losses[0]
    pieces: list[str] = []
    said = model.generate("the cat", max_new_tokens=17, stream=pieces.append)
    assert said == " sat on the mat. " == "".join(pieces)
    assert len(pieces) == 17


def test_a_folder_there_and_back(tmp_path: Path, golden: dict[str, Any]) -> None:
    for case in CASES:
        model = filled(case, bos_token_id=1, eos_token_id=[2, 5])
        model.save_pretrained(tmp_path / case)
        again = from_pretrained(tmp_path / case)
        assert type(again) is LlamaForCausalLM
        assert nn.config.of(again) == nn.config.of(model)
        close(again(ids())[:, -given.KEPT :], golden[f"{case}.logits"], case)
        half = from_pretrained(tmp_path / case, dtype=ml.bfloat16)
        assert {one.dtype for one in half.parameters()} == {ml.bfloat16}
        assert (
            abs(half(ids()).to(dtype=ml.float32).detach()[:, -given.KEPT :] - golden[f"{case}.logits"]).max()
            < 0.1
        )


def test_newer_and_older_ways_to_say_a_config(tmp_path: Path) -> None:
    filled("llama3").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["rope_parameters"] = {"rope_theta": config.pop("rope_theta"), **config.pop("rope_scaling")}
    path.write_text(json.dumps(config))
    tensors = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": ml.ones((2,)) for i in range(2)}
    ml.save({**ml.load(tmp_path), **tensors}, tmp_path / "model.safetensors")  # as old files have them
    again = from_pretrained(tmp_path)
    assert nn.config.of(again) == nn.config.of(filled("llama3"))


# -- generation ------------------------------------------------------------------------------------------------------


def test_ends_stops_and_streams() -> None:
    model = filled(pad_token_id=0)
    model.tokenizer = Letters()
    whole = model.generate("abc", max_new_tokens=10)
    assert len(whole) == 10
    assert model.generate("abc", max_new_tokens=10, stop=whole[3:5]) == whole[: whole.find(whole[3:5])]
    pieces: list[str] = []
    assert model.generate("abc", max_new_tokens=10, stop=[whole[4:7], "??"], stream=pieces.append) == "".join(
        pieces
    )
    end = model.tokenizer.encode(whole[4])[0]
    ended = model.generate("abc", max_new_tokens=10, eos_token_id=end)
    assert ended == whole[: whole.find(whole[4])]
    both = model.generate(["abc", "de"], max_new_tokens=6)
    assert both == [model.generate(one, max_new_tokens=6) for one in ("abc", "de")]
    rows = model.generate(
        ids(), max_new_tokens=10, eos_token_id=int(model.generate(ids()[0], max_new_tokens=3)[-1])
    )
    assert (rows[0].numpy()[12:] == 0).all()
    assert model.generate("abc", max_new_tokens=0) == ""
    assert model.train().generate("abc", max_new_tokens=2) == whole[:2]
    assert model.training


def test_the_text_ends_where_the_context_does() -> None:
    model = filled(max_position_embeddings=12)
    assert model.generate(ids()[0], max_new_tokens=50).shape == (12,)


def test_drawing() -> None:
    """Shares of 4,000 draws are those of the softmax, cut by top_k and top_p; a seed gives the same again."""
    from mlcore_nlp.generation import Choice

    logits = ml.asarray([[2.0, 1.0, 0.0, -1.0, -30.0]])
    plain = np.exp([2.0, 1.0, 0.0, -1.0, -30.0])
    cases = [
        (Choice(True, generator=ml.random.Generator(0)), plain),
        (Choice(True, top_k=2, generator=ml.random.Generator(1)), plain * [1, 1, 0, 0, 0]),
        (Choice(True, top_p=0.7, generator=ml.random.Generator(2)), plain * [1, 1, 0, 0, 0]),
        (Choice(True, top_p=0.1, generator=ml.random.Generator(3)), plain * [1, 0, 0, 0, 0]),
        (Choice(True, 2.0, generator=ml.random.Generator(4)), plain**0.5),
        (Choice(True, top_k=99, generator=ml.random.Generator(5)), plain),
    ]
    for choice, weights in cases:
        drawn = choice.next(ml.broadcast_to(logits, (4000, 5)))
        shares = np.bincount(drawn, minlength=5) / 4000
        np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.03)
        assert (shares[weights == 0] == 0).all()
    model = filled()
    texts = [
        model.generate(ids(), max_new_tokens=8, temperature=2.0, seed=seed).tolist() for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]
    with ml.device("reference"):
        other = filled().generate(given.ids(29), max_new_tokens=8, temperature=2.0, seed=1).tolist()
    assert other == texts[0]
    greedy = model.generate(ids(), max_new_tokens=8, do_sample=False, temperature=2.0)
    assert (greedy == model.generate(ids(), max_new_tokens=8)).all()


class Letters(ByteTokenizer):
    """29 letters."""

    pad_id = 0
    letters = "_abcdefghijklmnopqrstuvwxyz. "

    @property
    def vocab_size(self) -> int:
        return 29

    def _ids(self, text: str, special: bool) -> list[int]:
        return [self.letters.index(one) for one in text]

    def _text(self, ids: list[int], skip_special: bool) -> str:
        return "".join(self.letters[one] for one in ids)


def said(*inputs: Any, **how: Any) -> Any:
    return lambda: filled().generate(*inputs, **how)


ROW = [3, 4, 5]
BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda: made(num_key_value_heads=3), ArgumentError, "16 with 4 heads, 3 of keys"),
    (lambda: made(hidden_act="swish2"), ArgumentError, "did you mean 'swish'"),
    (lambda: made(rope_scaling={"rope_type": "yarm"}), ArgumentError, "did you mean 'yarn'"),
    (lambda: made(rope_scaling={"rope_type": "linear"}), ArgumentError, "factor is None"),
    (lambda: made(rope_theta="big"), MlcoreError, "rope_theta is a str"),
    (lambda: filled()(ml.zeros((1, 65), dtype=ml.int64)), OutOfRangeError, "position 64 of 64"),
    (lambda: filled()(ml.asarray([[29]])), OutOfRangeError, "29"),
    (lambda: filled()(ml.asarray([3])), ShapeError, r"input_ids of shape \(3,\)|\(1,\)"),
    (lambda: filled()(ids(), ml.ones((2, 9))), ShapeError, r"attention_mask \(2, 9\)"),
    (said(ROW, max_new_tokens=-1), ArgumentError, "max_new_tokens=-1"),
    (said(ROW, temperature=0.0), ArgumentError, "temperature=0.0"),
    (said(ROW, top_k=0), ArgumentError, "top_k=0"),
    (said(ROW, top_p=1.5), ArgumentError, "top_p=1.5"),
    (said([]), MlcoreError, r"shape \(0,\)"),
    (said([0.5]), MlcoreError, "float32"),
    (said("text"), ArgumentError, "no tokenizer"),
    (said(ROW, stop="x"), ArgumentError, "no tokenizer"),
    (said(ROW, stop=[""]), MlcoreError, "stop="),
    (said([ROW, ROW], stream=print), ArgumentError, "stream with 2 texts"),
    (said([ROW], attention_mask=[[1, 1, 0]]), ArgumentError, "padding at the end"),
    (said([3] * 64), OutOfRangeError, "a text of 64 tokens, and a context of 64"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


BAD_CONFIGS: list[tuple[dict[str, Any], type[MlcoreError], str]] = [
    (dict(num_hidden_layers=3), StateDictError, r"(?s)missing.*layers\.2"),
    (dict(hidden_size=32), StateDictError, "(?s)mismatched.*embed_tokens"),
    (dict(tie_word_embeddings="no"), FormatError, "tie_word_embeddings is a str"),
    (dict(rope_scaling={"rope_type": "longrope"}), FormatError, "kind 'longrope'"),
    (dict(num_hidden_layers=10**9), FormatError, "num_hidden_layers is 1000000000"),
    (dict(hidden_size=2**40), FormatError, "hidden_size is 1099511627776"),
    (dict(vocab_size=2**24), StateDictError, "(?s)mismatched.*embed_tokens"),
    (dict(intermediate_size=-1), MlcoreError, "-1"),
    (dict(sliding_window=4096), FormatError, "sliding_window 4096"),
    (dict(model_type="mamba", architectures=None), FormatError, "unknown architecture"),
]


@pytest.mark.parametrize(("changes", "error", "text"), BAD_CONFIGS, ids=[text for _, _, text in BAD_CONFIGS])
def test_a_config_that_does_not_fit(
    changes: dict[str, Any], error: type[MlcoreError], text: str, tmp_path: Path
) -> None:
    filled().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(error, match=text):
        from_pretrained(tmp_path)
