"""Mixed precision: which dtype each operation gets, PyTorch's numbers within bfloat16's, training, and GradScaler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.amp import is_autocast_enabled
from mlcore.errors import ArgumentError
from mlcore.nn import functional as F

EPS = float(ml.finfo(ml.bfloat16).eps)


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_operations_run_in_the_precision_they_declare() -> None:
    x, w = ml.asarray(normal(4, 8)), ml.asarray(normal(8, 8, seed=1))
    image, kernel = ml.asarray(normal(1, 4, 6, 6)), ml.asarray(normal(4, 4, 3, 3))
    low = {
        "matmul": lambda: x @ w, "linear": lambda: F.linear(x, w), "conv": lambda: F.conv2d(image, kernel),
        "transposed": lambda: F.conv_transpose2d(image, kernel),
        "attention": lambda: F.scaled_dot_product_attention(x, x, x),
    }  # fmt: skip
    half = x.to(ml.bfloat16)
    wide = {
        "softmax": lambda: ml.softmax(half), "log_softmax": lambda: ml.log_softmax(half), "sum": lambda: half.sum(),
        "mean": lambda: half.mean(axis=0), "var": lambda: half.var(), "prod": lambda: half.prod(),
        "cumulative_sum": lambda: ml.cumulative_sum(half, axis=0), "layer_norm": lambda: F.layer_norm(half, 8),
        "rms_norm": lambda: F.rms_norm(half, 8), "logsumexp": lambda: ml.logsumexp(half),
        "mse": lambda: F.mse_loss(half, half), "cross_entropy": lambda: F.cross_entropy(half, ml.asarray([0, 1, 2, 3])),
    }  # fmt: skip
    with ml.autocast():
        assert is_autocast_enabled()
        for name, call in low.items():
            assert call().dtype is ml.bfloat16, name
        for name, call in wide.items():
            assert call().dtype is ml.float32, name
        assert (x + x).dtype is ml.float32
        assert (half + half).dtype is ml.bfloat16
        assert ml.tanh(half).dtype is ml.bfloat16
    assert not is_autocast_enabled()
    for name, call in low.items():
        assert call().dtype is ml.float32, name


def test_what_is_left_alone() -> None:
    whole, double = ml.ones((2, 2), dtype=ml.int32), ml.ones((2, 2), dtype=ml.float64)
    with ml.autocast():
        assert (whole @ whole).dtype is ml.int32
        assert (double @ double).dtype is ml.float64
        with ml.autocast(enabled=False):
            assert (ml.ones((2, 2)) @ ml.ones((2, 2))).dtype is ml.float32
        assert (ml.ones((2, 2)) @ ml.ones((2, 2))).dtype is ml.bfloat16
    with ml.autocast("nowhere"):
        assert (ml.ones((2, 2)) @ ml.ones((2, 2))).dtype is ml.float32
    with ml.autocast(dtype=ml.float16):
        assert (ml.ones((2, 2)) @ ml.ones((2, 2))).dtype is ml.float16

    @ml.autocast()
    def product() -> Any:
        return ml.ones((2, 2)) @ ml.ones((2, 2))

    assert product().dtype is product().dtype is ml.bfloat16
    with pytest.raises(ArgumentError, match="dtype is float64"):
        ml.autocast(dtype=ml.float64)


def test_gradients_of_parameters_are_float32_inside_and_outside() -> None:
    layer = nn.Linear(8, 4)
    x = ml.asarray(normal(3, 8))
    grads = []
    for inside in (True, False):
        layer.weight.grad = layer.bias.grad = None
        with ml.autocast():
            loss = (layer(x) ** 2).mean()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        assert layer.weight.dtype is layer.weight.grad.dtype is layer.bias.grad.dtype is ml.float32
        grads.append(np.asarray(layer.weight.grad))
    np.testing.assert_array_equal(*grads)


def test_a_parameter_is_cast_once_until_it_changes() -> None:
    w = nn.Parameter(ml.asarray(normal(4, 4)))
    x = ml.asarray(normal(2, 4))
    with ml.autocast():
        with ml.no_grad():
            before = x @ w  # this cast is off the tape, and must not serve the next
        (x @ w + x @ w).sum().backward()
        assert w.grad is not None
        with ml.no_grad():
            w -= 1.0
            assert not np.array_equal(np.asarray((x @ w).to(ml.float32)), np.asarray(before.to(ml.float32)))


def test_like_pytorch() -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.LayerNorm(32), torch.nn.Linear(32, 5)
    )
    ours = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 5))
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x, target = normal(8, 16), np.arange(8) % 5
    with ml.autocast("cpu" if str(ml.default_device()).startswith("cpu") else None):
        y = ours(ml.asarray(x))
        loss = F.cross_entropy(y, ml.asarray(target))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = theirs(torch.tensor(x))
        other = torch.nn.functional.cross_entropy(z, torch.tensor(target))
    assert (y.dtype, loss.dtype) == (ml.bfloat16, ml.float32)
    top = float(z.detach().abs().max())
    np.testing.assert_allclose(
        np.asarray(y.detach().to(ml.float32)), z.detach().float().numpy(), atol=8 * EPS * top
    )
    assert loss.item() == pytest.approx(other.item(), rel=8 * EPS)
    loss.backward()
    other.backward()
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        want = b.grad.numpy()
        np.testing.assert_allclose(np.asarray(a.grad), want, atol=16 * EPS * np.abs(want).max(), err_msg=name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_training_converges(dtype: str) -> None:
    """Two moons' worth of separation, with and without a scaler: the accuracy of float32."""
    ml.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8)).astype(np.float32)
    label = (np.sin(x[:, 0] * 2) + x[:, 1] * x[:, 2] > 0).astype(np.int64)
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer, scaler = ml.optim.AdamW(net.parameters(), lr=1e-2), ml.GradScaler(enabled=dtype == "float16")
    inputs, target = ml.asarray(x), ml.asarray(label)
    for _ in range(120):
        optimizer.zero_grad()
        with ml.autocast(dtype=getattr(ml, dtype)):
            loss = F.cross_entropy(net(inputs), target)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert loss.item() < 0.1
    assert all(p.dtype is ml.float32 for p in net.parameters())


def test_scaler_like_pytorch() -> None:
    """The same gradients, overflows and steps in both: the same scales, trackers and parameters."""
    torch = pytest.importorskip("torch")
    p, q = nn.Parameter(ml.ones((2,))), torch.nn.Parameter(torch.ones(2))
    how = dict(init_scale=16.0, growth_interval=2)
    ours, theirs = ml.GradScaler(**how), torch.amp.GradScaler("cpu", **how)
    a, b = ml.optim.SGD([p], lr=0.1), torch.optim.SGD([q], lr=0.1)
    for factor in (1.0, 2.0, float("inf"), 1.0, float("nan"), 3.0, 1.0, 0.5):
        a.zero_grad()
        b.zero_grad()
        ours.scale((p * factor).sum()).backward()
        theirs.scale((q * factor).sum()).backward()
        if factor == 3.0:
            ours.unscale_(a)
            theirs.unscale_(b)
            np.testing.assert_allclose(np.asarray(p.grad), q.grad.numpy())
        ours.step(a)
        theirs.step(b)
        ours.update()
        theirs.update()
        assert ours.get_scale() == theirs.get_scale()
        np.testing.assert_allclose(np.asarray(p.detach()), q.detach().numpy(), rtol=1e-6)
    assert ours.state_dict() == theirs.state_dict()
    fresh = ml.GradScaler()
    fresh.load_state_dict(theirs.state_dict())
    assert fresh.state_dict() == ours.state_dict()


def test_misuse_of_the_scaler() -> None:
    p = nn.Parameter(ml.ones((2,)))
    optimizer, scaler = ml.optim.SGD([p], lr=0.1), ml.GradScaler()
    with pytest.raises(ArgumentError, match="no optimizer has stepped"):
        scaler.update()
    scaler.scale(p.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(ArgumentError, match="unscaled already"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(ArgumentError, match="stepped already"):
        scaler.step(optimizer)
    with pytest.raises(ArgumentError, match=r"growth_factor 0\.5"):
        ml.GradScaler(growth_factor=0.5)
    with pytest.raises(ArgumentError, match="scale, growth_factor"):
        scaler.load_state_dict({})
    assert ml.GradScaler(enabled=False).state_dict() == {}
    assert ml.GradScaler(enabled=False).get_scale() == 1.0
