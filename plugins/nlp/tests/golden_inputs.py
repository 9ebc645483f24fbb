"""The tiny models that Hugging Face's transformers ran once, and the values that both sides fill them with."""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np

BERT: Final[dict[str, Any]] = dict(
    vocab_size=31, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
    max_position_embeddings=16, type_vocab_size=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
LABELS: Final = 3
LLAMA: Final[dict[str, Any]] = dict(
    vocab_size=29, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=500.0,
)  # fmt: skip
# What differs from LLAMA in each case.
LLAMAS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "tied": dict(tie_word_embeddings=True),
    "one-kv-head": dict(num_key_value_heads=1),
    "no-groups": dict(num_key_value_heads=4),
    "wide-heads": dict(head_dim=8),
    "biases": dict(attention_bias=True, mlp_bias=True),
    "linear": dict(rope_scaling=dict(rope_type="linear", factor=2.0)),
    "llama3": dict(
        rope_scaling=dict(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=16,
        )
    ),
    "yarn": dict(rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)),
}  # fmt: skip
NEW: Final = 12  # tokens that were generated
KEPT: Final = 4  # positions at the end whose logits are kept


def values(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Float32 numbers between -0.5 and 0.5 that follow from a name: exact on every machine."""
    count = int(np.prod(shape))
    mixed = (np.arange(count, dtype=np.uint64) + zlib.crc32(name.encode())) * np.uint64(2654435761)
    mixed ^= mixed >> np.uint64(15)
    found = ((mixed * np.uint64(2246822519)) & np.uint64(0xFFFFFF)).astype(np.float64) / 2**24 - 0.5
    return (
        (found + (1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0))
        .astype(np.float32)
        .reshape(shape)
    )


def ids(vocabulary: int, shape: tuple[int, int] = (2, 10)) -> np.ndarray[Any, Any]:
    """Ids from 3 on, with different tokens at each place."""
    return 3 + (np.arange(np.prod(shape)) * 17 % (vocabulary - 3)).reshape(shape)


def mask(side: str, shape: tuple[int, int] = (2, 10)) -> np.ndarray[Any, Any]:
    """The second text is four tokens shorter."""
    found = np.ones(shape, np.int64)
    found[1, slice(0, 4) if side == "left" else slice(-4, None)] = 0
    return found


def kinds(shape: tuple[int, int] = (2, 10)) -> np.ndarray[Any, Any]:
    """The last four tokens are of a second text."""
    return (np.arange(shape[1]) >= shape[1] - 4).astype(np.int64)[None].repeat(shape[0], 0)
