"""Memory that is not the host's: a library whose arrays say that they lie on device (2, 0) of DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore.backends import detect, dlpack
from mlcore.backends.array_library import ArrayLibraryBackend
from mlcore.backends.device import Device
from mlcore.errors import ExchangeError
from mlcore.tensor import wrap

PLACE = (2, 0)


class There(np.ndarray):  # type: ignore[type-arg]
    """An array of the library: it says that its memory is elsewhere, and copies to the host if it is asked to."""

    def __dlpack_device__(self) -> Any:
        return PLACE

    def __dlpack__(self, **how: Any) -> Any:
        asked.append(how)
        if refuse and how.keys() & refuse:
            raise TypeError(f"unexpected argument: {how}")
        host = np.asarray(self)
        if how.get("dl_device") == dlpack.HOST:
            return host.copy().__dlpack__(max_version=(1, 0))
        return host.__dlpack__(max_version=how.get("max_version"))


asked: list[dict[str, Any]] = []
refuse: set[str] = set()


class Library:
    """NumPy's functions, whose arrays are elsewhere."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *args, **how: _there(found(*args, **how))

    @staticmethod
    def from_dlpack(source: Any) -> Any:
        return np.from_dlpack(dlpack._Holder(source.__dlpack__(max_version=(1, 0)), dlpack.HOST)).view(There)


def _there(value: Any) -> Any:
    return np.asarray(value).view(There) if isinstance(value, np.ndarray | np.generic) else value


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    asked.clear()
    refuse.clear()
    made = Device("elsewhere")
    made.backend = ArrayLibraryBackend(Library(), device=made)
    monkeypatch.setitem(detect._opened, "elsewhere", made)
    asked.clear()
    return made


def test_memory_is_adopted_where_it_is(device: Device) -> None:
    source = np.arange(4.0, dtype=np.float32).view(There)
    tensor = ml.from_dlpack(source)
    assert tensor.device is device
    assert tensor.dtype is ml.float32
    assert np.shares_memory(tensor.array, source)
    assert not np.shares_memory(ml.from_dlpack(source, copy=True).array, source)
    assert ml.from_dlpack(source, device=device, copy=False).tolist() == [0, 1, 2, 3]


def test_it_comes_to_another_device_through_the_host(device: Device) -> None:
    source = np.arange(4.0).view(There)
    tensor = ml.from_dlpack(source, device="reference")
    assert tensor.device == "reference"
    assert tensor.tolist() == [0, 1, 2, 3]
    assert not np.shares_memory(np.asarray(tensor), source)
    assert asked[-1] == {"max_version": (1, 0), "dl_device": (1, 0)}
    with pytest.raises(ExchangeError, match=r"is on device \(2, 0\), not the host's"):
        ml.from_dlpack(source, device="reference", copy=False)
    refuse.add("dl_device")
    with pytest.raises(ExchangeError, match="does not give its memory: unexpected argument"):
        ml.from_dlpack(source, device="reference")


def test_its_tensors_go_out_through_the_library(device: Device) -> None:
    array = np.arange(3.0).view(There)
    tensor = wrap(array, device, ml.float64, (3,))
    assert tensor.__dlpack_device__() == PLACE
    tensor.__dlpack__(stream=1, max_version=(1, 0))
    assert asked[-1] == {"stream": 1, "max_version": (1, 0)}
    refuse.update({"max_version"})
    tensor.__dlpack__(stream=1, max_version=(1, 0))
    assert asked[-1] == {"stream": 1}
    with pytest.raises(ExchangeError, match="a There is not given: unexpected argument"):
        tensor.__dlpack__(max_version=(1, 0), copy=True)
    refuse.clear()
    host = np.from_dlpack(tensor, device="cpu")
    assert host.tolist() == [0, 1, 2]
    with pytest.raises(ExchangeError, match="not in the host's memory"):
        tensor.__dlpack__(dl_device=(1, 0), copy=False)
