"""Kernels that raise: what does not compile is composed loudly, a lost device is marked, the rest told as ours."""

from __future__ import annotations

import itertools
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import dispatch
from mlcore.backends import detect, fallback
from mlcore.backends.failure import kernel_error
from mlcore.backends.protocol import Device
from mlcore.backends.reference import ReferenceBackend
from mlcore.errors import (
    DeviceError,
    DeviceLostError,
    FallbackWarning,
    KernelError,
    KernelWarning,
    OutOfMemoryError,
)
from mlcore.ops import registry

numbers = itertools.count()
SOURCE = "kernel void k(const float x) {\n  return tanhq(x);\n}"
MESSAGES = "k.src:2:10: error: no function 'tanhq'"


class Gone(Exception):
    """What the library of the test backend raises when its device is lost."""


class Full(Exception):
    """What it raises when the device's memory is full; no MemoryError."""


class Failing(ReferenceBackend):
    """The reference, whose kernels named in `faults` raise what is given there, at each call."""

    def __init__(self, device: Device, faults: dict[str, BaseException]) -> None:
        super().__init__(device)
        self.faults = faults

    def explain(self, error: Exception) -> Exception | None:
        if isinstance(error, Gone):
            return DeviceLostError("gone", cause=str(error))
        return OutOfMemoryError(str(error)) if isinstance(error, Full) else None

    def kernel(self, op: Any) -> Any:
        inner = super().kernel(op)
        if op.name not in self.faults:
            return inner

        def run(*args: Any) -> Any:
            raise self.faults[op.name]

        return run


def failing(**faults: BaseException) -> Device:
    device = Device(f"failing{next(numbers)}")
    device.backend = Failing(device, faults)
    return device


def uncompiled(name: str) -> KernelError:
    return kernel_error(name, Device("failing"), SOURCE, MESSAGES)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    before = dict(detect.lost)
    yield
    detect.lost.clear()
    detect.lost.update(before)


def composites() -> list[Any]:
    """Every operation of one float input with a body and a reference: the device could run it, and need not."""
    return [
        op
        for op in registry.all_ops()
        if op.body is not None and op.rule is not None and op.reference is not None and op.family == "unary"
    ]


def test_every_unary_composite_goes_on_when_its_kernel_does_not_compile() -> None:
    compared = 0
    host = np.array([[0.25, 0.5], [0.75, 0.9]], dtype=np.float32)
    for op in composites():
        if ml.float32 not in op.accepts:
            continue
        device = failing(**{op.name: uncompiled(op.name)})
        x = ml.asarray(host, device=device)
        with pytest.warns(KernelWarning) as told:
            found = op(x)
        (warning,) = told
        text = str(warning.message)
        assert (
            f"the kernel of {op.name!r} for float32 does not compile on {device}: it is composed from" in text
        )
        assert "source: line 2: return tanhq(x);" in text
        assert f"cause:  {MESSAGES}" in text
        assert f"{__file__}:" in text
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = op(x)  # said once
        expected = op(ml.asarray(host, device="reference"))
        for one in (found, again):
            np.testing.assert_allclose(one.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
        compared += 2
    assert compared >= 10, compared


CALLS = {
    "binary": ("subtract", lambda x: x - x * 2),
    "a product": ("contract", lambda x: x @ x),
    "one tensor with parameters": ("reduce_sum", lambda x: x.sum(axis=0)),
    "a view": ("permute_dims", lambda x: x.mT),
    "several outputs": ("layer_norm", lambda x: registry.get("layer_norm")(x)[0]),
    "a creation": ("fill", lambda x: ml.ones((2,), device=x.device) + x),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("recorded", [False, True])
def test_every_way_into_a_kernel_goes_on(call: str, recorded: bool) -> None:
    name, function = CALLS[call]
    host = np.array([[0.25, 0.5], [0.75, 0.9]], dtype=np.float32)
    results = []
    device = failing(**{name: uncompiled(name)})
    for where in (device, "reference"):
        x = ml.asarray(host, device=where, requires_grad=recorded)
        with warnings.catch_warnings(), fallback.policy("allow"):
            warnings.simplefilter("ignore", KernelWarning)
            for _ in range(3):
                y = function(x)
            if recorded:
                y.sum().backward()
        results.append((y.numpy(), x.grad.numpy() if recorded else None))
    assert device.table[registry.get(name).index].by_dtype[ml.float32.index] is None
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    if recorded:
        np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-5)


def test_what_has_no_composition_runs_on_the_host_loudly() -> None:
    device = failing(exp=uncompiled("exp"))
    x = ml.ones((2,), device=device)
    with (
        fallback.policy("warn"),
        pytest.warns(KernelWarning, match="it is run on the host instead"),
        pytest.warns(FallbackWarning),
    ):
        y = ml.exp(x)
    np.testing.assert_allclose(y.numpy(), np.exp(np.ones(2)), rtol=1e-6)


def test_only_the_dtype_that_fails_is_withdrawn() -> None:
    device = failing()
    backend = device.backend

    class Half:
        def __call__(self, x: Any) -> Any:
            if x.dtype == np.float16:
                raise uncompiled("sigmoid")
            return 1 / (1 + np.exp(-x))

    plain = backend.kernel
    backend.kernel = lambda op: Half() if op.name == "sigmoid" else plain(op)
    with pytest.warns(KernelWarning, match="for float16"):
        ml.sigmoid(ml.ones((2,), dtype="float16", device=device))
    assert dispatch.path(registry.get("sigmoid"), ml.float16, device) == "composite"
    assert dispatch.path(registry.get("sigmoid"), ml.float32, device) == "native"


def test_a_kernel_that_cannot_be_made_is_composed() -> None:
    device = failing()
    plain = device.backend.kernel

    def kernel(op: Any) -> Any:
        if op.name == "sigmoid":
            raise uncompiled("sigmoid")
        return plain(op)

    device.backend.kernel = kernel
    x = ml.ones((2,), device=device)
    with pytest.warns(KernelWarning, match="the kernel of 'sigmoid' does not compile"):
        y = ml.sigmoid(x)
    np.testing.assert_allclose(y.numpy(), 1 / (1 + np.exp(-np.ones(2))), rtol=1e-6)


@pytest.mark.parametrize(
    "error", [Gone("the bus fell over"), DeviceLostError("x", cause="the bus fell over")]
)
def test_a_lost_device_is_marked_and_the_others_go_on(error: Exception) -> None:
    device = failing(tanh=error)
    x = ml.ones((2, 2), device=device, requires_grad=True)
    y = x * 2
    kept = ml.ones((2, 2), device="reference")
    with pytest.raises(DeviceLostError) as first:
        ml.tanh(y)
    assert str(first.value).startswith(f"tanh on device {device}: the device is lost")
    assert "the bus fell over" in str(first.value)
    uses = {
        "add": lambda: y + y,
        "multiply": lambda: y * 2.5,
        "exp": lambda: ml.exp(y),
        "contract": lambda: y @ y,
        "reading a tensor": lambda: y.numpy(),
        "reading": lambda: y.to("reference"),
        "reading a": lambda: y.tolist(),
        "fill": lambda: ml.zeros((3,), device=device),
        "taking an array from the host": lambda: ml.asarray([1.0], device=device),
        "broadcast_to": lambda: y.sum().backward(),
    }
    for name, use in uses.items():
        with pytest.raises(DeviceLostError) as again:
            use()
        text = str(again.value)
        assert f"on device {device}: the device is lost" in text, name
        assert "the bus fell over" in text
        assert "load the last checkpoint" in text
        assert len(text.splitlines()) < 8
    assert repr(kept + kept)
    with pytest.raises(DeviceError):
        detect.resolve(device.id)


def test_memory_that_is_full_is_told_with_the_operation() -> None:
    for error in (
        Full("pool of 8 MiB exhausted"),
        MemoryError(),
        OutOfMemoryError("pool exhausted", limit="8 MiB"),
    ):
        device = failing(tanh=error)
        x = ml.ones((4, 4), device=device)
        with pytest.raises(OutOfMemoryError, match=r"^tanh(: cannot allocate| on failing\d+: pool)"):
            ml.tanh(x)
        assert (x + x).sum().item() == 32  # the device is as usable as before


def test_any_other_error_is_told_with_operation_device_and_cause() -> None:
    device = failing(tanh=OSError("the cable is loose"))
    x = ml.ones((2,), device=device)
    with pytest.raises(DeviceError) as raised:
        ml.tanh(x)
    text = str(raised.value)
    assert text.startswith(f"tanh failed on device {device}")
    assert "cause: OSError: the cable is loose" in text
    assert isinstance(raised.value.__cause__, OSError)
    assert (x + x).tolist() == [2.0, 2.0]


PLACES = {
    "a.cl:2:10: error: no function": "line 2: two",
    "a.cu(3): error: identifier": "line 3: three",
    "In file\nprogram_source:1:4: fatal error: x": "line 1: one",
    "ptxas error at line 2": "line 2: two",
    "a:9:1: error: past the end": "line 9: (not in the source)",
    "it is all wrong": "3 lines, of which the compiler names none",
    "": "3 lines, of which the compiler names none",
}


@pytest.mark.parametrize("messages", PLACES)
def test_the_line_of_the_source_is_found(messages: str) -> None:
    error = kernel_error("sigmoid", Device("toy"), "one\ntwo\nthree", messages)
    assert error.details["source"] == PLACES[messages]
    assert error.details["cause"]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals of POSIX")
@pytest.mark.parametrize("kind", ["function", "method", "object"])
def test_what_the_programs_signal_handler_raises_is_its_own(kind: str) -> None:
    """An alarm that goes off inside a kernel is no failure of the device."""

    class TooLate(Exception):
        pass

    class Handler:
        def __call__(self, number: int, frame: Any) -> None:
            raise TooLate

        def method(self, number: int, frame: Any) -> None:
            raise TooLate

    def function(number: int, frame: Any) -> None:
        raise TooLate

    device = Device(f"failing{next(numbers)}")

    class Interrupted(ReferenceBackend):
        def kernel(self, op: Any) -> Any:
            inner = super().kernel(op)
            return (
                inner if op.name != "tanh" else lambda x: (signal.raise_signal(signal.SIGUSR1), inner(x))[1]
            )

    device.backend = Interrupted(device)
    handler = {"function": function, "method": Handler().method, "object": Handler()}[kind]
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TooLate):
            ml.tanh(dispatch.from_data(np.ones(3), None, device))
    finally:
        signal.signal(signal.SIGUSR1, before)
