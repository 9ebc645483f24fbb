"""Losses against PyTorch: values and gradients over a grid of arguments, float64 to 1e-9, float32 to 1e-4."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.nn import functional as F
from mlcore.testing import gradcheck, gradgradcheck
from tests.nn.layer_parity import compare

RNG = np.random.default_rng(0)
REDUCTIONS = ("mean", "sum", "none")
SHAPES = [(6, 4), (3,), (), (2, 3, 5), (0, 4)]


def normal(*shape: int) -> Any:
    return np.asarray(RNG.normal(size=shape) * 2)


def uniform(*shape: int) -> Any:
    return np.asarray(RNG.uniform(0.05, 0.95, size=shape))


def signs(*shape: int) -> Any:
    return np.asarray(RNG.choice([-1.0, 1.0], size=shape))


def case(name: str, loss: str, tensors: list[Any], call: Any = None, **how: Any) -> Any:
    """(id, module name, its arguments, inputs of which floats get gradients)."""
    given = "".join(f" {k}={v if np.ndim(v) == 0 else 'tensor'}" for k, v in how.items())
    return pytest.param(loss, how, tensors, id=f"{loss} {name}{given}")


def grid() -> list[Any]:
    found: list[Any] = []
    for r, s in itertools.product(REDUCTIONS, SHAPES):
        pair = [normal(*s), normal(*s)]
        found += [case(f"{s}", name, pair, reduction=r) for name in ("L1Loss", "MSELoss")]
        found += [case(f"{s}", "SmoothL1Loss", pair, reduction=r, beta=b) for b in (0.0, 0.3, 1.0, 2.5)]
        found += [case(f"{s}", "HuberLoss", pair, reduction=r, delta=d) for d in (0.3, 1.0, 2.5)]
        found += [case(f"{s}", "SoftMarginLoss", [pair[0], signs(*s)], reduction=r)]
        found += [
            case(f"{s}", "HingeEmbeddingLoss", [pair[0], signs(*s)], reduction=r, margin=m)
            for m in (0.5, 1.0)
        ]
        found += [
            case(f"{s}", "BCELoss", [uniform(*s), uniform(*s)], reduction=r, weight=w)
            for w in (None, uniform(*s))
        ]
        found += [case(f"{s}", "BCEWithLogitsLoss", [pair[0] * 10, uniform(*s)], reduction=r, weight=w, pos_weight=p)
                  for w, p in itertools.product((None, uniform(*s)), repeat=2)]  # fmt: skip
        found += [case(f"{s}", "KLDivLoss", [pair[0], t, ], reduction=r, log_target=log)
                  for t, log in ((uniform(*s), False), (pair[1], True))]  # fmt: skip
        found += [case(f"{s}", "PoissonNLLLoss", [np.abs(pair[0]) + 0.1 if not log else pair[0], np.round(np.abs(pair[1]) * 3)], reduction=r, log_input=log, full=full)
                  for log, full in itertools.product((True, False), repeat=2)]  # fmt: skip
        found += [
            case(f"{s}", "MarginRankingLoss", [*pair, signs(*s)], reduction=r, margin=m) for m in (0.0, 0.5)
        ]
        if s:
            found += [
                case(f"{s}", "GaussianNLLLoss", [*pair, uniform(*s)], reduction=r, full=full)
                for full in (True, False)
            ]
    for r in REDUCTIONS:
        x, y = normal(4, 5), normal(4, 5)
        found += (
            [case("kl batchmean", "KLDivLoss", [x, uniform(4, 5)], reduction="batchmean")]
            if r == "mean"
            else []
        )
        found += [
            case(f"var {v.shape}", "GaussianNLLLoss", [x, y, v], reduction=r)
            for v in (uniform(4), uniform(4, 1), uniform(1, 5))
        ]
        found += [case("small var", "GaussianNLLLoss", [x, y, np.full((4, 5), 1e-3)], reduction=r, eps=1e-2)]
        for shape, target in (((6, 4), RNG.integers(0, 4, 6)), ((4,), np.array(2))):
            for p, m, w in itertools.product((1, 2), (0.5, 1.0), (None, uniform(4))):
                found.append(
                    case(
                        f"{shape}",
                        "MultiMarginLoss",
                        [normal(*shape), target],
                        reduction=r,
                        p=p,
                        margin=m,
                        weight=w,
                    )
                )
        found += [
            case(
                "rows",
                "MultiLabelMarginLoss",
                [normal(3, 4), np.array([[3, 0, -1, 1], [-1, 0, 1, 2], [2, 1, 0, 3]])],
                reduction=r,
            )
        ]
        found += [case("row", "MultiLabelMarginLoss", [normal(5), np.array([1, 1, 4, -1, 0])], reduction=r)]
        found += [case(f"{s}", "MultiLabelSoftMarginLoss", [normal(*s), RNG.integers(0, 2, s).astype(float)], reduction=r, weight=w)
                  for s in ((3, 4), (4,), (2, 3, 4)) for w in (None, uniform(4))]  # fmt: skip
        for s, m in itertools.product(((5, 3), (3,)), (0.0, 0.4)):
            found.append(
                case(
                    f"{s}",
                    "CosineEmbeddingLoss",
                    [normal(*s), normal(*s), signs(*s[:-1])],
                    reduction=r,
                    margin=m,
                )
            )
        for s, p, swap in itertools.product(((5, 3), (3,), (2, 4, 3)), (1.0, 2.0, 3.0), (False, True)):
            three = [normal(*s) for _ in range(3)]
            found.append(case(f"{s}", "TripletMarginLoss", three, reduction=r, p=p, swap=swap, margin=2.0))
        for swap in (False, True):
            three = [normal(5, 3) for _ in range(3)]
            found.append(
                case(
                    "with distance",
                    "TripletMarginWithDistanceLoss",
                    three,
                    reduction=r,
                    swap=swap,
                    margin=2.0,
                )
            )
        for w, i, smoothing in itertools.product((None, uniform(7)), (None, 3), (0.0, 0.2)):
            target = RNG.integers(0, 7, 6)
            found.append(
                case(
                    "linear",
                    "linear_cross_entropy",
                    [normal(6, 3), normal(7, 3), normal(7), target],
                    reduction=r,
                    weight=w,
                    ignore_index=i,
                    label_smoothing=smoothing,
                )
            )
    return found


def _prepare(module: Any, how: dict[str, Any], lib: Any, dtype: str) -> Any:
    def tensor(v: Any) -> Any:
        v = np.asarray(v, dtype=dtype)
        return ml.asarray(v) if lib is nn else module.tensor(v)

    return {k: tensor(v) if isinstance(v, (np.ndarray, np.generic)) else v for k, v in how.items()}


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("loss", "how", "tensors"), grid())
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
def test_loss(loss: str, how: dict[str, Any], tensors: list[Any], dtype: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    hosts = [t.astype(dtype) if t.dtype.kind == "f" else t for t in tensors]
    floats = [h.dtype.kind == "f" for h in hosts]
    constant = {
        "PoissonNLLLoss",
        "SoftMarginLoss",
        "HingeEmbeddingLoss",
        "MarginRankingLoss",
        "CosineEmbeddingLoss",
        "MultiLabelSoftMarginLoss",
    }
    if loss in constant:
        floats[-1] = False
    x = [ml.asarray(h, requires_grad=f) for h, f in zip(hosts, floats, strict=True)]
    t = [torch.tensor(h, requires_grad=f) for h, f in zip(hosts, floats, strict=True)]
    ours, theirs = _prepare(torch, how, nn, dtype), _prepare(torch, how, torch.nn, dtype)
    if loss == "linear_cross_entropy":

        def apply(F: Any, a: Any, given: Any) -> Any:
            return F.linear_cross_entropy(a[0], a[1], a[3], linear_bias=a[2], **given)

        y, ty = apply(F, x, ours), apply(torch.nn.functional, t, theirs)
        chunked = F.linear_cross_entropy(
            x[0],
            x[1],
            x[3],
            linear_bias=x[2],
            **ours,
            options=F.LinearCrossEntropyOptions(batch_chunk_size=2),
        )
        np.testing.assert_allclose(chunked.numpy(), y.numpy(), rtol=1e-5)
        y = chunked
    else:
        mine, other = getattr(nn, loss)(**ours), getattr(torch.nn, loss)(**theirs)
        y, ty = mine(*x), other(*t)
        assert list(mine.state_dict()) == list(other.state_dict())
    assert y.shape == tuple(ty.shape)
    assert str(y.dtype) == str(ty.dtype).removeprefix("torch.")
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=tolerance, atol=tolerance)
    cotangent = np.asarray(np.random.default_rng(1).normal(size=tuple(ty.shape)), dtype=dtype)
    y.backward(ml.asarray(cotangent))
    ty.backward(torch.tensor(cotangent))
    for i, (a, b) in enumerate(zip(x, t, strict=True)):
        if b.grad is not None:
            np.testing.assert_allclose(
                a.grad.numpy(), b.grad.numpy(), rtol=tolerance, atol=tolerance, err_msg=f"gradient {i}"
            )


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal_is_lin_et_al(gamma: float, alpha: float | None, device: str) -> None:
    x, y = normal(7, 4), RNG.integers(0, 2, (7, 4)).astype(float)
    p = 1 / (1 + np.exp(-x))
    pt = np.where(y == 1, p, 1 - p)
    a = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
    np.testing.assert_allclose(
        F.focal_loss(ml.asarray(x), ml.asarray(y), alpha, gamma, "none").numpy(),
        -a * (1 - pt) ** gamma * np.log(pt),
        rtol=1e-9,
    )
    classes, weights = RNG.integers(0, 4, 7), uniform(4)
    soft = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    picked = soft[np.arange(7), classes]
    scale = 1.0 if alpha is None else weights[classes]
    found = F.focal_loss(
        ml.asarray(x), ml.asarray(classes), None if alpha is None else ml.asarray(weights), gamma, "none"
    )
    np.testing.assert_allclose(found.numpy(), -scale * (1 - picked) ** gamma * np.log(picked), rtol=1e-9)


def test_dice_is_one_minus_the_overlap(device: str) -> None:
    x, y = normal(2, 3, 4, 5), RNG.integers(0, 3, (2, 4, 5))
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    hot = np.moveaxis(np.eye(3)[y], -1, 1)
    wanted = 1 - (2 * (p * hot).sum((2, 3)) + 1) / ((p + hot).sum((2, 3)) + 1)
    np.testing.assert_allclose(
        F.dice_loss(ml.asarray(x), ml.asarray(y), reduction="none").numpy(), wanted, rtol=1e-9
    )
    np.testing.assert_allclose(nn.DiceLoss()(ml.asarray(x), ml.asarray(y)).item(), wanted.mean(), rtol=1e-9)
    q = 1 / (1 + np.exp(-x))
    wanted = 1 - (2 * (q * hot).sum((2, 3)) + 0.5) / ((q + hot).sum((2, 3)) + 0.5)
    np.testing.assert_allclose(
        F.dice_loss(ml.asarray(x), ml.asarray(hot), 0.5, "none").numpy(), wanted, rtol=1e-9
    )


SMOOTH: list[tuple[str, Any, list[Any]]] = [
    ("smooth_l1", lambda x, y: F.smooth_l1_loss(x, y, beta=0.7), [normal(4), normal(4)]),
    ("huber", lambda x, y: F.huber_loss(x, y), [normal(4), normal(4)]),
    ("bce", lambda x, y: F.binary_cross_entropy(x, y), [uniform(4), uniform(4)]),
    ("kl", lambda x, y: F.kl_div(x, y, reduction="sum"), [normal(4), uniform(4)]),
    ("poisson", lambda x: F.poisson_nll_loss(x, ml.asarray([1.0, 4.0, 0.0], dtype="float64"), full=True), [normal(3)]),
    ("gaussian", lambda x, y, v: F.gaussian_nll_loss(x, y, v), [normal(4), normal(4), uniform(4)]),
    ("soft margin", lambda x: F.soft_margin_loss(x, ml.asarray([1.0, -1.0], dtype="float64")), [normal(2)]),
    ("cosine", lambda x, y: F.cosine_similarity(x, y), [normal(3, 4), normal(3, 4)]),
    ("pairwise 3", lambda x, y: F.pairwise_distance(x, y, 3.0), [normal(3, 4), normal(3, 4)]),
    ("triplet", lambda a, p, n: F.triplet_margin_loss(a, p, n, margin=3.0), [normal(3, 4), normal(3, 4), normal(3, 4)]),
    ("multi margin", lambda x: F.multi_margin_loss(x, ml.asarray([1, 0]), p=2), [normal(2, 3)]),
    ("ctc", lambda x: F.ctc_loss(F.log_softmax(x, dim=2), ml.asarray([[1, 2]]), [4], [2]), [normal(4, 1, 3)]),
    ("focal", lambda x: F.focal_loss(x, ml.asarray([1, 0])), [normal(2, 3)]),
    ("dice", lambda x: F.dice_loss(x, ml.asarray([[1, 0]])), [normal(1, 2, 2)]),
    ("linear", lambda x, w: F.linear_cross_entropy(x, w, ml.asarray([1, 0, 2]), options=F.LinearCrossEntropyOptions(batch_chunk_size=2)), [normal(3, 2), normal(4, 2)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "inputs"), SMOOTH, ids=[name for name, _, _ in SMOOTH])
def test_gradients(name: str, function: Any, inputs: list[Any]) -> None:
    tensors = [ml.asarray(one, requires_grad=True) for one in inputs]
    assert gradcheck(function, tensors)
    if name != "linear":  # a checkpoint's gradient is not differentiable again
        assert gradgradcheck(function, tensors)


@pytest.mark.parity
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 2.5, float("inf")])
def test_distances(p: float, device: str) -> None:
    torch = pytest.importorskip("torch")
    TF = torch.nn.functional
    a, b = normal(5, 3), normal(5, 3)
    a[1] = a[0]
    x, t = ml.asarray(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    y, ty = F.pdist(x, p), TF.pdist(t, p)
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-9)
    if p > 0:  # a count has no gradient
        y.sum().backward()
        ty.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-9, atol=1e-12)
    for keepdim in (False, True):
        mine = F.pairwise_distance(ml.asarray(a), ml.asarray(b), p, keepdim=keepdim).numpy()
        np.testing.assert_allclose(
            mine,
            TF.pairwise_distance(torch.tensor(a), torch.tensor(b), p, keepdim=keepdim).numpy(),
            rtol=1e-9,
        )
    for dim in (0, 1, -1):
        mine = nn.CosineSimilarity(dim=dim)(ml.asarray(a), ml.asarray(b)).numpy()
        np.testing.assert_allclose(
            mine, TF.cosine_similarity(torch.tensor(a), torch.tensor(b), dim=dim).numpy(), rtol=1e-9
        )


@pytest.mark.parity
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_of_elements(name: str, reduction: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    a, b, w = normal(3, 4), normal(3, 4), uniform(3, 4)
    found = getattr(F, name)(ml.asarray(a), ml.asarray(b), reduction=reduction, weight=ml.asarray(w)).numpy()
    wanted = getattr(torch.nn.functional, name)(
        torch.tensor(a), torch.tensor(b), reduction=reduction, weight=torch.tensor(w)
    ).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@pytest.mark.parity
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("out_features", [(), (3,), (2, 4)])
def test_linear_cross_entropy_of_several_dimensions(out_features: Any, bias: bool, device: str) -> None:
    compare(
        "LinearCrossEntropyLoss",
        (5, 4),
        dict(out_features=out_features, bias=bias, label_smoothing=0.1),
        [normal(6, 5), RNG.integers(0, 4, (6, *out_features))],
        "float64",
        texts=False,
    )


def test_saturated_probabilities_have_a_gradient(device: str) -> None:
    """The gradient at 0 and 1 is bounded by PyTorch's 1e12, and 0 where the prediction is right."""
    x = ml.asarray([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    loss = F.binary_cross_entropy(x, ml.asarray([0.0, 1.0, 1.0, 0.0]), reduction="none")
    assert loss.tolist() == [0.0, 0.0, 100.0, 100.0]
    loss.sum().backward()
    assert x.grad.tolist() == pytest.approx([0.0, 0.0, -1e12, 1e12])


def test_the_old_names_of_reduction() -> None:
    x, y = ml.asarray([1.0, 3.0]), ml.zeros((2,))
    for size_average, reduce, wanted in (
        (False, None, 10.0),
        (True, None, 5.0),
        (None, True, 5.0),
        (None, False, [1.0, 9.0]),
        (False, True, 10.0),
    ):
        with pytest.warns(DeprecationWarning, match="use reduction="):
            assert F.mse_loss(x, y, size_average, reduce).tolist() == wanted
        with pytest.warns(DeprecationWarning, match="use reduction="):
            assert nn.MSELoss(size_average, reduce)(x, y).tolist() == wanted
