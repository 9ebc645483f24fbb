"""Hooks, accumulation, gradients that are not finite, differentiable steps, and swapped parameters."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.errors import MlcoreError


def parameter(*values: float) -> Any:
    return nn.Parameter(ml.asarray(list(values), dtype=ml.float64))


# -- hooks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, lr=1.0), lambda p: optim.LBFGS(p, lr=0.5, max_iter=1)]
)
def test_step_hooks(make: Any) -> None:
    p = parameter(4.0)
    optimizer = make([p])
    seen: list[Any] = []
    first = optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append(("pre", opt is optimizer, len(args), p.item())))  # fmt: skip
    optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append(("post", len(args), p.item())))

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum() * 0.5
        loss.backward()
        return loss

    optimizer.step(closure)
    after = p.item()
    assert seen == [("pre", True, 2, 4.0), ("post", 2, after)]
    first.remove()
    optimizer.step(closure)
    assert [one[0] for one in seen] == ["pre", "post", "post"]
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: "nonsense")
    with pytest.raises(TypeError, match="a step pre-hook returned a str"):
        optimizer.step(closure)


def test_a_pre_hook_may_change_the_arguments() -> None:
    p = parameter(4.0)
    optimizer = optim.SGD([p], lr=1.0)
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: ((opt, lambda: 7), {}))
    assert optimizer.step() == 7
    with pytest.raises(TypeError, match="a hook is a str"):
        optimizer.register_step_pre_hook("hook")


def test_hooks_of_a_class_with_its_own_step_run_once() -> None:
    class Noisy(optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    p = parameter(1.0)
    optimizer = Noisy([p])
    seen: list[str] = []
    optimizer.register_step_post_hook(lambda *_: seen.append("post"))
    p.grad = ml.ones((1,), dtype=ml.float64)
    optimizer.step()
    assert seen == ["post"]


def test_state_hooks_in_pytorchs_order() -> None:
    def run(lib: Any, p: Any) -> list[Any]:
        optimizer = lib.SGD([p], lr=1.0)
        seen: list[Any] = []
        optimizer.register_state_dict_pre_hook(lambda opt: seen.append("a"))
        optimizer.register_state_dict_pre_hook(lambda opt: seen.append("b"), prepend=True)
        optimizer.register_state_dict_post_hook(lambda opt, state: {**state, "more": 1})
        optimizer.register_state_dict_post_hook(lambda opt, state: seen.append(sorted(state)))
        optimizer.register_load_state_dict_pre_hook(lambda opt, state: seen.append("c") or {**state, "param_groups": [{**state["param_groups"][0], "lr": 3.0}]})  # fmt: skip
        optimizer.register_load_state_dict_post_hook(lambda opt: seen.append(opt.param_groups[0]["lr"]))
        optimizer.load_state_dict(optimizer.state_dict())
        return seen

    mine = run(optim, parameter(1.0))
    assert mine == ["b", "a", ["more", "param_groups", "state"], "c", 3.0]
    torch = pytest.importorskip("torch")
    assert run(torch.optim, torch.nn.Parameter(torch.ones(1))) == mine


def test_hooks_stay_here_when_an_optimizer_is_pickled() -> None:
    optimizer = optim.SGD([parameter(1.0)], lr=1.0)
    optimizer.register_step_pre_hook(lambda *_: None)
    again = pickle.loads(pickle.dumps(optimizer))
    again.step()
    assert again.param_groups[0]["lr"] == 1.0


# -- accumulation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [True, False])
def test_accumulated_is_the_large_batch(mean: bool, device: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 3)), rng.normal(size=(24, 1))

    def start() -> tuple[Any, Any, Any]:
        net = nn.Linear(3, 1, dtype=ml.float64)
        net.load_state_dict({"weight": np.ones((1, 3)), "bias": np.zeros(1)})
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        return net, optimizer, optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

    def loss(net: Any, part: slice) -> Any:
        return nn.functional.mse_loss(net(ml.asarray(x[part])), ml.asarray(y[part]), reduction="mean" if mean else "sum")  # fmt: skip

    a, one, rates = start()
    for part in (slice(0, 12), slice(12, 24)):
        one.zero_grad()
        loss(a, part).backward()
        one.step()
        rates.step()
    b, other, schedule = start()
    steps: list[Any] = []
    with optim.Accumulation(other, 3, mean=mean, before=steps.append, scheduler=schedule) as batches:
        done = [batches.backward(loss(b, slice(i, i + 4))) for i in range(0, 20, 4)]
        assert batches.seen == 2
        if mean:
            batches.backward(loss(b, slice(20, 24)))
    if mean:
        assert done == [False, False, True, False, False]
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-12)
    assert steps == [other, other]
    assert schedule.get_last_lr() == [pytest.approx(0.081)]
    assert not batches.flush()


def test_what_remains_is_a_batch_of_its_own(device: str) -> None:
    p = parameter(0.0)
    batches = optim.Accumulation(optim.SGD([p], lr=1.0), 4)
    for value in (1.0, 2.0, 6.0):
        batches.backward((p * value).sum())
    assert batches.flush()
    assert p.item() == pytest.approx(-3.0)
    with pytest.raises(ValueError, match="steps is 0"):
        optim.Accumulation(optim.SGD([p]), 0)


# -- gradients that are not finite ----------------------------------------------------------------------------------


def test_nan_gradients_are_named(device: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    before = [p.tolist() for p in net.parameters()]
    for named, text in (
        (True, r"'1.bias' \(1 of 1: 1 nan, 0 infinite\)"),
        (False, r"parameter 3 of group 0, shape \(1,\)"),
    ):
        optimizer = optim.SGD(net.named_parameters() if named else net.parameters(), lr=1.0)
        handle = optim.check_gradients(optimizer)
        for p in net.parameters():
            p.grad = ml.zeros(p.shape)
        optimizer.step()
        net[1].bias.grad = ml.asarray([float("nan")])
        with pytest.raises(FloatingPointError, match=r"1 of 4 parameters are not finite: " + text) as caught:
            optimizer.step()
        assert isinstance(caught.value, MlcoreError)
        net[0].weight.grad = ml.asarray([[1.0, float("inf")], [float("nan"), -float("inf")]])
        with pytest.raises(optim.GradientError, match=r"2 of 4 .*\(3 of 4: 1 nan, 2 infinite\)"):
            optimizer.step()
        assert [p.tolist() for p in net.parameters()] == before
        handle.remove()
    optimizer = optim.SGD(net.parameters(), lr=0.0)
    optim.check_gradients(optimizer, net, every=2)
    with pytest.raises(optim.GradientError, match=r"'0\.weight'"):
        optimizer.step()
    optimizer.step()
    with pytest.raises(ValueError, match="every is 0"):
        optim.check_gradients(optimizer, every=0)


# -- differentiable -------------------------------------------------------------------------------------------------

DIFFERENTIABLE: list[tuple[str, dict[str, Any]]] = [
    ("SGD", dict(lr=0.1)), ("SGD", dict(lr=0.1, momentum=0.9, nesterov=True)), ("Adam", dict(lr=0.1)), ("Adam", dict(lr=0.1, amsgrad=True)),
    ("AdamW", dict(lr=0.1)), ("NAdam", dict(lr=0.1)), ("RAdam", dict(lr=0.1)), ("Adamax", dict(lr=0.1)), ("Adagrad", dict(lr=0.1)),
    ("Adadelta", dict(lr=0.1)), ("RMSprop", dict(lr=0.1, momentum=0.5)), ("ASGD", dict(lr=0.1)), ("SGD", dict(lr=0.1, maximize=True)),
    ("LARS", dict(lr=0.1)), ("LAMB", dict(lr=0.1, weight_decay=0.1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "how"), DIFFERENTIABLE, ids=[f"{n} {h}" for n, h in DIFFERENTIABLE])
def test_gradients_through_steps(name: str, how: dict[str, Any], device: str) -> None:
    """Three differentiable steps: the gradient of the end by the start and by the data, beside central differences."""

    def run(start: Any, data: Any) -> Any:
        p = start * 1.0
        optimizer = getattr(optim, name)([p], differentiable=True, **how)
        for _ in range(3):
            p.grad = (p - data) * data * 2
            optimizer.step()
        return (p * p).sum()

    values = [np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.7, -1.1])]
    given = [ml.asarray(one, requires_grad=True) for one in values]
    run(*given).backward()
    for i, one in enumerate(given):
        for j in range(3):
            ends = []
            for by in (1e-6, -1e-6):
                moved = [value.copy() for value in values]
                moved[i][j] += by
                ends.append(run(*map(ml.asarray, moved)).item())
            assert one.grad[j].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-7)


def test_not_differentiable_steps_take_leaves_only() -> None:
    with pytest.raises(RuntimeError, match="is not a leaf"):
        optim.SGD([parameter(1.0) * 2], lr=0.1)


# -- swapped --------------------------------------------------------------------------------------------------------


def test_swapped_in_and_out_again() -> None:
    p, q = parameter(1.0, 2.0), parameter(5.0, 6.0)
    optimizer = optim.AdamW([p], lr=0.1)
    p.grad = q.grad = ml.ones((2,), dtype=ml.float64)
    optimizer.step()
    before, state = p.tolist(), optimizer.state_dict()
    with optim.swap_in_optimizer_params_and_state(optimizer, {"q": q}, state):
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 9.0
        assert optimizer.state[q]["step"] == 2
    assert p.tolist() == before
    assert q.tolist() != [5.0, 6.0]
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert optimizer.param_groups[0]["params"] == [p] or optimizer.param_groups[0]["params"][0] is p
    assert optimizer.state[p]["step"] == 1
    with pytest.raises(RuntimeError, match=r"parameters of shapes \[\(1,\)\] for \[\(2,\)\]"), optim.swap_in_optimizer_params_and_state(optimizer, {"q": parameter(1.0)}, state):  # fmt: skip
        pass
