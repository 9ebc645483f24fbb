"""Layers whose input size is left out."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.errors import ArgumentError, ShapeError

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...], int]] = [
    ("Linear", (4,), {}, (2, 7), 7),
    ("Linear", (4, False), {}, (7,), 7),
    *[(f"Conv{r}d", (4, 3), {"padding": 1, "groups": 2}, (2, 6, *(5, 4, 3)[:r]), 6) for r in (1, 2, 3)],
    *[(f"Conv{r}d", (4, 3), {"bias": False}, (6, *(5, 4, 3)[:r]), 6) for r in (1, 2, 3)],
    *[(f"ConvTranspose{r}d", (4, 3), {"stride": 2}, (2, 5, *(5, 4, 3)[:r]), 5) for r in (1, 2, 3)],
    *[(f"BatchNorm{r}d", (), {"momentum": 0.3}, (3, 5, *(5, 4, 3)[:r]), 5) for r in (1, 2, 3)],
    ("BatchNorm1d", (), {"affine": False}, (3, 5), 5),
    *[(f"InstanceNorm{r}d", (), {}, (3, 5, *(5, 4, 3)[:r]), 5) for r in (1, 2, 3)],
    ("InstanceNorm1d", (), {"track_running_stats": False}, (5, 4), 5),
]


@pytest.mark.parametrize(("name", "args", "how", "shape", "size"), LAYERS)
def test_a_lazy_layer_becomes_the_layer(
    name: str, args: Any, how: Any, shape: Any, size: int, device: str
) -> None:
    x = ml.asarray(np.random.default_rng(0).normal(size=shape).astype("f"))
    if name.startswith("InstanceNorm"):
        how = {"affine": True, "track_running_stats": True, **how}
    ml.manual_seed(3)
    whole = getattr(nn, name)(size, *args, **how)
    wanted = whole(x)
    lazy = getattr(nn, f"Lazy{name}")(*args, **how)
    assert lazy.has_uninitialized_params() or not list(whole.state_dict())
    optimizer = optim.SGD(lazy.parameters(), lr=0.1) if list(lazy.parameters()) else None
    ml.manual_seed(3)
    y = lazy(x)
    assert type(lazy) is getattr(nn, name)
    assert repr(lazy) == repr(whole)
    assert list(lazy.state_dict()) == list(whole.state_dict())
    np.testing.assert_array_equal(y.numpy(), wanted.numpy())
    if optimizer is not None:
        before = lazy.state_dict()
        y.sum().backward()
        assert all(type(p) is nn.Parameter for p in lazy.parameters())
        optimizer.step()
        assert any((before[k].numpy() != v.numpy()).any() for k, v in lazy.state_dict().items())
    assert pickle.loads(pickle.dumps(lazy))(x).shape == y.shape


@pytest.mark.parity
@pytest.mark.parametrize("name", ["LazyLinear", "LazyConv2d", "LazyBatchNorm2d"])
def test_it_says_what_pytorch_says(name: str) -> None:
    torch = pytest.importorskip("torch")
    args = {"LazyLinear": (4,), "LazyConv2d": (4, 3), "LazyBatchNorm2d": ()}[name]
    assert repr(getattr(nn, name)(*args)) == repr(getattr(torch.nn, name)(*args))


def test_a_state_dict_tells_the_size(device: str) -> None:
    saved = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    model.load_state_dict(saved.state_dict())
    assert model[0].weight.shape == (3, 5)
    assert not model[0].has_uninitialized_params()
    x = ml.ones((4, 5))
    np.testing.assert_array_equal(model.eval()(x).numpy(), saved.eval()(x).numpy())
    assert [type(m).__name__ for m in model] == ["Linear", "BatchNorm1d"]


def test_what_cannot_be_done_before() -> None:
    layer = nn.LazyLinear(3)
    with pytest.raises(ArgumentError, match="a parameter has no shape yet"):
        layer.state_dict()
    with pytest.raises(ShapeError, match=r"LazyConv2d: an input of shape \(3, 4\)"):
        nn.LazyConv2d(4, 3)(ml.ones((3, 4)))
    with pytest.raises(ArgumentError, match="0 channels"):
        nn.LazyConv2d(0, 3)
    layer.load_state_dict({"weight": ml.ones((3, 5)), "bias": ml.ones((3,))})
    with pytest.raises(ShapeError, match=r"weight of shape \(3, 5\) was loaded"):
        layer(ml.ones((2, 4)))
    assert nn.LazyLinear(3)(ml.ones((2, 4))).shape == (2, 3)
    twin = copy.deepcopy(nn.LazyLinear(3))
    assert twin(ml.ones((2, 6))).shape == (2, 3)


def test_moved_before_its_first_input(device: str) -> None:
    layer = nn.LazyLinear(3, dtype="float64")
    assert layer(ml.ones((2, 4), dtype="float64")).dtype is ml.float64
