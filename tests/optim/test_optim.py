"""Optimizers: refusals, groups, closures, state that survives, and one operation for all parameters."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

from typing import Any

import pytest

import mlcore as ml
from mlcore import dispatch, nn, optim
from mlcore.errors import MlcoreError, StateDictError

S = optim.lr_scheduler


def one() -> Any:
    return nn.Parameter(ml.ones((2,)))


def sgd(**how: Any) -> Any:
    return optim.SGD([one()], **how)


P = one()


def set_grad(p: Any) -> None:
    p.grad = ml.ones(p.shape)


NAN = float("nan")

WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda: sgd(lr=-1), ValueError, "SGD: lr is -1"),
    (lambda: sgd(lr=NAN), ValueError, "SGD: lr is nan"),
    (lambda: sgd(lr=float("inf")), ValueError, "SGD: lr is inf"),
    (lambda: sgd(lr="big"), TypeError, "SGD: lr is a str"),
    (lambda: sgd(momentum=-0.1), ValueError, "momentum is -0.1"),
    (lambda: sgd(weight_decay=NAN), ValueError, "weight_decay is nan"),
    (lambda: sgd(nesterov=True), ValueError, "Nesterov needs momentum > 0"),
    (lambda: optim.AdamW([P], lr=NAN), ValueError, "AdamW: lr is nan"),
    (lambda: optim.Adam([P], betas=(1.0, 0.9)), ValueError, r"betas\[0\] is 1.0"),
    (lambda: optim.Adam([P], betas=(0.9, -1)), ValueError, r"betas\[1\] is -1"),
    (lambda: optim.Adam([P], betas=0.9), ValueError, "betas is 0.9"),
    (lambda: optim.Adam([P], eps=-1), ValueError, "eps is -1"),
    (lambda: optim.SGD([]), ValueError, "there are no parameters"),
    (lambda: optim.SGD(iter(())), ValueError, "there are no parameters"),
    (lambda: optim.SGD(P), TypeError, "params is one tensor"),
    (lambda: optim.SGD([1.0]), TypeError, "parameter 0 is a float"),
    (lambda: optim.SGD([{"params": {P}}]), TypeError, "parameters in a set"),
    (lambda: optim.SGD([P, P]), ValueError, r"parameter 1, shape \(2,\), is given twice"),
    (lambda: optim.SGD([{"params": [P]}, {"params": [P]}]), ValueError, "given twice"),
    (lambda: optim.SGD([P * 2]), RuntimeError, "is not a leaf: it was made by 'multiply'"),
    (lambda: optim.SGD([{"params": [P], "lr": -3}]), ValueError, "lr is -3"),
    (lambda: optim.SGD([{"parms": [P]}]), TypeError, "a parameter group"),
    (lambda: optim.SGD({"a": P}), TypeError, "params is a mapping"),
    (lambda: sgd().load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]}), RuntimeError, r"groups of \[2\] parameters given, \[1\] expected"),
    (lambda: sgd().load_state_dict({}), RuntimeError, "not an optimizer's state"),
    (lambda: sgd().load_state_dict({"state": {5: {}}, "param_groups": [{"params": [0]}]}), RuntimeError, "state of parameter 5"),
    (lambda: S.StepLR(sgd(), 0), ValueError, "StepLR: step_size is 0"),
    (lambda: S.StepLR(sgd(), 3, gamma=NAN), ValueError, "gamma is nan"),
    (lambda: S.StepLR(P, 3), TypeError, "optimizer is a Parameter"),
    (lambda: S.CosineAnnealingLR(sgd(), 0), ValueError, "T_max is 0"),
    (lambda: S.ExponentialLR(sgd(), 0.9, last_epoch=3), ValueError, "group 0 has no 'initial_lr'"),
    (lambda: S.OneCycleLR(sgd(), 1.0), ValueError, "neither total_steps nor epochs"),
    (lambda: S.LambdaLR(sgd(), [abs, abs]), ValueError, "2 functions for 1 groups"),
    (lambda: S.ReduceLROnPlateau(sgd(), mode="up"), ValueError, "mode='up'"),
    (lambda: S.ReduceLROnPlateau(sgd(), factor=1.0), ValueError, "factor is 1"),
    (lambda: S.SequentialLR(sgd(), [], []), ValueError, "0 schedules with 0 milestones"),
    (lambda: S.StepLR(sgd(), 1).load_state_dict({}), RuntimeError, "not a schedule's state"),
    (lambda: S.MultiplicativeLR(sgd(), 0.5), TypeError, "MultiplicativeLR: lr_lambda is a float, not a function of the epoch"),
    (lambda: S.MultiplicativeLR(P, abs), TypeError, "MultiplicativeLR: optimizer is a Parameter"),
    (lambda: S.CyclicLR(sgd(), 0.1, 0.2, mode="square"), ValueError, "CyclicLR: mode='square'"),
    (lambda: S.CyclicLR(sgd(), 0.1, 0.2, step_size_up=0), ValueError, "step_size_up=0"),
    (lambda: S.CyclicLR(sgd(), 0.1, [0.2, 0.3]), ValueError, "2 values of max_lr for 1 groups"),
    (lambda: S.CyclicLR(sgd(), -0.1, 0.2), ValueError, "base_lr is -0.1"),
    (lambda: S.CyclicLR(optim.Rprop([P]), 0.1, 0.2), ValueError, "Rprop has no momentum"),
    (lambda: S.OneCycleLR(optim.Adafactor([P]), 0.1, 10), ValueError, "Adafactor has no momentum"),
    (lambda: S.OneCycleLR(sgd(), 0.1, 10, div_factor=0), ValueError, "div_factor=0"),
    (lambda: S.OneCycleLR(sgd(), 0.1, 0), ValueError, "total_steps is 0"),
    (lambda: S.CosineAnnealingWarmRestarts(sgd(), 0), ValueError, "T_0 is 0"),
    (lambda: S.CosineAnnealingWarmRestarts(sgd(), 3, 1.5), ValueError, "T_mult is 1.5"),
    (lambda: S.CosineAnnealingWarmRestarts(sgd(), 3).step(-1), ValueError, "epoch is -1"),
    (lambda: S.ChainedScheduler([]), ValueError, "ChainedScheduler: there are no schedules"),
    (lambda: S.ChainedScheduler([1]), TypeError, "schedule 0 is a int"),
    (lambda: S.ChainedScheduler([S.StepLR(sgd(), 1), S.StepLR(sgd(), 1)]), ValueError, "schedule 1, StepLR, acts on another optimizer"),
    (lambda: S.ChainedScheduler([S.ReduceLROnPlateau(sgd())]), ValueError, "its step takes a metric"),
    (lambda: S.SequentialLR(o := sgd(), [S.StepLR(o, 1)] * 3, [5, 2]), ValueError, r"milestones \[5, 2\]"),
    (lambda: S.ChainedScheduler([S.StepLR(sgd(), 1)]).load_state_dict({"_last_lr": [1.0]}), RuntimeError, "states of 0 schedules for 1"),
    (lambda: S.ReduceLROnPlateau(sgd(), patience=-1), ValueError, "patience is -1"),
    (lambda: S.WarmupStableDecay(sgd(), -1, 2, 3), ValueError, "warmup_steps is -1"),
    (lambda: S.WarmupStableDecay(sgd(), 1, 2, 3, anneal_strategy="up"), ValueError, "anneal_strategy='up'"),
    (lambda: S.InverseSqrtLR(sgd(), 4, timescale=0), ValueError, "timescale is 0"),
    (lambda: optim.Rprop([P], etas=(1.5, 1.2)), ValueError, r"etas is \(1.5, 1.2\)"),
    (lambda: optim.Adafactor([P], d=0.5), ValueError, "d is 0.5"),
    (lambda: optim.Adafactor([P], eps=(None, None)), TypeError, r"eps\[1\] is a NoneType"),
    (lambda: optim.Adafactor([P], beta2_decay=0.1), ValueError, "beta2_decay is 0.1"),
    (lambda: optim.LAMB([P], bounds=(2, 1)), ValueError, r"bounds is \(2, 1\)"),
    (lambda: optim.LARS([P], momentum=0.0, nesterov=True), ValueError, "nesterov with momentum 0"),
    (lambda: optim.Lion([P], learning_rate=1), TypeError, "Lion: unknown argument 'learning_rate'"),
    (lambda: optim.Lion(), TypeError, "missing a required argument: 'params'"),
    (lambda: optim.Lion([P], 1, (0.9, 0.9), 0.0, True), TypeError, "too many positional arguments"),
    (lambda: optim.Optimizer([P], {}).step() or set_grad(P) or optim.Optimizer([P], {}).step(), TypeError, "defines neither step"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text for _, _, text in WRONG])
def test_refusals(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        call()
    assert isinstance(caught.value, MlcoreError)


def test_a_step_is_one_operation(device: str) -> None:
    """All parameters of a group in one call, so that a backend can fuse it."""
    net = nn.Sequential(*[nn.Linear(3, 3) for _ in range(5)])
    for make, name in ((lambda: optim.SGD(net.parameters(), lr=0.1), "sgd_step"),
                       (lambda: optim.SGD(net.parameters(), lr=0.1, momentum=0.9), "sgd_momentum_step"),
                       (lambda: optim.AdamW(net.parameters()), "adam_step")):  # fmt: skip
        optimizer = make()
        for _ in range(2):
            optimizer.zero_grad()
            net(ml.ones((1, 3))).sum().backward()
            seen: list[str] = []

            def watch(op: Any, inputs: Any, params: Any, proceed: Any, seen: list[str] = seen) -> Any:
                seen.append(op.name)
                return proceed()

            with dispatch.intercept(watch):
                optimizer.step()
            assert seen.count(name) == 1


def test_parameters_without_gradient_are_left_alone() -> None:
    a, b = one(), one()
    optimizer = optim.AdamW([a, b], lr=0.1)
    a.grad = ml.ones((2,))
    optimizer.step()
    assert a.tolist() != [1.0, 1.0]
    assert b.tolist() == [1.0, 1.0]
    assert set(optimizer.state_dict()["state"]) == {0}
    optimizer.zero_grad(set_to_none=False)
    assert a.grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert a.grad is None


def test_closure_records_although_the_step_does_not() -> None:
    p = one()
    optimizer = optim.SGD([p], lr=0.5)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with ml.no_grad():
        assert optimizer.step(closure).item() == 2.0
    assert p.tolist() == [0.0, 0.0]
    assert p.is_leaf
    assert p.requires_grad


def test_a_step_changes_the_object_and_nothing_else() -> None:
    p = one()
    before, view = p.detach(), p[0:1]
    p.grad = ml.ones((2,))
    optim.SGD([p], lr=1.0).step()
    assert p.tolist() == [0.0, 0.0]
    assert before.tolist() == [1.0, 1.0]
    assert view.tolist() == [1.0]


def test_named_parameters_and_mixed_dtypes() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, dtype=ml.float64))
    optimizer = optim.AdamW(net.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    before = [p.tolist() for p in net.parameters()]
    for p in net.parameters():
        p.grad = ml.ones_like(p)
    optimizer.step()
    assert all(p.tolist() != b for p, b in zip(net.parameters(), before, strict=True))
    assert [str(p.dtype) for p in net.parameters()] == ["float32", "float32", "float64", "float64"]
    assert "lr: 0.1" in repr(optimizer)


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.AdamW(p, lr=0.1, amsgrad=True)]
)
def test_state_is_a_snapshot_that_continues_the_run(make: Any) -> None:
    def run(steps: int, stop: int | None = None) -> list[float]:
        p = nn.Parameter(ml.asarray([1.0, -2.0, 3.0]))
        optimizer = make([p])
        schedule = S.CosineAnnealingLR(optimizer, 10)
        for i in range(steps):
            if i == stop:
                kept = (p.detach(), optimizer.state_dict(), schedule.state_dict())
                p = nn.Parameter(kept[0])
                optimizer = make([p])
                schedule = S.CosineAnnealingLR(optimizer, 10)
                optimizer.load_state_dict(kept[1])
                schedule.load_state_dict(kept[2])
            optimizer.zero_grad()
            (p**2).sum().backward()
            optimizer.step()
            schedule.step()
        found: list[float] = p.tolist()
        return found

    assert run(8) == run(8, stop=4)


def test_wrong_shape_in_a_state() -> None:
    a, b = optim.AdamW([one()]), optim.AdamW([nn.Parameter(ml.ones((3,)))])
    a.param_groups[0]["params"][0].grad = ml.ones((2,))
    a.step()
    with pytest.raises(
        StateDictError, match=r"'exp_avg' of parameter 0 has shape \(2,\), the parameter \(3,\)"
    ):
        b.load_state_dict(a.state_dict())
    assert not b.state_dict()["state"]


def test_a_schedule_of_ones_own() -> None:
    class Halve(S.LRScheduler):
        def get_lr(self) -> list[float]:
            return [base / 2**self.last_epoch for base in self.base_lrs]

    optimizer = sgd(lr=1.0)
    schedule = Halve(optimizer)
    schedule.step()
    schedule.step()
    assert schedule.get_last_lr() == [0.25]
    assert optimizer.param_groups[0]["lr"] == 0.25
