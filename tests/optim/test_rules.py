"""Rules that PyTorch does not have, beside the papers' formulas in NumPy; Muon beside PyTorch; rules of one's own."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any, ClassVar

import numpy as np
import pytest

import mlcore as ml
from mlcore import nn, optim
from mlcore.errors import MlcoreError, StateDictError
from mlcore.ops import registry
from mlcore.testing.gradients import gradgradcheck

STEPS = 50
SHAPES = [(4, 3), (5,), (), (2, 2, 2)]
Array = Any


def values(seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape)) for shape in SHAPES]


# -- the papers, in float64 -----------------------------------------------------------------------------------------


def lion(p: Array, g: Array, s: dict[str, Any], lr: float, betas: Any, weight_decay: float) -> Array:
    """Chen et al. 2023, algorithm 2."""
    m = s.get("m", np.zeros_like(p))
    c = betas[0] * m + (1 - betas[0]) * g
    s["m"] = betas[1] * m + (1 - betas[1]) * g
    return p - lr * (np.sign(c) + weight_decay * p)


def lamb(p: Array, g: Array, s: dict[str, Any], lr: float, betas: Any, eps: float, weight_decay: float, bounds: Any) -> Array:  # fmt: skip
    """You et al. 2020, algorithm 2."""
    t = s["t"] = s.get("t", 0) + 1
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g**2
    r = s["m"] / (1 - betas[0] ** t) / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps) + weight_decay * p
    size, step = np.sqrt(np.sum(p**2)), np.sqrt(np.sum(r**2))
    phi = size if bounds is None else min(max(size, bounds[0]), bounds[1])
    return p - lr * (phi / step if phi > 0 and step > 0 else 1.0) * r


def lars(p: Array, g: Array, s: dict[str, Any], lr: float, momentum: float, weight_decay: float, trust_coefficient: Any, nesterov: bool) -> Array:  # fmt: skip
    """You, Gitman and Ginsburg 2017, algorithm 1."""
    local = 1.0
    if trust_coefficient is not None:
        size, slope = np.sqrt(np.sum(p**2)), np.sqrt(np.sum(g**2))
        if size > 0 and slope > 0:
            local = trust_coefficient * size / (slope + weight_decay * size)
    step = lr * local * (g + weight_decay * p)
    s["v"] = momentum * s.get("v", 0) + step
    return p - (momentum * s["v"] + step if nesterov else s["v"])


PAPERS: list[tuple[str, Any, dict[str, Any]]] = [
    ("Lion", lion, dict(lr=0.01, betas=(0.9, 0.99), weight_decay=0.0)),
    ("Lion", lion, dict(lr=0.02, betas=(0.8, 0.95), weight_decay=0.3)),
    ("LAMB", lamb, dict(lr=0.01, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, bounds=None)),
    ("LAMB", lamb, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1, bounds=None)),
    ("LAMB", lamb, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1, bounds=(0.5, 1.5))),
    ("LARS", lars, dict(lr=1.0, momentum=0.9, weight_decay=1e-2, trust_coefficient=0.01, nesterov=False)),
    ("LARS", lars, dict(lr=1.0, momentum=0.5, weight_decay=0.0, trust_coefficient=0.02, nesterov=True)),
    ("LARS", lars, dict(lr=0.1, momentum=0.9, weight_decay=0.1, trust_coefficient=None, nesterov=False)),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(("name", "oracle", "how"), PAPERS, ids=[f"{n} {h}" for n, _, h in PAPERS])
def test_the_paper(name: str, oracle: Any, how: dict[str, Any], zero: bool, dtype: str, device: str) -> None:
    """50 steps; `zero` starts with parameters of 0, where the sizes say nothing."""
    expected = [one * (not zero) for one in values(0)]
    ours = [nn.Parameter(ml.asarray(one.astype(dtype))) for one in expected]
    optimizer = getattr(optim, name)(ours, **how)
    states: list[dict[str, Any]] = [{} for _ in ours]
    for step in range(STEPS):
        noise = values(step + 1)
        for i, p in enumerate(ours):
            grad = expected[i] * 0.3 + noise[i]
            p.grad = ml.asarray(grad.astype(dtype))
            expected[i] = oracle(expected[i], grad, states[i], **how)
        optimizer.step()
        for p, one in zip(ours, expected, strict=True):
            tolerance = 1e-9 if dtype == "float64" else 5e-5
            np.testing.assert_allclose(p.numpy(), one, rtol=tolerance, atol=tolerance)


# -- Muon -----------------------------------------------------------------------------------------------------------

MUON: list[dict[str, Any]] = [
    dict(lr=0.02), dict(lr=0.02, nesterov=False, momentum=0.5), dict(lr=0.02, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    dict(lr=0.02, ns_steps=3, adjust_lr_fn="original", ns_coefficients=(2.0, -1.5, 0.5)),
]  # fmt: skip


@pytest.mark.parametrize("how", MUON, ids=str)
def test_muon(how: dict[str, Any], device: str) -> None:
    """The iterations round to bfloat16 (eps 0.8 %), so each step starts from the same values; the momentum is exact."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape) for shape in ((6, 4), (3, 8), (5, 5))]
    ours = [nn.Parameter(ml.asarray(one)) for one in start]
    theirs = [torch.nn.Parameter(torch.tensor(one)) for one in start]
    a, b = optim.Muon(ours, **how), torch.optim.Muon(theirs, **how)
    worst = 0.0
    for _ in range(STEPS):
        before = [p.detach().numpy().copy() for p in theirs]
        for p, q in zip(ours, theirs, strict=True):
            grad = rng.normal(size=p.shape)
            p.rebind(ml.asarray(q.detach().numpy().copy()))
            p.grad, q.grad = ml.asarray(grad), torch.tensor(grad)
        a.step()
        b.step()
        for p, q, old in zip(ours, theirs, before, strict=True):
            wanted = q.detach().numpy() - old
            off = np.max(np.abs(p.numpy() - old - wanted)) / np.max(np.abs(wanted))
            worst = max(worst, off)
            mine, other = a.state[p]["momentum_buffer"], b.state[q]["momentum_buffer"]
            np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-9)
    assert worst <= 0.01
    b.load_state_dict(to_torch(torch, a.state_dict()))
    a.load_state_dict(b.state_dict())


def to_torch(torch: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return {k: to_torch(torch, v) for k, v in value.items()}
    return torch.tensor(np.asarray(value)) if isinstance(value, ml.Tensor) else value


# -- all rules ------------------------------------------------------------------------------------------------------

RULES = [one for one in vars(optim).values() if inspect.isclass(one) and issubclass(one, optim.UpdateRule)]
RULES.remove(optim.UpdateRule)


def matrix(seed: int = 0) -> Any:
    return nn.Parameter(ml.asarray(np.random.default_rng(seed).normal(size=(4, 3))))


@pytest.mark.parametrize("cls", RULES)
def test_signatures_are_pytorchs(cls: Any) -> None:
    torch = pytest.importorskip("torch")
    if not hasattr(torch.optim, cls.__name__):
        pytest.skip("PyTorch does not have it")
    mine = list(inspect.signature(cls).parameters.values())
    other = list(inspect.signature(getattr(torch.optim, cls.__name__)).parameters.values())
    by_name = inspect.Parameter.KEYWORD_ONLY
    assert [p.name for p in mine if p.kind != by_name] == [p.name for p in other if p.kind != by_name]
    assert {p.name: (p.kind, p.default) for p in mine} == {p.name: (p.kind, p.default) for p in other}
    state = getattr(torch.optim, cls.__name__)([torch.nn.Parameter(torch.ones(2, 2))]).state_dict()
    assert set(cls([matrix()]).state_dict()["param_groups"][0]) == set(state["param_groups"][0])


@pytest.mark.parametrize("cls", RULES)
def test_saved_and_loaded_it_continues_to_the_bit(cls: Any, device: str) -> None:
    """Through its state_dict, a pickle of that, and a copy of the whole optimizer."""

    def go_on(p: Any, optimizer: Any, start: int) -> list[float]:
        for step in range(start, start + 4):
            p.grad = ml.asarray(np.random.default_rng(step).normal(size=(4, 3)))
            optimizer.step()
        found: list[float] = p.reshape(-1).tolist()
        return found

    p = matrix()
    optimizer = cls([p])
    go_on(p, optimizer, 1)
    kept, state, whole = p.detach(), optimizer.state_dict(), copy.deepcopy([p, optimizer])
    stored = pickle.dumps((p, optimizer))
    expected = go_on(p, optimizer, 5)
    for given in (state, pickle.loads(pickle.dumps(state))):
        again = nn.Parameter(kept)
        other = cls([again])
        other.load_state_dict(given)
        assert go_on(again, other, 5) == expected
    assert go_on(*whole, 5) == expected
    assert go_on(*pickle.loads(stored), 5) == expected


@pytest.mark.parametrize("cls", RULES)
def test_bad_numbers_are_refused(cls: Any) -> None:
    """Every hyperparameter that is a number: nan, infinity and a word, each named with its value."""
    refused = 0
    for name, field in cls._fields.items():
        if not field.init or isinstance(field.default, bool) or field.default is None:
            continue
        if field.choices is not None:
            bad: list[Any] = ["nonsense"]
        elif isinstance(field.default, tuple):
            bad = [0.5, field.default[:1], tuple(float("nan") for _ in field.default)]
        elif isinstance(field.default, int):
            bad = [-1, 1.5, True]
        else:
            bad = [float("nan"), float("inf"), "big", True]
            bad += [field.low - 1] if field.low > -float("inf") else []
        for value in bad:
            with pytest.raises(MlcoreError, match=rf"{cls.__name__}: {name}"):
                cls([matrix()], **{name: value})
            refused += 1
    with pytest.raises(TypeError, match="did you mean 'lr'"):
        cls([matrix()], lrr=1.0)
    assert refused >= 4


@pytest.mark.parametrize("cls", RULES)
def test_a_step_is_one_operation_and_learns(cls: Any, device: str) -> None:
    """A quadratic gets smaller; a step over many parameters is one operation of the rule's name."""
    ps = [matrix(i) for i in range(4)]
    optimizer = cls(ps, lr=0.05)
    first = sum(float((p * p).sum()) for p in ps)
    seen: list[str] = []
    for _ in range(20):
        for p in ps:
            p.grad = (p * 2).detach()
        with ml.dispatch.intercept(lambda op, inputs, params, proceed: (seen.append(op.name), proceed())[1]):
            optimizer.step()
    assert sum(float((p * p).sum()) for p in ps) < first
    assert len([name for name in seen if name.endswith((".rule", "_step"))]) == 20


def test_maximize_tensor_rates_and_groups(device: str) -> None:
    p, q = matrix(), matrix()
    q.rebind(p.detach())
    a, b = optim.Adagrad([p], lr=ml.asarray(0.5), maximize=True), optim.Adagrad([q], lr=0.5)
    p.grad = ml.ones((4, 3), dtype=ml.float64)
    q.grad = -p.grad
    a.step()
    b.step()
    assert p.tolist() == q.tolist()
    assert a.state_dict()["param_groups"][0]["lr"].item() == 0.5
    with pytest.raises(ValueError, match=r"lr has shape \(2,\)"):
        optim.Adagrad([p], lr=ml.asarray([0.5, 0.5]))


def test_options_changed_on_the_way_start_their_states() -> None:
    p = matrix()
    optimizer = optim.RMSprop([p])
    adam = optim.Adam([q := matrix()])
    for momentum in (0.0, 0.9, 0.0):
        optimizer.param_groups[0]["momentum"] = momentum
        adam.param_groups[0]["amsgrad"] = momentum > 0
        p.grad = q.grad = ml.ones((4, 3), dtype=ml.float64)
        optimizer.step()
        adam.step()
    assert set(optimizer.state[p]) == {"step", "square_avg", "momentum_buffer"}
    assert "max_exp_avg_sq" in adam.state[q]


def test_muon_takes_matrices_only() -> None:
    with pytest.raises(ValueError, match=r"Muon: parameter 1 has shape \(3,\), not two dimensions"):
        optim.Muon([matrix(), nn.Parameter(ml.ones((3,)))])


def test_wrong_shapes_of_a_state() -> None:
    p, q = matrix(), nn.Parameter(ml.ones((4, 2), dtype=ml.float64))
    a, b = optim.Adafactor([p]), optim.Adafactor([q])
    p.grad = ml.ones((4, 3), dtype=ml.float64)
    a.step()
    with pytest.raises(
        StateDictError, match=r"'col_var' of parameter 0 has shape \(1, 3\), the parameter \(4, 2\)"
    ):
        b.load_state_dict(a.state_dict())


STEPS_OF_ALL = [(op, one.params) for op in registry.all_ops() if op.group == "update" for one in op.samples()]


@pytest.mark.parametrize(("op", "params"), STEPS_OF_ALL, ids=[f"{op.name} {how}" for op, how in STEPS_OF_ALL])
def test_gradients_of_steps(op: Any, params: dict[str, Any], device: str) -> None:
    """Each rule's operation over two parameters, by all inputs: gradients of order 1 and 2."""
    rng = np.random.default_rng(0)
    states = op.described_by.__code__.co_posonlyargcount - 2
    columns = 2 + len(params.get("kept", range(states)))
    shapes = [(2, 3), (3, 2)]
    if op.name == "adafactor_step":
        shapes = [(4,), (3,)]
    given = [rng.normal(size=shape) for _ in range(columns) for shape in shapes]
    given = [one if i < 4 else one * one * 0.3 + (3.0 if i < 6 else 0.5) for i, one in enumerate(given)]
    inputs = [ml.asarray(one, requires_grad=True) for one in given]
    assert gradgradcheck(lambda *at: op.body(*at, **params), inputs)


# -- one's own ------------------------------------------------------------------------------------------------------


class Averaged(optim.UpdateRule):
    """A rule with everything: an optional state, a state from a function, a scalar, a number worked out, a check."""

    lr: float = optim.hyper(default=0.1)
    pull: float = optim.hyper(default=0.0, high=1.0)
    kind: str = optim.hyper(default="mean", choices=("mean", "none"))
    maximize: bool = optim.flag(default=False)

    start: ClassVar = {"anchor": lambda p, group: p.detach(), "best": float("inf")}

    def check(self, group: dict[str, Any]) -> None:
        if group["kind"] == "none" and group["pull"]:
            raise ValueError("pull to nothing")

    def keeps(self, p: Any, group: dict[str, Any]) -> tuple[str, ...]:
        return ("anchor", "mean") if group["kind"] == "mean" else ("anchor",)

    def numbers(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        scalars["best"] = min(scalars["best"], scalars["step"])
        return {**group, **scalars, "rate": group["lr"] / scalars["step"]}

    @staticmethod
    def rule(p: Any, g: Any, anchor: Any, mean: Any = None, /, *, rate: float, pull: float, step: int) -> Any:
        new = p - g * rate
        if mean is not None:
            mean = mean + (new - mean) * (1 / step)
            new = new + (anchor - new) * pull
        return new, anchor, mean


def test_a_rule_of_ones_own(device: str) -> None:
    p, q = nn.Parameter(ml.asarray([4.0, 8.0])), nn.Parameter(ml.asarray([4.0, 8.0]))
    optimizer = Averaged([{"params": [p], "pull": 0.5}, {"params": q, "kind": "none"}], lr=1.0)
    for _ in range(2):
        p.grad = q.grad = ml.asarray([2.0, 4.0])
        optimizer.step()
    assert q.tolist() == [1.0, 2.0]
    assert p.tolist() == [3.0, 6.0]
    state = optimizer.state_dict()["state"]
    assert sorted(state[0]) == ["anchor", "best", "mean", "step"]
    assert sorted(state[1]) == ["anchor", "best", "step"]
    assert float(state[0]["best"]) == 1.0
    with pytest.raises(ValueError, match="pull to nothing"):
        Averaged([p], kind="none", pull=0.5)
    with pytest.raises(ValueError, match="kind='mode'"):
        Averaged([p], kind="mode")
    assert str(inspect.signature(Averaged)) == "(params, lr=0.1, pull=0.0, kind='mean', *, maximize=False)"
    assert "Averaged.rule" not in {op.name for op in registry.all_ops()}


def test_pytorchs_way_of_writing_one() -> None:
    class Plain(optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        @ml.no_grad()
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    p -= p.grad * group["lr"]
                    self.state[p]["seen"] = self.state[p].get("seen", 0) + 1

    p = nn.Parameter(ml.asarray([2.0]))
    optimizer = Plain([p], lr=0.5)
    p.grad = ml.asarray([2.0])
    optimizer.step()
    assert p.tolist() == [1.0]
    assert optimizer.state_dict()["state"] == {0: {"seen": 1}}
