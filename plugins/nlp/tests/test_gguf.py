"""GGUF files written here: the decoder in them is the one of golden.npz, whose rows ggml keeps in another order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden_inputs as given
import numpy as np
import pytest
from mlcore_nlp import LlamaConfig, LlamaForCausalLM, from_pretrained

import mlcore as ml
from mlcore.errors import FormatError, MlcoreError, StateDictError

LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def interleaved(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """As converters to GGUF do it: (heads, 2, half) rows of each head become (heads, half, 2)."""
    return rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def written(path: Path, case: str = "plain", **changes: Any) -> Path:
    settings = {**given.LLAMA, **given.LLAMAS[case]}
    model = LlamaConfig(**settings).build()
    state = {name: given.values(name, one.shape) for name, one in model.state_dict().items()}
    tensors = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    if "lm_head.weight" in state:
        tensors["output.weight"] = state["lm_head.weight"]
    for i in range(settings["num_hidden_layers"]):
        for short, long in LAYER.items():
            for end in ("weight", "bias"):
                values = state.get(f"model.layers.{i}.{long}.{end}")
                if values is None:
                    continue
                if short in ("attn_q", "attn_k"):
                    heads = settings["num_attention_heads" if short == "attn_q" else "num_key_value_heads"]
                    values = interleaved(values, heads)
                tensors[f"blk.{i}.{short}.{end}"] = values
    tokens = [chr(97 + i) for i in range(29)]
    metadata = {
        "general.architecture": "llama", "llama.embedding_length": 16, "llama.feed_forward_length": 20,
        "llama.block_count": 2, "llama.attention.head_count": 4, "llama.context_length": 64,
        "llama.attention.head_count_kv": settings["num_key_value_heads"], "llama.rope.freq_base": 500.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": ["a b"],
        **changes,
    }  # fmt: skip
    if "tokenizer.ggml.merges" not in changes:
        tokens[-1] = "ab"
    ml.save(tensors, path / "model.gguf", {k: v for k, v in metadata.items() if v is not None}, format="gguf")
    return path / "model.gguf"


@pytest.mark.parametrize("case", ["plain", "tied", "one-kv-head", "no-groups"])
def test_the_same_values(case: str, device: str, tmp_path: Path, golden: dict[str, Any]) -> None:
    model = from_pretrained(written(tmp_path, case))
    assert type(model) is LlamaForCausalLM
    assert (model.lm_head is None) == (case == "tied")
    logits = model(ml.asarray(given.ids(29)))[:, -given.KEPT :]
    np.testing.assert_allclose(logits.detach().numpy(), golden[f"{case}.logits"], rtol=1e-5, atol=1e-5)
    assert model.tokenizer.decode(model.tokenizer.encode("abba")) == "abba"
    assert model.generate("ab", max_new_tokens=3) == model.generate("ab", max_new_tokens=3, use_cache=False)


def test_a_stretched_one(tmp_path: Path, golden: dict[str, Any]) -> None:
    scaling = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}
    logits = from_pretrained(written(tmp_path, **scaling))(ml.asarray(given.ids(29)))[:, -given.KEPT :]
    np.testing.assert_allclose(logits.detach().numpy(), golden["linear.logits"], rtol=1e-5, atol=1e-5)


BAD: list[tuple[dict[str, Any], type[MlcoreError], str]] = [
    ({"general.architecture": "mamba"}, FormatError, "(?s)architecture 'mamba'.*known:.*llama"),
    ({"llama.block_count": None}, FormatError, "does not say llama.block_count"),
    ({"llama.block_count": 3}, StateDictError, r"(?s)missing.*layers\.2"),
    ({"llama.block_count": 10**9}, FormatError, "num_hidden_layers is 1000000000"),
    ({"llama.block_count": "two"}, FormatError, "num_hidden_layers is a str"),
    ({"llama.embedding_length": 32}, StateDictError, "(?s)mismatched.*embed_tokens"),
    ({"llama.attention.head_count": 3}, FormatError, "16 with 3 heads"),
    ({"llama.rope.scaling.type": "magic"}, FormatError, "kind 'magic'"),
    ({"tokenizer.ggml.model": "t5"}, FormatError, "tokenizer of kind 't5'"),
    ({"tokenizer.ggml.pre": "magic"}, FormatError, "parted as 'magic'"),
    ({"tokenizer.ggml.merges": ["a ?"]}, FormatError, r"merge 0 is 'a \?'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "error", "text"), BAD, ids=[text for *_, text in BAD])
def test_bad_files(changes: dict[str, Any], error: type[MlcoreError], text: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=text):
        from_pretrained(written(tmp_path, **changes))
