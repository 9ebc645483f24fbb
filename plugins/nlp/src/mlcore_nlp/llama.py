"""Decoders as Llama is made (Touvron et al. 2023), with Hugging Face's parameter names.

RMSNorm before each part, rotary positions, fewer heads of keys than of queries, SwiGLU; `model.layers.0.self_attn.
q_proj.weight` and so on, so a state_dict moves both ways. Arguments have the names of config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlcore import nn
from mlcore.errors import ArgumentError, OutOfRangeError, ShapeError
from mlcore.nn import functional as F
from mlcore.ops.creation import iota_on
from mlcore_nlp.bert import activation, draw
from mlcore_nlp.generation import Generates
from mlcore_nlp.pretrained import Pretrained, Settings


class LlamaAttention(nn.Module):
    """Queries of `heads`, keys and values of `kv_heads`, each for as many neighbouring heads of queries."""

    def __init__(self, hidden_size: int, heads: int, kv_heads: int, head_dim: int, bias: bool) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.q_proj = nn.Linear(hidden_size, heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(hidden_size, kv_heads * head_dim, bias=bias)
        self.v_proj = nn.Linear(hidden_size, kv_heads * head_dim, bias=bias)
        self.o_proj = nn.Linear(heads * head_dim, hidden_size, bias=bias)

    def _by_head(self, x: Any) -> Any:
        return x.reshape((*x.shape[:2], -1, self.head_dim)).permute_dims((0, 2, 1, 3))

    def forward(
        self, x: Any, rotary: nn.RotaryPositionalEncoding, tables: Any, mask: Any, cache: nn.KVCache | None
    ) -> Any:
        q, k, v = self._by_head(self.q_proj(x)), self._by_head(self.k_proj(x)), self._by_head(self.v_proj(x))
        q, k = rotary.turn(q, tables), rotary.turn(k, tables)
        if cache is not None:
            k, v = cache.extend(self, k, v)
        causal = mask is None and x.shape[1] > 1
        y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=True)
        return self.o_proj(y.permute_dims((0, 2, 1, 3)).reshape((*x.shape[:2], -1)))


class LlamaMLP(nn.Module):
    """SwiGLU (Shazeer 2020): one half decides how much of the other passes."""

    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str, bias: bool) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=bias)
        self._act = activation(hidden_act)

    def forward(self, x: Any) -> Any:
        return self.down_proj(self._act(self.gate_proj(x)) * self.up_proj(x))


class LlamaDecoderLayer(nn.Module):
    """Attention and the wide layer, each after a norm and added to what came in."""

    def __init__(self, attention: LlamaAttention, mlp: LlamaMLP, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.self_attn, self.mlp = attention, mlp
        self.input_layernorm = nn.RMSNorm(hidden_size, eps=eps)
        self.post_attention_layernorm = nn.RMSNorm(hidden_size, eps=eps)

    def forward(
        self, x: Any, rotary: nn.RotaryPositionalEncoding, tables: Any, mask: Any, cache: nn.KVCache | None
    ) -> Any:
        x = x + self.self_attn(self.input_layernorm(x), rotary, tables, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(nn.Module):
    """Ids (batch, length) to vectors (batch, length, hidden_size): the decoder without its last layer."""

    def __init__(
        self, vocab_size: int, hidden_size: int, layers: list[LlamaDecoderLayer], eps: float, most: int,
        rotary: nn.RotaryPositionalEncoding,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, hidden_size)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.RMSNorm(hidden_size, eps=eps)
        self.rotary, self.most = rotary, most

    def forward(self, input_ids: Any, attention_mask: Any = None, cache: nn.KVCache | None = None) -> Any:
        if input_ids.ndim != 2:
            raise ShapeError(f"Llama: input_ids of shape {input_ids.shape}", fix="pass (batch, length)")
        length, past = input_ids.shape[1], 0 if cache is None else cache.length
        if past + length > self.most:
            raise OutOfRangeError(
                f"Llama: position {past + length - 1} of {self.most}",
                cause="the model was made for texts of that length (max_position_embeddings)",
                fix="pass less text, or load it with a larger max_position_embeddings and rope_scaling",
            )
        positions, mask = _places(input_ids, attention_mask, past)
        x = self.embed_tokens(input_ids)
        tables = self.rotary.tables(x, positions)
        for layer in self.layers:
            x = layer(x, self.rotary, tables, mask, cache)
        return self.norm(x)


def _places(input_ids: Any, attention_mask: Any, past: int) -> tuple[Any, Any]:
    """The position of each token, padding not counted, and which keys it may look at (None: all that came before)."""
    batch, length = input_ids.shape
    rows = iota_on(input_ids, length) + past
    if attention_mask is None:
        if past == 0 or length == 1:
            return rows, None
        return rows, iota_on(input_ids, past + length) <= rows.reshape((length, 1))
    if attention_mask.shape != (batch, past + length):
        raise ShapeError(
            f"attention_mask {attention_mask.shape} for input_ids {input_ids.shape} after {past} positions",
            fix=f"pass {(batch, past + length)}: 1 for each token so far, 0 for padding",
        )
    there = attention_mask != 0
    counted = (there.astype("int64").cumulative_sum(axis=1) - 1)[:, past:]
    positions = counted.clip(0, None).reshape((batch, 1, length))
    before = iota_on(input_ids, past + length) <= rows.reshape((length, 1))
    return positions, there.reshape((batch, 1, 1, past + length)) & before


class LlamaForCausalLM(Generates, Pretrained):
    """A language model: ids (batch, length) to logits (batch, length, vocab_size) of the token that follows each.

    `attention_mask` is 0 at padding, which stands on the left; with a `nn.KVCache` the ids are the new ones only and
    the mask covers the earlier ones too. `logits_to_keep=1` gives those of the last position alone. `generate`
    continues texts. `LlamaConfig(...)` is the same arguments as a frozen dataclass, whose `build()` makes the model.

    >>> import mlcore as ml
    >>> from mlcore_nlp import LlamaConfig
    >>> small = LlamaConfig(
    ...     vocab_size=50, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=4,
    ...     num_key_value_heads=2,
    ... )
    >>> small.build()(ml.asarray([[1, 2, 3]])).shape
    (1, 3, 50)
    """

    model_type: ClassVar[str] = "llama"
    ignored: ClassVar[tuple[str, ...]] = (r"lm_head\.weight", r".*\.rotary_emb\.inv_freq")

    def __init__(
        self, vocab_size: int = 32000, hidden_size: int = 4096, intermediate_size: int = 11008,
        num_hidden_layers: int = 32, num_attention_heads: int = 32, num_key_value_heads: int | None = None,
        head_dim: int | None = None, hidden_act: str = "silu", max_position_embeddings: int = 2048,
        initializer_range: float = 0.02, rms_norm_eps: float = 1e-6, rope_theta: float = 10000.0,
        rope_scaling: Any = None, attention_bias: bool = False, mlp_bias: bool = False,
        tie_word_embeddings: bool = False, bos_token_id: int | None = None, eos_token_id: Any = None,
        pad_token_id: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        heads = num_attention_heads
        kv = heads if num_key_value_heads is None else num_key_value_heads
        if heads < 1 or kv < 1 or heads % kv or (head_dim is None and hidden_size % heads):
            raise ArgumentError(
                f"Llama: hidden_size {hidden_size} with {heads} heads, {kv} of keys",
                fix="heads divide hidden_size, and those of keys divide the heads",
            )
        width = hidden_size // heads if head_dim is None else head_dim
        layers = [
            LlamaDecoderLayer(
                LlamaAttention(hidden_size, heads, kv, width, attention_bias),
                LlamaMLP(hidden_size, intermediate_size, hidden_act, mlp_bias),
                hidden_size, rms_norm_eps,
            )
            for _ in range(num_hidden_layers)
        ]  # fmt: skip
        rotary = nn.RotaryPositionalEncoding(width, rope_theta, scaling=rope_scaling)
        self.model = LlamaModel(
            vocab_size, hidden_size, layers, rms_norm_eps, max_position_embeddings, rotary
        )
        self.lm_head = None if tie_word_embeddings else nn.Linear(hidden_size, vocab_size, bias=False)
        self.bos_token_id, self.pad_token_id = bos_token_id, pad_token_id
        self.eos_token_id = eos_token_id
        draw(self, initializer_range)

    @property
    def context_length(self) -> int:
        """How many tokens a text may have."""
        return self.model.most

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        cache: nn.KVCache | None = None,
        logits_to_keep: int = 0,
    ) -> Any:
        x = self.model(input_ids, attention_mask, cache)
        if logits_to_keep:
            x = x[:, -logits_to_keep:]
        if self.lm_head is None:
            return F.linear(x, self.model.embed_tokens.weight)
        return self.lm_head(x)

    @classmethod
    def settings(cls, config: Mapping[str, Any]) -> Settings:
        """The constructor's arguments; newer files keep all of the rotary ones in `rope_parameters`."""
        found = super().settings(config)
        newer = config.get("rope_parameters")
        if isinstance(newer, Mapping):
            found["rope_theta"] = newer.get("rope_theta", found.get("rope_theta", 10000.0))
            found["rope_scaling"] = {name: one for name, one in newer.items() if name != "rope_theta"}
        if found.get("rope_scaling") in ({"rope_type": "default"}, {"type": "default"}):
            found["rope_scaling"] = None
        if config.get("sliding_window") is not None:
            raise ArgumentError(f"Llama: sliding_window {config['sliding_window']!r} is not known here")
        return found


LlamaConfig: Any = nn.config.kind(LlamaForCausalLM)
