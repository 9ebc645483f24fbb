"""Encoders and decoders of attention and feed-forward layers (Vaswani et al. 2017)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from mlcore import dtypes
from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.nn import init
from mlcore.nn.attention import MultiheadAttention
from mlcore.nn.containers import ModuleList
from mlcore.nn.dropout import Dropout
from mlcore.nn.kv_cache import KVCache
from mlcore.nn.linear import Linear
from mlcore.nn.module import Module
from mlcore.nn.normalization import LayerNorm
from mlcore.ops.creation import full, triu

Activation = str | Callable[[Any], Any]


def _activation(name: str, activation: Activation) -> Callable[[Any], Any]:
    """The function meant by a name, or the function itself."""
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise ArgumentError(f"{name}: activation={activation!r}", fix="use 'relu', 'gelu' or a function")
    return F.relu if activation == "relu" else F.gelu


class TransformerEncoderLayer(Module):
    """Self-attention and a feed-forward network, each with a residual connection and layer normalisation.

    `src` (L, N, d_model), (N, L, d_model) when `batch_first`, or without N; same shape out. Bool masks hide where they
    are True. `is_causal` alone hides later positions; with a `KVCache` `src` is the new positions only.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)(ml.random.normal((2, 5, 8))).shape
    (2, 5, 8)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = F.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        how = dict(dtype=dtype, device=device)
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first, **how
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **how)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **how)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **how)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **how)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation("TransformerEncoderLayer", activation)

    def forward(
        self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False, *,
        cache: KVCache | None = None,
    ) -> Any:  # fmt: skip
        if self.norm_first:
            x = src + self._attend(self.norm1(src), src_mask, src_key_padding_mask, is_causal, cache)
            return x + self._feed(self.norm2(x))
        x = self.norm1(src + self._attend(src, src_mask, src_key_padding_mask, is_causal, cache))
        return self.norm2(x + self._feed(x))

    def _attend(self, x: Any, mask: Any, padding: Any, is_causal: bool, cache: KVCache | None) -> Any:
        found = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal, cache=cache)
        return self.dropout1(found[0])

    def _feed(self, x: Any) -> Any:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerDecoderLayer(Module):
    """Self-attention, attention to `memory`, and a feed-forward network, each with residual and normalisation.

    `tgt` (T, N, d_model) and `memory` (S, N, d_model), with N first when `batch_first`, or without N; the shape of
    `tgt` comes out. With a `KVCache` `tgt` is the new positions only, and `memory` is projected in the first call.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    >>> layer(ml.random.normal((2, 5, 8)), ml.random.normal((2, 7, 8)), tgt_is_causal=True).shape
    (2, 5, 8)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = F.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        how = dict(dtype=dtype, device=device)
        both = dict(dropout=dropout, bias=bias, batch_first=batch_first, **how)
        self.self_attn = MultiheadAttention(d_model, nhead, **both)
        self.multihead_attn = MultiheadAttention(d_model, nhead, **both)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **how)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **how)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **how)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **how)
        self.norm3 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **how)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _activation("TransformerDecoderLayer", activation)

    def forward(
        self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None, tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None, tgt_is_causal: bool = False, memory_is_causal: bool = False, *,
        cache: KVCache | None = None,
    ) -> Any:  # fmt: skip
        own = (tgt_key_padding_mask, tgt_mask, tgt_is_causal, cache)
        other = (memory, memory_key_padding_mask, memory_mask, memory_is_causal, cache)
        if self.norm_first:
            x = tgt + self._attend(self.norm1(tgt), *own)
            x = x + self._look(self.norm2(x), *other)
            return x + self._feed(self.norm3(x))
        x = self.norm1(tgt + self._attend(tgt, *own))
        x = self.norm2(x + self._look(x, *other))
        return self.norm3(x + self._feed(x))

    def _attend(self, x: Any, padding: Any, mask: Any, is_causal: bool, cache: KVCache | None) -> Any:
        found = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal, cache=cache)
        return self.dropout1(found[0])

    def _look(
        self, x: Any, memory: Any, padding: Any, mask: Any, is_causal: bool, cache: KVCache | None
    ) -> Any:
        found = self.multihead_attn(
            x, memory, memory, padding, False, mask, is_causal=is_causal, cache=cache, static_kv=True
        )
        return self.dropout2(found[0])

    def _feed(self, x: Any) -> Any:
        return self.dropout3(self.linear2(self.dropout(self.activation(self.linear1(x)))))


def _copies(name: str, layer: Any, count: int) -> ModuleList:
    if count < 0 or not isinstance(layer, Module):
        raise ArgumentError(
            f"{name}: num_layers {count} of {type(layer).__name__}", fix="use 0 or more of a layer"
        )
    return ModuleList(copy.deepcopy(layer) for _ in range(count))


class TransformerEncoder(Module):
    """`num_layers` copies of an encoder layer, one after the other, and an optional `norm` at the end.

    `enable_nested_tensor` and `mask_check` are accepted and change nothing: masked positions are computed as any other.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> nn.TransformerEncoder(layer, 2)(ml.random.normal((2, 5, 8))).shape
    (2, 5, 8)
    """

    def __init__(
        self, encoder_layer: Any, num_layers: int, norm: Module | None = None, enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers = _copies("TransformerEncoder", encoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None, *,
        cache: KVCache | None = None,
    ) -> Any:  # fmt: skip
        more = {} if cache is None else {"cache": cache}  # a layer of one's own need not know it
        for layer in self.layers:
            src = layer(
                src,
                src_mask=mask,
                src_key_padding_mask=src_key_padding_mask,
                is_causal=bool(is_causal),
                **more,
            )
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """`num_layers` copies of a decoder layer, one after the other, and an optional `norm` at the end.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2)
    >>> decoder(ml.random.normal((5, 2, 8)), ml.random.normal((7, 2, 8))).shape
    (5, 2, 8)
    """

    def __init__(self, decoder_layer: Any, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies("TransformerDecoder", decoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None, tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None, tgt_is_causal: bool | None = None, memory_is_causal: bool = False, *,
        cache: KVCache | None = None,
    ) -> Any:  # fmt: skip
        more = {} if cache is None else {"cache": cache}
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal, **more,
            )  # fmt: skip
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder and a decoder that looks at its output.

    `src` (S, N, d_model) and `tgt` (T, N, d_model), with N first when `batch_first`, or without N; the shape of `tgt`
    comes out. Matrices start by Xavier's uniform rule.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> model = nn.Transformer(8, 2, 1, 1, 16)
    >>> mask = nn.Transformer.generate_square_subsequent_mask(5)
    >>> model(ml.random.normal((7, 2, 8)), ml.random.normal((5, 2, 8)), tgt_mask=mask).shape
    (5, 2, 8)
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
        dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = F.relu,
        custom_encoder: Any = None, custom_decoder: Any = None, layer_norm_eps: float = 1e-5,
        batch_first: bool = False, norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        how = dict(device=device, dtype=dtype)
        shared = (
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
            bias,
        )

        def norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **how)

        self.encoder = custom_encoder
        if custom_encoder is None:
            layer = TransformerEncoderLayer(*shared, **how)
            self.encoder = TransformerEncoder(layer, num_encoder_layers, norm())
        self.decoder = custom_decoder
        if custom_decoder is None:
            self.decoder = TransformerDecoder(
                TransformerDecoderLayer(*shared, **how), num_decoder_layers, norm()
            )
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self) -> None:
        for one in self.parameters():
            if one.ndim > 1:
                init.xavier_uniform_(one)

    def forward(
        self, src: Any, tgt: Any, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None,
        src_key_padding_mask: Any = None, tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None, tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Any:  # fmt: skip
        axis = 0 if self.batch_first else 1
        unlike = src.ndim != tgt.ndim or (src.ndim == 3 and src.shape[axis] != tgt.shape[axis])
        if unlike or src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise ShapeError(
                f"Transformer: src {src.shape}, tgt {tgt.shape}",
                cause=f"both have one batch, in dimension {axis}, or none, and {self.d_model} features at the end",
            )
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Any:
        """(sz, sz), to be added: 0 on and below the diagonal, -inf above.

        >>> from mlcore import nn
        >>> nn.Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        return triu(full((sz, sz), -math.inf, dtype=dtype or dtypes.float32, device=device), k=1)
