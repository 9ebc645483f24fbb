"""The waist: interceptors, what a device can run, what it composes, what falls back to the host, and two devices."""

from __future__ import annotations

import copy
import itertools
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import dispatch
from mlcore.backends import detect, fallback
from mlcore.backends.protocol import Device, MemoryStats
from mlcore.backends.reference import ReferenceBackend
from mlcore.dtypes import everything
from mlcore.errors import (
    ArgumentTypeError,
    DeviceError,
    DTypeError,
    FallbackWarning,
    OutOfMemoryError,
    UnsupportedOpError,
)
from mlcore.ops import registry
from mlcore.plugin import discovery

numbers = itertools.count()


class Boxed:
    """An array that only its own backend understands: nothing may look inside by accident."""

    __slots__ = ("held", "shape")

    def __init__(self, held: np.ndarray) -> None:
        self.held = held
        self.shape = held.shape


class Few(ReferenceBackend):
    """A backend with kernels for the operations it is told, over opaque arrays."""

    def __init__(
        self, device: Any, names: set[str] | None = None, dtypes: Any = everything, limit: int | None = None
    ) -> None:
        super().__init__(device)
        self.names = names
        self.dtypes = frozenset(dtypes)
        self.ran: list[str] = []
        self.limit = limit

    def from_host(self, array: np.ndarray) -> Any:
        return Boxed(np.array(array))

    def to_host(self, array: Any) -> np.ndarray:
        return array.held

    def memory_stats(self) -> MemoryStats:
        return MemoryStats(in_use=100, limit=self.limit)

    def kernel(self, op: Any) -> Any:
        if op.reference is None or (self.names is not None and op.name not in self.names):
            return None
        inner = super().kernel(op)

        def run(*args: Any) -> Any:
            self.ran.append(op.name)
            found = inner(*[a.held if isinstance(a, Boxed) else a for a in args])
            return tuple(Boxed(one) for one in found) if isinstance(found, tuple) else Boxed(found)

        return run


def few(names: set[str] | None = None, **facts: Any) -> Device:
    device = Device(f"few{next(numbers)}")
    device.backend = Few(device, names, **facts)
    return device


def held(x: Any) -> np.ndarray:
    return x.numpy()


@pytest.fixture(autouse=True)
def _fresh_ledger() -> Iterator[None]:
    before = dict(fallback.ledger)
    fallback.ledger.clear()
    yield
    fallback.ledger.clear()
    fallback.ledger.update(before)


PRIMITIVES = {op.name for op in registry.all_ops() if op.body is None}


def test_composites_are_closed_over_the_primitives(rng: np.random.Generator) -> None:
    """A device with the primitives alone runs every composite, forward and backward, and equals the reference."""
    device = few(PRIMITIVES)
    a = rng.standard_normal((4, 6))
    functions = [
        lambda x: ml.softmax(x, axis=-1),
        lambda x: ml.log_softmax(x, axis=0),
        ml.gelu,
        lambda x: ml.gelu(x, "tanh"),
        ml.silu,
        ml.sigmoid,
        ml.relu,
        ml.softplus,
        lambda x: ml.var(x, axis=0),
        lambda x: ml.mean(x, axis=1),
        lambda x: ml.logsumexp(x, axis=1),
        lambda x: ml.erf(x),
        ml.tanh,
        lambda x: ml.rsqrt(ml.abs(x) + 0.1),
        lambda x: ml.reciprocal(x + 9),
        lambda x: x[[0, 2, 0]],
        lambda x: ml.registry.get("layer_norm")(x)[0],
        lambda x: ml.registry.get("batch_norm")(x)[0],
        lambda x: ml.registry.get("convolution")(
            x.reshape(1, 2, 12), ml.ones((3, 2, 3), dtype="float64", device=x.device)
        ),
        lambda x: ml.registry.get("max_pool")(
            x.reshape(1, 2, 12), kernel=(3,), stride=(2,), padding=((1, 1),)
        ),
        lambda x: ml.registry.get("avg_pool")(
            x.reshape(1, 2, 12), kernel=(3,), stride=(2,), padding=((1, 1),)
        ),
        lambda x: ml.registry.get("scaled_dot_product_attention")(x, x, x, is_causal=True),
        lambda x: ml.registry.get("softmax_cross_entropy")(x, ml.asarray([0, 5, 2, 2], device=x.device))[0],
        lambda x: ml.registry.get("linear")(x, x),
    ]
    weight = None
    for f in functions:
        results = []
        for where in ("reference", device):
            x = ml.asarray(a, device=where, requires_grad=True)
            y = f(x)
            weight = rng.standard_normal(y.shape) if where == "reference" else weight
            (y * ml.asarray(weight, device=where)).sum().backward()
            assert y.device == x.grad.device == x.device
            results.append((held(y), held(x.grad)))
        for found, expected in zip(results[1], results[0], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    assert not fallback.ledger
    assert set(device.backend.ran) <= PRIMITIVES
    assert len(set(device.backend.ran)) > 20


def test_path_and_coverage() -> None:
    device = few(PRIMITIVES - {"sin"}, dtypes=everything - {ml.float64})
    sin, softmax, add = (registry.get(name) for name in ("sin", "softmax", "add"))
    assert dispatch.path(add, ml.float32, device) == "native"
    assert dispatch.path(softmax, ml.float32, device) == "composite"
    assert dispatch.path(sin, ml.float32, device) == "host"
    assert dispatch.path(sin, ml.int32, device) is None
    assert dispatch.path(add, ml.float64, device) is None
    table = dispatch.coverage(device, [add, softmax])
    assert table["softmax"] == {"float16": "composite", "bfloat16": "composite", "float32": "composite"}
    assert "float64" not in table["add"]


def test_fallback_error_names_the_operation() -> None:
    device = few(PRIMITIVES - {"sin"})
    x = ml.ones((2,), device=device)
    with fallback.policy("error"), pytest.raises(UnsupportedOpError) as caught:
        ml.sin(x)
    text = str(caught.value)
    assert f"'sin' has no kernel for float32 on {device} and no composite" in text
    assert "MLCORE_FALLBACK=error" in text
    assert not fallback.ledger


def test_fallback_warns_once_with_the_users_line() -> None:
    device = few(PRIMITIVES - {"sin", "cos"})
    x = ml.ones((2,), device=device, requires_grad=True)
    with fallback.policy("warn"):
        with pytest.warns(FallbackWarning) as caught:  # noqa: PT031
            y = ml.sin(x)
            line = sys._getframe().f_lineno - 1  # of the sin above
        assert len(caught) == 1
        assert f"test_dispatch.py:{line}, in test_fallback_warns_once_with_the_users_line" in str(
            caught[0].message
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ml.sin(x)
        with pytest.warns(FallbackWarning, match="'cos' has no kernel"):
            y.sum().backward()
    np.testing.assert_allclose(held(y), np.sin(np.ones(2, np.float32)))
    np.testing.assert_allclose(held(x.grad), np.cos(np.ones(2, np.float32)))
    cost = fallback.ledger[("sin", device.id)]
    assert (cost.calls, cost.bytes) == (2, 32)
    assert fallback.ledger[("cos", device.id)].calls == 1


def test_fallback_allow_counts_in_silence() -> None:
    device = few(PRIMITIVES - {"where_true", "reduce_sum"})
    x = ml.asarray([1, 0, 2], device=device)
    with fallback.policy("allow"):
        assert held(ml.nonzero(x)[0]).tolist() == [0, 2]
        for _ in range(3):
            ml.sum(x)
    assert fallback.ledger[("where_true", device.id)].calls == 1
    assert fallback.ledger[("reduce_sum", device.id)].calls == 3


def test_a_kernel_that_holds_for_some_dtypes() -> None:
    device = few()
    real = device.backend.kernel

    def kernel(op: Any) -> Any:
        found = real(op)
        if found is not None and op.name == "add":
            found.dtypes = frozenset({ml.float32})
        return found

    device.backend.kernel = kernel
    ml.ones((2,), device=device) + 1
    with fallback.policy("error"), pytest.raises(UnsupportedOpError, match="'add' has no kernel for float64"):
        ml.ones((2,), dtype="float64", device=device) + 1


def test_a_device_without_a_dtype() -> None:
    device = few(dtypes=everything - {ml.float64})
    with pytest.raises(DTypeError, match=f"device {device} cannot hold float64"):
        ml.asarray(np.ones(2), device=device)
    with pytest.raises(DTypeError, match="cannot hold float64"):
        ml.ones((2,), device=device).astype("float64")
    with pytest.raises(DTypeError, match="cannot hold float64"):
        ml.ones((2,), dtype="float64").to(device)
    with pytest.raises(DTypeError, match="cannot hold float64"):
        ml.zeros((2,), device=device, dtype="float64")


def test_memory_is_checked_before_the_kernel() -> None:
    device = few(limit=10**6)
    row, column = ml.ones((1, 10_000), device=device), ml.ones((10_000, 1), device=device)
    device.backend.ran.clear()
    for call in (
        lambda: row + column,
        lambda: ml.zeros((10_000, 10_000), device=device),
        lambda: column @ row,
    ):
        with pytest.raises(OutOfMemoryError) as caught:
            call()
        text = str(caught.value)
        assert "cannot allocate 400,000,000 bytes for shape (10000, 10000), float32" in text
        assert "in_use: 100 bytes" in text
        assert "limit:  1,000,000 bytes" in text
    assert device.backend.ran == []
    assert held(row + 1).sum() == 20_000


def test_a_kernel_that_runs_out_of_memory() -> None:
    device = few()
    real = device.backend.kernel

    def kernel(op: Any) -> Any:
        def fail(*args: Any) -> Any:
            raise MemoryError

        return fail if op.name in ("exp", "multiply", "softmax_grad", "contract") else real(op)

    device.backend.kernel = kernel
    x = ml.ones((2, 2), device=device)
    for call in (lambda: ml.exp(x), lambda: x * x, lambda: x @ x):
        with pytest.raises(OutOfMemoryError, match=r"cannot allocate 16 bytes for shape \(2, 2\), float32"):
            call()
    assert held(x + 1).tolist() == [[2.0, 2.0], [2.0, 2.0]]


# -- two devices -------------------------------------------------------------------------------------------


def test_operands_on_two_devices() -> None:
    device = few()
    x, y = ml.ones((2,)), ml.ones((2,), device=device)
    for call in (
        lambda: x + y,
        lambda: ml.concat([x, y]),
        lambda: ml.where(x > 0, x, y),
        lambda: x.reshape(1, 2) @ y,
    ):
        with pytest.raises(DeviceError, match="operands live on different devices"):
            call()
    assert held(y + 2.0).tolist() == [3.0, 3.0]
    assert held(np.ones(2, np.float32) + y).tolist() == [2.0, 2.0]  # host data moves to the tensor's device


def test_transfer_and_its_gradient() -> None:
    device, other = few(), few()
    x = ml.asarray([1.0, 2.0], requires_grad=True)
    y = (x * 2).to(device)
    z = (y * y).to(other).to("reference")
    assert [str(t.device) for t in (y, z)] == [str(device), "reference"]
    (z * ml.asarray([1.0, 10.0])).sum().backward()
    assert x.grad.tolist() == [8.0, 160.0]
    assert x.grad.device == "reference"
    assert not x.detach().to(device).requires_grad
    with ml.no_grad():
        assert not x.to(device).requires_grad
    (first,) = ml.autograd.grad((x.to(device) ** 3).sum().to("reference"), x, create_graph=True)
    (second,) = ml.autograd.grad(first.sum(), x)
    assert second.tolist() == [6.0, 12.0]


def test_creation_on_a_device() -> None:
    device = few()
    with ml.device(device) as chosen:
        assert chosen is device
        assert ml.zeros((2,)).device is ml.asarray([1.0]).device is ml.random.uniform((2,)).device is device
        assert ml.arange(3).device is ml.eye(2).device is ml.linspace(0, 1, 3).device is device
        assert ml.default_device() is device
        with ml.device("reference"):
            assert ml.zeros((2,)).device == "reference"
    assert ml.zeros((2,)).device == "reference"
    like = ml.ones((2,), device=device)
    for made in (
        ml.zeros_like(like),
        ml.full_like(like, 2),
        like[0],
        ml.argsort(like),
        ml.tril(like.reshape(1, 2)),
        ml.random.dropout(like),
    ):
        assert made.device is device


def test_random_numbers_are_those_of_every_device() -> None:
    device = few(PRIMITIVES)
    for draw in (
        lambda d, g: ml.random.uniform((7,), device=d, generator=g),
        lambda d, g: ml.random.permutation(9, device=d, generator=g),
        lambda d, g: ml.random.integers(0, 9, (5,), device=d, generator=g),
        lambda d, g: ml.random.normal((5,), device=d, generator=g),
    ):
        here, there = (draw(d, ml.random.Generator(3)) for d in ("reference", device))
        np.testing.assert_array_equal(held(here), held(there))


def test_copies_stay_on_their_device() -> None:
    device = few()
    x = ml.ones((2,), device=device)
    assert copy.deepcopy(x).device is device
    assert x.tolist() == [1.0, 1.0]
    assert repr(x) == f"Tensor([1., 1.], device='{device}')"
    x[0] = 5
    x += 1
    assert x.tolist() == [6.0, 2.0]
    assert x.device is device


# -- interceptors --------------------------------------------------------------------------------------------


def test_a_plan_is_not_that_of_parameters_that_are_merely_equal() -> None:
    x = ml.arange(8, dtype=ml.float32)
    for _ in range(2):  # the second time from what the first one left
        assert x.reshape((2, 4)).shape == (2, 4)
        with pytest.raises(ArgumentTypeError):
            x.reshape((2.0, 4))
        with pytest.raises(ArgumentTypeError):
            ml.reshape(x, (2.0, 4))
        zeros = [ml.full((1,), value, dtype=ml.float32).item() for value in (0, 0.0, -0.0, False)]
        assert [str(one) for one in zeros] == ["0.0", "0.0", "-0.0", "0.0"]


def test_plans_of_many_signatures_in_turn(rng: np.random.Generator) -> None:
    """More shapes, dtypes and parameters than are kept at hand, several times around, by method and by function."""
    arrays = [rng.standard_normal((2, n, 3)) for n in range(1, 8)]
    for _ in range(3):
        for array in arrays:
            for dtype in (ml.float32, ml.float64):
                x = ml.asarray(array, dtype=dtype)
                for axis in (None, 0, (0, 2), -1):
                    want = array.astype(dtype.numpy).max(axis=axis)
                    assert np.array_equal(x.max(axis=axis).numpy(), want)
                    assert np.array_equal(ml.max(x, axis=axis).numpy(), want)
            where = ml.where(ml.asarray(array > 0), x, -x)
            assert np.array_equal(where.numpy(), np.abs(array))


def test_lookups_of_plugins_end_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class with `__getattr__` finds its methods slowly: a second device must not bring it back."""
    monkeypatch.setattr(discovery, "declares_ops", lambda: True)
    monkeypatch.setattr(detect, "on_open", list(detect.on_open))
    for tell in list(detect.on_open):
        tell(detect.resolve(None))
    assert "__getattr__" in vars(ml.Tensor)
    with pytest.raises(AttributeError, match="no attribute 'zz_nothing'"):
        _ = ml.ones(2).zz_nothing
    for tell in list(detect.on_open):
        tell(detect.resolve(None))
    assert "__getattr__" not in vars(ml.Tensor)


def test_an_interceptor_sees_every_operation() -> None:
    seen: list[str] = []

    def watch(op: Any, inputs: Any, params: Any, proceed: Any) -> Any:
        seen.append(op.name)
        return proceed()

    x = ml.asarray([1.0, 2.0], requires_grad=True)
    with dispatch.intercept(watch):
        y = (ml.exp(x) * 2 + x[0]).sum()
        y.backward()
    assert [name for name in ("exp", "multiply", "slice", "add", "reduce_sum") if name not in seen] == []
    assert seen.index("exp") < seen.index("multiply") < seen.index("reduce_sum")
    assert "slice_update" in seen  # the backward pass too
    seen.clear()
    ml.exp(x)
    assert seen == []


def test_interceptors_nest_and_may_change_the_result() -> None:
    order: list[str] = []

    def outer(op: Any, inputs: Any, params: Any, proceed: Any) -> Any:
        order.append("outer")
        return proceed()

    def inner(op: Any, inputs: Any, params: Any, proceed: Any) -> Any:
        order.append("inner")
        return proceed() if op.name != "sin" else inputs[0]

    x = ml.asarray([3.0])
    with dispatch.intercept(outer), dispatch.intercept(inner):
        assert ml.sin(x).tolist() == [3.0]
    assert order == ["inner", "outer", "inner"] or order == ["inner"] or order[0] == "inner"
    with pytest.raises(KeyError), dispatch.intercept(outer):
        raise KeyError
    order.clear()
    ml.sin(x)
    assert order == []


def test_interceptors_are_of_one_thread() -> None:
    seen: list[str] = []

    def watch(op: Any, inputs: Any, params: Any, proceed: Any) -> Any:
        seen.append(op.name)
        return proceed()

    x = ml.ones((2,))
    with dispatch.intercept(watch):
        thread = threading.Thread(target=lambda: ml.exp(x))
        thread.start()
        thread.join()
    assert seen == []
