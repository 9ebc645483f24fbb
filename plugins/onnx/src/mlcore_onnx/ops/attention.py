"""Attention: by mlcore's, which keeps no matrix of weights, where a node asks for nothing that needs one."""

from __future__ import annotations

import math
from typing import Any

import mlcore as ml
from mlcore.errors import ShapeError
from mlcore.nn import functional as F
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


def _plain(node: Any, attributes: dict[str, Any]) -> bool:
    """No matrix of scores to return, no cap, no window, no padded cache."""
    asked = [name for name in node.output if name]
    softcap = attributes.get("softcap")
    return (
        len(asked) < 4 and len(node.output) < 4 and not any(node.input[6:]) and (softcap is None or softcap.f == 0)
        and not any(name in attributes for name in ("left_window_size", "right_window_size"))
    )  # fmt: skip


@onnx_op("Attention", 23, takes=_plain)
def attention(
    q: Any, k: Any, v: Any, mask: Any = None, past_key: Any = None, past_value: Any = None, *, is_causal: int = 0,
    kv_num_heads: int | None = None, q_num_heads: int | None = None, scale: float | None = None, softcap: float = 0.0,
    qk_matmul_output_mode: int = 0, softmax_precision: int | None = None, outputs: int,
) -> Any:  # fmt: skip
    flat, kind = q.ndim == 3, q.dtype
    if flat:
        if not q_num_heads or not kv_num_heads:
            raise ShapeError(f"Attention of {q.shape} without q_num_heads and kv_num_heads")
        q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    past = 0 if past_key is None else past_key.shape[2]
    if past_key is not None:
        k, v = ml.concat([past_key, k], axis=2), ml.concat([past_value, v], axis=2)
    present = (k, v)
    mask = _mask(q, k, mask, bool(is_causal), past)
    heads = q.shape[1]
    wide = [ml.astype(one, ml.float32) if kind.itemsize < 4 else one for one in (q, k, v)]
    if mask is not None and mask.dtype.kind == "f":
        mask = ml.astype(mask, wide[0].dtype)
    y = F.scaled_dot_product_attention(
        wide[0], shared_heads(wide[1], heads), shared_heads(wide[2], heads), mask, scale=scale
    )
    y = ml.astype(y, kind)
    if flat:
        y = ml.reshape(ml.permute_dims(y, (0, 2, 1, 3)), (y.shape[0], y.shape[2], -1))
    return y if outputs == 1 else (y, *present)[:outputs]


def _heads(x: Any, heads: int) -> Any:
    """(N, L, heads * size) as (N, heads, L, size)."""
    if x.shape[2] % heads:
        raise ShapeError(f"Attention: {heads} heads of {x.shape}")
    return ml.permute_dims(ml.reshape(x, (x.shape[0], x.shape[1], heads, -1)), (0, 2, 1, 3))


def _mask(q: Any, k: Any, mask: Any, causal: bool, past: int) -> Any:
    """What a query may look at: the node's mask and, if causal, no key after its own place behind the past ones."""
    total = k.shape[2]
    if mask is not None and mask.shape[-1] < total:  # the rest of the cache is out of sight
        hidden = tuple((0, total - mask.shape[-1] if i == mask.ndim - 1 else 0) for i in range(mask.ndim))
        mask = ml.pad(mask, hidden, value=float("-inf") if mask.dtype.kind == "f" else False)
    if not causal:
        return mask
    rows = ml.reshape(ml.arange(q.shape[2], device=q.device), (-1, 1)) + past
    seen = ml.less_equal(ml.reshape(ml.arange(total, device=q.device), (1, -1)), rows)
    if mask is None:
        return seen
    if mask.dtype.kind == "b":
        return ml.logical_and(mask, seen)
    return ml.where(seen, mask, float("-inf"))


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
