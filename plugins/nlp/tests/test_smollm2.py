"""SmolLM2 from its GGUF file: what it says, with the cache and without, on two backends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlcore_nlp import gguf

import mlcore as ml
from mlcore import nn

PROMPT = "The capital of France is"
SAID = " Paris.\n\nThe answer is: 201"


@pytest.fixture(scope="module")
def smollm2(mlcore_asset: Callable[[str], Path]) -> Any:
    path = mlcore_asset("smollm2")
    with ml.device("cpu"):
        return gguf.load(path)


@pytest.mark.assets
def test_it_continues_the_sentence(smollm2: Any) -> None:
    assert smollm2.tokenizer.encode(PROMPT) == [504, 3575, 282, 4649, 314]
    pieces: list[str] = []
    said = smollm2.generate(PROMPT, max_new_tokens=12, stream=pieces.append)
    assert said == SAID == "".join(pieces)
    assert pieces[0] == " Paris"
    assert smollm2.generate(PROMPT, max_new_tokens=12, use_cache=False) == SAID
    assert smollm2.generate(PROMPT, max_new_tokens=12, stop="answer") == " Paris.\n\nThe "


@pytest.mark.assets
@pytest.mark.parametrize("where", ["cpu", "reference"])
def test_cached_and_uncached_logits_are_equal(smollm2: Any, where: str) -> None:
    model = smollm2.to(where)
    ids = ml.asarray([smollm2.tokenizer.encode(PROMPT + " Paris")], device=where)
    cache = nn.KVCache()
    with ml.no_grad():
        whole = model(ids).numpy()[0]
        first = model(ids[:, :3], None, cache).numpy()[0]
        steps = [model(ids[:, i : i + 1], None, cache).numpy()[0] for i in range(3, ids.shape[1])]
    stepped = np.concatenate([first, *steps])
    apart = np.abs(stepped - whole).max() / np.abs(whole).max()
    print(f"{where}: cached and uncached logits differ by at most {apart:.1e} of the largest")
    assert apart < 1e-5
    assert model.tokenizer.decode([int(whole[4].argmax())]) == " Paris"
    assert (stepped.argmax(-1) == whole.argmax(-1)).all()


@pytest.mark.assets
def test_two_texts_at_once(smollm2: Any) -> None:
    model = smollm2.to("cpu")
    others = ["Two plus two is", PROMPT]
    assert model.generate(others, max_new_tokens=6) == [
        model.generate(one, max_new_tokens=6) for one in others
    ]


@pytest.mark.assets
def test_what_the_file_says_of_itself(smollm2: Any) -> None:
    described: Any = nn.config.of(smollm2)
    assert (described.num_attention_heads, described.num_key_value_heads, described.rope_theta) == (
        9,
        3,
        100000.0,
    )
    assert (described.tie_word_embeddings, described.eos_token_id, described.vocab_size) == (True, 2, 49152)
    assert sum(one.size for one in smollm2.parameters()) == 134_515_008
    assert "<|im_start|>" in smollm2.tokenizer.chat_template
    chat = "<|im_start|>user\nHi<|im_end|>\n"
    assert smollm2.tokenizer.encode(chat)[0] == 1
    assert smollm2.tokenizer.decode(smollm2.tokenizer.encode(chat), skip_special=False) == chat
