"""The tape: backward, accumulation, hooks, orders, modes, threads."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import autograd, testing
from mlcore.errors import ArgumentTypeError, AutogradError, DTypeError, ShapeError


def leaf(*values: float, dtype: str = "float64") -> Any:
    return ml.asarray(list(values), dtype=dtype, requires_grad=True)


def test_backward_adds_up_in_the_leaves() -> None:
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    z = (x * y + x).sum()
    z.backward(retain_graph=True)
    assert x.grad.tolist() == [4.0, 5.0]
    assert y.grad.tolist() == [1.0, 2.0]
    z.backward()
    assert x.grad.tolist() == [8.0, 10.0]
    x.grad = None
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    assert not x.grad.requires_grad
    assert x.grad.is_leaf


def test_backward_of_a_leaf() -> None:
    x = ml.asarray(2.0, requires_grad=True)
    x.backward()
    assert x.grad.item() == 1.0


def test_a_diamond_and_a_deep_chain() -> None:
    x = leaf(0.5)
    y = x
    for _ in range(3000):  # deeper than Python's recursion limit
        y = y * 1.0 + 0.0
    assert sys.getrecursionlimit() < 6000
    (y * y + y + y).sum().backward()
    assert x.grad.tolist() == [2 * 0.5 + 2]


def test_a_wide_graph() -> None:
    x = leaf(1.0)
    parts = [x * i for i in range(200)]
    total = parts[0]
    for one in parts[1:]:
        total = total + one
    total.sum().backward()
    assert x.grad.item() == sum(range(200))


def test_gradient_argument() -> None:
    x = leaf(1.0, 2.0)
    y = x * x
    y.backward(ml.asarray([10.0, 100.0], dtype="float64"))
    assert x.grad.tolist() == [20.0, 400.0]
    y = x.astype("float32") * 2
    y.backward(gradient=ml.ones((2,), dtype="float64"))  # takes the dtype of the tensor
    assert x.grad.dtype is ml.float64


def test_broadcasting_is_undone() -> None:
    x, y, z = (
        ml.ones((3, 1), requires_grad=True),
        ml.ones((4,), requires_grad=True),
        ml.ones((), requires_grad=True),
    )
    (x * y * z + z).sum().backward()
    assert (x.grad.shape, y.grad.shape, z.grad.shape) == ((3, 1), (4,), ())
    assert (x.grad.tolist(), y.grad.tolist(), z.grad.item()) == ([[4.0]] * 3, [3.0] * 4, 24.0)


def test_dtypes_of_gradients_follow_their_tensors() -> None:
    a, b = ml.ones(2, dtype="float16", requires_grad=True), ml.ones(2, dtype="float64", requires_grad=True)
    c = ml.ones(2, dtype="bfloat16", requires_grad=True)
    (a * b * c.astype("float32") * ml.asarray([2, 3])).sum().backward()
    assert [t.grad.dtype for t in (a, b, c)] == [ml.float16, ml.float64, ml.bfloat16]
    assert [t.grad.tolist() for t in (a, b, c)] == [[2.0, 3.0]] * 3


def test_what_needs_no_gradient_gets_none() -> None:
    x, constant = leaf(1.0), ml.asarray([2.0])
    y = x * constant
    assert y.requires_grad
    assert not constant.requires_grad
    y.sum().backward()
    assert constant.grad is None
    assert not (x > 0).requires_grad
    assert not ml.argmax(x).requires_grad
    assert not x.astype("int64").requires_grad
    assert not ml.sign(x).requires_grad or autograd.grad(ml.sign(x).sum(), x)[0].tolist() == [0.0]


def second_backward_line() -> tuple[Any, int]:
    x = leaf(2.0)
    y = ml.exp(x)
    line = sys._getframe().f_lineno - 1  # of the exp above
    return y, line


def test_a_second_backward_names_the_operation_and_the_line() -> None:
    y, line = second_backward_line()
    y.sum().backward()
    with pytest.raises(AutogradError) as caught:
        y.sum().backward()
    text = str(caught.value)
    assert "backward through 'exp' a second time" in text
    assert f"test_autograd.py:{line}, in second_backward_line" in text
    assert "retain_graph=True" in text


def test_what_saved_nothing_can_be_read_again() -> None:
    x = leaf(1.0, 2.0)
    y = (x + x - 3).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [4.0, 4.0]


def test_orders_one_to_three() -> None:
    x = leaf(0.5, -1.5, 2.0)
    host = np.asarray(x)
    y = (ml.sin(x) * x**3).sum()
    s, c = np.sin(host), np.cos(host)
    (d1,) = autograd.grad(y, x, create_graph=True)
    (d2,) = autograd.grad(d1.sum(), x, create_graph=True)
    (d3,) = autograd.grad(d2.sum(), x, create_graph=True)
    np.testing.assert_allclose(np.asarray(d1), c * host**3 + 3 * s * host**2, rtol=1e-14)
    np.testing.assert_allclose(np.asarray(d2), -s * host**3 + 6 * c * host**2 + 6 * s * host, rtol=1e-14)
    np.testing.assert_allclose(
        np.asarray(d3), -c * host**3 - 9 * s * host**2 + 18 * c * host + 6 * s, rtol=1e-13
    )
    assert x.grad is None


def test_backward_with_create_graph_differentiates_again() -> None:
    x = leaf(3.0)
    (x**4).sum().backward(create_graph=True)
    first = x.grad
    assert first.requires_grad
    x.grad = None
    first.sum().backward()
    assert x.grad.tolist() == [12 * 9.0]


def test_mixed_partials() -> None:
    x, y = leaf(0.7), leaf(-0.3)
    f = (ml.exp(x * y) * x).sum()
    (fx,) = autograd.grad(f, x, create_graph=True)
    (fxy,) = autograd.grad(fx.sum(), y, create_graph=True)
    (fxyx,) = autograd.grad(fxy.sum(), x)
    a, b = 0.7, -0.3
    e = np.exp(a * b)
    np.testing.assert_allclose(fxy.item(), e * (2 * a + a * a * b), rtol=1e-14)
    np.testing.assert_allclose(fxyx.item(), e * (2 + 4 * a * b + a * a * b * b), rtol=1e-14)


def test_grad_of_several() -> None:
    x, y = leaf(2.0), leaf(3.0)
    found = autograd.grad([x * y, x * x], [x, y], [ml.asarray([1.0]), ml.asarray([10.0])])
    assert [g.tolist() for g in found] == [[43.0], [2.0]]
    middle = x * 2
    assert autograd.grad((middle * middle).sum(), middle)[0].tolist() == [8.0]
    other = leaf(1.0)
    with pytest.raises(AutogradError, match="do not depend on input 1"):
        autograd.grad((x * 2).sum(), [x, other])
    assert autograd.grad((x * 2).sum(), [x, other], allow_unused=True)[1] is None
    assert x.grad is None


def test_grad_by_an_output_itself() -> None:
    x = leaf(2.0)
    y = x * 3
    assert [g.tolist() for g in autograd.grad(y, [y, x])] == [[1.0], [3.0]]


def test_hooks_on_leaves_and_intermediates() -> None:
    x = leaf(1.0, 2.0)
    seen: list[Any] = []
    h = x * 3
    remove = h.register_hook(lambda g: seen.append(("h", g.tolist())))
    h.register_hook(lambda g: g * 10)
    with x.register_hook(lambda g: seen.append(("x", g.tolist()))):
        (h * h).sum().backward(retain_graph=True)
    assert seen == [("h", [6.0, 12.0]), ("x", [180.0, 360.0])]
    assert x.grad.tolist() == [180.0, 360.0]
    remove.remove()
    remove.remove()
    seen.clear()
    (h * 1).sum().backward()
    assert seen == []


def test_a_hook_that_returns_nonsense() -> None:
    x = leaf(1.0)
    x.register_hook(lambda g: ml.ones((3,)))
    with pytest.raises(ShapeError, match=r"a gradient hook returned \(3,\) for a gradient of shape \(1,\)"):
        (x * 2).sum().backward()
    with pytest.raises(AutogradError, match="does not require a gradient"):
        ml.ones(1).register_hook(print)


def test_a_hook_that_raises_stops_backward() -> None:
    x = leaf(1.0)

    def fail(g: Any) -> None:
        raise ZeroDivisionError("in a hook")

    x.register_hook(fail)
    with pytest.raises(ZeroDivisionError, match="in a hook"):
        (x * 2).sum().backward()
    assert ml.is_recording()
    assert (x * 2).requires_grad


def test_retained_gradients() -> None:
    x = leaf(1.0, 2.0)
    h = x * 3
    h.retain_grad()
    (h * h).sum().backward(retain_graph=True)
    assert h.grad.tolist() == [6.0, 12.0]
    plain = x * 3
    (plain * 2).sum().backward()
    assert plain.grad is None


def test_detach() -> None:
    x = leaf(2.0)
    y = x.detach() * x
    y.sum().backward()
    assert x.grad.tolist() == [2.0]
    assert x.detach().is_leaf
    assert not x.detach().requires_grad


def test_requires_grad_switch() -> None:
    x = ml.ones(2)
    assert x.requires_grad_() is x
    assert (x * 1).requires_grad
    assert not (x.requires_grad_(False) * 1).requires_grad
    with pytest.raises(AutogradError, match="it is not a leaf"):
        (ml.ones(2, requires_grad=True) * 2).requires_grad_(False)
    with pytest.raises(AutogradError, match="bool has no gradient"):
        ml.asarray(True).requires_grad_()


def test_modes_nest() -> None:
    x = leaf(1.0)
    assert ml.is_recording()
    with ml.no_grad():
        assert not ml.is_recording()
        assert not (x * 2).requires_grad
        with ml.enable_grad():
            assert ml.is_recording()
            assert (x * 2).requires_grad
            with ml.no_grad():
                assert not ml.is_recording()
        assert not ml.is_recording()
        assert ml.ones(1, requires_grad=True).requires_grad  # leaves may still ask
    assert ml.is_recording()
    with pytest.raises(KeyError), ml.no_grad():
        raise KeyError
    assert ml.is_recording()


def test_one_context_object_nests_in_itself() -> None:
    mode = ml.no_grad()
    with mode, mode:
        assert not ml.is_recording()
    assert ml.is_recording()


def test_modes_as_decorators() -> None:
    x = leaf(1.0)

    @ml.no_grad()
    def quiet(v: Any, deep: int = 0) -> Any:
        """Doc."""
        return quiet(v, deep - 1) if deep else v * 2

    @ml.no_grad()
    def outer() -> Any:
        @ml.enable_grad()
        def inner() -> Any:
            return x * 2

        return inner(), x * 2

    assert not quiet(x, deep=3).requires_grad
    assert (quiet.__name__, quiet.__doc__) == ("quiet", "Doc.")
    loud, silent = outer()
    assert loud.requires_grad
    assert not silent.requires_grad
    assert ml.is_recording()


def test_threads_have_modes_of_their_own() -> None:
    x = ml.ones((2,), requires_grad=True)
    inside, leave = threading.Barrier(4), threading.Barrier(4)
    found: dict[int, list[bool]] = {}

    def work(number: int) -> None:
        mode = ml.no_grad() if number % 2 else ml.enable_grad()
        before = ml.is_recording()
        with mode:
            inside.wait()
            here = [(x * i).requires_grad for i in range(50)]
            leave.wait()
        found[number] = [before, ml.is_recording(), *here]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for number in range(4):
        assert found[number] == [True, True] + [number % 2 == 0] * 50
    assert ml.is_recording()


def test_threads_differentiate_at_the_same_time() -> None:
    shared = ml.asarray(np.linspace(0.1, 1, 20), requires_grad=True)
    results: list[Any] = [None] * 6

    def work(number: int) -> None:
        total = np.zeros(20)
        for _ in range(30):
            y = shared
            for _ in range(6):
                y = ml.sin(y) * number + y
            total += np.asarray(autograd.grad(y.sum(), shared)[0])
        results[number] = total

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for number in range(6):
        expected = results[number].copy()
        work(number)
        np.testing.assert_array_equal(results[number], expected)


MISUSE: list[tuple[Any, type[Exception], str]] = [
    (lambda: ml.ones(2).backward(), AutogradError, "no history and requires no gradient"),
    (
        lambda: (leaf(1.0, 2.0) * 2).backward(),
        AutogradError,
        r"shape \(2,\) needs a gradient of the same shape",
    ),
    (
        lambda: (leaf(1.0) * 2).backward(ml.ones((3,))),
        ShapeError,
        r"gradient of shape \(3,\) for a tensor of shape \(1,\)",
    ),
    (lambda: (leaf(1.0) * 2).backward([1.0]), ArgumentTypeError, "gradient is a list, expected a Tensor"),
    (lambda: autograd.grad(ml.ones(1), leaf(1.0)), AutogradError, "no history"),
    (lambda: autograd.grad(leaf(1.0) * 2, ml.ones(1)), AutogradError, "does not require a gradient"),
    (lambda: autograd.grad(3.0, leaf(1.0)), ArgumentTypeError, "expected a Tensor, got float"),
    (lambda: autograd.grad(leaf(1.0) * 2, 3.0), ArgumentTypeError, "expected a Tensor, got float"),
    (lambda: autograd.grad([leaf(1.0) * 2], [leaf(1.0)], []), ShapeError, "1 outputs but 0 grad_outputs"),
]


@pytest.mark.parametrize(("call", "kind", "text"), MISUSE, ids=[t for _, _, t in MISUSE])
def test_misuse(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()
    assert ml.is_recording()


def test_subgradients_at_kinks() -> None:
    x = leaf(0.0, -0.0, 1.0, -1.0)
    for f, expected in [(ml.relu, [0, 0, 1, 0]), (ml.abs, [0, 0, 1, -1])]:
        assert autograd.grad(f(x).sum(), x)[0].tolist() == expected
    tie = leaf(2.0, 2.0, 1.0)
    assert autograd.grad(ml.max(tie), tie)[0].tolist() == [0.5, 0.5, 0.0]
    assert autograd.grad(ml.maximum(tie, 2.0).sum(), tie)[0].tolist() == [0.5, 0.5, 0.0]


def test_gradients_stay_finite_where_they_should() -> None:
    x = leaf(-np.inf, -np.inf)
    for f in (lambda v: ml.logsumexp(v), lambda v: ml.softmax(v, axis=-1).sum()):
        assert autograd.grad(f(x), x)[0].tolist() == [0.0, 0.0]
    q = ml.ones((2, 3), requires_grad=True)
    mask = ml.asarray([[False, False], [True, False]])
    attend = ml.registry.get("scaled_dot_product_attention")
    y = attend(q, q, q, mask)
    assert y[0].tolist() == [0.0, 0.0, 0.0]
    y.sum().backward()
    assert np.isfinite(np.asarray(q.grad)).all()
    zero = leaf(0.0, 1.0)
    assert autograd.grad((zero**2.0).sum(), zero)[0].tolist() == [0.0, 2.0]
    assert autograd.grad(ml.prod(zero), zero)[0].tolist() == [1.0, 0.0]


def test_no_gradient_for_integers() -> None:
    with pytest.raises((AutogradError, DTypeError)):
        ml.asarray([1, 2], requires_grad=True)


def _sliced_thrice(x: Any) -> Any:
    return x[:, :2] * x[:, 2:4] * x[:, 4:]


def _slices_and_more(x: Any) -> Any:
    y = x * 3
    return y[0].sum() * y[:, :2] + y[1:].sum() + y[:, 2:].sum() + y[::2, 1:3].sum()


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (_sliced_thrice, (3, 6)),
        (lambda x: x[:, :2] * x[:, 1:3], (3, 6)),  # overlapping
        (lambda x: x[:, :2] * x[:, 4:], (3, 6)),  # a gap
        (lambda x: x[:, 4:] * x[:, :2] * x[:, 2:4] * x[:, :2], (3, 6)),
        (lambda x: x[:, 0] * x[:, 1], (3, 2)),
        (lambda x: x[2] * x[1] * x[0], (3, 2)),
        (lambda x: (x * 2)[:, :1] * (x * 2)[:, 1:] + (x * 2).sum(), (2, 2)),
        (lambda x: x[1:] + x.sum(axis=0) * x[:1], (3, 2)),
        (lambda x: x[:, 1:2, :], (3, 4, 2)),
        (_slices_and_more, (3, 4)),
    ],
)
def test_gradients_of_slices_of_one_tensor_are_put_together(function: Any, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).standard_normal(shape)
    assert testing.gradcheck(function, [ml.asarray(values, requires_grad=True)], order=2)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ml.nn.functional.layer_norm(x.reshape(3, 4), (4,)),
        lambda x: ml.nn.functional.rms_norm(x.exp(), (6,)),
        lambda x: ml.nn.functional.batch_norm(x.reshape(4, 3), None, None, None, None, True).reshape(12),
        lambda x: ml.nn.functional.cross_entropy(x.reshape(3, 4) * 2, ml.asarray([0, 3, 1])),
    ],
)
def test_second_derivatives_go_on_above_an_operation_that_is_run_again(function: Any) -> None:
    """Operations of several results are differentiated twice by running their bodies again."""
    values = np.random.default_rng(2).standard_normal((2, 6))
    assert testing.gradcheck(function, [ml.asarray(values, requires_grad=True)], order=2)
