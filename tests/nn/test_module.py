"""Module: what it holds, modes, moves, hooks, state, texts, and where errors say they came from."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import (
    ArgumentError,
    ArgumentTypeError,
    MlcoreError,
    OutOfRangeError,
    ShapeError,
    StateDictError,
)
from mlcore.nn import functional as F


class Block(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Parameter(ml.ones((width,)))

    def forward(self, x: Any) -> Any:
        return self.norm(self.fc1(x)) * self.scale


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.ModuleDict({"fc2": nn.Linear(4, 2)})
        self.register_buffer("seen", ml.zeros((), dtype=ml.int64))
        self.register_buffer("scratch", ml.ones((2,)), persistent=False)

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head["fc2"](x)


# -- what it holds --------------------------------------------------------------------------------------------------


def test_names_in_order() -> None:
    net = Net()
    block = ["scale", "fc1.weight", "fc1.bias", "norm.weight", "norm.bias"]
    expected = [f"blocks.{i}.{n}" for i in (0, 1) for n in block] + ["head.fc2.weight", "head.fc2.bias"]
    assert [n for n, _ in net.named_parameters()] == expected
    assert [n for n, _ in net.named_buffers()] == ["seen", "scratch"]
    assert list(net.state_dict()) == ["seen", *expected]
    assert [n for n, _ in net.named_children()] == ["blocks", "head"]
    assert [n for n, _ in net.named_modules()][:4] == ["", "blocks", "blocks.0", "blocks.0.fc1"]
    assert len(list(net.parameters())) == 12 == len({id(p) for p in net.parameters()})
    assert list(net.parameters(recurse=False)) == []


def test_a_shared_parameter_counts_once() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4
    assert "1.weight" in net.state_dict()


def test_attributes_are_plain() -> None:
    layer = nn.Linear(2, 2)
    assert layer.__dict__["weight"] is layer.weight
    layer.weight = nn.Parameter(ml.zeros((2, 2)))
    assert [n for n, _ in layer.named_parameters()] == ["weight", "bias"]
    del layer.bias
    assert list(layer.state_dict()) == ["weight"]
    with pytest.raises(AttributeError, match="weigth"):
        layer.weigth  # noqa: B018


def test_lookup_by_path() -> None:
    net = Net()
    assert net.get_submodule("blocks.1.fc1") is net.blocks[1].fc1
    assert net.get_submodule("") is net
    assert net.get_parameter("head.fc2.bias") is net.head["fc2"].bias
    assert net.get_buffer("seen") is net.seen
    with pytest.raises(ArgumentError, match=r"blocks.1 .Block. has no module 'fc'; did you mean 'fc1'"):
        net.get_submodule("blocks.1.fc")
    with pytest.raises(ArgumentError, match="no parameter 'seen'"):
        net.get_parameter("seen")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: m.register_buffer("a.b", ml.zeros(1)), "a buffer cannot be called 'a.b'"),
        (lambda m: m.register_buffer("a", [1]), "register_buffer: 'a' is a list"),
        (lambda m: m.register_parameter("a", ml.zeros(1)), "register_parameter: 'a' is a Tensor"),
        (lambda m: m.register_module("a", 3), "register_module: 'a' is a int, not a Module"),
        (lambda m: m.register_buffer("forward", ml.zeros(1)), "has an attribute 'forward' already"),
        (lambda m: m(1), "Module has no forward method"),
        (lambda m: m.train("yes"), "train: mode is a str"),
        (lambda m: m.to(ml.int32), "to: int32 for a module"),
        (lambda m: m.load_state_dict([1]), "expected a mapping of names to tensors, got a list"),
    ],
)
def test_wrong_use(call: Any, text: str) -> None:
    with pytest.raises(MlcoreError, match=text):
        call(nn.Module())


def test_parameter_is_a_tensor() -> None:
    x = ml.ones((2,), requires_grad=True)
    p = nn.Parameter(x * 2)
    assert p.is_leaf
    assert type(p * 1) is ml.Tensor
    assert nn.Parameter([1.0, 2.0]).tolist() == [1.0, 2.0]
    assert nn.Parameter().shape == (0,)
    assert not nn.Parameter(ml.arange(3), requires_grad=False).requires_grad
    with pytest.raises(MlcoreError, match="int64 has no gradient"):
        nn.Parameter(ml.arange(3))
    assert repr(p).startswith("Parameter containing:\nTensor([2., 2.]")
    other = pickle.loads(pickle.dumps(p))
    assert type(other) is nn.Parameter
    assert other.tolist() == p.tolist()


# -- modes and places -----------------------------------------------------------------------------------------------


def test_train_and_eval() -> None:
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.blocks.train()
    assert net.blocks[0].fc1.training
    assert not net.training


def test_to_keeps_the_objects_and_moves_everything() -> None:
    net = Net()
    before = list(net.parameters())
    net(ml.ones((1, 4))).sum().backward()
    net.to("reference", dtype=ml.float64)
    assert [id(p) for p in net.parameters()] == [id(p) for p in before]
    assert {str(p.dtype) for p in before} == {"float64"}
    assert {str(p.device) for p in before} == {"reference"}
    assert all(p.grad.dtype is ml.float64 and p.requires_grad and p.is_leaf for p in before)
    assert (net.seen.dtype, net.scratch.dtype) == (ml.int64, ml.float64)
    with ml.device("reference"):
        assert net(ml.ones((1, 4), dtype=ml.float64)).dtype is ml.float64
    assert net.half().scratch.dtype is ml.float16
    assert net.float().scratch.dtype is ml.float32
    assert net.bfloat16().to(ml.ones(1, dtype=ml.float64)).scratch.dtype is ml.float64


def test_apply_requires_grad_zero_grad() -> None:
    net = Net()
    order: list[str] = []
    net.apply(lambda m: order.append(type(m).__name__))
    assert order[:4] == ["Linear", "LayerNorm", "Block", "Linear"]
    assert order[-1] == "Net"
    net(ml.ones((1, 4))).sum().backward()
    net.zero_grad(set_to_none=False)
    assert all(p.grad.tolist() == (p.detach() * 0).tolist() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(ml.ones((1, 4))).requires_grad


def test_copies_are_independent() -> None:
    net = Net()
    net.register_forward_hook(lambda m, a, y: None)
    twin = copy.deepcopy(net)
    with ml.no_grad():
        for p in twin.parameters():
            p *= 0.0
    assert not any(
        p.tolist() == q.tolist()
        for p, q in zip(net.parameters(), twin.parameters(), strict=True)
        if any(np.ravel(p.tolist()))
    )
    plain = Net()
    again = pickle.loads(pickle.dumps(plain))
    assert again.head["fc2"].weight.tolist() == plain.head["fc2"].weight.tolist()


# -- hooks --------------------------------------------------------------------------------------------------------


def test_forward_hooks_see_and_replace() -> None:
    layer = nn.Linear(2, 2)
    seen: list[Any] = []
    first = layer.register_forward_pre_hook(lambda m, args: (args[0] * 0,))
    second = layer.register_forward_hook(lambda m, args, y: seen.append((args[0].tolist(), y.tolist())))
    third = layer.register_forward_hook(lambda m, args, y: y + 1, prepend=True)
    y = layer(ml.ones((1, 2)))
    expected = [[b + 1 for b in layer.bias.tolist()]]
    np.testing.assert_allclose(y.tolist(), expected, rtol=1e-6)
    assert seen[0][0] == [[0.0, 0.0]]
    np.testing.assert_allclose(seen[0][1], expected, rtol=1e-6)
    for handle in (first, second, third, third):
        handle.remove()
    layer(ml.ones((1, 2)))
    assert len(seen) == 1


def test_hooks_with_keywords_and_on_failure() -> None:
    attention = nn.MultiheadAttention(4, 2)
    told: list[Any] = []
    attention.register_forward_pre_hook(lambda m, a, k: (a, {**k, "need_weights": False}), with_kwargs=True)
    attention.register_forward_hook(
        lambda m, a, k, y: told.append((sorted(k), y)), with_kwargs=True, always_call=True
    )
    x = ml.ones((2, 1, 4))
    assert attention(x, x, x)[1] is None
    with pytest.raises(ShapeError):
        attention(x, x, ml.ones((3, 1, 4)))
    assert told[0][0] == ["need_weights"]
    assert told[1][1] is None


def test_full_backward_hook() -> None:
    layer = nn.Linear(2, 3)
    seen: list[Any] = []

    def hook(module: Any, grad_input: Any, grad_output: Any) -> Any:
        seen.append((module, grad_input, grad_output))
        return (grad_input[0] * 10,)

    handle = layer.register_full_backward_hook(hook)
    x = ml.ones((4, 2), requires_grad=True)
    (layer(x) * 2).sum().backward()
    assert len(seen) == 1
    module, grad_input, grad_output = seen[0]
    assert module is layer
    np.testing.assert_allclose(grad_output[0].numpy(), np.full((4, 3), 2.0))
    np.testing.assert_allclose(x.grad.numpy(), grad_input[0].numpy() * 10)
    np.testing.assert_allclose(
        layer.bias.grad.numpy(), np.full(3, 8.0)
    )  # the parameters' gradients are untouched
    handle.remove()
    with ml.no_grad():
        layer(x)
    layer(ml.ones((4, 2))).sum().backward()
    assert len(seen) == 1


def test_full_backward_hook_of_several_inputs_and_outputs() -> None:
    class Two(nn.Module):
        def forward(self, a: Any, b: Any, n: int) -> Any:
            return a * n, a + b

    two = Two()
    seen: list[Any] = []
    two.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    a, b = ml.ones((2,), requires_grad=True), ml.ones((3, 2), requires_grad=True)
    p, q = two(a, b, 3)
    (p.sum() + 2 * q.sum()).backward()
    (gi, go) = seen[0]
    assert [None if g is None else g.tolist() for g in gi] == [[9.0, 9.0], [[2.0, 2.0]] * 3, None]
    assert [g.tolist() for g in go] == [[1.0, 1.0], [[2.0, 2.0]] * 3]
    assert a.grad.tolist() == [9.0, 9.0]
    # where no input requires a gradient the hook still sees the output's
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    layer(ml.ones((1, 2))).sum().backward()
    assert seen[-1][0] == (None,)
    assert seen[-1][1][0].tolist() == [[1.0, 1.0]]


# -- state ----------------------------------------------------------------------------------------------------------


def test_state_dict_is_a_snapshot() -> None:
    net = nn.Linear(2, 2)
    state = net.state_dict()
    before = state["weight"].tolist()
    nn.init.zeros_(net.weight)
    assert state["weight"].tolist() == before
    assert not state["weight"].requires_grad
    net.load_state_dict(state)
    assert net.weight.tolist() == before
    assert net.weight.requires_grad
    assert net.state_dict(keep_vars=True)["weight"] is net.weight
    assert list(net.state_dict(prefix="a.")) == ["a.weight", "a.bias"]


def test_loading_casts_to_what_is_held() -> None:
    net = nn.Linear(2, 1).to(ml.float16)
    net.load_state_dict({"weight": np.ones((1, 2)), "bias": ml.zeros((1,), dtype=ml.float64)})
    assert net.weight.dtype is ml.float16
    net.load_state_dict({"weight": np.ones((1, 2)), "bias": np.zeros(1)}, assign=True)
    assert net.weight.dtype is ml.float64


def test_one_error_lists_every_mismatch_and_changes_nothing() -> None:
    net = Net()
    state: dict[str, Any] = net.state_dict()
    before = net.head["fc2"].bias.tolist()
    state["head.fc2.bias"] = ml.ones((2,)) * 7
    state["head.fc2.weight"] = ml.zeros((3, 4))
    state["blocks.0.norm.weight"] = "text"
    state["blocks.0.fc1.wieght"] = state.pop("blocks.0.fc1.weight")
    del state["blocks.1.norm.bias"]
    state["extra"] = ml.zeros(1)
    with pytest.raises(StateDictError) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    assert text.startswith(
        "load_state_dict: the state_dict does not fit Net: 2 missing, 2 unexpected, 2 mismatched"
    )
    for part in (
        "blocks.0.fc1.weight (near 'blocks.0.fc1.wieght')", "blocks.1.norm.bias", "extra",
        "head.fc2.weight: shape (3, 4) given, (2, 4) expected", "blocks.0.norm.weight: a str instead of a tensor",
    ):  # fmt: skip
        assert part in text
    assert isinstance(caught.value, KeyError)
    assert net.head["fc2"].bias.tolist() == before  # nothing was loaded
    state["head.fc2.weight"], state["blocks.0.norm.weight"] = ml.zeros((2, 4)), ml.ones((4,))
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert missing == ["blocks.0.fc1.weight", "blocks.1.norm.bias"]
    assert unexpected == ["blocks.0.fc1.wieght", "extra"]
    assert net.head["fc2"].bias.tolist() == [7.0, 7.0]
    with pytest.raises(StateDictError, match="shape"):
        net.load_state_dict({"head.fc2.bias": ml.zeros((5,))}, strict=False)


def test_a_long_list_of_names_is_cut() -> None:
    net = nn.Sequential(*[nn.Linear(1, 1) for _ in range(30)])
    with pytest.raises(StateDictError, match=r"60 missing(.|\n)*and 40 more"):
        net.load_state_dict({})


def test_it_fits_a_file(tmp_path: Any) -> None:
    net, other = Net(), Net()
    ml.save(net.state_dict(), tmp_path / "net.safetensors")
    other.load_state_dict(ml.load(tmp_path / "net.safetensors"))
    for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert a.tolist() == b.tolist()


# -- where it went wrong ----------------------------------------------------------------------------------------------


def test_errors_name_the_module() -> None:
    with pytest.raises(ShapeError) as caught:
        Net()(ml.ones((3, 5)))
    text = str(caught.value)
    assert "expected a last dimension of 4, got (3, 5)" in text
    assert "in:    Net.blocks.0.fc1, Linear(in_features=4, out_features=4, bias=True)" in text
    net = Net()
    net.head["fc2"] = nn.Linear(7, 2)
    with pytest.raises(ShapeError, match=r"Net\.head\.fc2, Linear\(in_features=7"):
        net(ml.ones((3, 4)))
    with pytest.raises(ShapeError, match=r"in: +Linear\("):
        nn.Linear(2, 2)(ml.ones((3, 4)))


def test_the_users_own_errors_get_a_note() -> None:
    class Bad(nn.Module):
        def forward(self, x: Any) -> Any:
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        nn.Sequential(nn.ReLU(), nn.Sequential(Bad()))(ml.ones((1,)))
    assert caught.value.args == ("mine",)
    assert caught.value.__notes__ == ["  in: Sequential.1.0, Bad"]


def test_interruption_passes_through() -> None:
    class Stop(nn.Module):
        def forward(self, x: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stop()(1)


# -- containers -------------------------------------------------------------------------------------------------------


def test_sequential() -> None:
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b)
    net.append(c)
    assert (len(net), net[0], net[-1]) == (3, a, c)
    assert list(net[1:]) == [b, c]
    net.insert(1, nn.Tanh())
    assert [type(m).__name__ for m in net] == ["Linear", "Tanh", "ReLU", "Linear"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert type(net.pop(1)) is nn.Tanh
    del net[1]
    net[1] = nn.Linear(3, 4)
    assert net(ml.ones((1, 2))).shape == (1, 4)
    named = nn.Sequential({"first": a, "then": b})
    assert list(named.state_dict()) == ["first.weight", "first.bias"]
    assert [n for n, _ in named[:1].named_children()] == ["first"]
    with pytest.raises(OutOfRangeError, match="index 5 out of range for 2 members"):
        net[5]
    with pytest.raises(ArgumentTypeError, match="member 2 is a function, not a Module"):
        net.append(F.relu)


def test_module_list_and_dict() -> None:
    layers = nn.ModuleList([nn.Linear(1, 1)])
    layers.extend([nn.ReLU(), nn.Linear(1, 2)])
    assert [n for n, _ in layers.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(layers + nn.ModuleList([nn.ReLU()])) == 4
    assert layers[0] in layers
    with pytest.raises(ArgumentTypeError, match="no forward"):
        layers(1)
    heads = nn.ModuleDict({"a": nn.Linear(1, 1)})
    heads["b"] = nn.ReLU()
    heads.update({"c": nn.Tanh()})
    assert list(heads.keys()) == ["a", "b", "c"]
    assert type(heads.pop("b")) is nn.ReLU
    assert len(heads) == 2
    with pytest.raises(ArgumentError, match="no module 'd'"):
        heads["d"]
    heads.clear()
    assert not list(heads.items())


def test_parameter_list() -> None:
    held = nn.ParameterList([ml.zeros((2,)), nn.Parameter(ml.ones((3,)))])
    held.append(ml.ones((1,)))
    assert [n for n, _ in held.named_parameters()] == ["0", "1", "2"]
    assert held[1].tolist() == [1.0, 1.0, 1.0]


def test_repr() -> None:
    assert repr(Net()).splitlines()[:4] == [
        "Net(",
        "  (blocks): ModuleList(",
        "    (0-1): 2 x Block(",
        "      (fc1): Linear(in_features=4, out_features=4, bias=True)",
    ]


class Table(nn.Module, dict):  # type: ignore[type-arg]
    def forward(self, x: Any) -> Any:
        return x + len(self)


def test_a_second_base_with_a_layout_of_its_own() -> None:
    """The compiled base that calls a module has no fields, so any class may stand beside it."""
    table = Table()
    table["a"] = 1
    assert table(ml.ones((2,))).tolist() == [2.0, 2.0]
    assert copy.deepcopy(nn.ReLU())(ml.ones((1,))).item() == 1
    assert pickle.loads(pickle.dumps(nn.ReLU(inplace=True))).inplace
