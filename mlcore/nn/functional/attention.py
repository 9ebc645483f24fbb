"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

from mlcore.errors import ArgumentError
from mlcore.nn.functional._common import probability
from mlcore.ops import nn
from mlcore.ops.attention import attention
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import where
from mlcore.ops.linalg import matmul
from mlcore.ops.random import dropout
from mlcore.ops.shape import matrix_transpose, reshape


def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None,
) -> Any:  # fmt: skip
    """`softmax(query @ key.mT * scale + attn_mask) @ value` (Vaswani et al. 2017).

    Shapes (..., length, width); `attn_mask` broadcasts to (..., L, S): bool, True where attention is allowed, or
    floating, added. A row that may attend to nothing gives zeros.

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
    if dropout_p == 0:
        return attention(query, key, value, attn_mask, is_causal=is_causal, scale=scale)[0]
    return matmul(dropout(attention_weights(query, key, attn_mask, is_causal, scale), dropout_p), value)


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
