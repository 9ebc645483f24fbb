"""Schedules over 150 epochs against PyTorch; their state goes over to PyTorch and back on the way."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

EPOCHS = 150
MOVES = (20, 77)  # after these epochs each side goes on from the other's state


class Falling:
    """A function with a state."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, epoch: float) -> float:
        return float(self.by ** min(epoch, 20))


def swa(schedules: Any) -> Any:
    return optim.swa_utils if schedules is optim.lr_scheduler else torch.optim.swa_utils


SCHEDULES: list[tuple[str, Any]] = [
    ("StepLR", lambda s, o: s.StepLR(o, 7, 0.5)),
    ("StepLR default", lambda s, o: s.StepLR(o, 10)),
    ("MultiStepLR", lambda s, o: s.MultiStepLR(o, [5, 20, 20, 40], gamma=0.3)),
    ("ConstantLR", lambda s, o: s.ConstantLR(o, 0.2, 8)),
    ("LinearLR", lambda s, o: s.LinearLR(o)),
    ("LinearLR down", lambda s, o: s.LinearLR(o, 1.0, 0.1, 30)),
    ("ExponentialLR", lambda s, o: s.ExponentialLR(o, 0.9)),
    ("CosineAnnealingLR", lambda s, o: s.CosineAnnealingLR(o, 50)),
    ("CosineAnnealingLR and back", lambda s, o: s.CosineAnnealingLR(o, 10, eta_min=1e-3)),
    ("PolynomialLR", lambda s, o: s.PolynomialLR(o, 30, 2.0)),
    ("LambdaLR", lambda s, o: s.LambdaLR(o, lambda e: 0.95**e)),
    ("LambdaLR list", lambda s, o: s.LambdaLR(o, [lambda e: 0.95**e, lambda e: 1 / (1 + e)])),
    ("OneCycleLR", lambda s, o: s.OneCycleLR(o, 1.0, total_steps=EPOCHS + 1)),
    ("OneCycleLR linear", lambda s, o: s.OneCycleLR(o, [1.0, 2.0], epochs=31, steps_per_epoch=5, anneal_strategy="linear", pct_start=0.25)),
    ("OneCycleLR three phases", lambda s, o: s.OneCycleLR(o, 0.7, total_steps=200, three_phase=True, div_factor=10.0)),
    ("SequentialLR", lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.1, 1.0, 10), s.CosineAnnealingLR(o, 40)], [10])),
    ("SequentialLR three", lambda s, o: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 100), s.ExponentialLR(o, 0.9), s.StepLR(o, 5)], [4, 20])),
    ("StepLR from milestone 0", lambda s, o: s.MultiStepLR(o, [0, 3, 3, 50])),
    ("ConstantLR none", lambda s, o: s.ConstantLR(o, 0.5, 0)),
    ("MultiplicativeLR", lambda s, o: s.MultiplicativeLR(o, lambda e: 1.02 if e % 3 else 0.95)),
    ("MultiplicativeLR list", lambda s, o: s.MultiplicativeLR(o, [lambda e: 0.97, lambda e: 1 / (1 + 0.01 * e)])),
    ("LambdaLR object", lambda s, o: s.LambdaLR(o, Falling(0.9))),
    ("CosineAnnealingLR float", lambda s, o: s.CosineAnnealingLR(o, 7.5, eta_min=-0.1)),
    ("WarmRestarts", lambda s, o: s.CosineAnnealingWarmRestarts(o, 7)),
    ("WarmRestarts longer", lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, 2, eta_min=1e-3)),
    ("CyclicLR", lambda s, o: s.CyclicLR(o, 0.01, 0.3, step_size_up=7)),
    ("CyclicLR down", lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.3, 0.1], step_size_up=4, step_size_down=9, mode="triangular2")),
    ("CyclicLR exp", lambda s, o: s.CyclicLR(o, 0.01, 0.3, 6, mode="exp_range", gamma=0.97, base_momentum=0.5, max_momentum=0.7)),
    ("CyclicLR own", lambda s, o: s.CyclicLR(o, 0.01, 0.3, 6, scale_fn=lambda x: 1 / (1 + x), scale_mode="iterations", cycle_momentum=False)),
    ("CyclicLR object", lambda s, o: s.CyclicLR(o, 0.01, 0.3, 6, scale_fn=Falling(0.8))),
    ("SequentialLR cycles", lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.1, 1.0, 9), s.CosineAnnealingWarmRestarts(o, 5, 2)], [9])),
    ("SequentialLR functions", lambda s, o: s.SequentialLR(o, [s.PolynomialLR(o, 8), s.LambdaLR(o, lambda e: 0.9**e), s.MultiplicativeLR(o, lambda e: 0.99)], [8, 40])),
    ("SequentialLR steps", lambda s, o: s.SequentialLR(o, [s.MultiStepLR(o, [2, 4]), s.LinearLR(o, 0.5, 1.0, 10), s.PolynomialLR(o, 30)], [6, 40])),
    ("SequentialLR at once", lambda s, o: s.SequentialLR(o, [s.ConstantLR(o), s.ExponentialLR(o, 0.9)], [0])),
    ("SequentialLR nested", lambda s, o: s.SequentialLR(o, [s.SequentialLR(o, [s.ConstantLR(o, 0.5, 3), s.ExponentialLR(o, 0.95)], [5]), s.StepLR(o, 5)], [30])),
    ("SequentialLR of chained", lambda s, o: s.SequentialLR(o, [s.ChainedScheduler([s.ConstantLR(o, 0.5, 3), s.ExponentialLR(o, 0.95)]), s.StepLR(o, 5)], [30])),
    ("ChainedScheduler", lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.97)])),
    ("ChainedScheduler three", lambda s, o: s.ChainedScheduler([s.LinearLR(o), s.CosineAnnealingLR(o, 25), s.MultiStepLR(o, [10, 40])], optimizer=o)),
    ("ChainedScheduler of sequential", lambda s, o: s.ChainedScheduler([s.SequentialLR(o, [s.LinearLR(o, 0.1, 1.0, 5), s.ExponentialLR(o, 0.95)], [5]), s.MultiplicativeLR(o, lambda e: 0.999)])),
    ("SWALR", lambda s, o: swa(s).SWALR(o, 0.01)),
    ("SWALR linear", lambda s, o: swa(s).SWALR(o, [0.01, 0.9], anneal_epochs=30, anneal_strategy="linear")),
    ("SWALR at once", lambda s, o: swa(s).SWALR(o, 0.01, anneal_epochs=0)),
    ("two at once", lambda s, o: [s.ExponentialLR(o, 0.97), s.CosineAnnealingLR(o, 25)]),
]  # fmt: skip


def twins() -> tuple[list[Any], list[Any]]:
    values = [np.ones(3), np.ones(2)]
    return [nn.Parameter(ml.asarray(one)) for one in values], [
        torch.nn.Parameter(torch.tensor(one)) for one in values
    ]


def both(rule: str) -> tuple[Any, Any]:
    how: dict[str, Any] = dict(lr=0.5, momentum=0.9) if rule == "SGD" else dict(lr=0.5)
    a, b = twins()
    return tuple(
        getattr(lib, rule)([{"params": p[:1]}, {"params": p[1:], "lr": 0.1}], **how)
        for lib, p in ((optim, a), (torch.optim, b))
    )  # type: ignore[return-value]


def plain(value: Any) -> Any:
    """A state with dicts for Counters."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def alike(mine: Any, other: Any) -> bool:
    if isinstance(other, dict):
        return set(mine) == set(other) and all(alike(mine[k], other[k]) for k in other)
    if isinstance(other, list):
        return len(mine) == len(other) and all(map(alike, mine, other))
    return bool(
        mine == other
        if isinstance(other, (str, bool, type(None)))
        else mine == pytest.approx(other, rel=1e-9, abs=1e-15)
    )


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
@pytest.mark.parametrize(("name", "build"), SCHEDULES, ids=[n for n, _ in SCHEDULES])
def test_schedule(name: str, build: Any, rule: str) -> None:
    a, b = both(rule)

    def made() -> tuple[list[Any], list[Any]]:
        s, t = build(optim.lr_scheduler, a), build(torch.optim.lr_scheduler, b)
        return (s if isinstance(s, list) else [s]), (t if isinstance(t, list) else [t])

    def compare() -> None:
        for g, h in zip(a.param_groups, b.param_groups, strict=True):
            assert g["lr"] == pytest.approx(h["lr"], rel=1e-9, abs=1e-15)
            for key in ("momentum", "betas", "initial_lr"):
                if key in h:
                    assert g[key] == pytest.approx(h[key], rel=1e-9)
        assert s[-1].get_last_lr() == pytest.approx(t[-1].get_last_lr(), rel=1e-9, abs=1e-15)

    s, t = made()
    compare()
    for epoch in range(EPOCHS):
        for one in (*s, *t):
            one.step()
        compare()
        if epoch in MOVES:
            mine = [pickle.loads(pickle.dumps(one.state_dict())) for one in s]
            other = [one.state_dict() for one in t]
            assert alike(plain(mine), plain(other)), (mine, other)
            groups = [[dict(g) for g in one.param_groups] for one in (a, b)]
            s, t = made()
            for one, two, state, given in zip(s, t, mine, other, strict=True):
                one.load_state_dict(given)
                two.load_state_dict(state)
            for optimizer, kept in zip((a, b), groups, strict=True):
                for g, h in zip(optimizer.param_groups, kept, strict=True):
                    g.update(h)


GOING: list[tuple[str, Any]] = [one for one in SCHEDULES if one[0].split()[0] in (
    "StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "CosineAnnealingLR", "PolynomialLR", "LambdaLR",
    "WarmRestarts", "CyclicLR") and one[0] != "ConstantLR none"]  # fmt: skip


@pytest.mark.parametrize(("name", "build"), GOING, ids=[n for n, _ in GOING])
def test_going_to_an_epoch(name: str, build: Any) -> None:
    a, b = both("SGD")
    s, t = build(optim.lr_scheduler, a), build(torch.optim.lr_scheduler, b)
    for epoch in (3, 4, 40, 0, 11, 12.5, 29):
        if epoch == 12.5 and not name.startswith("WarmRestarts"):
            continue
        s.step(epoch)
        t.step(epoch)
        assert s.get_last_lr() == pytest.approx(t.get_last_lr(), rel=1e-9, abs=1e-15)
    for _ in range(5):
        s.step()
        t.step()
        assert s.get_last_lr() == pytest.approx(t.get_last_lr(), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("name", "build"), GOING, ids=[n for n, _ in GOING])
def test_continued_by_last_epoch(name: str, build: Any) -> None:
    """A new schedule over a loaded optimizer, with last_epoch."""

    class At:
        def __init__(self, lib: Any) -> None:
            self.lib = lib

        def __getattr__(self, key: str) -> Any:
            return lambda *args, **how: getattr(self.lib, key)(*args, **how, last_epoch=9)

    a, b = both("SGD")
    s, t = build(optim.lr_scheduler, a), build(torch.optim.lr_scheduler, b)
    for _ in range(9):
        s.step()
        t.step()
    s, t = build(At(optim.lr_scheduler), a), build(At(torch.optim.lr_scheduler), b)
    for _ in range(20):
        assert s.get_last_lr() == pytest.approx(t.get_last_lr(), rel=1e-9, abs=1e-15)
        s.step()
        t.step()


@pytest.mark.parametrize("name", [*torch.optim.lr_scheduler.__all__, "SWALR"])
def test_signatures_are_pytorchs(name: str) -> None:
    theirs = getattr(torch.optim.lr_scheduler, name, None) or torch.optim.swa_utils.SWALR
    mine = getattr(optim.lr_scheduler, name, None) or optim.swa_utils.SWALR
    one, other = (inspect.signature(cls).parameters.values() for cls in (mine, theirs))
    assert [(p.name, p.default) for p in one] == [(p.name, p.default) for p in other]


def test_rates_that_are_tensors_and_groups_that_come_later() -> None:
    p, q = nn.Parameter(ml.ones((2,))), nn.Parameter(ml.ones((2,)))
    optimizer = optim.SGD([p], lr=ml.asarray(0.5))
    held = optimizer.param_groups[0]["lr"]
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    schedule.step()
    optimizer.add_param_group({"params": [q], "lr": 8.0})
    schedule.step()
    assert held is optimizer.param_groups[0]["lr"]
    assert schedule.get_last_lr() == [0.125, 4.0]
    assert held.item() == 0.125


METRICS = [5, 4, 4, 4, 4, 3.9, 3.9, 3.9, 3.9, 3.9, 3.8, 3.9, 4, 4, 4, 4, 4, 4, 4, 4, 2] * 3


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("cooldown", [0, 3])
def test_plateau(mode: str, threshold_mode: str, cooldown: int) -> None:
    ours, theirs = twins()
    a, b = optim.SGD(ours, lr=1.0), torch.optim.SGD(theirs, lr=1.0)
    how = dict(
        mode=mode, threshold_mode=threshold_mode, cooldown=cooldown, factor=0.5, patience=2, min_lr=1e-2
    )
    s, t = (
        optim.lr_scheduler.ReduceLROnPlateau(a, **how),
        torch.optim.lr_scheduler.ReduceLROnPlateau(b, **how),
    )
    for i, value in enumerate(METRICS):
        if i == 30:
            assert alike(s.state_dict(), t.state_dict())
            mine, other = s.state_dict(), t.state_dict()
            s.load_state_dict(other)
            t.load_state_dict(mine)
        s.step(ml.asarray(float(value)))
        t.step(value)
        assert a.param_groups[0]["lr"] == pytest.approx(b.param_groups[0]["lr"], rel=1e-12)
