"""`nn.functional`, `nn.init` and `nn.utils` against PyTorch: values and gradients, float64 to 1e-9."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import importlib
import inspect
import math
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.nn import functional as F

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytestmark = pytest.mark.parity
TF = torch.nn.functional

RNG = np.random.default_rng(0)
X24 = RNG.normal(size=(6, 4)) * 3
X3 = RNG.normal(size=(2, 4, 5))
X4 = RNG.normal(size=(2, 4, 3, 5))
POSITIVE = RNG.uniform(0.2, 2, size=(4,))
CLASSES = RNG.integers(0, 4, (6,))
IGNORED = np.array([0, 3, -100, 2, -100, 1])
ZERO_IGNORED = np.array([0, 3, 0, 2, 1, 1])
PLACES3, PLACES4 = RNG.integers(0, 4, (2, 5)), RNG.integers(0, 4, (2, 3, 5))
SOFT = RNG.dirichlet(np.ones(4), size=6)
SOFT4 = np.moveaxis(RNG.dirichlet(np.ones(4), size=(2, 3, 5)), -1, 1).copy()
Q, K, V = RNG.normal(size=(2, 3, 5, 8)), RNG.normal(size=(2, 3, 7, 8)), RNG.normal(size=(2, 3, 7, 6))
BOOL = np.tril(np.ones((5, 7), bool), 1)
BLANK = BOOL.copy()
BLANK[2] = False
ADDED = RNG.normal(size=(2, 1, 5, 7))
SHARED = [RNG.normal(size=(2, 6, 3, 4)), RNG.normal(size=(2, 2, 5, 4)), RNG.normal(size=(2, 2, 5, 4))]


def losses() -> list[tuple[str, Any, list[Any]]]:
    found: list[tuple[str, Any, list[Any]]] = []
    for reduction in ("mean", "sum", "none"):
        for smoothing in (0.0, 0.1):
            for weighted in (False, True):
                for what, x, target, ignore in (
                    ("plain", X24, CLASSES, -100), ("ignored", X24, IGNORED, -100), ("class 0 ignored", X24, ZERO_IGNORED, 0),
                    ("(N, C, L)", X3, PLACES3, -100), ("(N, C, H, W)", X4, PLACES4, 2), ("(C,)", X24[0], np.array(2), -100),
                    ("soft", X24, SOFT, -100), ("soft (N, C, H, W)", X4, SOFT4, -100), ("soft (C,)", X24[0], SOFT[0], -100),
                ):  # fmt: skip

                    def cross_entropy(F: Any, x: Any, target: Any, w: Any, r: str = reduction, s: float = smoothing,
                                      i: int = ignore, use: bool = weighted) -> Any:  # fmt: skip
                        return F.cross_entropy(
                            x,
                            target,
                            weight=w if use else None,
                            reduction=r,
                            label_smoothing=s,
                            ignore_index=i,
                        )

                    found.append(
                        (
                            f"cross_entropy {what} {reduction} s={smoothing} w={weighted}",
                            cross_entropy,
                            [x, target, POSITIVE],
                        )
                    )
        for weighted in (False, True):
            for what, x, target, ignore in (
                ("plain", X24, CLASSES, -100),
                ("ignored", X24, IGNORED, -100),
                ("(N, C, H, W)", X4, PLACES4, 1),
            ):

                def nll(
                    F: Any,
                    x: Any,
                    target: Any,
                    w: Any,
                    r: str = reduction,
                    i: int = ignore,
                    use: bool = weighted,
                ) -> Any:
                    return F.nll_loss(
                        F.log_softmax(x, dim=1),
                        target,
                        weight=w if use else None,
                        reduction=r,
                        ignore_index=i,
                    )

                found.append((f"nll_loss {what} {reduction} w={weighted}", nll, [x, target, POSITIVE]))

            def bce(F: Any, x: Any, target: Any, w: Any, r: str = reduction, use: bool = weighted) -> Any:
                return F.binary_cross_entropy_with_logits(
                    x, target, weight=w if use else None, pos_weight=w if use else None, reduction=r
                )

            found.append((f"bce {reduction} w={weighted}", bce, [X24 * 10, SOFT, POSITIVE]))
        found.append(
            (f"mse {reduction}", lambda F, x, t, r=reduction: F.mse_loss(x, t, reduction=r), [X24, SOFT])
        )
        found.append(
            (f"l1 {reduction}", lambda F, x, t, r=reduction: F.l1_loss(x, t, reduction=r), [X24, SOFT])
        )
    return found


FUNCTIONS: list[tuple[str, Any, list[Any]]] = [
    *losses(),
    ("relu", lambda F, x: F.relu(x), [X24]),
    ("gelu", lambda F, x: F.gelu(x), [X24]),
    ("gelu tanh", lambda F, x: F.gelu(x, approximate="tanh"), [X24]),
    ("silu", lambda F, x: F.silu(x), [X24]),
    ("sigmoid", lambda F, x: F.sigmoid(x), [X24]),
    ("tanh", lambda F, x: F.tanh(x), [X24]),
    ("softplus", lambda F, x: F.softplus(x, 2.0, 3.0), [X24]),
    ("softmax", lambda F, x: F.softmax(x, 1), [X4]),
    ("softmax extreme", lambda F, x: F.softmax(x * 1000, dim=-1), [X24]),
    ("log_softmax", lambda F, x: F.log_softmax(x, dim=0), [X4]),
    ("linear", lambda F, x, w, b: F.linear(x, w, b), [X3, RNG.normal(size=(2, 5)), RNG.normal(size=(2,))]),
    ("linear no bias", lambda F, x, w: F.linear(x, w), [X3, RNG.normal(size=(2, 5))]),
    ("conv1d", lambda F, x, w, b: F.conv1d(x, w, b, 2, 1), [X3, RNG.normal(size=(6, 4, 3)), RNG.normal(size=(6,))]),
    ("conv2d", lambda F, x, w, b: F.conv2d(x, w, b, (1, 2), (1, 0), 1, 2), [X4, RNG.normal(size=(6, 2, 2, 3)), RNG.normal(size=(6,))]),
    ("conv2d same", lambda F, x, w: F.conv2d(x, w, padding="same"), [X4, RNG.normal(size=(6, 4, 3, 5))]),
    ("conv3d", lambda F, x, w: F.conv3d(x, w, stride=2, padding=1), [RNG.normal(size=(2, 2, 5, 4, 3)), RNG.normal(size=(3, 2, 3, 2, 2))]),
    ("max_pool2d", lambda F, x: F.max_pool2d(x, 2, 1), [X4]),
    ("avg_pool2d", lambda F, x: F.avg_pool2d(x, (2, 3), 2, (1, 1), False, False), [X4]),
    ("adaptive_avg_pool2d", lambda F, x: F.adaptive_avg_pool2d(x, (2, 4)), [X4]),
    ("layer_norm", lambda F, x, w, b: F.layer_norm(x, (5,), w, b, 1e-3), [X3, RNG.normal(size=(5,)), RNG.normal(size=(5,))]),
    ("layer_norm bias only", lambda F, x, b: F.layer_norm(x, (5,), None, b), [X3, RNG.normal(size=(5,))]),
    ("layer_norm 2 axes", lambda F, x: F.layer_norm(x, (3, 5)), [X4]),
    ("batch_norm train", lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True), [X4, POSITIVE, POSITIVE]),
    ("batch_norm bias only", lambda F, x, b: F.batch_norm(x, None, None, None, b, True), [X4, POSITIVE]),
    ("embedding", lambda F, w, i: F.embedding(i, w), [X24, np.array([[0, 5], [5, 3]])]),
    ("embedding padding", lambda F, w, i: F.embedding(i, w, padding_idx=5), [X24, np.array([[0, 5], [5, 3]])]),
    ("one_hot", lambda F, i: F.one_hot(i, 6), [CLASSES]),
    ("one_hot -1", lambda F, i: F.one_hot(i), [PLACES4]),
    ("normalize", lambda F, x: F.normalize(x), [X4]),
    ("normalize p=1 dim=-1", lambda F, x: F.normalize(x, 1.0, dim=-1), [X4]),
    ("normalize p=3", lambda F, x: F.normalize(x, 3.0, dim=0), [np.abs(X4)]),
    ("normalize two dims", lambda F, x: F.normalize(x, dim=(1, 2)), [X4]),
    ("pad", lambda F, x: F.pad(x, (1, 2, 3, 0), value=7.0), [X4]),
    ("pad crop", lambda F, x: F.pad(x, (-1, 2, 0, -1)), [X4]),
    *[(f"pad {mode}", lambda F, x, m=mode: F.pad(x, (2, 1, 1, 2), mode=m), [X4]) for mode in ("reflect", "replicate", "circular")],
    ("attention", lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v), [Q, K, V]),
    ("attention causal", lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), [Q, K, V]),
    ("attention scale", lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3), [Q, K, V]),
    ("attention bool", lambda F, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), [Q, K, V, BOOL]),
    ("attention blank row", lambda F, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), [Q, K, V, BLANK]),
    ("attention added", lambda F, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), [Q, K, V, ADDED]),
    ("attention gqa", lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), SHARED),
    ("attention gqa causal", lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), SHARED),
    ("attention gqa one head", lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), [SHARED[0], SHARED[1][:, :1], SHARED[2][:, :1]]),
    ("attention gqa all heads", lambda F, q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), [SHARED[0][:, :2], *SHARED[1:]]),
    *[(f"attention gqa added {heads}", lambda F, q, k, v, m: F.scaled_dot_product_attention(q, k, v, m, enable_gqa=True), [*SHARED, RNG.normal(size=heads)])
      for heads in ((3, 5), (1, 3, 5), (6, 3, 5), (2, 1, 3, 5), (2, 6, 3, 1))],
    ("dropout p=0", lambda F, x: F.dropout(x, 0.0), [X24]),
    ("dropout eval", lambda F, x: F.dropout(x, 0.7, training=False), [X24]),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "call", "inputs"), FUNCTIONS, ids=[name for name, _, _ in FUNCTIONS])
def test_function(name: str, call: Any, inputs: list[Any], dtype: str, device: str) -> None:
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    hosts = [one.astype(dtype) if one.dtype.kind == "f" else one for one in map(np.asarray, inputs)]
    # A mask is not differentiated, nor are the probabilities and the weights of a loss.
    wants = [
        h.dtype.kind == "f" and not (i > 0 and ("entropy" in name or "nll" in name or "bce" in name))
        for i, h in enumerate(hosts)
    ]
    x = [ml.asarray(h, requires_grad=w) for h, w in zip(hosts, wants, strict=True)]
    t = [torch.tensor(h, requires_grad=w) for h, w in zip(hosts, wants, strict=True)]
    y, ty = call(F, *x), call(TF, *t)
    assert y.shape == tuple(ty.shape)
    assert str(y.dtype) == str(ty.dtype).removeprefix("torch.")
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=tolerance, atol=tolerance)
    if not ty.requires_grad:
        return
    cotangent = np.random.default_rng(1).normal(size=tuple(ty.shape)).astype(dtype)
    y.backward(ml.asarray(cotangent))
    ty.backward(torch.tensor(cotangent))
    for i, (a, b) in enumerate(zip(x, t, strict=True)):
        if b.grad is not None:
            np.testing.assert_allclose(
                a.grad.numpy(), b.grad.numpy(), rtol=tolerance, atol=tolerance, err_msg=f"gradient {i}"
            )


@pytest.mark.parametrize("momentum", [0.1, 0.5])
def test_running_statistics(momentum: float, device: str) -> None:
    mean, var = np.zeros(4), np.ones(4)
    ours, theirs = (ml.asarray(mean), ml.asarray(var)), (torch.tensor(mean), torch.tensor(var))
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=(3, 4, 2))
        F.batch_norm(ml.asarray(x), *ours, training=True, momentum=momentum)
        TF.batch_norm(torch.tensor(x), *theirs, training=True, momentum=momentum)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9)
    a, b = F.batch_norm(ml.asarray(x), *ours), TF.batch_norm(torch.tensor(x), *theirs)
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


GRADIENTS = [RNG.normal(size=(3, 4)), RNG.normal(size=(7,)) * 10, RNG.normal(size=())]


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clip_grad_norm(max_norm: float, norm_type: float, device: str) -> None:
    ours = [nn.Parameter(ml.zeros(g.shape, dtype=ml.float64)) for g in GRADIENTS]
    theirs = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in GRADIENTS]
    for a, b, g in zip(ours, theirs, GRADIENTS, strict=True):
        a.grad, b.grad = ml.asarray(g), torch.tensor(g)
    a = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    b = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    np.testing.assert_allclose(a.item(), b.item(), rtol=1e-12)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)
    nn.utils.clip_grad_value_(ours, 0.1)
    torch.nn.utils.clip_grad_value_(theirs, 0.1)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "nonlinearity", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
)
def test_gains(nonlinearity: str) -> None:
    assert nn.init.calculate_gain(nonlinearity) == torch.nn.init.calculate_gain(nonlinearity)
    assert nn.init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


INITS = [
    ("uniform_", dict(a=-2.0, b=3.0)), ("normal_", dict(mean=1.0, std=2.0)), ("trunc_normal_", dict(std=1.5)),
    ("kaiming_uniform_", dict(a=math.sqrt(5))), ("kaiming_uniform_", dict(mode="fan_out", nonlinearity="relu")),
    ("kaiming_normal_", {}), ("kaiming_normal_", dict(mode="fan_out")), ("xavier_uniform_", dict(gain=2.0)), ("xavier_normal_", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "how"), INITS)
@pytest.mark.parametrize("shape", [(400, 300), (64, 32, 5, 3)])
def test_init_draws_from_pytorchs_distribution(
    name: str, how: dict[str, Any], shape: tuple[int, ...]
) -> None:
    """The same distribution: quantiles and moments of ours against PyTorch's own sample."""
    ml.manual_seed(3)
    torch.manual_seed(3)
    ours = np.sort(getattr(nn.init, name)(ml.zeros(shape), **how).numpy().ravel())
    theirs = np.sort(getattr(torch.nn.init, name)(torch.zeros(shape), **how).numpy().ravel())
    scale = theirs.std()
    at = (np.array([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]) * ours.size).astype(int)
    assert np.abs(ours[at] - theirs[at]).max() < 0.05 * scale
    assert abs(ours.mean() - theirs.mean()) < 0.03 * scale
    assert abs(ours.std() / scale - 1) < 0.02
    if "uniform" in name or "trunc" in name:
        assert ours[0] >= theirs[0] - 0.001 * scale
        assert ours[-1] <= theirs[-1] + 0.001 * scale


LAYERS = [
    ("Linear", (20, 3000)), ("Conv1d", (8, 300, 3)), ("Conv2d", (6, 400, 3)), ("Conv3d", (3, 100, 3)), ("Embedding", (300, 20)),
    ("MultiheadAttention", (64, 4)), ("BatchNorm2d", (5,)), ("LayerNorm", (5,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), LAYERS)
def test_layers_start_as_pytorchs(name: str, args: tuple[int, ...]) -> None:
    ml.manual_seed(5)
    torch.manual_seed(5)
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    for (key, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        x, y = a.detach().numpy(), b.detach().numpy()
        if y.std() < 1e-12:
            np.testing.assert_array_equal(x, y, err_msg=key)
            continue
        n = x.size
        assert abs(x.std() / y.std() - 1) < 6 / math.sqrt(n), key
        assert abs(x.mean()) < 6 * y.std() / math.sqrt(n), key
        if name != "Embedding":  # the others are uniform: the same bounds
            assert abs(np.abs(x).max() / np.abs(y).max() - 1) < 20 / n, key


def test_arguments_have_pytorchs_names_places_and_defaults() -> None:
    """Of every function that both have, where PyTorch's signature can be read."""
    compared = 0
    for space in ("nn.functional", "nn.init", "nn.utils", "nn.utils.rnn", "nn.utils.parametrize"):
        mine, its = importlib.import_module(f"mlcore.{space}"), importlib.import_module(f"torch.{space}")
        for name in sorted(set(dir(mine)) & set(dir(its))):
            ours = getattr(mine, name)
            if name.startswith("_") or not inspect.isfunction(ours):
                continue
            try:
                wanted = inspect.signature(getattr(its, name)).parameters
            except ValueError:  # written in C
                continue
            if "args" in wanted:
                continue
            given = inspect.signature(ours).parameters
            order = [key for key in wanted if key != "_stacklevel"]
            placed = [p.name for p in given.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
            assert placed == order[: len(placed)], (space, name)
            open_ended = (inspect.Parameter.VAR_KEYWORD,)
            assert not [k for k in order if k not in given and wanted[k].kind not in open_ended], (
                space,
                name,
            )
            defaults = {k: (p.default, wanted[k].default) for k, p in given.items() if k in wanted}
            assert not {k: pair for k, pair in defaults.items() if pair[0] != pair[1]}, (space, name)
            compared += 1
    assert compared > 120
