"""Activations, padding, shuffling and dropout against PyTorch."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, MlcoreError, ShapeError
from mlcore.nn import functional as F
from mlcore.testing import gradcheck, gradgradcheck
from tests.nn.layer_parity import compare

RNG = np.random.default_rng(0)
SHAPES = [(5,), (3, 4), (2, 4, 3), (2, 4, 3, 5), (0, 4)]

PLAIN: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *[(name, (), {}) for name in ("ReLU", "ReLU6", "SELU", "Mish", "SiLU", "Hardswish", "Hardsigmoid", "Sigmoid", "Tanh", "LogSigmoid", "Softsign", "Tanhshrink", "GELU", "PReLU")],
    ("GELU", ("tanh",), {}), ("LeakyReLU", (), {}), ("LeakyReLU", (0.2,), {}), ("LeakyReLU", (-0.5,), {}), ("ELU", (), {}), ("ELU", (0.3,), {}), ("CELU", (), {}),
    ("CELU", (2.5,), {}), ("Softplus", (), {}), ("Softplus", (2.0, 1.0), {}), ("Hardtanh", (), {}), ("Hardtanh", (-2.0, 0.5), {}), ("Softshrink", (), {}), ("Softshrink", (1.0,), {}),
    ("Hardshrink", (), {}), ("Hardshrink", (1.5,), {}), ("Threshold", (0.3, -2.0), {}), ("RReLU", (0.1, 0.4), {}), ("Softmax", (), {"dim": 0}), ("LogSoftmax", (), {"dim": -1}), ("Softmin", (), {"dim": -1}),
]  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "args", "how"), PLAIN)
def test_activation(name: str, args: Any, how: Any, shape: Any, dtype: str, device: str) -> None:
    texts = name not in {"RReLU"}  # PyTorch's shows 1/3 in full
    # PyTorch multiplies hardsigmoid's gradient by the float32 of 1/6, whatever the dtype.
    tolerance = 1e-7 if (name, dtype) == ("Hardsigmoid", "float64") else None
    x = RNG.normal(size=shape) * 4
    compare(name, args, how, [x], dtype, train=name != "RReLU", texts=texts, tolerance=tolerance)


OTHERS: list[tuple[str, tuple[Any, ...], Any]] = [
    ("PReLU", (4,), (3, 4)), ("PReLU", (4,), (2, 4, 3, 5)), ("GLU", (), (3, 6)), ("GLU", (1,), (2, 4, 3)), ("Softmax2d", (), (2, 4, 3, 5)), ("Softmax2d", (), (4, 3, 5)),
    ("PixelShuffle", (2,), (2, 8, 3, 5)), ("PixelShuffle", (3,), (9, 2, 2)), ("PixelUnshuffle", (2,), (2, 3, 4, 6)), ("PixelUnshuffle", (3,), (1, 3, 6)),
    ("ChannelShuffle", (2,), (2, 6, 3)), ("ChannelShuffle", (3,), (2, 6, 3, 4)),
    *[(f"{kind}{rank}d", (width, *value), (*lead, *(4, 5, 6)[:rank]))
      for kind, value in (("ConstantPad", (2.5,)), ("ZeroPad", ()), ("ReflectionPad", ()), ("ReplicationPad", ()), ("CircularPad", ()))
      for rank in (1, 2, 3) for lead in ((2, 3), (3,)) for width in (1, tuple(range(2 * rank))[: 2 * rank] if rank < 2 else (1, 2, 0, 3, 2, 1)[: 2 * rank])],
]  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "args", "shape"), OTHERS)
def test_layer(name: str, args: Any, shape: Any, dtype: str, device: str) -> None:
    compare(name, args, {}, [RNG.normal(size=shape)], dtype)


DIFFERENTIABLE = [
    F.leaky_relu, F.elu, F.selu, F.celu, F.mish, F.softsign, F.hardtanh, F.hardsigmoid, F.hardswish, F.tanhshrink, F.softshrink, F.hardshrink,
    F.logsigmoid, F.glu, F.swiglu, F.softplus, lambda x: F.threshold(x, 0.5, 2.0), lambda x: F.softmin(x, 0), lambda x: F.prelu(x, ml.asarray([0.3], dtype="float64")),
    lambda x: F.pixel_shuffle(x.reshape(4, 1, 1), 2), lambda x: F.channel_shuffle(x.reshape(1, 4, 1), 2),
]  # fmt: skip


@pytest.mark.parametrize("function", DIFFERENTIABLE)
def test_gradients(function: Any) -> None:
    x = ml.asarray([-2.3, -0.21, 0.33, 1.7], dtype="float64", requires_grad=True)
    assert gradcheck(function, [x])
    assert gradgradcheck(function, [x])


@pytest.mark.parametrize("name", ["elu", "celu", "selu", "mish", "logsigmoid", "softplus"])
def test_far_out_nothing_overflows(name: str, device: str) -> None:
    x = ml.asarray([-1e4, -200.0, 0.0, 200.0, 1e4], requires_grad=True)
    y = getattr(F, name)(x)
    y.sum().backward()
    assert np.isfinite(y.numpy()).all()
    assert np.isfinite(x.grad.numpy()).all()


def test_nan_stays_nan(device: str) -> None:
    x = ml.asarray([float("nan")])
    for name in (
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "mish",
        "softsign",
        "hardtanh",
        "hardsigmoid",
        "hardswish",
        "tanhshrink",
        "softshrink",
        "hardshrink",
        "logsigmoid",
    ):
        assert np.isnan(getattr(F, name)(x).item()), name


def test_rrelu_draws_slopes(device: str) -> None:
    ml.manual_seed(0)
    x = ml.full((100_000,), -1.0)
    y = -nn.RReLU(0.1, 0.5)(x).numpy()
    assert y.min() >= 0.1
    assert y.max() <= 0.5
    assert abs(y.mean() - 0.3) < 0.002
    assert abs(y.std() - 0.4 / np.sqrt(12)) < 0.002


def test_gumbel_softmax_draws_from_the_distribution(device: str) -> None:
    ml.manual_seed(0)
    p = np.array([0.1, 0.2, 0.7])
    logits = ml.asarray(np.tile(np.log(p), (50_000, 1)), requires_grad=True)
    hard = F.gumbel_softmax(logits, tau=0.5, hard=True)
    np.testing.assert_allclose(hard.numpy().mean(0), p, atol=0.01)
    assert set(np.unique(hard.detach().numpy().round(12))) == {0.0, 1.0}
    (hard * ml.asarray([1.0, 2.0, 3.0])).sum().backward()
    assert np.abs(logits.grad.numpy()).max() > 0
    soft = F.gumbel_softmax(logits.detach(), tau=1e3)
    np.testing.assert_allclose(soft.numpy(), 1 / 3, atol=0.01)


@pytest.mark.parametrize(
    ("name", "shape", "lead"),
    [("Dropout1d", (400, 50, 3), 2), ("Dropout1d", (20_000, 3), 1), ("Dropout2d", (400, 50, 2, 3), 2), ("Dropout2d", (400, 50, 3), 2), ("Dropout2d", (400, 50), 2),
     ("Dropout3d", (400, 50, 2, 2, 2), 2), ("Dropout3d", (20_000, 2, 2, 2), 1)],
)  # fmt: skip
def test_channels_are_dropped_whole(name: str, shape: Any, lead: int, device: str) -> None:
    ml.manual_seed(1)
    layer = getattr(nn, name)(0.25)
    y = layer(ml.ones(shape)).numpy().reshape(*shape[:lead], -1)
    assert (y == y[..., :1]).all()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y[..., 0] == 0).mean() - 0.25) < 0.01
    assert layer.eval()(ml.ones(shape)).numpy().min() == 1
    assert getattr(nn, name)(1.0)(ml.ones(shape)).numpy().max() == 0


@pytest.mark.parametrize(
    ("name", "shape"), [("AlphaDropout", (1000, 200)), ("FeatureAlphaDropout", (2000, 100, 2))]
)
def test_alpha_dropout_keeps_mean_and_variance(name: str, shape: Any, device: str) -> None:
    ml.manual_seed(2)
    x = np.random.default_rng(0).normal(size=shape)
    y = getattr(nn, name)(0.3)(ml.asarray(x)).numpy()
    assert abs(y.mean()) < 0.01
    assert abs(y.std() - 1) < 0.01
    scale = 1 / np.sqrt(0.7 * (1 + 0.3 * 1.7580993408473766**2))
    low = (-1.7580993408473766) * scale + scale * 0.3 * 1.7580993408473766
    dropped = np.isclose(y, low)
    assert abs(dropped.mean() - 0.3) < 0.01
    if name.startswith("Feature"):  # all of a channel, and not a value that is there by chance
        assert (dropped.all(-1) == dropped.any(-1)).mean() > 0.99
        assert abs(dropped.all(-1).mean() - 0.3) < 0.01
    np.testing.assert_array_equal(getattr(nn, name)(0.3).eval()(ml.asarray(x)).numpy(), x)


BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda: F.glu(ml.ones((3,))), ShapeError, r"glu: dim=-1 of \(3,\) cannot be halved"),
    (lambda: F.prelu(ml.ones((2, 3)), ml.ones((4,))), ShapeError, r"weight \(4,\) for an input \(2, 3\)"),
    (lambda: F.rrelu(ml.ones(2), 0.5, 0.1), ArgumentError, "lower 0.5, upper 0.1"),
    (lambda: nn.RReLU(0.5, 2.0), ArgumentError, "lower 0.5, upper 2.0"),
    (lambda: F.celu(ml.ones(2), 0.0), ArgumentError, "alpha is 0"),
    (lambda: nn.Hardtanh(1.0, -1.0), ArgumentError, "from 1.0 to -1.0"),
    (lambda: nn.Softshrink(-1.0), ArgumentError, "lambd is -1.0"),
    (lambda: F.gumbel_softmax(ml.ones(2), tau=0.0), ArgumentError, "tau is 0.0"),
    (lambda: F.pixel_shuffle(ml.ones((1, 3, 2, 2)), 2), ShapeError, r"\(1, 3, 2, 2\) with upscale_factor 2"),
    (lambda: F.pixel_unshuffle(ml.ones((1, 3, 3, 2)), 2), ShapeError, "downscale_factor 2"),
    (lambda: F.pixel_shuffle(ml.ones((1, 4, 2, 2)), 0), ArgumentError, "upscale_factor is 0"),
    (lambda: F.channel_shuffle(ml.ones((1, 3, 2)), 2), ShapeError, "with 2 groups"),
    (lambda: nn.ReflectionPad2d((1, 2)), ArgumentError, r"ReflectionPad2d: padding \(1, 2\)"),
    (lambda: nn.ReflectionPad1d(3)(ml.ones((1, 1, 2))), ShapeError, r"widths \(3, 3\) along dim 2"),
    (lambda: nn.ReflectionPad2d(1)(ml.ones((3, 3))), ShapeError, r"ReflectionPad2d: \(3, 3\)"),
    (lambda: nn.Softmax2d()(ml.ones((3, 3))), ShapeError, r"Softmax2d: \(3, 3\)"),
    (lambda: F.dropout1d(ml.ones((3,))), ShapeError, r"dropout1d: \(3,\)"),
    (lambda: nn.Dropout2d(1.5), ArgumentError, "Dropout2d: p is 1.5"),
    (lambda: F.feature_alpha_dropout(ml.ones((3,))), ShapeError, r"feature_alpha_dropout: \(3,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
