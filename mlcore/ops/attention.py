"""Scaled dot-product attention as a composite that keeps one number a row, not the matrix of weights."""

from __future__ import annotations

import math
from typing import Any

from mlcore import dtypes, engine
from mlcore.dtypes import floating
from mlcore.errors import ShapeError
from mlcore.ops.cases import Sample, sample
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import astype, exp, where
from mlcore.ops.linalg import matmul
from mlcore.ops.logic import isfinite, logical_and
from mlcore.ops.nn import softmax
from mlcore.ops.reduce import logsumexp
from mlcore.ops.reduce import sum as sum_
from mlcore.ops.shape import expand_dims, matrix_transpose, reshape
from mlcore.ops.spec import Outs, composite, out, outs
from mlcore.shapes import Shape, broadcast

_SHAPES: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = [
    ((2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4)), ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)),
    ((5, 4), (7, 4), (7, 6)), ((3, 5, 4), (1, 7, 4), (1, 7, 6)), ((2, 1, 5, 4), (3, 7, 4), (3, 7, 2)),
]  # fmt: skip
_LONG = ((1, 133, 17), (1, 165, 17), (1, 165, 35))  # several blocks of queries and of keys, with tails


def _samples() -> list[Sample]:
    q, k, v = _SHAPES[1]
    none_for_the_first = {"mask": lambda mask: logical_and(mask, reshape(iota_on(mask, 5), (-1, 1)) > 0)}
    return [
        *(sample(one) for one in _SHAPES), sample(_SHAPES[0], is_causal=True), sample([q, k, v], scale=0.5),
        sample([q, k, v], is_causal=True), sample([q, k, v, (5, 7)]), sample([q, k, v, (5, 1)]),
        sample([q, k, v, (2, 1, 5, 7)], booleans=["mask"]), sample([q, k, v, (7,)], booleans=["mask"]),
        sample([q, k, v, (5, 7)], booleans=["mask"], derive=none_for_the_first), sample([(0, 5, 4)] * 3),
        sample([(3, 0, 4), (3, 7, 4), (3, 7, 4)]), sample([(3, 5, 4), (3, 0, 4), (3, 0, 4)]),
        sample(_LONG, is_causal=True, special=False), sample([*_LONG, (133, 165)], booleans=["mask"]),
        sample([(1, 33, 17), (1, 65, 17), (1, 65, 17)], is_causal=True),
    ]  # fmt: skip


def _grad_samples() -> list[Sample]:
    def case(
        q: Any, k: Any, v: Any, mask: Any = None, booleans: Any = (), special: bool = True, **how: Any
    ) -> Sample:
        batch = broadcast("attention", q[:-2], k[:-2], v[:-2])
        y = (*batch, q[-2], v[-1])

        def made(q: Any, k: Any, v: Any, mask: Any) -> Any:
            return attention(q, k, v, mask, **how)

        derive = {
            "y": lambda q, k, v, mask: made(q, k, v, mask)[0],
            "lse": lambda q, k, v, mask: made(q, k, v, mask)[1],
        }
        return sample([y, q, k, v, y, y[:-1], mask], booleans=booleans, derive=derive, special=special, **how)

    # Whether inf in what a causal mask hides meets a weight of 0 (and makes nan) is left open.
    q, k, v = _SHAPES[1]
    small, long, none = _SHAPES[0][0], _LONG, (0, 5, 4)
    return [
        *(case(a, b, c) for a, b, c in _SHAPES), case(small, small, small, is_causal=True, special=False),
        case(q, k, v, (5, 7)), case(q, k, v, (2, 1, 5, 7), ["mask"]), case(none, none, none),
        case(long[0], long[1], long[2], is_causal=True, special=False),
        case(long[0], long[1], long[2], (133, 165), ["mask"], scale=0.5), case((3, 5, 4), (3, 0, 4), (3, 0, 4)),
    ]  # fmt: skip


def _check(q: Any, k: Any, v: Any, mask: Any) -> Shape:
    """The batch shape of a call whose shapes fit together."""
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ShapeError(
            f"scaled_dot_product_attention: q {q.shape}, k {k.shape}, v {v.shape}",
            cause="q and k need one width, k and v one length", fix="shapes are (..., length, width)",
        )  # fmt: skip
    batch = broadcast("scaled_dot_product_attention", q.shape[:-2], k.shape[:-2], v.shape[:-2])
    if mask is not None:
        scores = (*batch, q.shape[-2], k.shape[-2])
        if broadcast("scaled_dot_product_attention mask", mask.shape, scores) != scores:
            raise ShapeError(
                f"scaled_dot_product_attention: mask of shape {mask.shape} for scores of shape {scores}",
                fix="a mask broadcasts to the scores, and never makes them larger",
            )
    return batch


def _scale(q: Any, scale: float | None) -> float:
    if scale is None:
        return 1 / math.sqrt(q.shape[-1]) if q.shape[-1] else 1.0
    return float(scale)


def _rule(
    q: Any, k: Any, v: Any, mask: Any = None, /, *, is_causal: bool = False, scale: float | None = None
) -> Outs:
    shape = (*_check(q, k, v, mask), q.shape[-2], v.shape[-1])
    wide = dtypes.float32 if q.dtype.itemsize < 4 else q.dtype
    return outs([(shape, q.dtype), (shape[:-1], wide)], bool(is_causal), _scale(q, scale))


def _scores(q: Any, k: Any, mask: Any, is_causal: bool, scale: float) -> Any:
    scores = matmul(q, matrix_transpose(k)) * scale
    if is_causal:
        rows = reshape(iota_on(q, q.shape[-2]), (-1, 1))
        scores = where(iota_on(q, k.shape[-2]) <= rows, scores, float("-inf"))
    if mask is not None:
        scores = (
            where(mask, scores, float("-inf"))
            if mask.dtype.kind == "b"
            else scores + astype(mask, scores.dtype)
        )
    return scores


def _vjp(
    g: Any,
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    y: Any,
    lse: Any,
    is_causal: bool,
    scale: float,
    needs: tuple[bool, ...],
) -> tuple[Any, ...]:
    found = attention_grad(g, q, k, v, y, lse, mask, is_causal=is_causal, scale=scale)
    if not needs[3]:
        return (*found, None)
    inner = _inner(g, q, k, v, y, lse, mask, is_causal, scale)[1]
    return (*found, astype(engine.unbroadcast(inner, mask.shape), mask.dtype))


@composite(
    _rule, autocast="low",
    accepts=floating, ulp=64, public=False, promote=("q", "k", "v"), outputs=("y", "lse"), vjp=_vjp,
    samples=_samples,
)  # fmt: skip
def attention(
    q: Any, k: Any, v: Any, mask: Any = None, /, *, is_causal: bool = False, scale: float | None = None
) -> Any:
    """(`softmax(q @ k.mT * scale + mask) @ v`, the logarithm of what softmax divides by, in 32 bits or more)."""
    scores = _scores(q, k, mask, is_causal, _scale(q, scale))
    lse = logsumexp(scores, axis=-1)
    if lse.dtype.itemsize < 4:
        lse = astype(lse, dtypes.float32)
    return matmul(softmax(scores, axis=-1), v), lse


def _inner(
    g: Any, q: Any, k: Any, v: Any, y: Any, lse: Any, mask: Any, is_causal: bool, scale: float
) -> tuple[Any, Any]:
    """The weights, and the gradient of the scores."""
    shift = where(isfinite(lse), lse, 0)
    weights = astype(exp(_scores(q, k, mask, is_causal, scale) - expand_dims(shift, axis=-1)), q.dtype)
    inner = matmul(g, matrix_transpose(v)) - sum_(g * y, axis=-1, keepdims=True)
    return weights, weights * inner


def _grad_rule(
    g: Any, q: Any, k: Any, v: Any, y: Any, lse: Any, mask: Any = None, /, *, is_causal: bool = False,
    scale: float | None = None,
) -> Outs:  # fmt: skip
    return outs([(one.shape, q.dtype) for one in (q, k, v)], bool(is_causal), _scale(q, scale))


@composite(
    _grad_rule, accepts=floating, ulp=128, public=False, promote=("g", "q", "k", "v", "y"), outputs=("gq", "gk", "gv"),
    samples=_grad_samples, domain=(-1.5, 1.5),
)  # fmt: skip
def attention_grad(
    g: Any, q: Any, k: Any, v: Any, y: Any, lse: Any, mask: Any = None, /, *, is_causal: bool = False,
    scale: float | None = None,
) -> Any:  # fmt: skip
    """Gradients of attention: of q, k and v, from its output and `lse`; the weights are computed again."""
    scale = _scale(q, scale)
    weights, inner = _inner(g, q, k, v, y, lse, mask, is_causal, scale)
    found = (
        matmul(inner, k) * scale, matmul(matrix_transpose(inner), q) * scale, matmul(matrix_transpose(weights), g)
    )  # fmt: skip
    return tuple(engine.unbroadcast(one, to.shape) for one, to in zip(found, (q, k, v), strict=True))


def _plain_rule(
    q: Any, k: Any, v: Any, mask: Any = None, /, *, is_causal: bool = False, scale: float | None = None
) -> Outs:
    shape = (*_check(q, k, v, mask), q.shape[-2], v.shape[-1])
    return out(shape, q.dtype, bool(is_causal), _scale(q, scale))


@composite(
    _plain_rule,
    autocast="low",
    accepts=floating,
    ulp=64,
    public=False,
    promote=("q", "k", "v"),
    samples=_samples,
)
def scaled_dot_product_attention(
    q: Any, k: Any, v: Any, mask: Any = None, /, *, is_causal: bool = False, scale: float | None = None
) -> Any:
    """`softmax(q @ k.mT * scale + mask) @ v` (Vaswani et al. 2017); a bool mask is True where attention is allowed.

    A row that may attend to nothing gives zeros, with gradient 0.
    """
    return attention(q, k, v, mask, is_causal=is_causal, scale=scale)[0]
