"""Creation against NumPy: values, dtypes, what is copied, what is refused."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlcore as ml
from mlcore.dtypes import all_dtypes
from mlcore.errors import ArgumentError, MlcoreError


def same(x: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    assert x.shape == expected.shape
    assert x.dtype.numpy == expected.dtype
    np.testing.assert_array_equal(np.asarray(x), expected)


@pytest.mark.parametrize("dtype", all_dtypes, ids=str)
def test_constant_tensors(dtype: Any) -> None:
    for shape in [(), (0,), (2, 3), (2, 0, 3)]:
        same(ml.zeros(shape, dtype=dtype), np.zeros(shape, dtype.numpy))
        same(ml.ones(shape, dtype=dtype), np.ones(shape, dtype.numpy))
        same(ml.full(shape, 1, dtype=dtype), np.full(shape, 1, dtype.numpy))
        same(ml.zeros_like(ml.ones(shape, dtype=dtype)), np.zeros(shape, dtype.numpy))
        same(ml.ones_like(ml.zeros(shape, dtype=dtype)), np.ones(shape, dtype.numpy))
        same(ml.full_like(ml.zeros(shape, dtype=dtype), 1), np.ones(shape, dtype.numpy))
        assert ml.empty(shape, dtype=dtype).shape == ml.empty_like(ml.ones(shape, dtype=dtype)).shape == shape
    same(ml.eye(3, 2, k=-1, dtype=dtype), np.eye(3, 2, k=-1, dtype=dtype.numpy))


def test_full_takes_the_dtype_of_its_value() -> None:
    found = [ml.full((1,), value).dtype for value in (True, 3, 2.5, 1j, ml.asarray(4))]
    assert found == [ml.bool, ml.int64, ml.float32, ml.complex64, ml.int64]


@settings(max_examples=300)
@given(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([-3, -2, -1, 1, 2, 3]))
def test_arange_of_integers(start: int, stop: int, step: int) -> None:
    same(ml.arange(start, stop, step), np.arange(start, stop, step))
    same(ml.arange(stop), np.arange(stop))


@settings(max_examples=200)
@given(st.integers(-20, 20), st.integers(-20, 20), st.sampled_from([-0.5, 0.25, 0.5, 1.5]))
def test_arange_of_floats(start: int, stop: int, step: float) -> None:
    same(ml.arange(start / 4, stop / 4, step, dtype="float64"), np.arange(start / 4, stop / 4, step))


def test_arange_takes_the_dtype_of_its_bounds() -> None:
    assert ml.arange(3).dtype is ml.int64
    assert ml.arange(3.0).dtype is ml.arange(0, 3, 0.5).dtype is ml.float32
    assert ml.arange(3, dtype="uint8").tolist() == [0, 1, 2]


@pytest.mark.parametrize("endpoint", [True, False])
@pytest.mark.parametrize("num", [0, 1, 2, 7])
def test_linspace(num: int, endpoint: bool) -> None:
    same(
        ml.linspace(-1.0, 2.0, num, endpoint=endpoint, dtype="float64"),
        np.linspace(-1, 2, num, endpoint=endpoint),
    )


@pytest.mark.parametrize("k", [-2, -1, 0, 1, 3])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (2, 3, 2), (0, 2)])
def test_triangles(shape: tuple[int, ...], k: int, rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape)
    same(ml.tril(ml.asarray(x), k=k), np.tril(x, k))
    same(ml.triu(ml.asarray(x), k=k), np.triu(x, k))


@pytest.mark.parametrize("indexing", ["xy", "ij"])
def test_meshgrid(indexing: Any) -> None:
    for sizes in [(3,), (2, 3), (2, 3, 4), (2, 0)]:
        arrays = [np.arange(n) for n in sizes]
        for found, expected in zip(
            ml.meshgrid(*map(ml.asarray, arrays), indexing=indexing),
            np.meshgrid(*arrays, indexing=indexing),
            strict=True,
        ):
            same(found, expected)


NESTED: list[tuple[Any, str]] = [
    (1, "int64"),
    (True, "bool"),
    (1.5, "float32"),
    (1j, "complex64"),
    ([], "float32"),
    ([[], []], "float32"),
    ([1, 2], "int64"),
    ([True, False], "bool"),
    ([1, 2.5], "float32"),
    ([1, True], "int64"),
    ([1.0, 1j], "complex64"),
    (((1, 2), [3, 4]), "int64"),
    (range(3), "int64"),
    ([np.float64(1.5), np.float64(2)], "float64"),
    ([np.int8(1)], "int8"),
    ([np.ones(2, np.float16)] * 3, "float16"),
    (np.float32(3), "float32"),
    (ml_dtypes.bfloat16(2), "bfloat16"),
    (np.array(3, np.uint16), "uint16"),
    (memoryview(b"ab"), "uint8"),
]


@pytest.mark.parametrize(("data", "dtype"), NESTED, ids=lambda v: repr(v)[:24])
def test_dtype_of_data(data: Any, dtype: str) -> None:
    x = ml.asarray(data)
    assert x.dtype.name == dtype
    np.testing.assert_array_equal(np.asarray(x), np.asarray(data).astype(x.dtype.numpy))
    assert ml.tensor is ml.asarray


def test_tensors_inside_lists() -> None:
    a, b = ml.asarray([1.0, 2.0]), ml.asarray([3.0, 4.0])
    assert ml.asarray([a, b]).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert ml.asarray([a[0], b[1]]).tolist() == [1.0, 4.0]


@pytest.mark.parametrize("dtype", all_dtypes, ids=str)
def test_to_numpy_and_back(dtype: Any, rng: np.random.Generator) -> None:
    host = rng.integers(0, 2, (3, 4)).astype(dtype.numpy)
    x = ml.asarray(host)
    same(x, host)
    same(ml.asarray(np.asarray(x)), host)
    assert np.asarray(x, dtype=np.complex128).dtype == np.complex128
    assert x.tolist() == host.tolist()


def arrays() -> dict[str, np.ndarray]:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    frozen = base.copy()
    frozen.flags.writeable = False
    return {
        "big-endian": base.astype(">f4"),
        "read-only": frozen,
        "transposed": base.T,
        "negative step": base[::-1, ::-2],
        "every other": base[::2, 1::3],
        "broadcast": np.broadcast_to(base[0], (3, 6)),
        "fortran": np.asfortranarray(base),
        "big-endian int": base.astype(">i8"),
        "empty": base[:0],
        "0-d": np.array(2.5, ">f8"),
    }


@pytest.mark.parametrize("name", arrays())
def test_any_numpy_array_is_copied(name: str) -> None:
    host = arrays()[name]
    expected = np.array(host, dtype=host.dtype.newbyteorder("="))
    x = ml.asarray(host)
    same(x, expected)
    if host.flags.writeable and host.size:
        host[...] = -1  # a later change of the source does not show
    same(x, expected)
    same(x + 1, expected + expected.dtype.type(1))


def test_the_numpy_view_is_read_only() -> None:
    x = ml.asarray([1.0, 2.0])
    view = np.asarray(x)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 5
    assert np.shares_memory(view, np.asarray(x))  # zero-copy
    own = np.array(x)
    own[0] = 5
    assert x.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError):
        np.asarray(x, dtype=np.float64, copy=False)


def test_asarray_of_a_tensor_is_that_tensor() -> None:
    x = ml.asarray([1.0])
    assert ml.asarray(x) is ml.asarray(x, dtype=x.dtype) is x
    assert ml.asarray(x, dtype="float64").dtype is ml.float64
    y = ml.asarray(x, requires_grad=True)
    assert y is not x
    assert y.requires_grad
    assert not x.requires_grad
    with pytest.raises(ArgumentError, match="copy=False"):
        ml.asarray([1.0], copy=False)


def test_requires_grad_at_creation() -> None:
    for x in (
        ml.zeros(2, requires_grad=True),
        ml.full(2, 1.5, requires_grad=True),
        ml.arange(3.0, requires_grad=True),
    ):
        assert x.requires_grad
        assert x.is_leaf
    with pytest.raises(MlcoreError, match="int64 has no gradient"):
        ml.asarray([1], requires_grad=True)


def test_dlpack_and_array_likes() -> None:
    class Arrayish:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.arange(3, dtype=np.int16)

    class Capsule:
        def __init__(self) -> None:
            self.host = np.arange(4.0)

        def __dlpack__(self, **how: Any) -> Any:
            return self.host.__dlpack__(**how)

        def __dlpack_device__(self) -> Any:
            return self.host.__dlpack_device__()

    same(ml.asarray(Arrayish()), np.arange(3, dtype=np.int16))
    same(ml.asarray(Capsule()), np.arange(4.0))
