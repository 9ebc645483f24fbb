"""Winograd's 3x3 convolution: the three passes against float64, at the edges of tiles, blocks and values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cpu_helpers import EPS, kernel, run_python

import mlcore as ml
import mlcore_cpu
from mlcore.errors import OutOfMemoryError
from mlcore.ops.registry import get
from mlcore.testing import conformance
from mlcore_cpu import fallback
from mlcore_cpu.loader import kernels as K

NEVER, WHERE_IT_PAYS, WHEREVER_POSSIBLE = 0, 1, 2
SAME = ((1, 1), (1, 1))

# n, channels, height, width, output channels, padding
CASES = [
    (2, 64, 32, 32, 64, SAME),  # many tiles, small weights
    (1, 35, 13, 10, 70, SAME),  # no size is a multiple of anything
    (3, 64, 9, 11, 96, ((0, 0), (0, 0))),
    (2, 48, 7, 5, 40, ((2, 2), (2, 2))),
    (2, 33, 8, 9, 65, ((0, 1), (2, 0))),
    (9, 256, 4, 4, 320, SAME),  # one tile an image, large weights
    (2, 32, 6, 6, 32, ((3, 3), (4, 3))),  # windows that see nothing but padding
    (1, 1, 3, 3, 1, ((0, 0), (0, 0))),
    (1, 7, 1, 1, 5, SAME),
    (40, 131, 9, 5, 129, SAME),  # more tiles than a block of large weights has
    (13, 256, 17, 21, 192, SAME),  # more than are transformed at once
]


@pytest.fixture(autouse=True)
def _always() -> Iterator[None]:
    before = K.set_winograd(WHEREVER_POSSIBLE)
    yield
    K.set_winograd(before)
    K.fail_allocation(-1)


def last(x: Any) -> Any:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


class Case:
    """Arrays of a convolution and what its three passes make of them."""

    def __init__(self, rng: Any, n: int, c: int, h: int, w: int, o: int, padding: Any) -> None:
        self.how = ((1, 1), padding, (1, 1), 1)
        out = (h + sum(padding[0]) - 2, w + sum(padding[1]) - 2)
        self.x, self.w, self.b, self.g = (
            rng.standard_normal(shape).astype("f")
            for shape in ((n, c, h, w), (o, c, 3, 3), (o,), (n, o, *out))
        )

    def passes(self) -> list[Any]:
        x, g = last(self.x), last(self.g)
        return [
            kernel("convolution")(x, self.w, self.b, *self.how),
            kernel("convolution_grad_input")(g, self.w, self.x.shape, *self.how),
            kernel("convolution_grad_weight")(g, x, self.w.shape, *self.how),
        ]

    def oracle(self, magnitudes: bool = False) -> list[Any]:
        x, w, b, g = (a.astype(np.float64) for a in (self.x, self.w, self.b, self.g))
        if magnitudes:
            x, w, b, g = map(np.abs, (x, w, b, g))
        return [
            fallback.convolution(x, w, b, *self.how),
            fallback.grad_input(g, w, x.shape, *self.how),
            fallback.grad_weight(g, x, w.shape, *self.how),
        ]

    def check(self) -> None:
        """Each pass within what the declaration allows, of the largest sum of magnitudes."""
        names = ("convolution", "convolution_grad_input", "convolution_grad_weight")
        for name, got, want, size in zip(names, self.passes(), self.oracle(), self.oracle(True), strict=True):
            assert got.shape == want.shape
            assert np.abs(got - want).max() <= get(name).ulp * EPS["float32"] * size.max(), name


@pytest.mark.parametrize("case", CASES, ids=str)
def test_three_passes(case: Any, rng: Any) -> None:
    Case(rng, *case).check()


def test_the_declared_cases() -> None:
    """The conformance kit, with every 3x3 convolution done this way: special values and layouts too."""
    assert conformance("cpu", expression="convolution and float32").ok


def test_it_is_another_way(rng: Any) -> None:
    """The switch switches: other roundings, and the direct ones again."""
    case = Case(rng, *CASES[0])
    found = case.passes()
    K.set_winograd(NEVER)
    direct = case.passes()
    K.set_winograd(WHERE_IT_PAYS)
    paying = case.passes()
    for a, b, c in zip(found, direct, paying, strict=True):
        assert not np.array_equal(a, b)
        np.testing.assert_array_equal(a, c)


@pytest.mark.parametrize("kind", ["positive", "offset", "channels", "pixels", "outputs", "tiny", "huge"])
@pytest.mark.parametrize("shape", [CASES[0], CASES[5]], ids=str)
def test_values_of_many_sizes(shape: Any, kind: str, rng: Any) -> None:
    case = Case(rng, *shape)
    if kind == "positive":
        case.x, case.w, case.g = map(np.abs, (case.x, case.w, case.g))
    elif kind == "offset":
        case.x, case.g = case.x + 10, case.g - 5
    elif kind == "channels":
        case.x *= np.exp(3 * rng.standard_normal((shape[1], 1, 1))).astype("f")
    elif kind == "pixels":
        case.x *= np.exp(3 * rng.standard_normal((1, *case.x.shape[2:]))).astype("f")
    elif kind == "outputs":
        scale = np.exp(3 * rng.standard_normal((shape[4], 1, 1, 1))).astype("f")
        case.w, case.g = case.w * scale, case.g / scale[:, 0]
    elif kind == "tiny":
        case.x, case.g = case.x * np.float32(1e-20), case.g * np.float32(1e-20)
    else:
        case.x, case.g = case.x * np.float32(1e34), case.g * np.float32(1e-3)
    case.check()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize("shape", [CASES[0], CASES[5]], ids=str)
def test_no_value_leaves_its_window(shape: Any, value: float, rng: Any) -> None:
    """One inf, nan, or number whose transform overflows: the results are the direct ones, to the bit."""
    for name, at in (
        ("x", (1, 5, 3, 2)),
        ("w", (3, 4, 1, 2)),
        ("b", (7,)),
        ("g", (0, 9, 2, 1)),
        ("x", (0, 0, 0, 0)),
    ):
        case = Case(rng, *shape)
        getattr(case, name)[at] = value
        with np.errstate(all="ignore"):
            found = case.passes()
            K.set_winograd(NEVER)
            direct = case.passes()
        K.set_winograd(WHEREVER_POSSIBLE)
        touched = {"x": (0, 2), "w": (0, 1), "b": (0,), "g": (1, 2)}[name]
        for i in touched if not (name == "b" and value == 3e38) else ():
            np.testing.assert_array_equal(found[i], direct[i])
        if name == "x" and at[2] == 3 and not np.isfinite(value):
            expected = np.zeros(found[0].shape, bool)
            expected[1, :, 2:5, 1:4] = True
            np.testing.assert_array_equal(~np.isfinite(found[0]), expected)


def test_every_number_of_threads_gives_the_same_bits(rng: Any) -> None:
    before = mlcore_cpu.get_num_threads()
    cases = [Case(rng, *one) for one in CASES]
    found: list[list[bytes]] = []
    try:
        for threads in (1, 2, 4, 3):
            mlcore_cpu.set_num_threads(threads)
            found.append([made.tobytes() for case in cases for made in case.passes()])
    finally:
        mlcore_cpu.set_num_threads(before)
    assert all(one == found[0] for one in found[1:])


@pytest.mark.parametrize("shape", [CASES[0], CASES[5]], ids=str)
def test_every_allocation_may_fail(shape: Any, rng: Any) -> None:
    case = Case(rng, *shape)
    want = case.passes()
    failures = 0
    for count in range(200):
        K.fail_allocation(count)
        try:
            found = case.passes()
        except (OutOfMemoryError, MemoryError):
            failures += 1
            continue
        finally:
            left = K.fail_allocation(-1)
        for a, b in zip(found, want, strict=True):
            np.testing.assert_array_equal(a, b)
        if left >= 0:
            break
    assert failures > 10


def test_training_follows_the_direct_way() -> None:
    """Losses of some steps of a small residual network, by both ways."""

    def losses() -> list[float]:
        ml.manual_seed(0)
        rng = np.random.default_rng(3)
        with ml.device("cpu"):
            first, norm, head = (
                ml.nn.Conv2d(64, 64, 3, padding=1),
                ml.nn.BatchNorm2d(64),
                ml.nn.Linear(64, 10),
            )
            second = ml.nn.Conv2d(64, 64, 3, padding=1, bias=False)
            parameters = [p for one in (first, norm, second, head) for p in one.parameters()]
            optimizer = ml.optim.AdamW(parameters, lr=1e-3)
            x = ml.asarray(rng.standard_normal((4, 64, 16, 16)).astype("f"))
            target = ml.asarray(rng.integers(0, 10, 4))
            found = []
            for _ in range(5):
                optimizer.zero_grad()
                y = x + second(ml.nn.functional.relu(norm(first(x))))
                loss = ml.nn.functional.cross_entropy(head(y.mean(axis=(2, 3))), target)
                loss.backward()
                optimizer.step()
                found.append(float(loss))
        return found

    fast = losses()
    K.set_winograd(NEVER)
    direct = losses()
    assert all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(fast, direct, strict=True))


def test_a_forked_child_computes_the_same() -> None:
    out = run_python(
        """
import os
import numpy as np
from mlcore_cpu.loader import kernels as K
rng = np.random.default_rng(0)
x, w = rng.standard_normal((2, 64, 32, 32)).astype('f'), rng.standard_normal((64, 64, 3, 3)).astype('f')
how = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
y = K.convolution(x, w, None, *how)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(K.convolution(x, w, None, *how), y) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert out.strip() == "0"
