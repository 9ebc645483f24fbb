"""Parametrizations, weight and spectral norm, fused batch norm, ParameterDict: against PyTorch where it has them."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, ArgumentTypeError, AutogradError, MlcoreError, ShapeError
from mlcore.nn.utils import parametrizations, parametrize
from tests.nn.layer_parity import close, results, shared_weights

RNG = np.random.default_rng(0)
LAYERS = [
    ("Linear", (4, 6), (3, 4)),
    ("Conv2d", (3, 5, 3), (2, 3, 6, 6)),
    ("ConvTranspose1d", (3, 5, 3), (2, 3, 6)),
    ("Conv1d", (4, 2, 1), (1, 4, 5)),
]


def pair(torch: Any, name: str, args: Any) -> tuple[Any, Any]:
    return getattr(nn, name)(*args, dtype="float64"), getattr(torch.nn, name)(*args, dtype=torch.float64)


def run(ours: Any, theirs: Any, torch: Any, shape: Any) -> None:
    x = RNG.normal(size=shape)
    a, b = ml.asarray(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    results(ours(a), theirs(b), [a, *ours.parameters()], [b, *theirs.parameters()], torch, 1e-9)


@pytest.mark.parity
@pytest.mark.parametrize("dim", [0, 1, None, -1])
@pytest.mark.parametrize(("name", "args", "shape"), LAYERS)
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_weight_norm(old: bool, name: str, args: Any, shape: Any, dim: int | None, device: str) -> None:
    torch = pytest.importorskip("torch")
    mine, its = (nn.utils, torch.nn.utils) if old else (parametrizations, torch.nn.utils.parametrizations)
    ours, theirs = pair(torch, name, args)
    ours, theirs = mine.weight_norm(ours, dim=dim), its.weight_norm(theirs, dim=dim)
    shared_weights(ours, theirs, torch)
    run(ours, theirs, torch, shape)
    before = ours(ml.ones(shape, dtype="float64"))
    if old:
        nn.utils.remove_weight_norm(ours)
    else:
        parametrize.remove_parametrizations(ours, "weight")
    assert sorted(ours.state_dict()) == ["bias", "weight"]
    assert type(ours) is getattr(nn, name)
    close(ours(ml.ones(shape, dtype="float64")), torch.tensor(before.numpy()), 1e-12, "after removal")


@pytest.mark.parity
@pytest.mark.parametrize(("name", "args", "shape"), LAYERS)
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_spectral_norm(old: bool, steps: int, name: str, args: Any, shape: Any, device: str) -> None:
    torch = pytest.importorskip("torch")
    mine, its = (nn.utils, torch.nn.utils) if old else (parametrizations, torch.nn.utils.parametrizations)
    ours, theirs = pair(torch, name, args)
    ours, theirs = (
        mine.spectral_norm(ours, n_power_iterations=steps),
        its.spectral_norm(theirs, n_power_iterations=steps),
    )
    state = {k: np.asarray(RNG.normal(size=tuple(v.shape))) for k, v in theirs.state_dict().items()}
    for key, value in state.items():
        if key.endswith(("_u", "_v")):
            state[key] = value / np.linalg.norm(value)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    assert sorted(ours.state_dict()) == sorted(state)
    ours.load_state_dict(state)
    for _ in range(2):
        ours.zero_grad()
        theirs.zero_grad()
        run(ours, theirs, torch, shape)
    for key, value in theirs.state_dict().items():
        close(ours.state_dict()[key], value, 1e-9, key)
    run(ours.eval(), theirs.eval(), torch, shape)


def test_spectral_norm_finds_the_largest_singular_value(device: str) -> None:
    ml.manual_seed(0)
    layer = parametrizations.spectral_norm(nn.Linear(7, 5, dtype="float64"), n_power_iterations=100)
    np.testing.assert_allclose(np.linalg.norm(layer.weight.detach().numpy(), 2), 1, rtol=1e-6)


class Symmetric(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.triu() + x.triu(k=1).mT


class Twice(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2

    def right_inverse(self, x: Any) -> Any:
        return x / 2


def test_parametrizations_compose(device: str) -> None:
    layer = nn.Linear(3, 3)
    start = layer.weight
    parametrize.register_parametrization(layer, "weight", Twice())
    assert layer.parametrizations.weight.original is start
    parametrize.register_parametrization(layer, "weight", Symmetric())
    w = layer.weight.detach().numpy()
    np.testing.assert_array_equal(w, w.T)
    assert parametrize.is_parametrized(layer)
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    assert isinstance(layer, nn.Linear)
    assert [name for name, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]
    layer(ml.ones((2, 3))).sum().backward()
    assert start.grad is not None
    with pytest.raises(ArgumentTypeError, match="cannot be pickled"):
        pickle.dumps(layer)
    twin = copy.deepcopy(layer)
    np.testing.assert_array_equal(twin.weight.detach().numpy(), w)
    parametrize.remove_parametrizations(twin, "weight", leave_parametrized=False)
    assert type(twin) is nn.Linear
    assert parametrize.is_parametrized(layer, "weight")
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight


def test_a_parametrized_attribute_can_be_assigned(device: str) -> None:
    layer = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Twice())
    layer.weight = ml.asarray([[2.0, 4.0], [6.0, 8.0]])
    assert layer.parametrizations.weight.original.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert layer.weight.tolist() == [[2.0, 4.0], [6.0, 8.0]]
    other = nn.Linear(2, 2)
    parametrize.transfer_parametrizations_and_params(layer, other)
    assert other.weight.tolist() == layer.weight.tolist()
    holder = nn.Module()
    holder.register_buffer("scale", ml.ones((2,)))
    parametrize.register_parametrization(holder, "scale", Twice())
    assert list(holder.state_dict()) == ["parametrizations.scale.original"]
    parametrize.remove_parametrizations(holder, "scale")
    assert holder.scale.tolist() == [1.0, 1.0]
    assert list(holder.state_dict()) == ["scale"]


@pytest.mark.parity
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("name", "args", "shape"), LAYERS[:3])
def test_fused_batch_norm(name: str, args: Any, shape: Any, bias: bool, device: str) -> None:
    torch = pytest.importorskip("torch")
    first = getattr(nn, name)(*args, bias=bias, dtype="float64")
    rank = 1 if name == "Linear" else int(name[-2])
    for affine in (True, False):
        norm = getattr(nn, f"BatchNorm{rank}d")(args[1], affine=affine, dtype="float64")
        theirs = torch.nn.Sequential(
            getattr(torch.nn, name)(*args, bias=bias, dtype=torch.float64),
            getattr(torch.nn, f"BatchNorm{rank}d")(args[1], affine=affine, dtype=torch.float64),
        )
        both = nn.Sequential(first, norm)
        shared_weights(both, theirs, torch)
        if name == "Linear":
            made = nn.utils.fuse_linear_bn_eval(first.eval(), norm.eval())
        else:
            made = nn.utils.fuse_conv_bn_eval(first.eval(), norm.eval(), transpose=name.startswith("ConvT"))
        x = RNG.normal(size=shape)
        close(made(ml.asarray(x)), theirs.eval()(torch.tensor(x)), 1e-9, "fused")
        assert made is not first


@pytest.mark.parity
@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
def test_total_norm(norm_type: float, device: str) -> None:
    torch = pytest.importorskip("torch")
    arrays = [RNG.normal(size=s) for s in ((3, 4), (5,), ())]
    ours = nn.utils.get_total_norm([ml.asarray(a) for a in arrays], norm_type)
    theirs = torch.nn.utils.get_total_norm([torch.tensor(a) for a in arrays], norm_type)
    close(ours, theirs, 1e-12, "norm")
    with pytest.raises(AutogradError, match="the norm of the gradients is inf"):
        nn.utils.get_total_norm([ml.asarray([1.0]), ml.asarray([float("inf")])], error_if_nonfinite=True)


def test_parameter_dict() -> None:
    table = nn.ParameterDict({"b": ml.ones((2,)), "a": nn.Parameter(ml.zeros((3,)))})
    assert list(table) == ["b", "a"]
    assert isinstance(table["b"], nn.Parameter)
    assert "a" in table
    assert table.get("c") is None
    table.setdefault("c", ml.ones((1,)))
    assert list(table.state_dict()) == ["b", "a", "c"]
    assert list(reversed(table)) == ["c", "a", "b"]
    assert table.popitem()[0] == "c"
    assert table.pop("a").shape == (3,)
    assert list(table.copy()) == ["b"]
    assert list(table.fromkeys(["x", "y"], ml.zeros((1,)))) == ["x", "y"]
    with pytest.raises(ArgumentError, match="no parameter 'bb'"):
        table["bb"]
    table.clear()
    assert len(table) == 0


BAD: list[tuple[Any, type[MlcoreError], str]] = [
    (lambda: parametrize.register_parametrization(nn.Linear(2, 3), "wieght", Twice()), ArgumentError, "no parameter or buffer 'wieght'"),
    (lambda: parametrize.register_parametrization(nn.Linear(2, 3), "weight", nn.Flatten(0)), ShapeError, r"float32 \(3, 2\) became float32 \(6,\)"),
    (lambda: parametrize.remove_parametrizations(nn.Linear(2, 3), "weight"), ArgumentError, "is not parametrized"),
    (lambda: parametrizations.spectral_norm(nn.Linear(2, 3), n_power_iterations=0), ArgumentError, "n_power_iterations is 0"),
    (lambda: nn.utils.weight_norm(nn.ReLU()), ArgumentError, "ReLU has no parameter 'weight'"),
    (lambda: nn.utils.remove_weight_norm(nn.Linear(2, 3)), ArgumentError, "has none"),
    (lambda: nn.utils.fuse_conv_bn_eval(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), ArgumentError, "in training mode"),
    (lambda: nn.utils.fuse_conv_bn_eval(nn.Conv2d(3, 4, 3).eval(), nn.BatchNorm2d(5).eval()), ShapeError, r"statistics \(5,\)"),
    (lambda: parametrize.remove_parametrizations(parametrizations.weight_norm(nn.Linear(2, 3)), "weight", False), ArgumentError, "computed from 2 tensors"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input(call: Any, error: type[MlcoreError], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
