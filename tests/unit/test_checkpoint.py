"""checkpoint: the same gradients with nothing kept, random numbers repeated, nested, and by parameters in closures."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import autograd
from mlcore.errors import AutogradError


def leaf(*shape: int, seed: int = 0) -> Any:
    return ml.asarray(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def block(v: Any) -> Any:
    return ml.tanh(v * v + ml.exp(v)) * v


def grads(f: Any, *leaves: Any) -> list[Any]:
    for one in leaves:
        one.grad = None
    value = f(*leaves)
    value.sum().backward()
    return [np.asarray(value), *[np.asarray(one.grad) for one in leaves]]


def equal(found: list[Any], expected: list[Any]) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_gradients_are_the_same() -> None:
    x = leaf(3, 4)
    equal(grads(lambda v: ml.checkpoint(block, v), x), grads(block, x))
    y = leaf(4, seed=1)
    f = lambda a, b: ml.matmul(block(a), b)  # noqa: E731
    equal(grads(lambda a, b: ml.checkpoint(f, a, b), x, y), grads(f, x, y))


def test_in_the_middle_of_a_graph() -> None:
    x = leaf(5)
    equal(
        grads(lambda v: block(ml.checkpoint(block, v * 2)) + v, x),
        grads(lambda v: block(block(v * 2)) + v, x),
    )
    twice = lambda v: ml.checkpoint(block, ml.checkpoint(block, v))  # noqa: E731
    equal(grads(twice, x), grads(lambda v: block(block(v)), x))


def test_keyword_arguments_and_plain_values() -> None:
    x, w = leaf(4), leaf(4, seed=1)
    f = lambda v, scale=1.0, *, w: v * w * scale + v  # noqa: E731
    equal(
        grads(lambda a, b: ml.checkpoint(f, a, 3.0, w=b), x, w),
        grads(lambda a, b: f(a, 3.0, w=b), x, w),
    )


def test_parameters_of_the_closure_get_their_gradients() -> None:
    x, weight, bias = leaf(3, 4), leaf(4, 4, seed=1), leaf(4, seed=2)

    def layer(v: Any) -> Any:
        return ml.gelu(v @ weight + bias)

    def run(use: Any) -> list[Any]:
        for one in (x, weight, bias):
            one.grad = None
        use(x).sum().backward()
        return [np.asarray(one.grad) for one in (x, weight, bias)]

    equal(run(lambda v: ml.checkpoint(layer, v)), run(layer))
    weight.grad = None
    ml.checkpoint(layer, x.detach()).sum().backward()  # none of the arguments requires a gradient
    assert weight.grad is not None


def test_random_numbers_repeat() -> None:
    x = leaf(50)

    def noisy(v: Any) -> Any:
        return ml.random.dropout(v, 0.5) * ml.random.uniform((50,), dtype="float64") * v

    for function in (noisy, lambda v: ml.checkpoint(noisy, v)):
        ml.manual_seed(5)
        found = grads(function, x)
        after = ml.random.uniform((3,)).tolist()
        if function is noisy:
            expected, expected_after = found, after
    equal(found, expected)
    assert after == expected_after  # running it again draws no numbers of the stream


def test_a_draw_between_forward_and_backward_changes_nothing() -> None:
    x = leaf(20)
    ml.manual_seed(1)
    y = ml.checkpoint(lambda v: ml.random.dropout(v * v, 0.5), x).sum()
    ml.random.uniform((7,))
    state = ml.random.get_state()
    y.backward()
    assert ml.random.get_state() == state
    kept = np.asarray(x.grad) != 0
    np.testing.assert_allclose(np.asarray(x.grad)[kept], 4 * np.asarray(x)[kept])
    assert 0 < kept.sum() < 20
    assert y.item() == pytest.approx((2 * np.asarray(x) ** 2)[kept].sum())


def test_nested() -> None:
    x = leaf(6)
    inner = lambda v: ml.checkpoint(block, v) * v  # noqa: E731
    outer = lambda v: ml.checkpoint(lambda u: inner(inner(u)), v)  # noqa: E731
    plain = lambda v: block(v) * v  # noqa: E731
    equal(grads(outer, x), grads(lambda v: plain(plain(v)), x))


def test_saved_values_are_not_kept() -> None:
    x = leaf(1000)
    kept: list[weakref.ref[Any]] = []

    def watched(v: Any) -> Any:
        h = ml.exp(v)
        kept.append(weakref.ref(h.array))
        return h * h

    plain = watched(x)
    assert kept[-1]() is not None  # saved for backward
    del plain
    y = ml.checkpoint(watched, x)
    assert kept[-1]() is None
    y.sum().backward()
    gc.collect()
    assert all(one() is None for one in kept)


def test_the_argument_is_the_value_it_had() -> None:
    x = leaf(3)
    host = np.asarray(x).copy()
    h = x * 1
    y = ml.checkpoint(lambda v: v * v, h)
    h[0] = 100.0
    h += 1
    y.sum().backward()
    np.testing.assert_allclose(np.asarray(x.grad), 2 * host)


def test_a_function_that_changes_its_mind() -> None:
    x = leaf(3)
    calls = [0]

    def moody(v: Any) -> Any:
        calls[0] += 1
        return v * v if calls[0] == 1 else ml.exp(v) * v * v

    y = ml.checkpoint(moody, x)
    with pytest.raises(AutogradError, match="recorded 1 operations at first and 3 when run again"):
        y.sum().backward()


def test_second_order_through_a_checkpoint() -> None:
    x = leaf(4)
    host = np.asarray(x)
    y = ml.checkpoint(lambda v: ml.sin(v) * v, x)
    (first,) = autograd.grad(y.sum(), x, create_graph=True)
    np.testing.assert_allclose(np.asarray(first), np.cos(host) * host + np.sin(host), rtol=1e-13)
    (second,) = autograd.grad(first.sum(), x)
    np.testing.assert_allclose(np.asarray(second), 2 * np.cos(host) - np.sin(host) * host, rtol=1e-13)


def test_backward_twice_with_retain_graph() -> None:
    x = leaf(4)
    y = ml.checkpoint(block, x).sum()
    y.backward(retain_graph=True)
    once = np.asarray(x.grad).copy()
    y.backward()
    np.testing.assert_allclose(np.asarray(x.grad), 2 * once, rtol=1e-15)
    with pytest.raises(AutogradError, match="a second time"):
        y.backward()


def test_without_recording_it_just_runs() -> None:
    x = leaf(4)
    with ml.no_grad():
        assert not ml.checkpoint(block, x).requires_grad
