"""L-BFGS beside PyTorch's: the parameters after each step, the loss, the evaluations, and its state both ways."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

RULES: list[dict[str, Any]] = [
    dict(lr=0.1),
    dict(lr=0.5, max_iter=3, history_size=2),
    dict(lr=1e-2, max_iter=5, max_eval=3),
    dict(line_search_fn="strong_wolfe"),
    dict(line_search_fn="strong_wolfe", max_iter=4, history_size=3, lr=0.7),
    dict(line_search_fn="strong_wolfe", max_iter=6, max_eval=7),
    dict(line_search_fn="strong_wolfe", lr=20.0, max_iter=2, tolerance_change=1e-5),
]
SHAPES = [(3, 2), (), (4,)]


def quartic(ps: list[Any], data: list[Any]) -> Any:
    """A bowl with a curved floor, over three parameters."""
    total = 0.0
    for p, d in zip(ps, data, strict=True):
        total = total + ((p - d) ** 2).sum() + 0.1 * ((p + 0.5) ** 4).sum()
    return total + 5 * (ps[0].sum() - ps[1] ** 2) ** 2


def rosenbrock(ps: list[Any], data: list[Any]) -> Any:
    return ((1 - ps[1]) ** 2).sum() + 100 * ((ps[2] - ps[1] ** 2) ** 2).sum() + (ps[0] ** 2).sum()


PROBLEMS = {"quartic": quartic, "rosenbrock": rosenbrock}


def twins(dtype: str) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    rng = np.random.default_rng(0)
    start = [np.asarray(rng.normal(size=shape)).astype(dtype) for shape in SHAPES]
    data = [np.asarray(rng.normal(size=shape)).astype(dtype) for shape in SHAPES]
    return (
        [nn.Parameter(ml.asarray(one)) for one in start],
        [torch.nn.Parameter(torch.tensor(one)) for one in start],
        [ml.asarray(one) for one in data],
        [torch.tensor(one) for one in data],
    )


def closure_of(problem: Any, ps: list[Any], data: list[Any], optimizer: Any, calls: list[int]) -> Any:
    def closure() -> Any:
        calls[0] += 1
        optimizer.zero_grad()
        loss = problem(ps, data)
        loss.backward()
        return loss

    return closure


def to_torch(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: to_torch(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_torch(v) for v in value]
    return torch.tensor(np.asarray(value)) if isinstance(value, ml.Tensor) else value


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("how", RULES, ids=str)
def test_trajectory(how: dict[str, Any], problem: str, dtype: str, device: str) -> None:
    """Six steps in float64, with the states exchanged in the middle; in float32 the first step.

    Where a line search has converged, the last digits choose the next point: what is compared later is the loss.
    """
    ours, theirs, mine, other = twins(dtype)
    calls, counted = [0], [0]
    a, b = optim.LBFGS(ours, **how), torch.optim.LBFGS(theirs, **how)
    for turn in range(6 if dtype == "float64" else 1):
        first = a.step(closure_of(PROBLEMS[problem], ours, mine, a, calls))
        second = b.step(closure_of(PROBLEMS[problem], theirs, other, b, counted))
        if not np.isfinite(second.item()) or second.item() > 1e8:  # without a search it may run away
            break
        tolerance = 1e-6 if dtype == "float64" else 5e-3
        assert first.item() == pytest.approx(second.item(), rel=tolerance, abs=1e-12)
        if dtype == "float64":
            for p, q in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-7)
        if turn == 0 and dtype == "float64":
            for p, q in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-9, atol=1e-9)
            assert calls == counted
            assert a.state[ours[0]]["func_evals"] == counted[0]
        if turn == 2:
            state, given = a.state_dict(), b.state_dict()
            assert set(state["state"][0]) == set(given["state"][0])
            assert set(state["param_groups"][0]) == set(given["param_groups"][0])
            a, b = optim.LBFGS(ours), torch.optim.LBFGS(theirs)
            a.load_state_dict(copy.deepcopy(given))
            b.load_state_dict(to_torch(state))


def test_saved_it_continues_to_the_bit(device: str) -> None:
    ours, _, data, _ = twins("float64")
    optimizer = optim.LBFGS(ours, max_iter=4, line_search_fn="strong_wolfe")
    optimizer.step(closure_of(quartic, ours, data, optimizer, [0]))
    kept, state = [p.detach() for p in ours], pickle.loads(pickle.dumps(optimizer.state_dict()))
    optimizer.step(closure_of(quartic, ours, data, optimizer, [0]))
    again = [nn.Parameter(one) for one in kept]
    other = optim.LBFGS(again, max_iter=4, line_search_fn="strong_wolfe")
    other.load_state_dict(state)
    other.step(closure_of(quartic, again, data, other, [0]))
    assert [p.tolist() for p in ours] == [p.tolist() for p in again]


def test_refusals() -> None:
    p, q = nn.Parameter(ml.ones((2,))), nn.Parameter(ml.ones((2,)))
    with pytest.raises(ValueError, match="more than one group of parameters"):
        optim.LBFGS([{"params": [p]}, {"params": [q]}])
    with pytest.raises(TypeError, match=r"LBFGS\.step: there is no closure"):
        optim.LBFGS([p]).step()
    with pytest.raises(ValueError, match="line_search_fn='armijo'"):
        optim.LBFGS([p], line_search_fn="armijo")
    with pytest.raises(ValueError, match="max_eval is 0"):
        optim.LBFGS([p], max_eval=0)


def test_parameters_without_gradient_stay(device: str) -> None:
    p, q = nn.Parameter(ml.ones((2,))), nn.Parameter(ml.ones((3,)))
    optimizer = optim.LBFGS([q, p], lr=0.1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert q.tolist() == [1.0, 1.0, 1.0]
    assert max(abs(one) for one in p.tolist()) < 0.5
