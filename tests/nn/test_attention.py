"""Attention with several heads against PyTorch: every argument, both masks, with and without weights."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, DTypeError, MlcoreError, ShapeError
from mlcore.nn import functional as F
from mlcore.testing import gradcheck, gradgradcheck
from tests.nn.layer_parity import results, shared_weights

RNG = np.random.default_rng(0)
E, HEADS, L, S, N = 8, 2, 3, 5, 2
SETUPS: list[dict[str, Any]] = [
    {}, dict(bias=False), dict(add_bias_kv=True), dict(add_zero_attn=True), dict(kdim=6, vdim=5), dict(kdim=6),
    dict(add_bias_kv=True, add_zero_attn=True, bias=False), dict(kdim=6, vdim=5, add_bias_kv=True, add_zero_attn=True),
]  # fmt: skip
LAYOUTS = ["first", "second", "none"]  # where the batch is
MASKS = ["none", "bool", "float", "heads", "heads bool"]


def arrays(how: dict[str, Any], layout: str) -> list[Any]:
    found = []
    for steps, width in ((L, E), (S, how.get("kdim", E)), (S, how.get("vdim", E))):
        shape = {"first": (N, steps, width), "second": (steps, N, width), "none": (steps, width)}[layout]
        found.append(RNG.normal(size=shape))
    return found


def masks(kind: str, padding: str, layout: str) -> tuple[Any, Any]:
    batch = 1 if layout == "none" else N
    shape = (batch * HEADS, L, S) if kind.startswith("heads") else (L, S)
    mask = None
    if kind.endswith("bool"):
        mask = RNG.uniform(size=shape) < 0.4
        mask[..., 0] = False
    elif kind != "none":
        mask = RNG.normal(size=shape)
        mask[..., 1:][RNG.uniform(size=mask[..., 1:].shape) < 0.2] = -np.inf
    hidden = np.zeros((batch, S), bool)
    hidden[-1, 3:] = True
    hidden = hidden[0] if layout == "none" else hidden
    if padding == "float":
        return mask, np.where(hidden, -np.inf, 0.25)
    return mask, hidden if padding == "bool" else None


def tensors(torch: Any, mask: Any, dtype: str) -> tuple[Any, Any]:
    if mask is None:
        return None, None
    mask = mask.astype(dtype) if mask.dtype.kind == "f" else mask
    return ml.asarray(mask), torch.tensor(mask)


def case(
    torch: Any, how: dict[str, Any], layout: str, mask: str, padding: str, dtype: str, **given: Any
) -> int:
    how = {**how, "batch_first": layout == "first"}
    ours, theirs = nn.MultiheadAttention(E, HEADS, **how), torch.nn.MultiheadAttention(E, HEADS, **how)
    ours, theirs = ours.to(dtype=dtype), theirs.to(getattr(torch, dtype))
    shared_weights(ours, theirs, torch)
    hosts = [one.astype(dtype) for one in arrays(how, layout)]
    x, t = (
        [ml.asarray(one, requires_grad=True) for one in hosts],
        [torch.tensor(one, requires_grad=True) for one in hosts],
    )
    attn, hidden = (tensors(torch, one, dtype) for one in masks(mask, padding, layout))
    y, seen = ours(*x, hidden[0], attn_mask=attn[0], **given)
    ty, tseen = theirs(*t, hidden[1], attn_mask=attn[1], **given)
    assert (seen is None) == (tseen is None)
    pairs = ([y], [ty]) if seen is None else ([y, seen], [ty, tseen])
    return results(
        *pairs,
        [*x, *ours.parameters()],
        [*t, *theirs.parameters()],
        torch,
        1e-9 if dtype == "float64" else 2e-4,
    )


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", SETUPS, ids=str)
def test_multihead_attention(how: dict[str, Any], layout: str, dtype: str, device: str) -> None:
    """Five kinds of mask, three of padding, with weights, with each head's and without: 45 cases a call in float64."""
    torch = pytest.importorskip("torch")
    count, kinds = 0, MASKS if dtype == "float64" else ["bool", "heads"]
    for mask, padding, (need, average) in itertools.product(
        kinds, ["none", "bool", "float"], [(True, True), (True, False), (False, True)]
    ):
        count += case(
            torch, how, layout, mask, padding, dtype, need_weights=need, average_attn_weights=average
        )
    assert count >= len(kinds) * 9 * 4


@pytest.mark.parity
def test_the_function(device: str) -> None:
    """Static keys and values, separate weights, dropout only in training."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    q, k, v = (rng.normal(size=(n, N, E)) for n in (L, S, S))
    static = [rng.normal(size=(N * HEADS, S + 1, E // HEADS)) for _ in range(2)]
    w, b, wo, bo = (
        rng.normal(size=(3 * E, E)),
        rng.normal(size=3 * E),
        rng.normal(size=(E, E)),
        rng.normal(size=E),
    )
    apart = [w[i * E : (i + 1) * E] for i in range(3)]
    for separate, which, need in itertools.product((False, True), (0, 1, 2), (True, False)):
        found = []
        for make, call in (
            (ml.asarray, F.multi_head_attention_forward),
            (torch.tensor, torch.nn.functional.multi_head_attention_forward),
        ):
            made = [make(one, requires_grad=True) for one in (q, k, v, w, b, wo, bo, *apart, *static)]
            given: dict[str, Any] = (
                dict(zip(("static_k", "static_v"), made[10:], strict=True)) if which else {}
            )
            if separate:
                given |= dict(
                    use_separate_proj_weight=True,
                    q_proj_weight=made[7],
                    k_proj_weight=made[8],
                    v_proj_weight=made[9],
                )
            key_value = (
                [make(np.zeros((S + 1, N, E)))] * 2
                if which == 1
                else made[1:3]
                if not which
                else [make(np.zeros((S + 1, N, E)), requires_grad=True)] * 2
            )
            found.append(
                (
                    made,
                    call(
                        made[0],
                        *key_value,
                        E,
                        HEADS,
                        None if separate else made[3],
                        made[4],
                        None,
                        None,
                        False,
                        0.5,
                        made[5],
                        made[6],
                        False,
                        None,
                        need,
                        **given,
                    ),
                )
            )
        (ours, y), (theirs, ty) = found
        results(
            [one for one in y if one is not None],
            [one for one in ty if one is not None],
            ours,
            theirs,
            torch,
            1e-9,
        )


@pytest.mark.parity
def test_the_hint_that_a_mask_is_causal(device: str) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.normal(size=(4, N, E))
    ours, theirs = (
        nn.MultiheadAttention(E, HEADS, dtype=ml.float64),
        torch.nn.MultiheadAttention(E, HEADS, dtype=torch.float64),
    )
    shared_weights(ours, theirs, torch)
    for need in (True, False):
        a, b = ml.asarray(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        hidden = torch.nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
        ty = theirs(b, b, b, attn_mask=hidden, need_weights=need, is_causal=True)[0]
        for mask in (ml.asarray(hidden.numpy()), None):
            a.grad = None
            b.grad = None
            y = ours(a, a, a, attn_mask=mask, need_weights=need, is_causal=True)[0]
            ty = theirs(b, b, b, attn_mask=hidden, need_weights=need, is_causal=True)[0]
            ours.zero_grad()
            theirs.zero_grad()
            results(y, ty, [a, *ours.parameters()], [b, *theirs.parameters()], torch, 1e-9)


SDPA: list[dict[str, Any]] = [
    {},
    dict(is_causal=True),
    dict(scale=0.3),
    dict(mask="bool"),
    dict(mask="float"),
    dict(mask="rows"),
]


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (6, 1), (6, 3)], ids=str)
@pytest.mark.parametrize("how", SDPA, ids=str)
def test_scaled_dot_product_attention(
    how: dict[str, Any], heads: tuple[int, int], dtype: str, device: str
) -> None:
    """Fewer heads of keys, longer keys than queries and the reverse, values of another width."""
    torch = pytest.importorskip("torch")
    mine, shared = heads
    for rows, columns, width in ((3, 5, 4), (5, 3, 6), (4, 4, 4)):
        shapes = [(2, mine, rows, 4), (2, shared, columns, 4), (2, shared, columns, width)]
        hosts = [RNG.normal(size=shape).astype(dtype) for shape in shapes]
        x, t = (
            [ml.asarray(one, requires_grad=True) for one in hosts],
            [torch.tensor(one, requires_grad=True) for one in hosts],
        )
        mask: Any = {
            "bool": RNG.uniform(size=(2, mine, rows, columns)) < 0.7, "float": RNG.normal(size=(rows, columns)).astype(dtype),
            "rows": np.arange(rows)[:, None] >= np.ones(columns), None: None,
        }[how.get("mask")]  # fmt: skip
        more = {key: value for key, value in how.items() if key != "mask"} | dict(enable_gqa=mine != shared)
        ours = F.scaled_dot_product_attention(*x, None if mask is None else ml.asarray(mask), **more)
        theirs = torch.nn.functional.scaled_dot_product_attention(
            *t, None if mask is None else torch.tensor(mask), **more
        )
        results(ours, theirs, x, t, torch, 1e-9 if dtype == "float64" else 2e-4)


def test_dropout_of_weights(device: str) -> None:
    """The weights are dropped in training alone, and those that stay are scaled."""
    ml.random.manual_seed(0)
    layer = nn.MultiheadAttention(E, HEADS, dropout=0.5)
    x = ml.ones((64, 2, E))
    seen = layer(x, x, x, average_attn_weights=False)[1].detach().numpy()
    assert 0.4 < (seen == 0).mean() < 0.6
    np.testing.assert_allclose(seen[seen != 0], 2 / 64, rtol=1e-5)
    assert not np.array_equal(
        layer(x, x, x, need_weights=False)[0].detach().numpy(),
        layer(x, x, x, need_weights=False)[0].detach().numpy(),
    )
    layer.eval()
    np.testing.assert_allclose(layer(x, x, x)[1].detach().numpy(), 1 / 64, rtol=1e-5)


def test_a_row_that_sees_nothing_gives_the_bias(device: str) -> None:
    layer = nn.MultiheadAttention(E, HEADS, dtype=ml.float64)
    x = ml.asarray(RNG.normal(size=(3, 1, E)), requires_grad=True)
    mask = ml.asarray([[True] * 3, [False] * 3, [False] * 3])
    for need in (True, False):
        y = layer(x, x, x, attn_mask=mask, need_weights=need)[0]
        np.testing.assert_allclose(y[0, 0].detach().numpy(), layer.out_proj.bias.detach().numpy(), atol=1e-12)
        y.sum().backward()
        assert np.isfinite(x.grad.numpy()).all()


def test_pickled() -> None:
    layer = nn.MultiheadAttention(E, HEADS, kdim=3, add_bias_kv=True)
    again = pickle.loads(pickle.dumps(layer))
    assert list(again.state_dict()) == list(layer.state_dict())


def test_gradients_by_differences() -> None:
    rng = np.random.default_rng(1)
    q, k, v = (ml.asarray(rng.normal(size=(n, 1, 4)), requires_grad=True) for n in (2, 3, 3))
    for how, given in (
        ({}, {}),
        (dict(add_bias_kv=True, add_zero_attn=True), dict(need_weights=False)),
        ({}, dict(is_causal=True)),
    ):
        layer = nn.MultiheadAttention(4, 2, dtype=ml.float64, **how)  # type: ignore[arg-type]

        def run(q: Any, k: Any, v: Any, layer: Any = layer, given: Any = given) -> Any:
            y, seen = layer(q, k, v, **given)
            return y if seen is None else ml.concat([y.reshape((-1,)), seen.reshape((-1,))])

        assert gradcheck(run, [q, k, v])
        assert gradgradcheck(run, [q, k, v])
    heads = [ml.asarray(rng.normal(size=(1, n, 3, 2)), requires_grad=True) for n in (2, 1, 1)]
    assert gradgradcheck(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), heads
    )


def z(*shape: int) -> Any:
    return ml.zeros(shape)


def mha(*args: Any, setup: Any = None, **given: Any) -> Any:
    return nn.MultiheadAttention(4, 2, **(setup or {}))(*args, **given)


Q, K = z(3, 2, 4), z(5, 2, 4)
BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda: nn.MultiheadAttention(6, 4), ArgumentError, "embed_dim 6 with 4 heads"),
    (lambda: nn.MultiheadAttention(4, 2, kdim=0), ArgumentError, "kdim 0"),
    (lambda: nn.MultiheadAttention(4, 2, dropout=1.5), ArgumentError, "p is 1.5"),
    (lambda: mha(Q, K, z(4, 2, 4)), ShapeError, r"key \(5, 2, 4\), value \(4, 2, 4\)"),
    (lambda: mha(Q, z(5, 3, 4), z(5, 3, 4)), ShapeError, r"query \(3, 2, 4\), key \(5, 3, 4\)"),
    (lambda: mha(z(3, 2, 5), K, K), ShapeError, r"query \(3, 2, 5\)"),
    (lambda: mha(z(3, 4), K, K), ShapeError, r"all three have a batch"),
    (lambda: mha(Q, z(5, 2, 6), K), ShapeError, r"key \(5, 2, 6\), expected a last dimension of 4"),
    (lambda: mha(Q, K, K, setup=dict(vdim=7)), ShapeError, r"value \(5, 2, 4\), expected a last dimension of 7"),
    (lambda: mha(Q, K, K, attn_mask=z(3, 4)), ShapeError, r"attn_mask of shape \(3, 4\)(.*\n)*.*\(3, 5\) or \(4, 3, 5\)"),
    (lambda: mha(Q, K, K, z(5, 2)), ShapeError, r"key_padding_mask of shape \(5, 2\)(.*\n)*.*\(2, 5\)"),
    (lambda: mha(Q, K, K, attn_mask=ml.zeros((3, 5), dtype=ml.uint8)), DTypeError, "attn_mask is uint8"),
    (lambda: F.multi_head_attention_forward(Q, K, K, 5, 2, z(12, 4), None, None, None, False, 0.0, z(4, 4), None), ShapeError, "embed_dim 5"),
    (lambda: F.multi_head_attention_forward(Q, K, K, 4, 2, z(12, 4), None, None, None, False, 0.0, z(4, 4), None, static_k=z(3, 5, 2)), ShapeError, r"static keys or values \(3, 5, 2\)"),
    (lambda: F.multi_head_attention_forward(Q, K, K, 4, 2, z(12, 4), None, z(1, 1, 4), z(1, 1, 4), False, 0.0, z(4, 4), None, static_k=z(4, 5, 2)), ArgumentError, "bias_k and bias_v with static"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
