"""Attention whose scores and weights subgraphs may change. (Plain Attention runs by its definition in ONNX.)"""

from __future__ import annotations

import math
from typing import Any

import mlcore as ml
from mlcore.errors import ShapeError
from mlcore_onnx.ops.cast import as_dtype
from mlcore_onnx.ops.declare import PREVIEW, onnx_op
from mlcore_onnx.values import together


def shared_heads(x: Any, heads: int) -> Any:
    """Each of the heads of (N, heads of its own, ...) for a group of `heads`."""
    if x.shape[1] == heads:
        return x
    if not x.shape[1] or heads % x.shape[1]:
        raise ShapeError(f"{heads} query heads over {x.shape[1]} key heads")
    return ml.repeat(x, heads // x.shape[1], axis=1)


@onnx_op("FlexAttention", 1, domain=PREVIEW, raw=True)
def flex_attention(
    q: Any, k: Any, v: Any, *, score_mod: Any = None, prob_mod: Any = None, scale: float | None = None,
    softmax_precision: int | None = None,
) -> Any:  # fmt: skip
    q, k, v = together([q, k, v])
    kind = q.dtype
    wide = as_dtype(softmax_precision, ml.float64 if kind is ml.float64 else ml.float32)
    k, v = (shared_heads(one, q.shape[1]) for one in (k, v))
    by = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = ml.astype(ml.matmul(q, ml.matrix_transpose(k)) * by, wide)
    if score_mod is not None:
        (scores,) = together(score_mod(scores))
    weights = ml.softmax(scores, axis=-1)
    if prob_mod is not None:
        (weights,) = together(prob_mod(weights))
    return ml.matmul(ml.astype(weights, v.dtype), v)
