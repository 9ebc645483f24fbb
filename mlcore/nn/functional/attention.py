"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

from mlcore.errors import ArgumentError, ShapeError
from mlcore.nn.functional._common import probability
from mlcore.ops import nn
from mlcore.ops.attention import attention
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import where
from mlcore.ops.linalg import matmul
from mlcore.ops.random import dropout
from mlcore.ops.shape import expand_dims, matrix_transpose, reshape


def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """`softmax(query @ key.mT * scale + attn_mask) @ value` (Vaswani et al. 2017).

    Shapes (..., length, width); `attn_mask` broadcasts to (..., L, S): bool, True where attention is allowed, or
    floating, added. A row that may attend to nothing gives zeros. With `enable_gqa` (Ainslie et al. 2023) shapes are
    (..., heads, length, width), and key and value may have fewer heads, each for as many neighbouring ones of query.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> q = ml.ones((2, 4, 8))
    >>> F.scaled_dot_product_attention(q, q, q, is_causal=True).shape
    (2, 4, 8)
    """
    probability("scaled_dot_product_attention", dropout_p)
    if is_causal and attn_mask is not None:
        raise ArgumentError(
            "scaled_dot_product_attention: attn_mask together with is_causal=True", fix="use one"
        )
    if enable_gqa and _groups(query, key, value) > 1:
        return _grouped(query, key, value, attn_mask, dropout_p, is_causal, scale)
    if dropout_p == 0:
        return attention(query, key, value, attn_mask, is_causal=is_causal, scale=scale)[0]
    return matmul(dropout(attention_weights(query, key, attn_mask, is_causal, scale), dropout_p), value)


def _groups(query: Any, key: Any, value: Any) -> int:
    """How many heads of the query share one of key and value."""
    if min(query.ndim, key.ndim, value.ndim) < 3:
        raise ShapeError(
            f"scaled_dot_product_attention: enable_gqa with q {query.shape}, k {key.shape}, v {value.shape}",
            fix="shapes are (..., heads, length, width)",
        )
    heads, shared = query.shape[-3], key.shape[-3]
    if value.shape[-3] != shared or not shared or heads % shared:
        raise ShapeError(
            f"scaled_dot_product_attention: {heads} heads of q, {shared} of k and {value.shape[-3]} of v",
            cause="with enable_gqa, k and v have the same number of heads, which divides that of q",
        )
    return int(heads // shared)


def _grouped(
    query: Any, key: Any, value: Any, mask: Any, dropout_p: float, is_causal: bool, scale: float | None
) -> Any:
    """Heads become (heads of key, group): key and value broadcast over the groups, and nothing is copied."""
    heads, shared = query.shape[-3], key.shape[-3]
    if mask is not None and mask.ndim >= 3:
        split = (1, 1) if mask.shape[-3] == 1 else (shared, mask.shape[-3] // shared)
        mask = reshape(mask, (*mask.shape[:-3], *split, *mask.shape[-2:]))
    q = reshape(query, (*query.shape[:-3], shared, heads // shared, *query.shape[-2:]))
    k, v = expand_dims(key, axis=-3), expand_dims(value, axis=-3)
    y = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal, scale)
    return reshape(y, (*y.shape[:-4], heads, *y.shape[-2:]))


def attention_weights(query: Any, key: Any, mask: Any, is_causal: bool, scale: float | None) -> Any:
    """The weights themselves, for dropping some of them or looking at them."""
    scores = matmul(
        query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale), matrix_transpose(key)
    )
    if is_causal:
        rows = reshape(iota_on(query, query.shape[-2]), (-1, 1))
        scores = where(iota_on(query, key.shape[-2]) <= rows, scores, float("-inf"))
    if mask is not None:
        scores = where(mask, scores, float("-inf")) if mask.dtype.kind == "b" else scores + mask
    return nn.softmax(scores, axis=-1)
