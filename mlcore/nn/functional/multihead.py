"""Attention with several heads: projections, heads, masks, and the product of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mlcore.errors import ArgumentError, DTypeError, ShapeError
from mlcore.nn.functional._common import probability
from mlcore.nn.functional.attention import attention_weights, scaled_dot_product_attention
from mlcore.ops.creation import iota_on, zeros
from mlcore.ops.elementwise import astype, where
from mlcore.ops.linalg import matmul
from mlcore.ops.nn import linear
from mlcore.ops.random import dropout
from mlcore.ops.reduce import mean
from mlcore.ops.shape import broadcast_to, concat, expand_dims, pad, permute_dims, reshape, squeeze, swapaxes

NAME = "multi_head_attention"


class Projections(NamedTuple):
    """What turns query, key and value into heads: one weight (3 E, E), or three (E, E), (E, kdim), (E, vdim)."""

    together: Any
    apart: tuple[Any, Any, Any]
    bias: Any  # (3 E,) or None


class Options(NamedTuple):
    """How the heads attend."""

    num_heads: int
    bias_k: Any = None
    bias_v: Any = None
    add_zero_attn: bool = False
    dropout_p: float = 0.0
    need_weights: bool = True
    average_attn_weights: bool = True
    is_causal: bool = False
    past: int = 0  # keys that `extend` puts before those given


def multi_head_attention_forward(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any, in_proj_bias: Any,
    bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Any, out_proj_bias: Any,
    training: bool = True, key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Any = None, k_proj_weight: Any = None,
    v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """What `nn.MultiheadAttention` computes, from its parameters (Vaswani et al. 2017).

    query (L, N, E), key, value (S, N, *), or all without N; `static_k` and `static_v` (N * num_heads, S, head_dim)
    stand for the projected key and value. Returns (output like query, weights (N, L, S), with the heads second unless
    `average_attn_weights`, or None). Bool masks hide where they are True; a row that may attend to nothing gives zeros.

    >>> import mlcore as ml
    >>> from mlcore.nn import functional as F
    >>> x, w = ml.ones((5, 2, 4)), ml.ones((12, 4))
    >>> y, weights = F.multi_head_attention_forward(
    ...     x, x, x, 4, 2, w, None, None, None, False, 0.0, ml.ones((4, 4)), None)
    >>> y.shape, weights.shape
    ((5, 2, 4), (2, 5, 5))
    """
    probability(NAME, dropout_p)
    if query.shape[-1] != embed_dim_to_check or num_heads < 1 or embed_dim_to_check % num_heads:
        raise ShapeError(
            f"{NAME}: query {query.shape} with embed_dim {embed_dim_to_check} and {num_heads} heads",
            fix="the query's last dimension is embed_dim, a multiple of the heads",
        )
    how = Options(
        num_heads, bias_k, bias_v, add_zero_attn, dropout_p if training else 0.0, need_weights, average_attn_weights,
        is_causal,
    )  # fmt: skip
    together = None if use_separate_proj_weight else in_proj_weight
    weights = Projections(together, (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias)
    single = without_batch(query, key, value)
    if single:
        query, key, value = one_batch(query, key, value)
    mixed, seen = attend(query, key, value, weights, how, attn_mask, key_padding_mask, (static_k, static_v))
    y = linear(mixed, out_proj_weight, out_proj_bias)
    return (squeeze(y, 1), None if seen is None else squeeze(seen, 0)) if single else (y, seen)


def without_batch(query: Any, key: Any, value: Any) -> bool:
    """Whether the three have no batch dimension; refuse what is neither with nor without."""
    if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
        raise ShapeError(
            f"{NAME}: query {query.shape}, key {key.shape}, value {value.shape}",
            cause="all three have a batch, or none has: (L, N, E) or (L, E)",
        )
    return bool(query.ndim == 2)


def one_batch(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    """The three with a batch of one in second place; what was one tensor stays one."""
    return _each(lambda one: expand_dims(one, axis=1), query, key, value)


def batch_second(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    """The three with the batch, which came first, in second place; what was one tensor stays one."""
    return _each(lambda one: swapaxes(one, 0, 1), query, key, value)


def _each(change: Callable[[Any], Any], query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    q = change(query)
    k = q if key is query else change(key)
    return q, k, (k if value is key else q if value is query else change(value))


def attend(
    query: Any, key: Any, value: Any, weights: Projections, how: Options, attn_mask: Any = None,
    key_padding_mask: Any = None, static: tuple[Any, Any] = (None, None),
    extend: Callable[[Any, Any], tuple[Any, Any]] | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """(the heads' results side by side (L, N, E), the weights or None); the tensors have their batch second.

    `static` are projected keys and values; `extend` puts earlier ones before those of this call.
    """
    if query is not key or key is not value:
        _check(query, key, value, static)
    q, k, v = _heads(query, key, value, weights, how, static)
    if extend is not None:
        k, v = extend(k, v)
    given = k.shape[-2]
    if how.bias_k is not None:
        if static[0] is not None or static[1] is not None:
            raise ArgumentError(
                f"{NAME}: bias_k and bias_v with static keys or values", fix="use one of them"
            )
        batch = query.shape[1]
        rows = [
            _split(broadcast_to(one, (1, batch, query.shape[2])), how) for one in (how.bias_k, how.bias_v)
        ]
        k, v = (concat([one, row], axis=-2) for one, row in zip((k, v), rows, strict=True))
    if how.add_zero_attn:
        k, v = (pad(one, ((0, 0), (0, 0), (0, 1), (0, 0))) for one in (k, v))
    causal = how.is_causal and attn_mask is None
    plain = False
    if causal:
        square = k.shape[-2] == given == q.shape[-2]
        plain = square and key_padding_mask is None and not how.need_weights
    if causal and not plain and how.past < given - 1:  # else nothing lies ahead of the first row
        attn_mask = hidden_ahead(q, q.shape[-2], given, how.past)
    mask = _mask(attn_mask, key_padding_mask, q, k.shape[-2], given)
    seen = None
    if how.need_weights:
        seen = attention_weights(q, k, mask, False, None)
        if how.dropout_p:
            seen = dropout(seen, how.dropout_p)
        mixed = matmul(seen, v)
        if how.average_attn_weights:
            seen = mean(seen, axis=1)
    else:
        mixed = scaled_dot_product_attention(q, k, v, mask, how.dropout_p, plain)
    mixed = permute_dims(mixed, (2, 0, 1, 3))
    return reshape(mixed, (*mixed.shape[:2], query.shape[2])), seen


def hidden_ahead(like: Any, rows: int, columns: int, past: int) -> Any:
    """(rows, columns): True where the column is later than the row, which comes after `past` columns."""
    return iota_on(like, columns) > reshape(iota_on(like, rows), (-1, 1)) + past


def _check(query: Any, key: Any, value: Any, static: tuple[Any, Any]) -> None:
    free = static[0] is not None and static[1] is not None
    if key.shape[:2] != value.shape[:2] or (not free and key.shape[1] != query.shape[1]):
        raise ShapeError(
            f"{NAME}: query {query.shape}, key {key.shape}, value {value.shape}",
            cause="key and value have one length and one batch, which is the query's",
        )


def _heads(
    query: Any, key: Any, value: Any, weights: Projections, how: Options, static: tuple[Any, Any]
) -> tuple[Any, Any, Any]:
    """Query, key and value as (N, heads, length, head_dim)."""
    e, bias = query.shape[2], weights.bias
    if (
        weights.together is not None
        and query is key
        and key is value
        and static[0] is None
        and static[1] is None
    ):
        both = linear(query, weights.together, bias)  # one product for all three
        return tuple(_split(one, how) for one in (both[..., :e], both[..., e : 2 * e], both[..., 2 * e :]))
    if weights.together is not None:
        apart: Any = [weights.together[i * e : (i + 1) * e] for i in range(3)]
    else:
        apart = weights.apart
    found: list[Any] = []
    for i, one in enumerate((query, key, value)):
        if i and static[i - 1] is not None:
            found.append(_static(static[i - 1], query, how))
            continue
        if one.shape[2] != apart[i].shape[1]:
            raise ShapeError(
                f"{NAME}: {('query', 'key', 'value')[i]} {one.shape}, expected a last dimension of {apart[i].shape[1]}",
                fix="kdim and vdim say how wide key and value are",
            )
        found.append(_split(linear(one, apart[i], None if bias is None else bias[i * e : (i + 1) * e]), how))
    return found[0], found[1], found[2]


def _static(given: Any, query: Any, how: Options) -> Any:
    """Projected keys or values (N * heads, S, head_dim) with the batch apart."""
    batch, width = query.shape[1], query.shape[2] // how.num_heads
    if given.ndim != 3 or given.shape[0] != batch * how.num_heads or given.shape[2] != width:
        raise ShapeError(
            f"{NAME}: static keys or values {given.shape}", fix=f"use ({batch * how.num_heads}, S, {width})"
        )
    return reshape(given, (batch, how.num_heads, *given.shape[1:]))


def _split(x: Any, how: Options) -> Any:
    steps, batch, width = x.shape
    return permute_dims(reshape(x, (steps, batch, how.num_heads, width // how.num_heads)), (1, 2, 0, 3))


def _mask(attn_mask: Any, padding: Any, q: Any, length: int, given: int) -> Any:
    """Both masks as one floating mask to add, over the keys added here too; or None."""
    n, heads, rows, _ = q.shape
    total = None
    if attn_mask is not None:
        shapes = ((rows, given), (n * heads, rows, given))
        if attn_mask.shape not in shapes:
            raise ShapeError(
                f"{NAME}: attn_mask of shape {attn_mask.shape}", fix=f"use {shapes[0]} or {shapes[1]}"
            )
        total = _added("attn_mask", attn_mask, q)
        if total.ndim == 3:
            total = reshape(total, (n, heads, rows, given))
    if padding is not None:
        if padding.ndim == 1:
            padding = expand_dims(padding, axis=0)
        if padding.shape != (n, given):
            raise ShapeError(f"{NAME}: key_padding_mask of shape {padding.shape}", fix=f"use {(n, given)}")
        hidden = reshape(_added("key_padding_mask", padding, q), (n, 1, 1, given))
        total = hidden if total is None else total + hidden
    if total is not None and length > given:
        total = pad(total, (*((0, 0),) * (total.ndim - 1), (0, length - given)))
    return total


def _added(name: str, mask: Any, like: Any) -> Any:
    """A mask to add: 0 where allowed, -inf where a bool mask is True."""
    if mask.dtype.kind == "b":
        return where(mask, float("-inf"), zeros((), dtype=like.dtype, device=like.device))
    if mask.dtype.kind != "f":
        raise DTypeError(
            f"{NAME}: {name} is {mask.dtype}", fix="use bool, True where hidden, or a floating mask to add"
        )
    return mask if mask.dtype is like.dtype else astype(mask, like.dtype)
