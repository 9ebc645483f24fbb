"""Optimizers over 50 steps against PyTorch, and their state exchanged both ways."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytestmark = pytest.mark.parity

SHAPES = [(4, 3), (5,), (), (2, 2, 2)]
RULES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", dict(lr=0.1)), ("SGD", dict(lr=0.1, weight_decay=0.1)), ("SGD", dict(lr=0.1, momentum=0.9)),
    ("SGD", dict(lr=0.1, momentum=0.9, nesterov=True)), ("SGD", dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.05)),
    ("SGD", dict(lr=0.1, maximize=True)), ("SGD", dict()),
    ("Adam", dict(lr=0.05)), ("Adam", dict(lr=0.05, betas=(0.5, 0.9), eps=1e-3)), ("Adam", dict(lr=0.05, weight_decay=0.1)),
    ("Adam", dict(lr=0.05, amsgrad=True)), ("Adam", dict(lr=0.05, amsgrad=True, weight_decay=0.1)), ("Adam", dict(lr=0.05, maximize=True)),
    ("Adam", dict(lr=0.05, weight_decay=0.1, decoupled_weight_decay=True)), ("Adam", dict()),
    ("AdamW", dict(lr=0.05)), ("AdamW", dict(lr=0.05, weight_decay=0.3)), ("AdamW", dict(lr=0.05, amsgrad=True)), ("AdamW", dict()),
    ("NAdam", dict()), ("NAdam", dict(lr=0.05, betas=(0.5, 0.9), eps=1e-3, momentum_decay=0.1)), ("NAdam", dict(lr=0.05, weight_decay=0.1)),
    ("NAdam", dict(lr=0.05, weight_decay=0.1, decoupled_weight_decay=True)), ("NAdam", dict(lr=0.05, maximize=True)),
    ("RAdam", dict()), ("RAdam", dict(lr=0.05, betas=(0.5, 0.9), eps=1e-3)), ("RAdam", dict(lr=0.05, weight_decay=0.1)),
    ("RAdam", dict(lr=0.05, weight_decay=0.1, decoupled_weight_decay=True)), ("RAdam", dict(lr=0.05, maximize=True, betas=(0.9, 0.5))),
    ("Adamax", dict()), ("Adamax", dict(lr=0.05, betas=(0.5, 0.9), eps=1e-3)), ("Adamax", dict(lr=0.05, weight_decay=0.1)), ("Adamax", dict(lr=0.05, maximize=True)),
    ("Adagrad", dict()), ("Adagrad", dict(lr=0.5, lr_decay=0.1, eps=1e-3)), ("Adagrad", dict(lr=0.5, weight_decay=0.1, initial_accumulator_value=0.3)),
    ("Adagrad", dict(lr=0.1, maximize=True)),
    ("Adadelta", dict()), ("Adadelta", dict(lr=0.5, rho=0.5, eps=1e-3)), ("Adadelta", dict(weight_decay=0.1)), ("Adadelta", dict(maximize=True)),
    ("RMSprop", dict()), ("RMSprop", dict(lr=0.05, alpha=0.5, eps=1e-3)), ("RMSprop", dict(lr=0.05, momentum=0.9)),
    ("RMSprop", dict(lr=0.05, centered=True)), ("RMSprop", dict(lr=0.05, centered=True, momentum=0.5, weight_decay=0.1)), ("RMSprop", dict(maximize=True)),
    ("Rprop", dict()), ("Rprop", dict(lr=0.1, etas=(0.3, 1.5), step_sizes=(1e-3, 0.5))), ("Rprop", dict(maximize=True)),
    ("ASGD", dict()), ("ASGD", dict(lr=0.1, t0=10, lambd=0.01, alpha=0.5)), ("ASGD", dict(lr=0.1, t0=3, weight_decay=0.1)), ("ASGD", dict(maximize=True)),
    ("Adafactor", dict()), ("Adafactor", dict(lr=0.5, beta2_decay=-0.5, eps=(1e-4, 0.1), d=2.0)), ("Adafactor", dict(lr=0.3, weight_decay=0.1)), ("Adafactor", dict(maximize=True)),
]  # fmt: skip
STEPS = 50
FLOAT32 = 5e-5  # relative and absolute, after any number of steps up to 50


def start() -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in SHAPES]


def twins(dtype: str = "float64") -> tuple[list[Any], list[Any]]:
    return (
        [nn.Parameter(ml.asarray(one.astype(dtype))) for one in start()],
        [torch.nn.Parameter(torch.tensor(one.astype(dtype))) for one in start()],
    )


def give_gradients(ours: list[Any], theirs: list[Any], step: int) -> None:
    """Gradients that depend on the values; the second parameter gets its first one later."""
    rng = np.random.default_rng(step + 100)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        noise = rng.normal(size=a.shape)
        if i == 1 and step < 5:
            a.grad = b.grad = None
            continue
        a.grad = a.detach() * 0.3 + ml.asarray(np.asarray(noise)).astype(a.dtype)
        b.grad = b.detach() * 0.3 + torch.tensor(np.asarray(noise)).to(b.dtype)


def same(ours: list[Any], theirs: list[Any], tolerance: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "how"), RULES, ids=[f"{n} {h}" for n, h in RULES])
def test_trajectory(name: str, how: dict[str, Any], dtype: str, device: str) -> None:
    ours, theirs = twins(dtype)
    a, b = getattr(optim, name)(ours, **how), getattr(torch.optim, name)(theirs, **how)
    for step in range(STEPS):
        give_gradients(ours, theirs, step)
        a.step()
        b.step()
        same(ours, theirs, 1e-9 if dtype == "float64" else FLOAT32)


def test_groups(device: str) -> None:
    ours, theirs = twins()

    def make(lib: Any, p: list[Any]) -> Any:
        optimizer = lib.AdamW(
            [{"params": p[:2], "lr": 0.2}, {"params": p[2:3], "weight_decay": 0.5, "betas": (0.5, 0.8)}],
            lr=0.05,
        )
        optimizer.add_param_group({"params": p[3:], "eps": 1e-2})
        return optimizer

    a, b = make(optim, ours), make(torch.optim, theirs)
    for step in range(20):
        give_gradients(ours, theirs, step)
        a.step()
        b.step()
    same(ours, theirs, 1e-9)


def to_torch(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: to_torch(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_torch(v) for v in value]
    return torch.tensor(np.asarray(value)) if isinstance(value, ml.Tensor) else value


def to_numpy(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: to_numpy(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_numpy(v) for v in value]
    return value.numpy() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize(("name", "how"), RULES, ids=[f"{n} {h}" for n, h in RULES])
def test_state_moves_both_ways(name: str, how: dict[str, Any], device: str) -> None:
    ours, theirs = twins()
    a, b = getattr(optim, name)(ours, **how), getattr(torch.optim, name)(theirs, **how)
    for step in range(3, 8):
        give_gradients(ours, theirs, step)
        a.step()
        b.step()
    mine, other = a.state_dict(), b.state_dict()
    assert set(mine) == set(other)
    assert {i: sorted(s) for i, s in mine["state"].items()} == {
        i: sorted(s) for i, s in other["state"].items() if s
    }
    for i, held in mine["state"].items():
        for key, value in held.items():
            if other["state"][i][key] is not None:
                np.testing.assert_allclose(
                    np.asarray(value), other["state"][i][key].numpy(), rtol=1e-9, atol=1e-12
                )
    for g, h in zip(mine["param_groups"], other["param_groups"], strict=True):
        assert set(g) <= set(h) | {"decoupled_weight_decay"}
        assert all(g[k] == h[k] for k in g if k in h)
    # ours continues from theirs, and theirs from ours
    a2, b2 = getattr(optim, name)(ours, lr=1.0), getattr(torch.optim, name)(theirs, lr=1.0)
    a2.load_state_dict(to_numpy(other))
    b2.load_state_dict(to_torch(mine))
    for step in range(8, 15):
        give_gradients(ours, theirs, step)
        a2.step()
        b2.step()
        same(ours, theirs, 1e-9)


def test_training_a_network_gives_pytorchs_numbers(device: str) -> None:
    """20 steps of a small network with everything in it, in float64: losses equal to 1e-9."""

    def net(nn: Any) -> Any:
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.GELU(),
            nn.Flatten(), nn.Linear(32, 16), nn.LayerNorm(16), nn.SiLU(), nn.Linear(16, 4),
        )  # fmt: skip

    theirs = net(torch.nn).double()
    ours = net(nn).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 8, 1, 8, 8)), rng.integers(0, 4, (20, 8))
    a, b = optim.AdamW(ours.parameters(), lr=1e-2), torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    s, t = optim.lr_scheduler.CosineAnnealingLR(a, 20), torch.optim.lr_scheduler.CosineAnnealingLR(b, 20)
    for i in range(20):
        a.zero_grad()
        b.zero_grad()
        loss = nn.functional.cross_entropy(ours(ml.asarray(x[i])), ml.asarray(y[i]), label_smoothing=0.1)
        other = torch.nn.functional.cross_entropy(
            theirs(torch.tensor(x[i])), torch.tensor(y[i]), label_smoothing=0.1
        )
        loss.backward()
        other.backward()
        nn.utils.clip_grad_norm_(ours.parameters(), 0.5)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        a.step()
        b.step()
        s.step()
        t.step()
        assert loss.item() == pytest.approx(other.item(), rel=1e-8)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(
            np.asarray(ours.state_dict()[key]), value.numpy(), rtol=1e-7, atol=1e-8, err_msg=key
        )
