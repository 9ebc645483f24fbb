"""mlcore.distributed without a launcher: a job of one process, and collectives that a plugin offers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import distributed
from mlcore.distributed.protocol import Alone, Collectives, Offer
from mlcore.errors import ArgumentError, ArgumentTypeError, CollectiveError, DTypeError, ShapeError
from mlcore.plugin import hookimpl, hooks


class Twins(Alone):
    """Two processes that always hold the same values."""

    name, size = "twins", 2

    def all_reduce(self, array: Any, op: Any) -> Any:
        return {"sum": array * 2, "prod": array * array}.get(op, array).astype(array.dtype)

    def all_gather(self, array: Any) -> Any:
        return np.stack([array, array])

    def reduce_scatter(self, array: Any, op: Any) -> Any:
        return self.all_reduce(array[self.rank], op)


class OnDevice(Twins):
    """What works upon another library, as a GPU's does: it takes a device's arrays as they are."""

    name = "on device"

    def __init__(self, timeout: float) -> None:
        self.control = distributed.open_control(timeout)
        self.timeout = self.control.timeout

    def takes(self, device_type: str) -> bool:
        return device_type == "reference"


LAUNCHED = threading.Event()


class Plugin:
    @hookimpl
    def mlcore_collectives(self) -> Any:
        above = Offer("on device", LAUNCHED.is_set, OnDevice, upon=True)
        return (
            Offer("launched", LAUNCHED.is_set, Twins),
            above,
            Offer("twins", lambda: False, Twins),
            Offer("broken", lambda: False, lambda timeout: 1 / 0),
        )  # type: ignore[arg-type, return-value]


@pytest.fixture(autouse=True)
def _plugin() -> Iterator[None]:
    hooks.register(Plugin(), "test:twins")
    yield
    distributed.destroy_process_group()
    hooks.unregister("test:twins")


def test_alone_everything_is_what_it_was() -> None:
    assert isinstance(Alone(1.0), Collectives)
    assert not distributed.is_initialized()
    assert (distributed.get_rank(), distributed.get_world_size()) == (0, 1)
    distributed.init_process_group()
    x = ml.asarray([[1.0, 2.0]], requires_grad=True)
    for op in distributed.REDUCTIONS:
        assert distributed.all_reduce(x, op) is x  # type: ignore[arg-type]
        assert x.tolist() == [[1.0, 2.0]]
    assert distributed.all_gather(x).shape == (1, 1, 2)
    assert distributed.reduce_scatter(x).tolist() == [[1.0, 2.0]]
    assert distributed.broadcast(x).requires_grad
    distributed.barrier()


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_a_plugins_collectives_get_numpy_arrays(device: str) -> None:
    with ml.device(ml.default_device() if device == "cpu" else device):
        distributed.init_process_group("twins")
        assert (distributed.get_rank(), distributed.get_world_size()) == (0, 2)
        p = ml.nn.Parameter(ml.asarray([1.0, 3.0]))
        (p * p).sum().backward()
        distributed.all_reduce(p.grad)
        assert p.grad.tolist() == [4.0, 12.0]
        distributed.broadcast(p)
        assert p.grad.tolist() == [4.0, 12.0]  # a parameter's new value leaves its gradient
        assert distributed.all_gather(ml.asarray(5)).tolist() == [5, 5]
        x = ml.asarray(np.arange(8.0).reshape(4, 2))
        assert distributed.reduce_scatter(x.mT.mT).tolist() == [[0.0, 2.0], [4.0, 6.0]]
        strided = x.mT
        assert distributed.all_reduce(strided).tolist() == (np.arange(8.0).reshape(4, 2).T * 2).tolist()
        assert x.tolist() == np.arange(8.0).reshape(4, 2).tolist()  # other tensors keep their values


def test_what_works_upon_another_library_comes_first() -> None:
    assert distributed.launched() is None
    assert isinstance(distributed.open_control(3.0), Alone)
    LAUNCHED.set()
    try:
        found = distributed.launched()
        assert found is not None
        assert found.name == "launched"
        group = distributed.init_process_group(timeout=9.0)
        assert group.name == "on device"
        assert isinstance(group.collectives.control, Twins)  # type: ignore[attr-defined]
        assert group.collectives.timeout == 9.0
        x = ml.asarray(np.arange(12.0).reshape(6, 2), device="reference")
        assert distributed.all_reduce(x.mT).tolist() == (np.arange(12.0).reshape(6, 2).T * 2).tolist()
        assert distributed.reduce_scatter(x.mT).tolist() == [[0.0, 4.0, 8.0, 12.0, 16.0, 20.0]]
        assert distributed.all_gather(ml.asarray(5, device="reference")).tolist() == [5, 5]
    finally:
        LAUNCHED.clear()


def test_the_environment_names_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLCORE_COLLECTIVES", "twins")
    monkeypatch.setenv("MLCORE_COLLECTIVES_TIMEOUT", "7")
    group = distributed.init_process_group()
    assert (group.name, group.collectives.timeout) == ("twins", 7.0)


def test_bad_input() -> None:
    with pytest.raises(CollectiveError, match="no process group"):
        distributed.barrier()
    with pytest.raises(ArgumentError, match=r"no collectives called 'twin'; did you mean 'twins'"):
        distributed.init_process_group("twin")
    with pytest.raises(ArgumentError, match="timeout is -1"):
        distributed.init_process_group(timeout=-1)
    with pytest.raises(ZeroDivisionError):
        distributed.init_process_group("broken")
    assert not distributed.is_initialized()
    distributed.init_process_group("twins")
    for call, error, text in (
        (lambda: distributed.init_process_group(), CollectiveError, "already"),
        (lambda: distributed.all_reduce([1]), ArgumentTypeError, "list, expected a Tensor"),
        (lambda: distributed.all_reduce(ml.ones((2,)), "summ"), ArgumentError, "op is 'summ'"),
        (lambda: distributed.all_reduce(ml.asarray([1]), "mean"), DTypeError, "mean of int64"),
        (lambda: distributed.all_reduce(ml.asarray([1j]), "min"), DTypeError, "no order"),
        (lambda: distributed.reduce_scatter(ml.ones((3,))), ShapeError, "multiple of 2"),
        (lambda: distributed.reduce_scatter(ml.ones(())), ShapeError, "first dimension"),
        (lambda: distributed.broadcast(ml.ones((3,)), 2), ArgumentError, "src is 2"),
        (lambda: distributed.broadcast(ml.ones((3,)), "0"), ArgumentTypeError, "src is '0'"),
    ):
        with pytest.raises(error, match=text):
            call()
