"""The functional face against closed forms; against torch.func in tests/parity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import func
from mlcore.errors import ArgumentError, ArgumentTypeError, AutogradError


def vector(*values: float) -> Any:
    return ml.asarray(list(values), dtype="float64")


def close(found: Any, expected: Any, rtol: float = 1e-13) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=rtol, atol=1e-14)


A = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 4.0]])


def quadratic(v: Any) -> Any:
    return (v @ ml.asarray(A) @ v) / 2


def test_grad() -> None:
    x = vector(1.0, -2.0, 0.5)
    close(ml.grad(quadratic)(x), A @ np.asarray(x))
    assert x.grad is None
    assert not x.requires_grad
    assert not ml.grad(quadratic)(x).requires_grad


def test_orders_by_nesting() -> None:
    f = lambda v: (v**5).sum()  # noqa: E731
    x = vector(1.0, 2.0)
    host = np.asarray(x)
    g = f
    for factor, power in [(5, 4), (20, 3), (60, 2), (120, 1)]:
        inner = g
        close(ml.grad(inner)(x), factor * host**power)
        g = lambda v, inner=inner: ml.grad(inner)(v).sum()  # noqa: E731
    assert x.grad is None


def test_value_and_grad() -> None:
    x, y = vector(1.0, 2.0), vector(3.0, 4.0)
    value, (gx, gy) = ml.value_and_grad(lambda a, b, scale=1: (a * b).sum() * scale, argnums=(0, 1))(
        x, y, scale=2
    )
    assert value.item() == 22.0
    close(gx, [6.0, 8.0])
    close(gy, [2.0, 4.0])
    value, gy = ml.value_and_grad(lambda a, b: (a * b).sum(), argnums=-1)(x, y)
    close(gy, [1.0, 2.0])
    assert not value.requires_grad


def test_what_the_function_does_not_use_has_gradient_zero() -> None:
    x, y = vector(1.0, 2.0), vector(3.0)
    assert ml.grad(lambda a, b: a.sum(), argnums=1)(x, y).tolist() == [0.0]
    assert ml.grad(lambda a: ml.asarray(3.0))(x).tolist() == [0.0, 0.0]


def test_grad_inside_a_recorded_computation_connects_to_it() -> None:
    x = ml.asarray([2.0, 3.0], dtype="float64", requires_grad=True)
    w = ml.asarray([1.0, -1.0], dtype="float64", requires_grad=True)
    penalty = ml.grad(lambda v: (v**3 * w).sum())(x)
    (penalty**2).sum().backward()
    host, weight = np.asarray(x), np.asarray(w)
    close(x.grad, 2 * (3 * host**2 * weight) * 6 * host * weight)
    close(w.grad, 2 * (3 * host**2 * weight) * 3 * host**2)


def test_a_captured_tensor_is_not_differentiated_but_kept() -> None:
    w = ml.asarray([2.0], requires_grad=True)
    g = ml.grad(lambda v: (v * w).sum())(ml.asarray([1.0]))
    assert g.tolist() == [2.0]
    assert w.grad is None


def test_grad_under_no_grad() -> None:
    with ml.no_grad():
        close(ml.grad(quadratic)(vector(1.0, 0.0, 0.0)), A[0])
        assert not ml.is_recording()


def test_vjp() -> None:
    x, y = vector(1.0, 2.0), vector(3.0, 5.0)
    value, pull = func.vjp(lambda a, b: a * b + a, x, y)
    close(value, [4.0, 12.0])
    for cotangent in ([1.0, 0.0], [0.0, 1.0], [2.0, -3.0]):  # may be called again
        gx, gy = pull(vector(*cotangent))
        close(gx, np.array(cotangent) * (np.asarray(y) + 1))
        close(gy, np.array(cotangent) * np.asarray(x))


def test_jvp() -> None:
    x, y = vector(1.0, 2.0), vector(3.0, 5.0)
    value, pushed = func.jvp(lambda a, b: ml.sin(a) * b, (x, y), (vector(1.0, 0.5), vector(-1.0, 2.0)))
    a, b = np.asarray(x), np.asarray(y)
    close(value, np.sin(a) * b)
    close(pushed, np.cos(a) * b * [1.0, 0.5] + np.sin(a) * [-1.0, 2.0])
    value, pushed = func.jvp(lambda a: ml.asarray([1.0]), (x,), (x,))
    assert pushed.tolist() == [0.0]
    _, linear = func.jvp(lambda a: a * 3, (x,), (vector(1.0, 1.0),))
    close(linear, [3.0, 3.0])


def test_jacobian() -> None:
    x = vector(0.5, -1.0, 2.0)
    host = np.asarray(x)
    close(func.jacobian(lambda v: ml.sin(v))(x), np.diag(np.cos(host)))
    close(func.jacobian(lambda v: ml.asarray(A) @ v)(x), A)
    outer = func.jacobian(lambda v: v.reshape(3, 1) * v)(x)
    assert outer.shape == (3, 3, 3)
    eye = np.eye(3)
    close(outer, np.einsum("ik,j->ijk", eye, host) + np.einsum("jk,i->ijk", eye, host))
    close(func.jacobian(lambda a, b: a * b, argnum=1)(x, vector(1.0, 1.0, 1.0)), np.diag(host))
    assert func.jacobian(lambda v: v[:0])(x).shape == (0, 3)
    assert func.jacobian(lambda v: v.sum())(x).shape == (3,)


def test_hessian() -> None:
    x = vector(0.5, -1.0, 2.0)
    host = np.asarray(x)
    close(func.hessian(quadratic)(x), A)
    close(
        func.hessian(lambda v: ml.exp(v).sum() * v[0])(x),
        np.diag(np.exp(host) * host[0])
        + np.outer([1, 0, 0], np.exp(host))
        + np.outer(np.exp(host), [1, 0, 0]),
    )
    rosen = lambda v: ((1 - v[:-1]) ** 2 + 100 * (v[1:] - v[:-1] ** 2) ** 2).sum()  # noqa: E731
    a, b, _ = host
    expected = np.array(
        [
            [2 - 400 * (b - 3 * a * a), -400 * a, 0],
            [-400 * a, 200 + 2 - 400 * (host[2] - 3 * b * b), -400 * b],
            [0, -400 * b, 200],
        ]
    )
    close(func.hessian(rosen)(x), expected)


def test_jvp_of_grad_is_a_hessian_product() -> None:
    x, v = vector(0.5, -1.0, 2.0), vector(1.0, 2.0, 3.0)
    _, product = func.jvp(ml.grad(lambda u: (ml.sin(u) * u).sum()), (x,), (v,))
    host = np.asarray(x)
    close(product, (2 * np.cos(host) - np.sin(host) * host) * np.asarray(v))


def test_newton_step_uses_it_all() -> None:
    x = vector(1.5, -0.5, 0.3)
    f = lambda v: quadratic(v) + (v**4).sum() / 4  # noqa: E731
    for _ in range(12):
        x = x - ml.asarray(np.linalg.solve(np.asarray(func.hessian(f)(x)), np.asarray(ml.grad(f)(x))))
    assert np.abs(np.asarray(ml.grad(f)(x))).max() < 1e-12


MISUSE: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: ml.grad(lambda v: v)(vector(1.0, 2.0)),
        AutogradError,
        r"the function returned \(2,\), expected one number",
    ),
    (lambda: ml.grad(lambda v: 3.0)(vector(1.0)), AutogradError, "the function returned float"),
    (lambda: ml.grad(quadratic)(ml.asarray([1, 2])), ArgumentTypeError, "argument 0 is a int64 tensor"),
    (lambda: ml.grad(quadratic)([1.0]), ArgumentTypeError, "argument 0 is list, expected a floating tensor"),
    (
        lambda: ml.grad(quadratic, argnums=1)(vector(1.0)),
        ArgumentError,
        "argument 1 of a call with 1 arguments",
    ),
    (lambda: ml.grad(quadratic)(), ArgumentError, "argument 0 of a call with 0 arguments"),
    (lambda: func.jacobian(quadratic)(3), ArgumentTypeError, "argument 0 is int"),
]


@pytest.mark.parametrize(("call", "kind", "text"), MISUSE, ids=[t for _, _, t in MISUSE])
def test_misuse(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()
    assert ml.is_recording()
    close(
        ml.grad(lambda v: ml.grad(lambda u: (u**3).sum())(v).sum())(vector(2.0)), [12.0]
    )  # no depth was lost


def test_functional_call_uses_other_values_and_leaves_the_module_alone() -> None:
    from mlcore import nn

    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    before = {key: value.numpy().copy() for key, value in net.state_dict().items()}
    names = [name for name, _ in net.named_parameters()]
    given = {name: ml.random.normal(p.shape).requires_grad_() for name, p in net.named_parameters()}
    x = ml.random.normal((5, 2))
    held = {"1.running_mean": ml.ones((3,)), "1.running_var": ml.ones((3,)) * 2}
    y = ml.func.functional_call(net.eval(), given | held, x)
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).eval()
    other.load_state_dict(given | held | {"1.num_batches_tracked": ml.asarray(0)})
    np.testing.assert_array_equal(y.numpy(), other(x).numpy())
    y.sum().backward()
    assert all(given[name].grad is not None for name in names)
    assert all(p.grad is None for p in net.parameters())
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])
    with pytest.raises(ml.errors.ArgumentError, match=r"unknown: 0\.wait"):
        ml.func.functional_call(net, {"0.wait": x}, x)
    with pytest.raises(ml.errors.ArgumentError, match=r"missing: 0\.bias"):
        ml.func.functional_call(
            net, {name: given[name] for name in names if name != "0.bias"}, x, strict=True
        )
    with pytest.raises(ml.errors.ArgumentTypeError, match="expected a Tensor"):
        ml.func.functional_call(net, {"0.bias": [1.0]}, x)
    with pytest.raises(ml.errors.ShapeError):  # what was swapped comes back also when the call fails
        ml.func.functional_call(net, {"0.bias": ml.zeros((7,))}, x)
    assert net[0].bias.shape == (3,)
