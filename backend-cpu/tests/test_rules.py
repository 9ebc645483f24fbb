"""Optimizer rules run as chains, beside the same rules composed: the same bits, whatever lies over what."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from cpu_helpers import BF16, EPS, layouts, oracle, run_python

import mlcore as ml
from mlcore import nn, optim
from mlcore.backends.detect import resolve
from mlcore.dtypes import all_dtypes
from mlcore.ops import registry
from mlcore.ops.elementwise import exp, maximum, minimum, sign, sqrt, where
from mlcore.ops.update import step_of_all
from mlcore.tensor import wrap
from mlcore_cpu.loader import kernels as K
from mlcore_cpu.rules import FusedRule

SHAPES = [(3, 4), (5,), (), (0, 2), (7, 300), (70_000,)]
STEPS = [(op, one.params) for op in registry.all_ops() if op.group == "update" for one in op.samples()]
REDUCE = ("adafactor_step", "lamb_step")
CHAINS = [
    (op, how)
    for op, how in STEPS
    if op.name not in REDUCE and not (op.name == "lars_step" and how["trust_coefficient"] is not None)
]


def composed(op: Any, arrays: list[Any], params: dict[str, Any]) -> tuple[Any, ...]:
    """The rule in its parts, each of them a kernel of this backend."""
    device = resolve("cpu")
    tensors = [wrap(one, device, all_dtypes[K.dtype_code(one)], one.shape) for one in arrays]
    return tuple([one.array for one in op.body(*tensors, **params)])


def given(op: Any, params: dict[str, Any], dtype: Any, shapes: Any = SHAPES, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    columns = FusedRule(op)._columns(tuple([params[name] for name in op.params]))
    made = [rng.standard_normal(shape) for _ in range(columns) for shape in shapes]
    return [np.asarray(one if i < 2 * len(shapes) else one * one + 0.1, dtype) for i, one in enumerate(made)]


def same(one: Any, other: Any, what: str = "") -> None:
    """The same values; NumPy knows no nan of bfloat16."""
    np.testing.assert_array_equal(np.asarray(one, "d"), np.asarray(other, "d"), err_msg=what)


def values(op: Any, params: dict[str, Any]) -> list[Any]:
    return [params[name] for name in op.params]


def fused(op: Any) -> FusedRule:
    """The rule's chain, also where it has a kernel of its own."""
    return FusedRule(op)


IDS = [f"{op.name} {i}" for i, (op, _) in enumerate(CHAINS)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("op", "params"), CHAINS, ids=IDS)
def test_the_bits_are_those_of_the_parts(op: Any, params: dict[str, Any], dtype: str) -> None:
    kernel = fused(op)
    arrays = given(op, params, dtype)
    made = kernel(*arrays, *values(op, params))
    for one, other in zip(made, composed(op, arrays, params), strict=True):
        assert one.dtype == other.dtype
        same(one, other)
    assert [one for one in kernel.report() if one.startswith("composed")] == []


@pytest.mark.parametrize("dtype", ["float16", BF16], ids=str)
@pytest.mark.parametrize(("op", "params"), CHAINS, ids=IDS)
def test_sixteen_bits_are_rounded_once(op: Any, params: dict[str, Any], dtype: Any) -> None:
    if op.name == "rprop_step" or op.name == "lion_step":
        pytest.skip("signs of differences: no bound in ulps")
    arrays = given(op, params, dtype, SHAPES[:5])
    made = fused(op)(*arrays, *values(op, params))
    wanted = oracle(op.name, arrays, values(op, params))
    eps = EPS[np.dtype(dtype).name]
    for one, other in zip(made, wanted, strict=True):
        assert one.dtype == np.dtype(dtype)
        # half an ulp of the result, and what float32 leaves of differences
        np.testing.assert_allclose(one.astype("d"), other, rtol=0.51 * eps, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", BF16], ids=str)
@pytest.mark.parametrize(("op", "params"), CHAINS, ids=IDS)
def test_over_the_old_values(op: Any, params: dict[str, Any], dtype: Any) -> None:
    """In place as far as nobody else holds an array; the gradients stay."""
    arrays = given(op, params, dtype)
    expected = fused(op)(*arrays, *values(op, params))
    mine = [np.array(one) for one in arrays]
    held = list(mine)  # as tensors and the list of a step hold them
    n = len(SHAPES)
    extra = [mine[0], *mine[n : 2 * n]]  # somebody else holds the first parameter and the gradients
    before = [np.array(one) for one in extra]
    addresses = [one.ctypes.data for one in held]
    kernel = fused(op)
    replaced = kernel.fused(mine, *values(op, params))
    for one, old in zip(extra, before, strict=True):
        same(one, old)
    for one, other in zip(mine[:n] + mine[2 * n :], expected, strict=True):
        same(one, other)
    moved = [i for i in range(len(mine)) if mine[i].ctypes.data != addresses[i] and mine[i].size]
    assert moved in ([0], [])
    assert replaced >= len(moved)


def test_layouts_and_shared_memory() -> None:
    """Strided arrays are read as they are; views of other arrays are never written over."""
    op = registry.get("rmsprop_step")
    params = next(how for one, how in CHAINS if one is op)
    x = np.random.default_rng(0).standard_normal((6, 5, 4)).astype("f")
    straight = [x, x * 2, x * x]
    expected = fused(op)(*straight, *values(op, params))
    seen = 0
    for label, p in layouts(straight[0]):
        for _, g in layouts(straight[1]):
            for _, v in layouts(straight[2]):
                mine = [p, g, v]
                olds = [np.array(one) for one in mine]
                fused(op).fused(mine, *values(op, params))
                np.testing.assert_array_equal(mine[0], expected[0], err_msg=label)
                np.testing.assert_array_equal(mine[2], expected[1], err_msg=label)
                for one, old in zip((p, g, v), olds, strict=True):
                    same(one, old)
                seen += 1
    assert seen >= 125


def test_the_numbers_may_change_and_the_program_stays() -> None:
    op = registry.get("radam_step")
    params = dict(next(how for one, how in CHAINS if one is op))
    kernel = fused(op)
    for step in range(1, 40):
        params |= {"step": step, "lr": 0.1 / step}
        arrays = given(op, params, "float32", SHAPES[:3], step)
        made = kernel(*arrays, *values(op, params))
        for one, other in zip(made, composed(op, arrays, params), strict=True):
            same(one, other)
    assert len(kernel.report()) == 2  # before the variance is known, and after


def test_bits_do_not_depend_on_threads() -> None:
    before = K.get_num_threads()
    try:
        for op, params in CHAINS:
            found = []
            for threads in (1, 2):
                K.set_num_threads(threads)
                found.append(fused(op)(*given(op, params, "float32"), *values(op, params)))
            for one, other in zip(*found, strict=True):
                same(one, other)
    finally:
        K.set_num_threads(before)


# -- any rule -------------------------------------------------------------------------------------------------------


def any_rule(seed: int) -> Any:
    """A rule of random steps, whose results are any of its values: also inputs, of other places, twice."""

    def rule(p: Any, g: Any, a: Any, b: Any, /, *, x: float, y: float) -> Any:
        rng = np.random.default_rng(seed)
        held = [p, g, a, b]

        def one(numbers: bool = True) -> Any:
            if numbers and rng.random() < 0.25:
                return [x, y, 0.5, 1.0][rng.integers(4)]
            return held[rng.integers(len(held))]

        for _ in range(rng.integers(1, 14)):
            kind = rng.integers(9)
            first = one(False)
            if kind < 4:
                second = one()
                pairs = (first + second, first - second, first * second, second - first)
                made = pairs[kind]
            elif kind == 4:
                made = (maximum, minimum)[rng.integers(2)](first, one())
            elif kind == 5:
                made = where(first > one(), one(), one(False))
            elif kind == 6:
                made = sqrt(abs(first))
            elif kind == 7:
                made = (sign, lambda v: exp(minimum(v, 1.0)))[rng.integers(2)](first)
            else:
                made = first / (abs(one(False)) + 1.0)
            held.append(made)
        return tuple([one(False) for _ in range(3)])

    return step_of_all(rule, name=f"any_{seed}", registered=False)


@pytest.mark.parametrize("first", range(0, 300, 50))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rules_at_random(first: int, dtype: str) -> None:
    """New arrays and the old ones give what the parts give: 300 rules, two dtypes, both ways."""
    params = {"x": 0.25, "y": -1.5}
    with np.errstate(all="ignore"):
        for seed in range(first, first + 50):
            op = any_rule(seed)
            arrays = given(op, params, dtype, [(40,), (3, 5), ()], seed)
            wanted = composed(op, arrays, params)
            kernel = fused(op)
            for one, other in zip(kernel(*arrays, 0.25, -1.5), wanted, strict=True):
                same(one, other, f"{seed}: {kernel.report()}")
            mine = [np.array(one) for one in arrays]
            holders = list(mine)
            assert kernel.fused(mine, 0.25, -1.5) >= 0, kernel.report()
            del holders
            for one, other in zip(mine[:3] + mine[6:], wanted, strict=True):
                same(one, other, f"{seed}: {kernel.report()}")


def made_of(rule: Any) -> FusedRule:
    return fused(step_of_all(rule, name="test_rule", registered=False))


def test_a_rule_that_looks_at_shapes() -> None:
    """A step for each shape, or each number of dimensions: whatever it asks."""

    def by_rank(p: Any, g: Any, /, *, lr: float) -> Any:
        return p - g * lr * (2.0 if p.ndim > 1 else 1.0)

    def by_size(p: Any, g: Any, /, *, lr: float) -> Any:
        return p - g * (lr / max(1, (g * 1.0).shape[-1] if g.shape else 1))

    for rule in (by_rank, by_size):
        kernel = made_of(rule)
        for _ in range(2):
            arrays = [np.ones(shape, "f") for shape in SHAPES] * 2
            for one, other in zip(
                kernel(*arrays, 0.1), composed(kernel.op, arrays, {"lr": 0.1}), strict=True
            ):
                same(one, other)
        assert not [one for one in kernel.report() if one.startswith("composed")]


REFUSED: dict[str, tuple[Any, str]] = {
    "reduction": (lambda p, g, /, *, lr: p - g * (g * g).sum() * lr, "reduce_sum, which is not elementwise"),
    "branch on a value": (
        lambda p, g, /, *, lr: p - g * lr if (g.sum() if g.ndim else g) > 0 else p,
        "which is not elementwise|a value that is looked at",
    ),
    "a real tensor": (lambda p, g, /, *, lr: p - g * ml.asarray(lr, device="cpu"), "different devices"),
    "random": (lambda p, g, /, *, lr: p - g * lr * ml.random.uniform(p.shape, device="cpu"), "different devices"),
    "view": (lambda p, g, /, *, lr: (p.reshape(-1) - g.reshape(-1) * lr).reshape(p.shape), "reshape"),
    "integers": (
        lambda p, g, /, *, lr: p - g * ml.astype(ml.astype(g, ml.int32), p.dtype) * lr,
        "dtype code",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_chain_is_composed(kind: str) -> None:
    rule, why = REFUSED[kind]
    kernel = made_of(rule)
    arrays = [np.full((3, 2), 2.0, "f"), np.full((4,), 3.0, "f")] * 2
    ml.manual_seed(3)
    wanted = composed(kernel.op, arrays, {"lr": 0.5})
    ml.manual_seed(3)
    for _ in range(2):
        assert kernel.fused(list(arrays), 0.5) == -1
    tensors = [ml.asarray(one, device="cpu") for one in arrays]
    for one, other in zip(kernel.op(tensors, lr=0.5), wanted, strict=True):
        same(one.numpy(), other)
    assert len(kernel.report()) == 1
    assert re.search(why, kernel.report()[0]), kernel.report()


def test_errors_of_a_rule_are_its_own() -> None:
    class Bad(optim.UpdateRule):
        lr: float = optim.hyper(default=0.1)
        rule = staticmethod(globals()["_raises"])

    with ml.device("cpu"):
        p = nn.Parameter(ml.ones((3,)))
        p.grad = ml.ones((3,))
        with pytest.raises(KeyError, match="mine"):
            Bad([p]).step()
        with pytest.raises(KeyError, match="mine"):
            step_of_all(_raises, name="raises", registered=False)([ml.ones((3,)), ml.ones((3,))], lr=0.1)


def _raises(p: Any, g: Any, /, *, lr: float) -> Any:
    raise KeyError("mine")


def test_more_values_than_places() -> None:
    def rule(p: Any, g: Any, /, *, lr: float) -> Any:
        held = [p * (lr + i) for i in range(400)]
        total = held[0]
        for one in held[1:]:
            total = total + one
        return total

    kernel = made_of(rule)
    arrays = [np.ones(5, "f")] * 2
    assert kernel.fused(arrays, 0.5) == -1
    assert "composed: too many values" in kernel.report()[0]
    made = kernel.op([ml.asarray(one, device="cpu") for one in arrays], lr=0.5)
    np.testing.assert_array_equal(made[0].numpy(), composed(kernel.op, arrays, {"lr": 0.5})[0])


def test_states_of_another_dtype() -> None:
    """A float32 state of a bfloat16 parameter: as far as the rule says so itself."""

    def rule(p: Any, g: Any, wide: Any, /, *, lr: float) -> Any:
        wide = wide - ml.astype(g, ml.float32) * lr
        return ml.astype(wide, p.dtype), wide

    kernel = made_of(rule)
    rng = np.random.default_rng(0)
    p, g = (rng.standard_normal((30,)).astype(BF16) for _ in range(2))
    arrays = [p, g, p.astype("f")]
    for one, other in zip(kernel(*arrays, 0.1), composed(kernel.op, arrays, {"lr": 0.1}), strict=True):
        np.testing.assert_array_equal(one.astype("f"), other.astype("f"))
    assert [one[:8] for one in kernel.report()] == ["one call"]


def test_an_interrupted_step_leaves_parameters_whole() -> None:
    run_python("""
import signal
import numpy as np, mlcore as ml
from mlcore import nn, optim
with ml.device("cpu"):
    ps = [nn.Parameter(ml.zeros((4_000_000,))) for _ in range(4)]
    for p in ps: p.grad = ml.ones((4_000_000,))
    optimizer = optim.RMSprop(ps, lr=1.0)
    def stop(*_): raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, stop)
    interrupted = 0
    for turn in range(30):
        before = [p.numpy()[0] for p in ps]
        signal.setitimer(signal.ITIMER_REAL, 0.0005 * (turn + 1))
        try:
            optimizer.step()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            interrupted += 1
        for p in ps:
            assert np.unique(p.numpy()).size == 1
    assert interrupted >= 5, interrupted
""")
