"""Reductions, shapes and indices against PyTorch: forward and gradient."""

# ruff: noqa: B023  (each lambda is called before its loop goes on)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from tests.parity.ops_kit import _on, compare, sample

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
__all__ = ["_on"]  # a fixture that every test uses

F = torch.nn.functional


# -- reductions, shapes, indices ---------------------------------------------------------------------------------

REDUCTIONS: dict[str, tuple[Any, Any]] = {
    "sum": (ml.sum, torch.sum),
    "mean": (ml.mean, torch.mean),
    "max": (ml.max, torch.amax),
    "min": (ml.min, torch.amin),
    "logsumexp": (ml.logsumexp, torch.logsumexp),
    "var": (ml.var, lambda t, d, keepdim: torch.var(t, d, correction=0, keepdim=keepdim)),
    "std": (ml.std, lambda t, d, keepdim: torch.std(t, d, correction=0, keepdim=keepdim)),
    "prod": (ml.prod, lambda t, d, keepdim: torch.prod(t, d, keepdim=keepdim)),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str, dtype: str) -> None:
    ours, theirs = REDUCTIONS[name]
    x = sample((3, 4, 5), 0.5, 2, dtype)
    for axis in [0, 1, -1] if name == "prod" else [0, -1, (0, 2), (0, 1, 2)]:
        for keep in (False, True):
            compare(lambda t: ours(t, axis=axis, keepdims=keep), lambda t: theirs(t, axis, keepdim=keep), [x])
    if name == "prod":
        zeros = np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 2.0], [2.0, 3.0, 4.0]], dtype=dtype)
        compare(lambda t: ml.prod(t, axis=1), lambda t: torch.prod(t, 1), [zeros])
        compare(lambda t: ml.prod(t), lambda t: torch.prod(t), [zeros])


AXIS: list[tuple[str, Any, Any]] = [
    ("softmax", lambda t, a: ml.softmax(t, axis=a), lambda t, a: torch.softmax(t, a)),
    ("log_softmax", lambda t, a: ml.log_softmax(t, axis=a), lambda t, a: torch.log_softmax(t, a)),
    ("cumulative_sum", lambda t, a: ml.cumulative_sum(t, axis=a), lambda t, a: torch.cumsum(t, a)),
    ("cumulative_prod", lambda t, a: ml.cumulative_prod(t, axis=a), lambda t, a: torch.cumprod(t, a)),
    ("sort", lambda t, a: ml.sort(t, axis=a), lambda t, a: torch.sort(t, a)[0]),
    (
        "sort down",
        lambda t, a: ml.sort(t, axis=a, descending=True),
        lambda t, a: torch.sort(t, a, descending=True)[0],
    ),
    ("topk", lambda t, a: ml.topk(t, 2, axis=a)[0], lambda t, a: torch.topk(t, 2, a)[0]),
    ("flip", lambda t, a: ml.flip(t, axis=a), lambda t, a: torch.flip(t, (a,))),
    ("roll", lambda t, a: ml.roll(t, 2, axis=a), lambda t, a: torch.roll(t, 2, a)),
    ("norm", lambda t, a: ml.norm(t, axis=a), lambda t, a: torch.linalg.vector_norm(t, dim=a)),
    ("norm 1", lambda t, a: ml.norm(t, 1, axis=a), lambda t, a: torch.linalg.vector_norm(t, 1, dim=a)),
    ("norm 3", lambda t, a: ml.norm(t, 3, axis=a), lambda t, a: torch.linalg.vector_norm(t, 3, dim=a)),
    (
        "norm inf",
        lambda t, a: ml.norm(t, np.inf, axis=a),
        lambda t, a: torch.linalg.vector_norm(t, np.inf, dim=a),
    ),
    ("stack", lambda t, a: ml.stack([t, t * 2], axis=a), lambda t, a: torch.stack([t, t * 2], a)),
    ("concat", lambda t, a: ml.concat([t, t * 2, t], axis=a), lambda t, a: torch.cat([t, t * 2, t], a)),
    ("repeat", lambda t, a: ml.repeat(t, 3, axis=a), lambda t, a: torch.repeat_interleave(t, 3, a)),
    ("split", lambda t, a: ml.split(t, 2, axis=a)[1], lambda t, a: torch.split(t, 2, a)[1]),
    ("unstack", lambda t, a: ml.unstack(t, axis=a)[1], lambda t, a: torch.unbind(t, a)[1]),
    (
        "take",
        lambda t, a: ml.take(t, ml.asarray([2, 0, 2]), axis=a),
        lambda t, a: torch.index_select(t, a, torch.tensor([2, 0, 2])),
    ),
]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(("ours", "theirs"), [row[1:] for row in AXIS], ids=[row[0] for row in AXIS])
def test_along_an_axis(ours: Any, theirs: Any, axis: int) -> None:
    x = sample((4, 5, 3), 0.5, 2)
    compare(lambda t: ours(t, axis), lambda t: theirs(t, axis), [x])
    compare(lambda t: ours(t, axis), lambda t: theirs(t, axis), [x.astype(np.float32)])


GENERAL: list[tuple[str, Any, Any, list[Any]]] = [
    ("permute", lambda t: t.permute_dims(2, 0, 1), lambda t: t.permute(2, 0, 1), [(2, 3, 4)]),
    ("swapaxes", lambda t: ml.swapaxes(t, 0, 2), lambda t: t.swapaxes(0, 2), [(2, 3, 4)]),
    (
        "moveaxis",
        lambda t: ml.moveaxis(t, (0, 1), (-1, 0)),
        lambda t: t.movedim((0, 1), (-1, 0)),
        [(2, 3, 4)],
    ),
    ("reshape", lambda t: t.reshape(4, -1), lambda t: t.reshape(4, -1), [(2, 3, 4)]),
    ("flatten", lambda t: ml.flatten(t, 1), lambda t: t.flatten(1), [(2, 3, 4)]),
    ("squeeze", lambda t: ml.squeeze(t, 1), lambda t: t.squeeze(1), [(2, 1, 4)]),
    ("expand", lambda t: ml.broadcast_to(t, (5, 2, 3)), lambda t: t.expand(5, 2, 3), [(2, 1)]),
    ("tile", lambda t: ml.tile(t, (2, 3)), lambda t: t.tile((2, 3)), [(2, 3)]),
    (
        "pad",
        lambda t: ml.pad(t, ((1, 0), (2, 3)), value=1.5),
        lambda t: F.pad(t, (2, 3, 1, 0), value=1.5),
        [(2, 3)],
    ),
    ("tril", lambda t: ml.tril(t, k=-1), lambda t: t.tril(-1), [(2, 4, 4)]),
    ("triu", lambda t: ml.triu(t, k=1), lambda t: t.triu(1), [(4, 3)]),
    ("diagonal", lambda t: ml.einsum("ii->i", t), lambda t: torch.einsum("ii->i", t), [(4, 4)]),
    ("matmul", lambda a, b: a @ b, lambda a, b: a @ b, [(5, 2, 3), (3, 4)]),
    ("matmul batch", lambda a, b: a @ b, lambda a, b: a @ b, [(2, 3), (5, 3, 4)]),
    ("matmul wide", lambda a, b: a @ b, lambda a, b: a @ b, [(5, 1, 2, 3), (4, 3, 2)]),
    ("matvec", lambda a, b: a @ b, lambda a, b: a @ b, [(5, 2, 3), (3,)]),
    ("vecmat", lambda a, b: a @ b, lambda a, b: a @ b, [(3,), (5, 3, 2)]),
    ("dot", lambda a, b: a @ b, lambda a, b: a @ b, [(3,), (3,)]),
    ("outer", ml.outer, torch.outer, [(3,), (4,)]),
    ("vecdot", ml.vecdot, torch.linalg.vecdot, [(2, 3), (2, 3)]),
    (
        "tensordot",
        lambda a, b: ml.tensordot(a, b, axes=([0, 2], [1, 0])),
        lambda a, b: torch.tensordot(a, b, ([0, 2], [1, 0])),
        [(2, 3, 4), (4, 2, 5)],
    ),
    (
        "einsum",
        lambda a, b, c: ml.einsum("bij,jk,bk->ib", a, b, c),
        lambda a, b, c: torch.einsum("bij,jk,bk->ib", a, b, c),
        [(2, 3, 4), (4, 5), (2, 5)],
    ),
    (
        "where",
        lambda a, b: ml.where(a > b, a, b * 2),
        lambda a, b: torch.where(a > b, a, b * 2),
        [(3, 1), (4,)],
    ),
    ("slice", lambda t: t[1:, ::2, None, 0], lambda t: t[1:, ::2, None, 0], [(3, 5, 2)]),
    ("fancy", lambda t: t[[0, 2, 0], :, [1, 1, 0]], lambda t: t[[0, 2, 0], :, [1, 1, 0]], [(3, 5, 2)]),
    ("mask", lambda t: t[t > 0.7], lambda t: t[t > 0.7], [(3, 5)]),
    (
        "gather",
        lambda t: ml.take_along_axis(t, ml.asarray([[0, 2], [1, 1]]), axis=1),
        lambda t: torch.gather(t, 1, torch.tensor([[0, 2], [1, 1]])),
        [(2, 3)],
    ),
    (
        "clip",
        lambda t: ml.clip(t, 0.6, 0.9),
        lambda t: torch.clip(t, 0.6, 0.9),
        [(3, 4)],
    ),
    ("clip below", lambda t: t.clip(0.6), lambda t: t.clip(0.6), [(3, 4)]),
    ("clip above", lambda t: t.clip(max=0.8), lambda t: t.clip(max=0.8), [(3, 4)]),
    ("clip open", lambda t: t.clip() * 2, lambda t: t * 2, [(3, 4)]),
    (
        "clip between",
        lambda t, a, b: ml.clip(t, a, b),
        lambda t, a, b: torch.clip(t, a, b),
        [(3, 4), (4,), (3, 1)],
    ),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("ours", "theirs", "shapes"), [row[1:] for row in GENERAL], ids=[row[0] for row in GENERAL]
)
def test_general(ours: Any, theirs: Any, shapes: list[Any], dtype: str) -> None:
    compare(ours, theirs, [sample(s, 0.5, 1, dtype, i) for i, s in enumerate(shapes)])


def test_assignment() -> None:
    def ours(x: Any, w: Any) -> Any:
        y = x * 2
        y[1:, ::2] = w
        y[0] += 1
        return y * x

    def theirs(x: Any, w: Any) -> Any:
        y = x * 2
        y[1:, ::2] = w
        y[0] += 1
        return y * x

    compare(ours, theirs, [sample((3, 5), -1, 1), sample((2, 3), -1, 1, seed=1)])
