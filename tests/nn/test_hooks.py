"""Hooks beside PyTorch's: the same calls in the same order, with the same values; extra state, buffers, skip_init."""

# ruff: noqa: PT018  (tables of cases; facts that belong together)

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn
from mlcore.errors import ArgumentError, ArgumentTypeError, AutogradError, StateDictError
from mlcore.nn.modules import module as modules


def host(one: Any) -> Any:
    """Values as lists, whatever holds them."""
    if isinstance(one, (tuple, list)):
        return [host(part) for part in one]
    if one is None or isinstance(one, (str, bool)):
        return one
    return np.round(np.asarray(one.detach().numpy() if hasattr(one, "detach") else one), 6).tolist()


def network(library: Any) -> Any:
    made = library.Sequential(library.Linear(2, 3), library.ReLU(), library.Linear(3, 1))
    for i, one in enumerate(made.parameters()):
        values = np.linspace(-1, 1, int(np.prod(one.shape))).reshape(tuple(one.shape)) + 0.1 * i
        with_values(library, one, values)
    return made


def with_values(library: Any, one: Any, values: Any) -> None:
    if library is nn:
        with ml.no_grad():
            one.rebind(ml.asarray(values.astype(np.float32), device=one.device))
    else:
        torch = pytest.importorskip("torch")
        with torch.no_grad():
            one.copy_(torch.tensor(values, dtype=torch.float32))


def forward_and_backward(library: Any, change: bool) -> list[Any]:
    """What every kind of hook is told, in order."""
    log: list[Any] = []
    model = network(library)
    note = lambda kind: lambda module, *rest: log.append((kind, type(module).__name__, host(rest)))  # noqa: E731
    for one in model:
        one.register_forward_pre_hook(note("pre"))
        one.register_forward_hook(note("forward"))
        one.register_full_backward_pre_hook(note("backward_pre"))
        one.register_full_backward_hook(note("backward"))
        one.register_full_backward_pre_hook(note("backward_pre, first"), prepend=True)
    if change:
        model[2].register_full_backward_pre_hook(lambda module, grads: (grads[0] * 2,))
        model[0].register_full_backward_hook(lambda module, grads, _: (grads[0] * 3,))
    for one in model.parameters():
        one.register_post_accumulate_grad_hook(lambda p: log.append(("kept", host(p.grad))))
    values = np.array([[0.5, -1.0], [2.0, 0.25]], dtype=np.float32)
    if library is nn:
        x = ml.asarray(values, requires_grad=True)
    else:
        x = pytest.importorskip("torch").tensor(values, requires_grad=True)
    model(x).sum().backward()
    log.append(host(x.grad))
    return log


@pytest.mark.parity
@pytest.mark.parametrize("change", [False, True])
def test_hooks_are_told_what_pytorch_tells_them(change: bool) -> None:
    torch = pytest.importorskip("torch")
    mine, its = forward_and_backward(nn, change), forward_and_backward(torch.nn, change)
    apart = [[one for one in log if isinstance(one, tuple) and one[0] == "kept"] for log in (mine, its)]
    assert sorted(map(str, apart[0])) == sorted(map(str, apart[1]))
    rest = [[one for one in log if not (isinstance(one, tuple) and one[0] == "kept")] for log in (mine, its)]
    assert [one[:2] for one in rest[0][:-1]] == [one[:2] for one in rest[1][:-1]]
    for a, b in zip(*rest, strict=True):
        assert str(a) == str(b)


def test_hooks_after_accumulating_see_the_sum() -> None:
    p = nn.Parameter(ml.ones((2,)))
    seen: list[Any] = []
    before = p.register_hook(lambda g: g * 2)
    handle = p.register_post_accumulate_grad_hook(lambda one: seen.append(host(one.grad)))
    (p * 3).sum().backward()
    (p * 3).sum().backward()
    assert seen == [[6.0, 6.0], [12.0, 12.0]]
    handle.remove()
    before.remove()
    (p * 3).sum().backward()
    assert len(seen) == 2 and host(p.grad) == [15.0, 15.0]
    with pytest.raises(AutogradError, match="kept by leaves"):
        (p * 2).register_post_accumulate_grad_hook(print)


def test_a_backward_pre_hook_gives_as_many_gradients_as_there_are() -> None:
    layer = nn.Linear(2, 2)
    layer.register_full_backward_pre_hook(lambda module, grads: (grads[0], grads[0]))
    with pytest.raises(ArgumentTypeError, match="returned 2 gradients for 1 outputs"):
        layer(ml.ones((1, 2), requires_grad=True)).sum().backward()


def everywhere(library: Any, module: Any) -> list[Any]:
    log: list[Any] = []
    model = network(library)
    model[1].register_forward_hook(lambda *_: log.append("own"))
    handles = [
        module.register_module_forward_pre_hook(lambda one, args: log.append(("pre", type(one).__name__))),
        module.register_module_forward_hook(
            lambda one, args, made: log.append((type(one).__name__, host(made)))
        ),
        module.register_module_full_backward_pre_hook(
            lambda one, g: log.append(("before", type(one).__name__))
        ),
        module.register_module_full_backward_hook(lambda one, g, h: log.append(("back", type(one).__name__))),
    ]
    try:
        values = np.ones((1, 2), dtype=np.float32)
        x = (
            ml.asarray(values, requires_grad=True)
            if library is nn
            else pytest.importorskip("torch").tensor(values, requires_grad=True)
        )
        model(x).sum().backward()
    finally:
        for one in handles:
            one.remove()
    model(x)
    return log


@pytest.mark.parity
def test_hooks_of_all_modules() -> None:
    torch = pytest.importorskip("torch")
    assert everywhere(nn, modules) == everywhere(torch.nn, torch.nn.modules.module)
    assert nn.Linear(1, 1)._hooks is None


def state_hooks(library: Any) -> tuple[list[Any], list[str]]:
    log: list[Any] = []
    model = library.Sequential(library.Linear(1, 2), library.Sequential(library.Linear(2, 1)))
    for one in model.modules():
        name = type(one).__name__
        one.register_state_dict_pre_hook(
            lambda m, prefix, keep, name=name: log.append(("pre", name, prefix, keep))
        )
        one.register_state_dict_post_hook(
            lambda m, d, prefix, _, name=name: log.append(("post", name, prefix, list(d)))
        )
    model[0].register_state_dict_post_hook(
        lambda m, d, prefix, _: d.update({prefix + "scale": d[prefix + "bias"]})
    )

    def renamed(
        m: Any, d: Any, prefix: str, meta: Any, strict: bool, missing: Any, unexpected: Any, errors: Any
    ) -> None:
        d.pop(prefix + "scale")
        log.append(("load", prefix, strict, list(missing), list(unexpected), list(errors)))

    model[0].register_load_state_dict_pre_hook(renamed)
    given = dict(model.state_dict())
    keys = list(given)
    del given["1.0.bias"]

    def loaded(m: Any, found: Any) -> None:
        log.append(list(found.missing_keys))
        found.missing_keys.clear()

    model[1].register_load_state_dict_post_hook(loaded)
    model.load_state_dict(given)
    assert "0.scale" in given
    return log, keys


@pytest.mark.parity
def test_hooks_around_the_state_dict() -> None:
    torch = pytest.importorskip("torch")
    assert state_hooks(nn) == state_hooks(torch.nn)


def test_hooks_of_loading_may_refuse() -> None:
    layer = nn.Linear(1, 1)
    layer.register_load_state_dict_pre_hook(lambda *given: given[-1].append("it is too old"))
    with pytest.raises(StateDictError, match="it is too old"):
        layer.load_state_dict(layer.state_dict())
    layer = nn.Linear(1, 1)
    layer.register_state_dict_post_hook(lambda *given: 1)
    with pytest.raises(ArgumentTypeError, match="post-hook returned something"):
        layer.state_dict()


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.count = nn.Linear(1, 1), 0

    def get_extra_state(self) -> Any:
        return {"count": self.count}

    def set_extra_state(self, state: Any) -> None:
        self.count = state["count"]


def test_extra_state() -> None:
    one, other = nn.Sequential(Counts()), nn.Sequential(Counts())
    one[0].count = 7
    state = one.state_dict()
    assert list(state) == ["0._extra_state", "0.inner.weight", "0.inner.bias"]
    assert other.load_state_dict(state) == ([], []) and other[0].count == 7
    del state["0._extra_state"]
    with pytest.raises(StateDictError, match="_extra_state"):
        other.load_state_dict(state)
    assert other.load_state_dict(state, strict=False).missing_keys == ["0._extra_state"]
    with pytest.raises(ArgumentTypeError, match="has no extra state"):
        nn.Linear(1, 1).get_extra_state()


def test_buffers_that_are_assigned() -> None:
    m = nn.Module()
    m.kept, m.passing = nn.Buffer(ml.ones((2,))), nn.Buffer(ml.zeros((3,)), persistent=False)
    for one in (m, copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert [name for name, _ in one.named_buffers()] == ["kept", "passing"] and list(
            one.state_dict()
        ) == ["kept"]
        assert not list(one.parameters()) and one.get_buffer("passing").shape == (3,)
        one.to(ml.float64)
        assert one.kept.dtype is ml.float64 and [name for name, _ in one.named_buffers()] == [
            "kept",
            "passing",
        ]
        one.load_state_dict({"kept": ml.asarray([3.0, 4.0])})
        one.kept = one.kept + 1
        assert host(one.state_dict()["kept"]) == [4.0, 5.0]


def test_modules_without_values() -> None:
    state = ml.random.get_state()
    layer = nn.utils.skip_init(nn.Conv2d, 3, 4, 3, device="reference")
    assert (
        ml.random.get_state() == state and layer.weight.shape == (4, 3, 3, 3) and layer.weight.requires_grad
    )
    assert str(layer.weight.device) == "reference"
    moved = nn.Sequential(nn.Linear(2, 3)).to_empty(device="reference")
    assert str(moved[0].bias.device) == "reference" and moved[0].bias.shape == (3,)
    with pytest.raises(ArgumentTypeError, match="is not a Module class"):
        nn.utils.skip_init(print)


def test_set_submodule() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
    net.set_submodule("0.0", nn.ReLU())
    assert isinstance(net[0][0], nn.ReLU)
    with pytest.raises(ArgumentError, match="has no module"):
        net.set_submodule("0.7", nn.ReLU(), strict=True)
    with pytest.raises(ArgumentTypeError, match="is not a Module"):
        net.set_submodule("0.0", 3)


OLD = [
    "constant",
    "dirac",
    "eye",
    "kaiming_normal",
    "kaiming_uniform",
    "normal",
    "orthogonal",
    "sparse",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
]


@pytest.mark.parametrize("name", OLD)
def test_deprecated_names_warn_and_do_the_same(name: str) -> None:
    rest = {"constant": (3.0,), "sparse": (0.5,)}.get(name, ())
    shape = (3, 3, 3) if name == "dirac" else (4, 3)
    with ml.device("reference"):
        ml.manual_seed(0)
        with pytest.warns(FutureWarning, match=f"use {name}_"):
            old = getattr(nn.init, name)(ml.zeros(shape), *rest)
        ml.manual_seed(0)
        assert host(old) == host(getattr(nn.init, f"{name}_")(ml.zeros(shape), *rest))


def test_deprecated_containers_and_clipping() -> None:
    with pytest.warns(FutureWarning, match=r"nn\.Module or nn\.ModuleDict"):
        held = nn.Container(a=nn.Linear(1, 1))
    held.a.weight.grad = ml.asarray([[3.0]])
    with pytest.warns(FutureWarning, match="clip_grad_norm_"):
        assert nn.utils.clip_grad_norm(held.parameters(), 1.0).item() == 3.0
