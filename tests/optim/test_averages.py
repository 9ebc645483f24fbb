"""Averages of weights: AveragedModel and update_bn beside PyTorch's, EMA beside its formula."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.errors import MlcoreError

MODES = ["swa", "swa multi", "ema", "ema multi", "own", "own multi"]


def net(lib: Any) -> Any:
    return lib.Sequential(lib.Linear(4, 3), lib.BatchNorm1d(3), lib.Linear(3, 2))


def functions(lib: Any, mode: str) -> dict[str, Any]:
    utils = lib.optim.swa_utils

    def halve(averages: Any, current: Any, models: Any) -> None:
        with lib.no_grad():
            for a, b in zip(averages, current, strict=True):
                a *= 0.5
                a += b * 0.5

    return {
        "swa": dict,
        "swa multi": lambda: {"multi_avg_fn": utils.get_swa_multi_avg_fn()},
        "ema": lambda: {"avg_fn": utils.get_ema_avg_fn(0.7)},
        "ema multi": lambda: {"multi_avg_fn": utils.get_ema_multi_avg_fn(0.7)},
        "own": lambda: {"avg_fn": lambda a, b, n: a * (1 - 1 / (n + 2)) + b * (1 / (n + 2))},
        "own multi": lambda: {"multi_avg_fn": halve},
    }[mode]()


@pytest.mark.parity
@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_averaged_model(mode: str, use_buffers: bool, device: str) -> None:
    torch = pytest.importorskip("torch")
    if use_buffers and mode in ("swa multi", "own multi"):
        pytest.skip("PyTorch cannot divide integers in place")
    theirs = net(torch.nn).double()
    ours = net(nn).double()
    a = optim.swa_utils.AveragedModel(ours, use_buffers=use_buffers, **functions(ml, mode))
    b = torch.optim.swa_utils.AveragedModel(theirs, use_buffers=use_buffers, **functions(torch, mode))
    rng = np.random.default_rng(0)
    for turn in range(6):
        values = {}
        for key, value in theirs.state_dict().items():
            made = rng.normal(size=tuple(value.shape)) * 10
            values[key] = np.asarray(made if value.dtype.is_floating_point else made.astype("int64"))
        theirs.load_state_dict({k: torch.tensor(v) for k, v in values.items()})
        ours.load_state_dict(values)
        a.update_parameters(ours)
        b.update_parameters(theirs)
        mine, other = a.state_dict(), b.state_dict()
        assert list(mine) == list(other)
        for key, value in other.items():
            np.testing.assert_allclose(
                np.asarray(mine[key]), value.numpy(), rtol=1e-9, err_msg=f"{turn} {key}"
            )
    assert int(a.n_averaged) == 6
    x = rng.normal(size=(5, 4))
    a.eval(), b.eval()
    np.testing.assert_allclose(
        a(ml.asarray(x)).numpy(), b(torch.tensor(x)).detach().numpy(), rtol=1e-9, atol=1e-12
    )
    b.load_state_dict({k: torch.tensor(np.asarray(v)) for k, v in mine.items()})
    a.load_state_dict({k: v.numpy() for k, v in other.items()})


@pytest.mark.parity
def test_update_bn(device: str) -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = net(torch.nn).double(), net(nn).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    ours.eval(), theirs.eval()
    rng = np.random.default_rng(0)
    data = [rng.normal(size=(n, 4)) for n in (8, 8, 3)]
    optim.swa_utils.update_bn([(ml.asarray(one), 0) for one in data], ours, device=device)
    torch.optim.swa_utils.update_bn([(torch.tensor(one), 0) for one in data], theirs)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(np.asarray(ours.state_dict()[key]), value.numpy(), rtol=1e-9)
    assert not ours.training
    assert ours[1].momentum == 0.1


@pytest.mark.parametrize("warmup", [False, True])
def test_ema(warmup: bool, device: str) -> None:
    model = net(nn)
    ema = optim.EMA(model, 0.9, warmup=warmup)
    wanted = {name: one.numpy().astype("f8") for name, one in model.named_parameters()}
    rng = np.random.default_rng(0)
    for turn in range(1, 9):
        for one in model.parameters():
            one.rebind(ml.asarray(rng.normal(size=one.shape).astype("f")))
        ema.update()
        kept = min(0.9, (1 + turn) / (10 + turn)) if warmup else 0.9
        for name, one in model.named_parameters():
            wanted[name] = wanted[name] * kept + one.numpy() * (1 - kept)
    own = {name: one.tolist() for name, one in model.named_parameters()}
    with ema.applied():
        for name, one in model.named_parameters():
            np.testing.assert_allclose(one.numpy(), wanted[name], rtol=1e-5, atol=1e-6)
            assert one.requires_grad
        with pytest.raises(KeyError), ema.applied():
            raise KeyError
    assert own == {name: one.tolist() for name, one in model.named_parameters()}
    other = optim.EMA(net(nn), 0.5)
    other.load_state_dict(pickle.loads(pickle.dumps(ema.state_dict())))
    assert other.updates == 8
    assert other.decay == 0.9
    other.copy_to_model()
    for name, one in other.averages.items():
        assert one.tolist() == ema.averages[name].tolist()
    held = ema.state_dict()["averages"]["0.weight"]
    before = held.tolist()
    ema.update()
    assert held.tolist() == before


def test_refusals() -> None:
    utils = optim.swa_utils
    for call, text in (
        (lambda: utils.AveragedModel(net(nn), avg_fn=abs, multi_avg_fn=abs), "both avg_fn and multi_avg_fn"),
        (lambda: utils.get_ema_avg_fn(1.5), "decay is 1.5"),
        (lambda: utils.get_ema_multi_avg_fn(-1), "decay is -1"),
        (
            lambda: utils.SWALR(optim.SGD(net(nn).parameters()), 0.1, anneal_strategy="up"),
            "anneal_strategy='up'",
        ),
        (lambda: utils.SWALR(optim.SGD(net(nn).parameters()), -0.1), "swa_lr is -0.1"),
        (
            lambda: utils.AveragedModel(net(nn)).update_parameters(nn.Linear(4, 3)),
            "has 2 parameters, the average 6",
        ),
        (lambda: optim.EMA(net(nn), 2.0), "EMA: decay is 2.0"),
        (lambda: optim.EMA(net(nn)).load_state_dict({}), "missing"),
    ):
        with pytest.raises(MlcoreError, match=text):
            call()
