"""Attention with several heads as a layer (Vaswani et al. 2017)."""

from __future__ import annotations

from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn import init
from mlcore.nn.functional import multihead
from mlcore.nn.functional._common import probability
from mlcore.nn.kv_cache import KVCache
from mlcore.nn.linear import Linear
from mlcore.nn.module import Module
from mlcore.nn.parameter import Parameter
from mlcore.ops.creation import empty
from mlcore.ops.shape import reshape, squeeze, swapaxes


class MultiheadAttention(Module):
    """Attention with `num_heads` heads over vectors of `embed_dim`.

    query (L, N, E), key (S, N, kdim), value (S, N, vdim), or with N first when `batch_first`, or without N. Returns
    (output like query, weights (N, L, S) averaged over the heads, or None). In bool masks True means *not* allowed.
    `is_causal` with an `attn_mask` changes nothing; alone it hides from each position the later ones. With a `KVCache`
    earlier keys and values come before those of this call, and masks cover both (`L` more than `S` of the cache).

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
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        if self.kdim < 1 or self.vdim < 1:
            raise ArgumentError(
                f"MultiheadAttention: kdim {kdim}, vdim {vdim}", fix="use widths of at least 1"
            )
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
        attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False, *,
        cache: KVCache | None = None, static_kv: bool = False,
    ) -> tuple[Any, Any]:  # fmt: skip
        """With `static_kv` the cache keeps the keys and values of the first call, and the later ones use them."""
        single = multihead.without_batch(query, key, value)
        if query.shape[-1] != self.embed_dim:
            raise ShapeError(
                f"MultiheadAttention: query {query.shape}, key {key.shape}, value {value.shape}",
                cause=f"expected (L, N, {self.embed_dim}), or (L, {self.embed_dim}) without a batch",
            )
        first = self.batch_first and not single
        if single:
            query, key, value = multihead.one_batch(query, key, value)
        if first:
            query, key, value = multihead.batch_second(query, key, value)
        static = _fixed(cache, self) if cache is not None and static_kv else None
        growing = cache is not None and not static_kv
        how = multihead.Options(
            self.num_heads, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout if self.training else 0.0,
            need_weights, average_attn_weights, is_causal, cache.length_of(self) if growing and cache else 0,
        )  # fmt: skip
        extend = None
        if cache is not None and static is None:
            keep = cache.keep if static_kv else cache.extend
            extend = lambda k, v: keep(self, k, v)  # noqa: E731
        weights = multihead.Projections(
            self.in_proj_weight,
            (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight),
            self.in_proj_bias,
        )
        mixed, seen = multihead.attend(
            query, key, value, weights, how, attn_mask, key_padding_mask, static or (None, None), extend
        )
        out = self.out_proj(mixed)
        if single:
            return squeeze(out, 1), None if seen is None else squeeze(seen, 0)
        return (swapaxes(out, 0, 1) if first else out), seen


def _fixed(cache: KVCache, owner: Any) -> tuple[Any, Any] | None:
    """The kept keys and values as (N * heads, S, head_dim)."""
    held = cache.get(owner)
    return None if held is None else tuple(reshape(one, (-1, *one.shape[2:])) for one in held)
