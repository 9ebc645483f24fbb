"""Normalisation, embedding, Bilinear, adaptive softmax and initialisation against PyTorch."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, MlcoreError, OutOfRangeError, ShapeError
from mlcore.nn import functional as F
from mlcore.testing import gradcheck, gradgradcheck
from tests.nn.layer_parity import close, compare, results, shared_weights

RNG = np.random.default_rng(0)

LAYERS: list[Any] = [
    *[pytest.param("GroupNorm", (g, 6), how, (3, 6, *s), True) for g in (1, 2, 6) for s in ((), (4,), (4, 5), (2, 3, 4)) for how in ({}, {"affine": False}, {"eps": 0.1}, {"bias": False})],
    *[pytest.param(f"InstanceNorm{r}d", (3,), how, (*lead, 3, *(5, 4, 2)[:r]), train)
      for r in (1, 2, 3) for lead in ((2,), ()) for train in (True, False)
      for how in ({}, {"affine": True}, {"track_running_stats": True}, {"affine": True, "track_running_stats": True, "momentum": 0.3}, {"affine": True, "bias": False})],
    *[pytest.param("LocalResponseNorm", (size,), how, shape, True) for size in (1, 2, 3, 5) for how in ({}, {"alpha": 0.5, "beta": 2.0, "k": 3.0}) for shape in ((2, 4, 5), (2, 7, 3, 4), (1, 3, 2, 2, 3))],
]  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "args", "how", "shape", "train"), LAYERS)
def test_norm(name: str, args: Any, how: Any, shape: Any, train: bool, dtype: str, device: str) -> None:
    compare(name, args, how, [RNG.normal(size=shape) * 2 + 1], dtype, train=train)


@pytest.mark.parity
@pytest.mark.parametrize("momentum", [0.1, 0.6])
def test_instance_norm_tracks(momentum: float, device: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = (
        nn.InstanceNorm2d(3, momentum=momentum, track_running_stats=True),
        torch.nn.InstanceNorm2d(3, momentum=momentum, track_running_stats=True),
    )
    for seed in range(4):
        x = np.random.default_rng(seed).normal(size=(2, 3, 4, 5)).astype("f") * 3 + seed
        ours(ml.asarray(x))
        theirs(torch.tensor(x))
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-5, err_msg=key)
    close(ours.eval()(ml.asarray(x)), theirs.eval()(torch.tensor(x)), 1e-5, "eval")


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("lead", "bias"), list(itertools.product([(5,), (2, 3), ()], [True, False])))
def test_bilinear(lead: Any, bias: bool, dtype: str, device: str) -> None:
    compare(
        "Bilinear", (3, 4, 5, bias), {}, [RNG.normal(size=(*lead, 3)), RNG.normal(size=(*lead, 4))], dtype
    )


@pytest.mark.parity
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"padding_idx": 2},
        {"scale_grad_by_freq": True},
        {"max_norm": 0.7},
        {"max_norm": 1.0, "norm_type": 1.0},
        {"padding_idx": -1, "scale_grad_by_freq": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(7,), (2, 5), (), (0,)])
def test_embedding(how: dict[str, Any], shape: Any, device: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = (
        nn.Embedding(6, 3, dtype="float64", **how),
        torch.nn.Embedding(6, 3, dtype=torch.float64, **how),
    )
    assert repr(ours) == repr(theirs)
    shared_weights(ours, theirs, torch)
    i = RNG.integers(0, 6, shape)
    results(ours(ml.asarray(i)), theirs(torch.tensor(i)), [ours.weight], [theirs.weight], torch, 1e-9)
    close(ours.weight, theirs.weight, 1e-9, "the table after it")


@pytest.mark.parity
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize(
    "how", [{}, {"padding_idx": 2}, {"include_last_offset": True}, {"max_norm": 0.7}], ids=str
)
@pytest.mark.parametrize("bags", ["rows", "offsets", "weights"])
def test_embedding_bag(mode: str, how: dict[str, Any], bags: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    if bags == "weights" and mode != "sum":
        pytest.skip("weights go with sum")
    ours, theirs = (
        nn.EmbeddingBag(6, 3, mode=mode, dtype="float64", **how),
        torch.nn.EmbeddingBag(6, 3, mode=mode, dtype=torch.float64, **how),
    )
    shared_weights(ours, theirs, torch)
    i = RNG.integers(0, 6, (3, 4))
    given: list[Any] = [i]
    if bags == "offsets":
        i = RNG.integers(0, 6, 10)
        given = [i, np.array([0, 3, 3, 8, 10] if how.get("include_last_offset") else [0, 3, 3, 8])]
    extra = [RNG.normal(size=i.shape)] if bags == "weights" else []
    x, t = [ml.asarray(one) for one in given], [torch.tensor(one) for one in given]
    w = (
        [ml.asarray(one, requires_grad=True) for one in extra],
        [torch.tensor(one, requires_grad=True) for one in extra],
    )
    y = ours(*x, **({"per_sample_weights": w[0][0]} if extra else {}))
    ty = theirs(*t, **({"per_sample_weights": w[1][0]} if extra else {}))
    results(y, ty, [ours.weight, *w[0]], [theirs.weight, *w[1]], torch, 1e-9)


@pytest.mark.parity
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("cutoffs", "div"), [([3], 4.0), ([3, 8], 2.0), ([2, 5, 11], 1.0)])
def test_adaptive_softmax(cutoffs: list[int], div: float, bias: bool, device: str) -> None:
    torch = pytest.importorskip("torch")
    how: dict[str, Any] = dict(div_value=div, head_bias=bias)
    ours, theirs = (
        nn.AdaptiveLogSoftmaxWithLoss(8, 14, cutoffs, dtype="float64", **how),
        torch.nn.AdaptiveLogSoftmaxWithLoss(8, 14, cutoffs, dtype=torch.float64, **how),
    )
    shared_weights(ours, theirs, torch)
    x, target = RNG.normal(size=(20, 8)), RNG.integers(0, 14, 20)
    a, b = ml.asarray(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    close(ours.log_prob(a), theirs.log_prob(b), 1e-9, "log_prob")
    close(ours.predict(a), theirs.predict(b), 0, "predict")
    close(
        ours(a[0], ml.asarray(target[0])).output,
        theirs(b[0], torch.tensor(target[0])).output,
        1e-9,
        "one row",
    )
    results(
        ours(a, ml.asarray(target)),
        theirs(b, torch.tensor(target)),
        [a, *ours.parameters()],
        [b, *theirs.parameters()],
        torch,
        1e-9,
    )


SMOOTH: list[tuple[str, Any, list[Any]]] = [
    ("group_norm", lambda x, w, b: F.group_norm(x, 2, w, b), [(2, 4, 3), (4,), (4,)]), ("instance_norm", lambda x, w: F.instance_norm(x, weight=w), [(2, 2, 4), (2,)]),
    ("lrn", lambda x: F.local_response_norm(x, 3, 0.5), [(1, 4, 3)]), ("bilinear", F.bilinear, [(2, 3), (2, 2), (2, 3, 2), (2,)]),
    ("bag", lambda w: F.embedding_bag(ml.asarray([[0, 1], [1, 1]]), w), [(3, 2)]), ("bag max", lambda w: F.embedding_bag(ml.asarray([[0, 1], [2, 1]]), w, mode="max"), [(3, 2)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "shapes"), SMOOTH, ids=[name for name, _, _ in SMOOTH])
def test_gradients(name: str, function: Any, shapes: list[Any]) -> None:
    rng = np.random.default_rng(5)
    tensors = [ml.asarray(rng.normal(size=s), requires_grad=True) for s in shapes]
    assert gradcheck(function, tensors)
    assert gradgradcheck(function, tensors)


def test_sync_batch_norm_is_batch_norm_in_one_process(device: str) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, momentum=0.3),
        nn.Sequential(nn.BatchNorm2d(4)),
        nn.InstanceNorm2d(4),
    )
    x = ml.asarray(RNG.normal(size=(2, 3, 6, 6)).astype("f"))
    wanted = model.eval()(x)
    keys = list(model.state_dict())
    sync = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert sync is model
    assert [type(m).__name__ for m in (model[1], model[2][0], model[3])] == [
        "SyncBatchNorm",
        "SyncBatchNorm",
        "InstanceNorm2d",
    ]
    assert list(model.state_dict()) == keys
    assert model[1].momentum == 0.3
    np.testing.assert_array_equal(sync(x).numpy(), wanted.numpy())


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5), (3, 2, 2)])
def test_orthogonal(shape: Any, device: str) -> None:
    ml.manual_seed(0)
    w = nn.init.orthogonal_(ml.zeros(shape, dtype="float64"), gain=2.0).numpy().reshape(shape[0], -1)
    small = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, 4 * np.eye(min(w.shape)), atol=1e-12)


def test_orthogonal_is_uniform() -> None:
    """Haar measure: the entries of many draws have mean 0 and variance 1 / n."""
    ml.manual_seed(1)
    draws = np.stack([nn.init.orthogonal_(ml.zeros((4, 4))).numpy() for _ in range(2000)])
    assert np.abs(draws.mean(0)).max() < 0.05
    assert np.abs(draws.var(0) - 0.25).max() < 0.03


def test_sparse_eye_and_dirac(device: str) -> None:
    torch = pytest.importorskip("torch")
    w = nn.init.sparse_(ml.zeros((50, 400)), 0.3, std=2.0).numpy()
    assert ((w == 0).sum(0) == 15).all()
    assert abs(w[w != 0].std() - 2) < 0.05
    np.testing.assert_array_equal(nn.init.eye_(ml.ones((3, 5))).numpy(), np.eye(3, 5))
    for shape, groups in (((4, 3, 3), 1), ((6, 2, 3, 4), 3), ((2, 5, 1, 2, 3), 2)):
        np.testing.assert_array_equal(
            nn.init.dirac_(ml.ones(shape), groups).numpy(),
            torch.nn.init.dirac_(torch.ones(shape), groups).numpy(),
        )


def z(*shape: int) -> Any:
    return ml.zeros(shape)


BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda: nn.GroupNorm(4, 6), ArgumentError, "6 channels in 4 groups"),
    (lambda: F.group_norm(z(2, 6, 3), 4), ShapeError, r"4 groups of the channels of \(2, 6, 3\)"),
    (lambda: F.group_norm(z(2, 6, 3), 3, z(5)), ShapeError, r"weight \(5,\) for 6 channels"),
    (lambda: F.instance_norm(z(2, 6, 1)), ShapeError, "1 value per channel"),
    (lambda: F.instance_norm(z(2, 6)), ShapeError, r"instance_norm: \(2, 6\)"),
    (lambda: nn.InstanceNorm2d(3)(z(2, 4, 5, 5)), ShapeError, "with 3 channels, got"),
    (lambda: F.local_response_norm(z(2, 3), 2), ShapeError, r"local_response_norm: \(2, 3\)"),
    (lambda: nn.LocalResponseNorm(0), ArgumentError, "size is 0"),
    (lambda: F.bilinear(z(2, 3), z(3, 2), z(4, 3, 2)), ShapeError, r"inputs \(2, 3\) and \(3, 2\)"),
    (lambda: F.bilinear(z(2, 3), z(2, 2), z(4, 3, 2), z(3)), ShapeError, r"bias \(3,\)"),
    (lambda: F.embedding_bag(ml.asarray([0, 1]), z(3, 2)), ShapeError, "without offsets"),
    (lambda: F.embedding_bag(ml.asarray([0, 3]), z(3, 2), ml.asarray([0])), OutOfRangeError, "index 3 at row 1 out of range for 3 rows"),
    (lambda: F.embedding_bag(ml.asarray([0, 1]), z(3, 2), ml.asarray([0, 5])), OutOfRangeError, r"offsets \[0, 5\] for 2 indices"),
    (lambda: F.embedding_bag(ml.asarray([[0, 1]]), z(3, 2), ml.asarray([0])), ArgumentError, "offsets with an input"),
    (lambda: F.embedding_bag(ml.asarray([[0, 1]]), z(3, 2), per_sample_weights=z(1, 2)), ArgumentError, "per_sample_weights with mode 'mean'"),
    (lambda: nn.EmbeddingBag(3, 2, mode="min"), ArgumentError, "mode='min'"),
    (lambda: nn.EmbeddingBag(3, 2, padding_idx=3), ArgumentError, "padding_idx 3 for 3 rows"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5, 3]), ArgumentError, r"cutoffs \[5, 3\] for 10 classes"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5])(z(2, 8), ml.asarray([0, 10])), OutOfRangeError, "target 10 at row 1"),
    (lambda: nn.init.orthogonal_(z(3)), ShapeError, r"orthogonal_: a tensor of shape \(3,\)"),
    (lambda: nn.init.dirac_(z(3, 2)), ShapeError, "dirac_"),
    (lambda: nn.init.sparse_(z(3, 2), 2.0), ArgumentError, "sparsity is 2.0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
