"""Attention with several heads, and the encoder made of it (Vaswani et al. 2017)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import functional as F
from mlcore.nn import init
from mlcore.nn.containers import ModuleList
from mlcore.nn.dropout import Dropout
from mlcore.nn.functional._common import probability
from mlcore.nn.functional.attention import attention_weights
from mlcore.nn.linear import Linear
from mlcore.nn.module import Module
from mlcore.nn.normalization import LayerNorm
from mlcore.nn.parameter import Parameter
from mlcore.ops.creation import empty, zeros
from mlcore.ops.elementwise import where
from mlcore.ops.linalg import matmul
from mlcore.ops.reduce import mean
from mlcore.ops.shape import broadcast_to, concat, expand_dims, pad, permute_dims, reshape, squeeze, swapaxes


class MultiheadAttention(Module):
    """Attention with `num_heads` heads over vectors of `embed_dim`.

    query (L, N, E), key (S, N, kdim), value (S, N, vdim), or with N first when `batch_first`, or without N. Returns
    (output like query, weights (N, L, S) averaged over the heads, or None). In masks, True means *not* allowed.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> x = ml.random.normal((2, 5, 8))
    >>> y, weights = nn.MultiheadAttention(8, 2, batch_first=True)(x, x, x)
    >>> y.shape, weights.shape
    ((2, 5, 8), (2, 5, 5))
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ArgumentError(f"MultiheadAttention: embed_dim {embed_dim} with {num_heads} heads",
                                fix="embed_dim must be a multiple of num_heads")  # fmt: skip
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.dropout, self.batch_first, self.add_zero_attn = (
            probability("MultiheadAttention", dropout),
            batch_first,
            add_zero_attn,
        )
        how = dict(dtype=dtype, device=device)
        together = self.kdim == embed_dim and self.vdim == embed_dim
        self.q_proj_weight = None if together else Parameter(empty((embed_dim, embed_dim), **how))
        self.k_proj_weight = None if together else Parameter(empty((embed_dim, self.kdim), **how))
        self.v_proj_weight = None if together else Parameter(empty((embed_dim, self.vdim), **how))
        self.in_proj_weight = Parameter(empty((3 * embed_dim, embed_dim), **how)) if together else None
        self.in_proj_bias = Parameter(empty((3 * embed_dim,), **how)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, **how)
        self.bias_k = Parameter(empty((1, 1, embed_dim), **how)) if add_bias_kv else None
        self.bias_v = Parameter(empty((1, 1, embed_dim), **how)) if add_bias_kv else None
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for one in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if one is not None:
                init.xavier_uniform_(one)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for one in (self.bias_k, self.bias_v):
            if one is not None:
                init.xavier_normal_(one)

    def forward(
        self, query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: bool = True,
        attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Any, Any]:  # fmt: skip
        single = query.ndim == 2
        if (
            query.ndim not in (2, 3)
            or key.ndim != query.ndim
            or value.ndim != query.ndim
            or query.shape[-1] != self.embed_dim
        ):
            raise ShapeError(
                f"MultiheadAttention: query {query.shape}, key {key.shape}, value {value.shape}",
                cause=f"expected (L, N, {self.embed_dim}), or (L, {self.embed_dim}) without a batch",
            )
        if is_causal and attn_mask is None:
            raise ArgumentError(
                "MultiheadAttention: is_causal=True without attn_mask",
                cause="it is a hint that the mask is causal",
                fix="pass the causal attn_mask too",
            )
        axis = 0 if self.batch_first and not single else 1  # of the batch
        if single:
            query, key, value = (expand_dims(one, axis=1) for one in (query, key, value))
        if axis == 0:
            query, key, value = self._swapped(query, key, value)
        q, k, v = self._projected(query, key, value)
        if self.bias_k is not None:
            batch = q.shape[1]
            k = concat([k, broadcast_to(self.bias_k, (1, batch, self.embed_dim))], axis=0)
            v = concat([v, broadcast_to(self.bias_v, (1, batch, self.embed_dim))], axis=0)
        q, k, v = (self._heads(one) for one in (q, k, v))  # (N, heads, length, head_dim)
        if self.add_zero_attn:
            k, v = (pad(one, ((0, 0), (0, 0), (0, 1), (0, 0))) for one in (k, v))
        mask = self._mask(attn_mask, key_padding_mask, q, k.shape[-2], key.shape[0])
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = F.dropout(attention_weights(q, k, mask, False, None), p)
            mixed = matmul(weights, v)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, mask, p)
        mixed = permute_dims(mixed, (2, 0, 1, 3))
        out = self.out_proj(reshape(mixed, (*mixed.shape[:2], self.embed_dim)))
        if weights is not None and average_attn_weights:
            weights = mean(weights, axis=1)
        if single:
            return squeeze(out, 1), None if weights is None else squeeze(weights, 0)
        return (swapaxes(out, 0, 1) if axis == 0 else out), weights

    @staticmethod
    def _swapped(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
        """The batch second, and what was one tensor stays one."""
        q = swapaxes(query, 0, 1)
        k = q if key is query else swapaxes(key, 0, 1)
        return q, k, (k if value is key else q if value is query else swapaxes(value, 0, 1))

    def _projected(self, query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
        e, bias = self.embed_dim, self.in_proj_bias
        if self.in_proj_weight is not None:
            if query is key and key is value:  # one product for all three
                both = F.linear(query, self.in_proj_weight, bias)
                return both[..., :e], both[..., e : 2 * e], both[..., 2 * e :]
            weights: list[Any] = [self.in_proj_weight[i * e : (i + 1) * e] for i in range(3)]
        else:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        biases = [None] * 3 if bias is None else [bias[i * e : (i + 1) * e] for i in range(3)]
        q, k, v = (F.linear(*one) for one in zip((query, key, value), weights, biases, strict=True))
        return q, k, v

    def _heads(self, x: Any) -> Any:
        return permute_dims(reshape(x, (x.shape[0], x.shape[1], self.num_heads, self.head_dim)), (1, 2, 0, 3))

    def _mask(self, attn_mask: Any, padding: Any, q: Any, length: int, given: int) -> Any:
        """Both masks as one floating mask to add, over the keys added here too; or None."""
        n, heads, rows, _ = q.shape
        total = None
        if attn_mask is not None:
            shapes = ((rows, given), (n * heads, rows, given))
            if attn_mask.shape not in shapes:
                raise ShapeError(
                    f"MultiheadAttention: attn_mask of shape {attn_mask.shape}",
                    fix=f"use {shapes[0]} or {shapes[1]}",
                )
            total = _added(attn_mask, q)
            if total.ndim == 3:
                total = reshape(total, (n, heads, rows, given))
        if padding is not None:
            if padding.ndim == 1:
                padding = expand_dims(padding, axis=0)
            if padding.shape != (n, given):
                raise ShapeError(
                    f"MultiheadAttention: key_padding_mask of shape {padding.shape}", fix=f"use {(n, given)}"
                )
            hidden = reshape(_added(padding, q), (n, 1, 1, given))
            total = hidden if total is None else total + hidden
        if total is not None and length > given:
            total = pad(total, (*((0, 0),) * (total.ndim - 1), (0, length - given)))
        return total


def _added(mask: Any, like: Any) -> Any:
    """A mask to add: 0 where allowed, -inf where a bool mask is True."""
    if mask.dtype.kind != "b":
        return mask
    return where(mask, float("-inf"), zeros((), dtype=like.dtype, device=like.device))


class TransformerEncoderLayer(Module):
    """Self-attention and a feed-forward network, each with a residual connection and layer normalisation.

    `src` (L, N, d_model), or (N, L, d_model) when `batch_first`; same shape out.

    >>> import mlcore as ml
    >>> from mlcore import nn
    >>> nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)(ml.random.normal((2, 5, 8))).shape
    (2, 5, 8)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = F.relu, layer_norm_eps: float = 1e-5, batch_first: bool = False,
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
        if isinstance(activation, str):
            if activation not in ("relu", "gelu"):
                raise ArgumentError(
                    f"TransformerEncoderLayer: activation={activation!r}",
                    fix="use 'relu', 'gelu' or a function",
                )
            activation = F.relu if activation == "relu" else F.gelu
        self.activation = activation

    def forward(
        self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Any:
        if is_causal and src_mask is None:
            src_mask = causal_mask(src.shape[-2 if self.self_attn.batch_first or src.ndim == 2 else 0], src)
        if self.norm_first:
            x = src + self._attend(self.norm1(src), src_mask, src_key_padding_mask)
            return x + self._feed(self.norm2(x))
        x = self.norm1(src + self._attend(src, src_mask, src_key_padding_mask))
        return self.norm2(x + self._feed(x))

    def _attend(self, x: Any, mask: Any, padding: Any) -> Any:
        return self.dropout1(
            self.self_attn(x, x, x, attn_mask=mask, key_padding_mask=padding, need_weights=False)[0]
        )

    def _feed(self, x: Any) -> Any:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


def causal_mask(size: int, like: Any) -> Any:
    """(size, size): 0 on and below the diagonal, -inf above."""
    from mlcore.ops.creation import iota_on

    allowed = iota_on(like, size) <= reshape(iota_on(like, size), (-1, 1))
    return where(allowed, zeros((), dtype=like.dtype, device=like.device), -math.inf)


class TransformerEncoder(Module):
    """`num_layers` copies of an encoder layer, one after the other, and an optional `norm` at the end.

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
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
    ) -> Any:
        for layer in self.layers:
            src = layer(
                src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal)
            )
        return src if self.norm is None else self.norm(src)
