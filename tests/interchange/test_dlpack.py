"""DLPack both ways: who owns what, who may write, which versions, and every dtype and layout against NumPy."""

from __future__ import annotations

import ctypes
import gc
import threading
import weakref
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlcore as ml
from mlcore import dtypes
from mlcore.backends import dlpack
from mlcore.errors import ArgumentTypeError, DTypeError, ExchangeError

HOST = ["reference", "cpu"]
LAYOUTS: dict[str, Any] = {
    "contiguous": lambda a: a,
    "transposed": lambda a: a.T,
    "sliced": lambda a: a[1:, ::2],
    "reversed": lambda a: a[::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], (5, 6)),
    "0-d": lambda a: a[1, 2],
    "empty": lambda a: a[:0],
    "empty inside": lambda a: a.reshape(4, 6, 1)[:, :, :0],
}


def values(dtype: dtypes.DType) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(dtype.index)
    if dtype is dtypes.bool_:
        return rng.integers(0, 2, (4, 6)).astype(bool)
    return (rng.standard_normal((4, 6)) * 10).astype(np.int64).astype(dtype.numpy)


class Spy:
    """A producer that notes how it was asked, and can be one of an older protocol."""

    def __init__(
        self, array: Any, knows: tuple[str, ...] = ("stream", "max_version", "dl_device", "copy")
    ) -> None:
        self.array, self.knows, self.calls = array, knows, []  # type: ignore[var-annotated]

    def __dlpack__(self, **how: Any) -> Any:
        self.calls.append(how)
        if any(name not in self.knows for name in how):
            raise TypeError(f"unexpected argument in {how}")
        return self.array.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def address(x: Any) -> int:
    return int(np.asarray(x).__array_interface__["data"][0])


# ---------------------------------------------------------------- in


@pytest.mark.parametrize("device", HOST)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [d for d in dtypes.all_dtypes if d is not dtypes.bfloat16], ids=str)
def test_numpy_arrays_come_in_without_a_copy(dtype: dtypes.DType, layout: str, device: str) -> None:
    array = np.asarray(LAYOUTS[layout](values(dtype)))
    tensor = ml.from_dlpack(array, device=device)
    assert (tensor.dtype, tensor.shape, tensor.device) == (dtype, array.shape, device)
    np.testing.assert_array_equal(np.asarray(tensor), array)
    if array.size:
        assert np.shares_memory(np.asarray(tensor), array)
    assert ml.from_dlpack(array, device=device, copy=False).tolist() == array.tolist()
    own = ml.from_dlpack(array, device=device, copy=True)
    assert own.tolist() == array.tolist()
    assert not np.shares_memory(np.asarray(own), array)


@pytest.mark.parametrize("device", HOST)
def test_mlcore_never_writes_to_what_it_borrowed(device: str) -> None:
    array = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    before = array.copy()
    one, other = (ml.from_dlpack(array, device=device) for _ in range(2))
    one[0] = 9.0
    other += 1
    view = ml.from_dlpack(array, device=device)
    view[:, 1] *= 2
    weights = ml.nn.Parameter(ml.from_dlpack(array, device=device))
    optimizer = ml.optim.SGD([weights], lr=0.5, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        (weights * weights).sum().backward()
        optimizer.step()
    np.testing.assert_array_equal(array, before)
    assert one.tolist() == [[9, 9, 9], [3, 4, 5]]
    assert other.tolist() == (before + 1).tolist()
    assert not np.array_equal(np.asarray(weights), before)


def test_what_the_owner_writes_shows_while_memory_is_shared() -> None:
    array = np.zeros(3)
    shared, own = ml.from_dlpack(array), ml.from_dlpack(array, copy=True)
    array[1] = 5
    assert shared.tolist() == [0, 5, 0]
    assert own.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "knows", [("stream",), ("stream", "max_version"), ("stream", "max_version", "dl_device", "copy")]
)
@pytest.mark.parametrize("copy", [None, True, False])
def test_producers_of_every_version(knows: tuple[str, ...], copy: bool | None) -> None:
    array = np.arange(4.0)
    spy = Spy(array, knows)
    tensor = ml.from_dlpack(spy, copy=copy)
    assert tensor.tolist() == array.tolist()
    assert np.shares_memory(np.asarray(tensor), array) == (copy is not True)
    assert spy.calls[0]["max_version"] == (1, 0)


def test_read_only_memory_stays_so() -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    tensor = ml.from_dlpack(array)
    tensor[0] = 7
    assert array.tolist() == [0, 1, 2]


def test_tensors_come_in_too() -> None:
    x = ml.asarray([1.0, 2.0], requires_grad=True)
    same = ml.from_dlpack(x)
    assert not same.requires_grad
    assert np.shares_memory(np.asarray(same), np.asarray(x))
    assert not np.shares_memory(np.asarray(ml.from_dlpack(x, copy=True)), np.asarray(x))
    assert ml.from_dlpack(x, device="reference").device == "reference"


def test_what_cannot_come_in() -> None:
    with pytest.raises(ArgumentTypeError, match="a list has no __dlpack__"):
        ml.from_dlpack([1, 2])

    class Refuses:
        def __dlpack__(self, **how: Any) -> Any:
            raise BufferError("Can't export tensors that require gradient")

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    with pytest.raises(ExchangeError, match=r"Refuses does not give its memory: Can.t export.*\n.*detach"):
        ml.from_dlpack(Refuses())

    class Elsewhere(Refuses):
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 3

    with pytest.raises(ExchangeError, match=r"memory of a .* Elsewhere is on device \(2, 3\)"):
        ml.from_dlpack(Elsewhere(), copy=False)
    with pytest.raises(ExchangeError, match="does not give its memory"):
        ml.from_dlpack(Elsewhere())

    class Nonsense(Refuses):
        def __dlpack__(self, **how: Any) -> Any:
            return "no capsule"

    with pytest.raises(ArgumentTypeError, match="'no capsule' is no DLPack capsule"):
        ml.from_dlpack(Nonsense())
    capsule = np.arange(3.0).__dlpack__()

    class Twice(Refuses):
        def __dlpack__(self, **how: Any) -> Any:
            return capsule

    assert ml.from_dlpack(Twice()).tolist() == [0, 1, 2]
    with pytest.raises(ArgumentTypeError, match="it was taken before"):
        ml.from_dlpack(Twice())


@pytest.mark.parametrize(
    ("code", "bits", "lanes"), [(3, 64, 1), (99, 8, 1), (2, 32, 4), (4, 8, 1), (2, 128, 1)]
)
def test_dtypes_that_are_none_of_ours(code: int, bits: int, lanes: int) -> None:
    class Odd:
        def __dlpack__(self, **how: Any) -> Any:
            capsule = np.zeros(4, np.float32).__dlpack__(max_version=(1, 0))
            described = dlpack._inside(capsule)
            described.code, described.bits, described.lanes = code, bits, lanes
            return capsule

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    with pytest.raises((DTypeError, ExchangeError)):
        ml.from_dlpack(Odd())


# ---------------------------------------------------------------- out


@pytest.mark.parametrize("device", HOST)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [d for d in dtypes.all_dtypes if d is not dtypes.bfloat16], ids=str)
def test_tensors_go_out_without_a_copy(dtype: dtypes.DType, layout: str, device: str) -> None:
    array = np.asarray(LAYOUTS[layout](values(dtype)))
    tensor = ml.from_dlpack(array, device=device)
    back = np.from_dlpack(tensor)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    if array.size:
        assert np.shares_memory(back, array)
    assert not back.flags.writeable
    own = np.from_dlpack(tensor, copy=True)
    assert own.flags.writeable
    assert not np.shares_memory(own, array)


def test_the_older_protocol_gets_a_copy() -> None:
    x = ml.asarray([1.0, 2.0])

    class Older:
        def __dlpack__(self, *, stream: Any = None) -> Any:
            return x.__dlpack__(stream=stream)

        def __dlpack_device__(self) -> Any:
            return x.__dlpack_device__()

    array = np.from_dlpack(Older())  # type: ignore[arg-type]
    assert not np.shares_memory(array, np.asarray(x))
    with pytest.raises(BufferError, match=r"before 1\.0 gets a copy"):
        x.__dlpack__(copy=False)
    with pytest.raises(ExchangeError, match="stream must be None"):
        x.__dlpack__(stream=1)
    with pytest.raises(ExchangeError, match=r"cannot export to device \(2, 0\)"):
        x.__dlpack__(dl_device=(2, 0))
    assert x.__dlpack_device__() == (1, 0)
    names = [ctypes.pythonapi.PyCapsule_GetName]
    names[0].restype, names[0].argtypes = ctypes.c_char_p, [ctypes.py_object]
    for version, name in ((None, b"dltensor"), ((0, 8), b"dltensor"), ((1, 0), b"dltensor_versioned"),
                          ((2, 1), b"dltensor_versioned")):  # fmt: skip
        assert names[0](x.__dlpack__(max_version=version)) == name


def test_flags_say_read_only_and_copied() -> None:
    x = ml.asarray([1.0, 2.0])
    for copy, flags in ((None, 1), (False, 1), (True, 2)):
        capsule = x.__dlpack__(max_version=(1, 0), copy=copy)
        found = dlpack._Versioned.from_address(dlpack._pointer(capsule, b"dltensor_versioned"))
        assert (found.flags & 3, found.major) == (flags, 1)


EXTRA = [np.dtype(ml_dtypes.bfloat16), *(np.dtype(getattr(ml_dtypes, name)) for _, (name, bits) in
         dlpack._CODES.items() if bits is np.uint8)]  # fmt: skip


@pytest.mark.parametrize("dtype", EXTRA, ids=str)
def test_dtypes_that_numpy_has_not_keep_their_bits(dtype: np.dtype[Any]) -> None:
    array = np.arange(48, dtype=np.uint8).view(dtype).reshape(4, -1)[::2, 1:]
    capsule = dlpack.export(array, max_version=(1, 0))
    assert dlpack._inside(capsule).code == dlpack._TO_CODE[dtype][0]
    back = dlpack.host_view(Spy(Capsule(capsule)))
    assert back.dtype == dtype
    assert np.shares_memory(back, array)
    assert back.tobytes() == array.tobytes()
    tensor = ml.from_dlpack(Capsule(dlpack.export(array, max_version=(1, 0))))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(np.asarray(tensor).astype(np.float64), array.astype(np.float64))
    assert np.shares_memory(np.asarray(tensor), array) == (dtype == ml_dtypes.bfloat16)
    if dtype != ml_dtypes.bfloat16:
        with pytest.raises(ExchangeError, match=f"{dtype} cannot be shared"):
            ml.from_dlpack(Capsule(dlpack.export(array, max_version=(1, 0))), copy=False)


class Capsule:
    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **how: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


# ---------------------------------------------------------------- lifetimes


class Memory(np.ndarray):  # type: ignore[type-arg]
    """An array that can be watched."""


def watched(size: int = 1000) -> tuple[np.ndarray[Any, Any], weakref.ref[Any]]:
    array = np.zeros(size).view(Memory)
    return array, weakref.ref(array)


def test_the_producer_may_go_first() -> None:
    array, alive = watched()
    tensor = ml.from_dlpack(array)
    array[:] = 4
    del array
    gc.collect()
    assert alive() is not None
    assert tensor.sum().item() == 4000
    del tensor
    gc.collect()
    assert alive() is None


def test_the_consumer_may_go_first_and_views_keep_the_memory() -> None:
    array, alive = watched()
    tensor = ml.from_dlpack(array)
    part = tensor[10:20]
    del tensor, array
    gc.collect()
    assert alive() is not None
    assert part.sum().item() == 0
    del part
    gc.collect()
    assert alive() is None


def test_a_tensor_may_go_before_what_was_exported() -> None:
    array, alive = watched()
    tensor = ml.from_dlpack(array)
    out = np.from_dlpack(tensor)
    del tensor, array
    gc.collect()
    assert alive() is not None
    assert out.sum() == 0
    del out
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_capsule_that_nobody_takes(version: Any) -> None:
    array, alive = watched()
    tensor = ml.from_dlpack(array)
    capsules = [tensor.__dlpack__(max_version=version) for _ in range(100)]
    del tensor, array, capsules
    gc.collect()
    assert alive() is None


def test_a_refused_import_frees_the_memory() -> None:
    array, alive = watched()
    capsule = dlpack.export(array, max_version=(1, 0))
    dlpack._inside(capsule).code = 99
    with pytest.raises(DTypeError):
        ml.from_dlpack(Capsule(capsule))
    del capsule, array
    gc.collect()
    assert alive() is None


def test_in_many_threads() -> None:
    source = ml.asarray(np.arange(1000.0))
    wrong: list[Any] = []

    def work() -> None:
        for i in range(200):
            array = np.from_dlpack(source)
            tensor = ml.from_dlpack(array)
            if tensor.sum().item() != 499_500 or tensor[i].item() != i:
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---------------------------------------------------------------- buffers and arrays


def test_numpy_sees_the_memory_and_cannot_write_it() -> None:
    x = ml.asarray([[1.0, 2.0], [3.0, 4.0]])
    array = np.asarray(x)
    assert address(array) == address(np.from_dlpack(x))
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 5
    assert np.array(x).flags.writeable
    assert bytes(x.__buffer__(0)) == array.tobytes()
    assert x.T.__buffer__(0).tolist() == [[1, 3], [2, 4]]
    assert x.__buffer__(0).readonly
    with pytest.raises(BufferError, match="is read-only"):
        x.__buffer__(1)
    with pytest.raises(BufferError, match="no bfloat16"):
        x.to(ml.bfloat16).__buffer__(0)


def test_buffers_come_in() -> None:
    import array

    assert ml.asarray(memoryview(b"\x01\x02")).tolist() == [1, 2]
    assert ml.asarray(array.array("d", [1.5, 2.5])).tolist() == [1.5, 2.5]
    assert ml.asarray(bytearray(b"\x03")).tolist() == [3]
