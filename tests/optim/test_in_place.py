"""A step writes over the old values only where nobody can tell: every other holder of them keeps what it had."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import dispatch, nn, optim
from mlcore.optim.step import buckets

MAKERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.5),
    "momentum": lambda p: optim.SGD(p, lr=0.5, momentum=0.9),
    "adamw": lambda p: optim.AdamW(p, lr=0.5),
    "amsgrad": lambda p: optim.Adam(p, lr=0.5, amsgrad=True),
    "radam": lambda p: optim.RAdam(p, lr=0.5),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.5, momentum=0.9),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.5),
    "asgd": lambda p: optim.ASGD(p, lr=0.5, lambd=0.5),
    "lion": lambda p: optim.Lion(p, lr=0.5),
}
SHAPES = [(3, 4), (5,), (), (0, 2), (200, 300)]


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return MAKERS[request.param]


def parameters(seed: int = 0, dtype: str = "float32") -> list[Any]:
    rng = np.random.default_rng(seed)
    return [nn.Parameter(ml.asarray(rng.standard_normal(shape).astype(dtype))) for shape in SHAPES]


def set_gradients(made: list[Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for p in made:
        p.grad = ml.asarray(rng.standard_normal(p.shape)).to(p.dtype)


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "detach": lambda p: p.detach(),
    "numpy": lambda p: p.numpy(),
    "view": lambda p: p.reshape(p.size).detach(),
    "transposed": lambda p: p.detach().reshape(-1, 1).permute_dims((1, 0)),
    "slice": lambda p: p.detach().reshape(-1)[::2],
    "memoryview": lambda p: memoryview(p.numpy()),
    "dlpack": lambda p: np.from_dlpack(p.numpy()) if p.size else p.detach(),
    "deepcopy": copy.deepcopy,
    "recorded": lambda p: p * p,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_whoever_holds_a_value_keeps_it(device: str, make: Callable[[Any], Any], holder: str) -> None:
    made = parameters()
    optimizer = make(made)
    for turn in range(3):
        held = [HOLDERS[holder](p) for p in made]
        before = [np.array(p.numpy()) for p in made]
        set_gradients(made, turn)
        gradients = [np.array(p.grad.numpy()) for p in made]
        optimizer.step()
        for p, one, old, g in zip(made, held, before, gradients, strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(HOLDERS[holder](ml.asarray(old))))
            np.testing.assert_array_equal(p.grad.numpy(), g)
            assert not p.size or not np.array_equal(p.numpy(), old)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_the_numbers_do_not_depend_on_who_looks(device: str, make: Callable[[Any], Any], dtype: str) -> None:
    """Steps that may write over the old values, and steps that may not, give the same bits."""

    def run(watched: bool) -> list[Any]:
        made = parameters(1, dtype)
        optimizer = make(made)
        kept: list[Any] = []
        for turn in range(4):
            set_gradients(made, turn)
            if watched:
                kept.append([p.detach() for p in made])
                kept.append(optimizer.state_dict())
            optimizer.step()
        states = [
            one.numpy() for held in optimizer.state.values() for one in held.values() if hasattr(one, "numpy")
        ]
        return [p.numpy() for p in made] + states

    for one, other in zip(run(True), run(False), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_graph_recorded_before_the_step_keeps_its_values(device: str, make: Callable[[Any], Any]) -> None:
    p = nn.Parameter(ml.asarray([1.0, 2.0, 3.0]))
    optimizer = make([p])
    y = (p * p).sum()
    p.grad = ml.ones((3,))
    optimizer.step()
    p.grad = None
    y.backward()
    assert p.grad.tolist() == [2.0, 4.0, 6.0]


def test_two_parameters_of_one_memory(make: Callable[[Any], Any]) -> None:
    a = nn.Parameter(ml.asarray([1.0, 2.0]))
    b = nn.Parameter(a.detach())
    optimizer = make([a, b])
    a.grad, b.grad = ml.asarray([1.0, 1.0]), ml.asarray([-1.0, -1.0])
    optimizer.step()
    alone = nn.Parameter(ml.asarray([1.0, 2.0]))
    alone.grad = ml.asarray([1.0, 1.0])
    make([alone]).step()
    assert a.tolist() == alone.tolist()
    assert b.tolist() != a.tolist()


def test_a_gradient_that_is_the_parameter_or_a_state() -> None:
    p = nn.Parameter(ml.asarray([1.0, 2.0]))
    p.grad = p.detach()
    optim.SGD([p], lr=0.5).step()
    assert p.tolist() == [0.5, 1.0]
    assert p.grad.tolist() == [1.0, 2.0]


def test_strides_that_are_not_c_order(device: str, make: Callable[[Any], Any]) -> None:
    values = np.arange(12, dtype="f").reshape(3, 4)
    straight, turned = (
        nn.Parameter(ml.asarray(values)),
        nn.Parameter(ml.asarray(values.T.copy()).permute_dims((1, 0)).detach()),
    )
    for p in (straight, turned):
        optimizer = make([p])
        for _ in range(3):
            p.grad = ml.asarray(np.ones((4, 3), "f")).permute_dims((1, 0)).detach()
            optimizer.step()
    np.testing.assert_array_equal(straight.numpy(), turned.numpy())


def test_no_new_memory_where_nobody_looks() -> None:
    cpu = pytest.importorskip("mlcore_cpu", exc_type=ImportError)
    with ml.device("cpu"):
        p = nn.Parameter(ml.zeros((512, 512)))
        for make in (MAKERS["sgd"], MAKERS["momentum"], MAKERS["adamw"]):
            optimizer = make([p])
            p.grad = ml.ones((512, 512))
            optimizer.step()
            address = p.numpy().ctypes.data
            before = cpu.memory_stats()["allocations"]
            for _ in range(3):
                optimizer.step()
            assert cpu.memory_stats()["allocations"] == before
            assert p.numpy().ctypes.data == address


def test_a_watched_step_is_an_operation() -> None:
    p = nn.Parameter(ml.ones((3,)))
    optimizer = optim.AdamW([p])
    p.grad = ml.ones((3,))
    seen: list[str] = []

    def watch(op: Any, inputs: Any, params: Any, proceed: Any) -> Any:
        seen.append(op.name)
        return proceed()

    with dispatch.intercept(watch):
        optimizer.step()
    assert "adam_step" in seen


def test_one_call_updates_only_so_much() -> None:
    """It cannot be interrupted, so many large parameters are several calls; each parameter is in one of them."""
    made = parameters(2)
    set_gradients(made, 0)
    gradients = [p.grad for p in made]
    assert [one[1] for one in buckets(made, gradients)] == [made]
    parts = buckets(made, gradients, [7] * len(made), largest=15)
    assert [key for key, _, _ in parts] == [7] * len(parts)
    assert [sum(p.size for p in part) for _, part, _ in parts] == [12, 6, 60_000]
    assert [p for _, part, _ in parts for p in part] == made
    assert [g for _, _, part in parts for g in part] == gradients


def test_what_autocast_remembers_of_a_parameter_is_not_old(make: Callable[[Any], Any]) -> None:
    p = nn.Parameter(ml.ones((4, 4)))
    optimizer = make([p])
    x = ml.ones((4, 4))
    with ml.autocast("cpu" if str(p.device).startswith("cpu") else None):
        for _ in range(3):
            before = float((x @ p).sum())
            p.grad = ml.ones((4, 4))
            optimizer.step()
            after = float((x @ p).sum())
            assert after < before - 1.0
            assert abs(after - float((x @ p.detach()).sum())) < 1e-6
