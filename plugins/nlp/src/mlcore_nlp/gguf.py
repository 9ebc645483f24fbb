"""Llama-style models and their tokenizers in GGUF files, the format of ggml."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors

from mlcore.errors import FormatError, did_you_mean
from mlcore.io import open_weights
from mlcore_nlp.llama import LlamaForCausalLM
from mlcore_nlp.pretrained import Settings
from mlcore_nlp.tokenizer import Tokenizer, guarded_backend

# ggml's names of the tensors, and Hugging Face's.
_TOP: Final = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_OF_A_LAYER: Final = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip
# The constructor's arguments, by the ends of ggml's names for them.
_SETTINGS: Final = {
    "hidden_size": "embedding_length", "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count", "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length", "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}  # fmt: skip
_MORE: Final = {
    "num_key_value_heads": "attention.head_count_kv",
    "rope_theta": "rope.freq_base",
    "head_dim": "attention.key_length",
}
_ARCHITECTURES: Final = ("llama",)
_CONTROL, _USER_DEFINED = 3, 4  # kinds of tokens


def load(
    path: str | os.PathLike[str], *, device: Any = None, dtype: Any = None, **changes: Any
) -> LlamaForCausalLM:
    """The language model in a GGUF file, in evaluation mode, with its tokenizer. `dtype` None is float32.

    Raises `FormatError` for a file that is none, of another architecture, or whose settings make no sense,
    `StateDictError` with one table where its tensors do not fit its settings.
    """
    place = Path(path)
    with open_weights(place) as weights:
        metadata, names = weights.metadata, set(weights)
        shape = weights.info("token_embd.weight").shape
    settings = {**_settings(metadata, place), "vocab_size": shape[0]}
    settings["tie_word_embeddings"] = "output.weight" not in names
    model = LlamaForCausalLM.loaded(
        {**settings, **changes}, place, device=device, dtype=dtype, renamed=_renamed
    )
    for layer in model.model.layers:
        for one in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            for values in (one.weight, one.bias):
                if values is not None:
                    values.rebind(_halves(values.detach(), layer.self_attn.head_dim))
    model.tokenizer = tokenizer(metadata, place)
    return model


def _settings(metadata: Mapping[str, Any], place: Path) -> Settings:
    """The constructor's arguments in a file's metadata."""
    kind = metadata.get("general.architecture")
    if kind not in _ARCHITECTURES:
        raise FormatError(
            f"{place} holds a model of architecture {kind!r}", known=", ".join(_ARCHITECTURES),
            fix="mlcore.load(path) reads the tensors of any",
        )  # fmt: skip
    missing = [f"{kind}.{end}" for end in _SETTINGS.values() if f"{kind}.{end}" not in metadata]
    if missing:
        raise FormatError(f"{place} does not say {', '.join(missing)}", cause="its metadata is not whole")
    given = {name: metadata[f"{kind}.{end}"] for name, end in _SETTINGS.items()}
    more = {name: metadata[f"{kind}.{end}"] for name, end in _MORE.items() if f"{kind}.{end}" in metadata}
    scaling = metadata.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none":
        more["rope_scaling"] = {
            "rope_type": scaling,
            "factor": metadata.get(f"{kind}.rope.scaling.factor", 1.0),
        }
        length = metadata.get(f"{kind}.rope.scaling.original_context_length")
        if length is not None:
            more["rope_scaling"]["original_max_position_embeddings"] = length
    ids = {f"{name}_token_id": metadata.get(f"tokenizer.ggml.{end}_token_id") for name, end in _IDS.items()}
    return {**given, **more, **ids}


def _renamed(name: str) -> str:
    """A tensor's name as Hugging Face has it; one that is not known stays, and is told of."""
    top, _, end = name.rpartition(".")
    if top in _TOP:
        return f"{_TOP[top]}.{end}"
    found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if found is None or found[2] not in _OF_A_LAYER:
        return name
    return f"model.layers.{found[1]}.{_OF_A_LAYER[found[2]]}.{found[3]}"


def _halves(values: Any, head_dim: int) -> Any:
    """Rows of queries and keys: ggml turns neighbouring features, Hugging Face those of two halves of a head."""
    pairs = values.reshape((-1, head_dim // 2, 2, *values.shape[1:]))
    return pairs.permute_dims((0, 2, 1, *range(3, pairs.ndim))).reshape(values.shape)


# -- tokenizers ------------------------------------------------------------------------------------------------------

_IDS: Final = {"bos": "bos", "eos": "eos", "pad": "padding"}
_WORDS: Final = (  # how newer vocabularies part a text, with as many digits together as `{}` says
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _by_gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _by_gpt2_and_digit() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _by_gpt2()])


def _by(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


# ggml's names of the ways in which a text is parted before its parts are merged.
_PARTED: Final[Mapping[str, Callable[[], Any]]] = {
    "gpt-2": _by_gpt2,
    "gpt2": _by_gpt2,
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r"), _by_gpt2_and_digit),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), lambda: _by(_WORDS.format("{1,3}"))),
    "qwen2": lambda: _by(_WORDS.format("")),
}
_WHOLE_FIRST: Final = (
    "llama-bpe",
    "llama3",
    "llama-v3",
)  # a part that is a token is not put together from others


def tokenizer(metadata: Mapping[str, Any], place: Path | None = None) -> Tokenizer:
    """The tokenizer that a file's metadata describes. The chat template comes along as text.

    Raises `FormatError` for what is missing or does not fit together, and for kinds that are not known here.
    """
    who = "the metadata" if place is None else str(place)
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise FormatError(f"{who}: a tokenizer of kind {kind!r}", known="'gpt2' (BPE over bytes)")
    pre = metadata.get("tokenizer.ggml.pre", "gpt-2")
    if pre not in _PARTED:
        raise FormatError(
            f"{who}: texts are parted as {pre!r}{did_you_mean(str(pre), _PARTED)}", known=", ".join(_PARTED)
        )
    tokens = _texts(metadata, "tokens", who)
    merges: list[Any] = [tuple(one.split(" ")) for one in _texts(metadata, "merges", who)]
    vocabulary = {one: i for i, one in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise FormatError(f"{who}: {len(tokens)} tokens, of which {len(vocabulary)} differ")
    for i, pair in enumerate(merges):
        if len(pair) != 2 or not {*pair, "".join(pair)} <= vocabulary.keys():
            raise FormatError(
                f"{who}: merge {i} is {' '.join(pair)[:80]!r}", cause="its tokens are not in the vocabulary"
            )
    model = guarded_backend(
        who, lambda: models.BPE(vocabulary, merges, fuse_unk=False, ignore_merges=pre in _WHOLE_FIRST)
    )
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = _PARTED[pre]()
    made.decoder = decoders.ByteLevel()
    _add_special(made, tokens, metadata, who)
    ids: dict[str, Any] = {f"{name}_id": _id(metadata, end, len(tokens), who) for name, end in _IDS.items()}
    if metadata.get("tokenizer.ggml.add_bos_token", False) and ids["bos_id"] is not None:
        bos = tokens[ids["bos_id"]]
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, ids["bos_id"])]
        )
    template = metadata.get("tokenizer.chat_template")
    return Tokenizer(made, **ids, chat_template=template if isinstance(template, str) else None)


def _add_special(
    made: tokenizers.Tokenizer, tokens: list[str], metadata: Mapping[str, Any], who: str
) -> None:
    given = metadata.get("tokenizer.ggml.token_type")
    kinds = np.asarray([1] * len(tokens) if given is None else given)
    if kinds.shape != (len(tokens),) or kinds.dtype.kind not in "iu":
        raise FormatError(
            f"{who}: {len(tokens)} tokens, and kinds of tokens of shape {kinds.shape} and dtype {kinds.dtype}"
        )
    for wanted, add in ((_CONTROL, made.add_special_tokens), (_USER_DEFINED, made.add_tokens)):
        chosen = [token for token, kind in zip(tokens, kinds.tolist(), strict=True) if kind == wanted]
        add([AddedToken(one, special=wanted == _CONTROL, normalized=False) for one in chosen])


def _texts(metadata: Mapping[str, Any], name: str, who: str) -> list[str]:
    found = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) for one in found):
        raise FormatError(f"{who} has no list of texts under tokenizer.ggml.{name}")
    return list(found)


def _id(metadata: Mapping[str, Any], name: str, count: int, who: str) -> int | None:
    found = metadata.get(f"tokenizer.ggml.{name}_token_id")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, np.integer)) or not 0 <= found < count:
        raise FormatError(f"{who}: tokenizer.ggml.{name}_token_id is {found!r} of {count} tokens")
    return int(found)
