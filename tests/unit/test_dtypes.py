"""dtypes: the promotion table written out, weak Python scalars, conversions and limits."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlcore as ml
from mlcore import dtypes
from mlcore.dtypes import all_dtypes
from mlcore.errors import DTypeError

CODES = dict(
    zip(
        ["b", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "bf", "f4", "f8", "c8", "cx"],
        [
            "bool",
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "float16",
            "bfloat16",
            "float32",
            "float64",
            "complex64",
            "complex128",
        ],
        strict=True,
    )
)
# The Array API's tables within a kind; across kinds the higher kind wins. "--" does not promote.
TABLE = """
.   b  i1 i2 i4 i8 u1 u2 u4 u8 f2 bf f4 f8 c8 cx
b   b  i1 i2 i4 i8 u1 u2 u4 u8 f2 bf f4 f8 c8 cx
i1  i1 i1 i2 i4 i8 i2 i4 i8 -- f2 bf f4 f8 c8 cx
i2  i2 i2 i2 i4 i8 i2 i4 i8 -- f2 bf f4 f8 c8 cx
i4  i4 i4 i4 i4 i8 i4 i4 i8 -- f2 bf f4 f8 c8 cx
i8  i8 i8 i8 i8 i8 i8 i8 i8 -- f2 bf f4 f8 c8 cx
u1  u1 i2 i2 i4 i8 u1 u2 u4 u8 f2 bf f4 f8 c8 cx
u2  u2 i4 i4 i4 i8 u2 u2 u4 u8 f2 bf f4 f8 c8 cx
u4  u4 i8 i8 i8 i8 u4 u4 u4 u8 f2 bf f4 f8 c8 cx
u8  u8 -- -- -- -- u8 u8 u8 u8 f2 bf f4 f8 c8 cx
f2  f2 f2 f2 f2 f2 f2 f2 f2 f2 f2 f4 f4 f8 c8 cx
bf  bf bf bf bf bf bf bf bf bf f4 bf f4 f8 c8 cx
f4  f4 f4 f4 f4 f4 f4 f4 f4 f4 f4 f4 f4 f8 c8 cx
f8  f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 cx cx
c8  c8 c8 c8 c8 c8 c8 c8 c8 c8 c8 c8 c8 cx c8 cx
cx  cx cx cx cx cx cx cx cx cx cx cx cx cx cx cx
"""


def rows() -> Iterator[tuple[str, str, str]]:
    head, *lines = [line.split() for line in TABLE.strip().splitlines()]
    for first, *cells in lines:
        for second, cell in zip(head[1:], cells, strict=True):
            yield first, second, cell


@pytest.mark.parametrize(("a", "b", "expected"), list(rows()))
def test_promotion(a: str, b: str, expected: str) -> None:
    x = ml.ones((2,), dtype=CODES[a])
    y = ml.ones((2,), dtype=CODES[b])
    if expected == "--":
        with pytest.raises(DTypeError, match=f"{CODES[a]} and {CODES[b]} do not promote"):
            ml.equal(x, y)
        return
    assert dtypes.promote_types(x.dtype, y.dtype).name == CODES[expected]
    if expected != "b":  # arithmetic is not defined on booleans
        assert ml.multiply(x, y).dtype.name == CODES[expected]
        assert ml.where(ml.asarray(True), x, y).dtype.name == CODES[expected]
    else:
        assert ml.bitwise_and(x, y).dtype is ml.bool


def test_the_table_is_whole() -> None:
    assert len(list(rows())) == 15 * 15
    assert {CODES[a] for a, _, _ in rows()} == {d.name for d in all_dtypes}


def test_promotion_agrees_with_numpy_where_the_standard_decides() -> None:
    compared = 0
    for a, b in itertools.product(all_dtypes, repeat=2):
        same = a.kind == b.kind or {a.kind, b.kind} == {"i", "u"} or {a.kind, b.kind} == {"f", "c"}
        half = "bfloat16" in (a.name, b.name)
        if same and not half and {a.name, b.name} & {"uint64"} == set():
            assert dtypes.promote_types(a, b).numpy == np.promote_types(a.numpy, b.numpy), (a, b)
            compared += 1
    assert compared == 75


SCALARS: list[tuple[str, Any, str]] = [
    ("bool", True, "bool"),
    ("bool", 3, "int64"),
    ("bool", 2.5, "float32"),
    ("bool", 1j, "complex64"),
    ("int8", True, "int8"),
    ("int8", 3, "int8"),
    ("int8", 2.5, "float32"),
    ("int8", 1j, "complex64"),
    ("uint8", 3, "uint8"),
    ("uint64", 3, "uint64"),
    ("uint64", 2.5, "float32"),
    ("int64", 2.5, "float32"),
    ("float16", 3, "float16"),
    ("float16", 2.5, "float16"),
    ("float16", True, "float16"),
    ("float16", 1j, "complex64"),
    ("bfloat16", 2.5, "bfloat16"),
    ("bfloat16", 3, "bfloat16"),
    ("float32", 2.5, "float32"),
    ("float64", 2.5, "float64"),
    ("float64", 3, "float64"),
    ("float32", 1j, "complex64"),
    ("float64", 1j, "complex128"),
    ("complex64", 2.5, "complex64"),
    ("complex64", 1j, "complex64"),
    ("complex128", 3, "complex128"),
]


@pytest.mark.parametrize(("name", "scalar", "expected"), SCALARS)
def test_python_scalars_are_weak(name: str, scalar: Any, expected: str) -> None:
    x = ml.ones((2,), dtype=name)
    if expected == "bool":
        assert (x | scalar).dtype.name == (scalar | x).dtype.name == expected
        return
    assert (x * scalar).dtype.name == expected
    assert (scalar * x).dtype.name == expected
    assert ml.where(ml.asarray([True, False]), x, scalar).dtype.name == expected


@pytest.mark.parametrize("scalar", [np.float64(2), np.int64(2), np.float32(2), np.uint8(2)])
def test_numpy_scalars_are_as_weak(scalar: Any) -> None:
    x = ml.ones((2,), dtype="float32")
    assert (x * scalar).dtype is (scalar * x).dtype is ml.float32
    if scalar.dtype.kind in "iu":
        assert (ml.ones(2, dtype="int8") + scalar).dtype is ml.int8


def test_the_default_float() -> None:
    assert ml.default_float() is ml.float32
    try:
        ml.set_default_dtype(ml.float64)
        assert ml.asarray([1.5]).dtype is ml.zeros(2).dtype is ml.random.uniform((2,)).dtype is ml.float64
        assert (ml.asarray([1, 2]) / 2).dtype is ml.float64
        assert ml.asarray(1j).dtype is ml.complex128
        with pytest.raises(DTypeError, match="expected a floating dtype, got int32"):
            ml.set_default_dtype("int32")
        assert ml.default_float() is ml.float64
    finally:
        ml.set_default_dtype(ml.float32)
    assert ml.asarray(1j).dtype is ml.complex64


@pytest.mark.parametrize("dtype", all_dtypes, ids=str)
def test_one_object_each(dtype: Any) -> None:
    assert dtypes.as_dtype(dtype.name) is dtypes.as_dtype(dtype.numpy) is dtypes.as_dtype(dtype) is dtype
    assert pickle.loads(pickle.dumps(dtype)) is copy.deepcopy(dtype) is copy.copy(dtype) is dtype
    assert repr(dtype) == str(dtype) == dtype.name == f"{dtype}"
    assert dtype.numpy.name == dtype.name
    assert all_dtypes[dtype.index] is dtype
    assert getattr(ml, dtype.name) is dtype
    if dtype.itemsize > 1 and dtype.name != "bfloat16":
        assert dtypes.from_numpy(dtype.numpy.newbyteorder(">")) is dtype


def test_python_types_are_dtypes() -> None:
    found = [dtypes.as_dtype(one) for one in (bool, int, float, complex)]
    assert found == [ml.bool, ml.int64, ml.float32, ml.complex64]
    assert dtypes.as_dtype(np.int16) is ml.int16


@pytest.mark.parametrize(
    "wrong", ["float", "int", None, 3, object, np.dtype("U3"), "datetime64", np.dtype("V4"), [1]]
)
def test_what_is_no_dtype(wrong: Any) -> None:
    with pytest.raises(DTypeError):
        dtypes.as_dtype(wrong)


KINDS = {
    "bool": {"bool"},
    "signed integer": {"int8", "int16", "int32", "int64"},
    "unsigned integer": {"uint8", "uint16", "uint32", "uint64"},
    "integral": {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"},
    "real floating": {"float16", "bfloat16", "float32", "float64"},
    "complex floating": {"complex64", "complex128"},
    "numeric": {d.name for d in all_dtypes} - {"bool"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_isdtype(kind: str) -> None:
    assert {d.name for d in all_dtypes if ml.isdtype(d, kind)} == KINDS[kind]
    assert all(ml.isdtype(d, (kind, d)) for d in all_dtypes)


@pytest.mark.parametrize("dtype", sorted(dtypes.inexact, key=lambda d: d.index), ids=str)
def test_finfo(dtype: Any) -> None:
    expected = ml_dtypes.finfo(dtype.numpy)
    found = ml.finfo(dtype)
    assert (found.max, found.min, found.eps) == (
        float(expected.max),
        float(expected.min),
        float(expected.eps),
    )
    assert found.smallest_normal == float(expected.smallest_normal)
    assert found.bits == expected.bits
    assert ml.finfo(ml.ones(1, dtype=dtype)).eps == found.eps


@pytest.mark.parametrize("dtype", sorted(dtypes.integers, key=lambda d: d.index), ids=str)
def test_iinfo(dtype: Any) -> None:
    expected = np.iinfo(dtype.numpy)
    found = ml.iinfo(dtype)
    assert (found.max, found.min, found.bits) == (expected.max, expected.min, expected.bits)


def test_limits_of_the_wrong_kind() -> None:
    with pytest.raises(DTypeError, match="finfo: int8 is not a floating dtype"):
        ml.finfo("int8")
    with pytest.raises(DTypeError, match="iinfo: float16 is not an integer dtype"):
        ml.iinfo(ml.float16)


DIVIDED = [
    ("int32", "float32"),
    ("uint8", "float32"),
    ("bool", "float32"),
    ("float16", "float16"),
    ("bfloat16", "bfloat16"),
]


@pytest.mark.parametrize(("name", "expected"), DIVIDED)
def test_integers_become_floats_where_an_operation_is_about_reals(name: str, expected: str) -> None:
    x = ml.ones((2,), dtype=name)
    for found in (x / x, ml.exp(x), ml.mean(x), ml.sqrt(x)):
        assert found.dtype.name == expected


SUMS = [
    ("int8", "int64"),
    ("bool", "int64"),
    ("uint8", "uint64"),
    ("int64", "int64"),
    ("float16", "float16"),
    ("bfloat16", "bfloat16"),
]


@pytest.mark.parametrize(("name", "expected"), SUMS)
def test_sums_of_small_integers_are_wide(name: str, expected: str) -> None:
    x = ml.ones((3,), dtype=name)
    assert ml.sum(x).dtype.name == ml.prod(x).dtype.name == ml.cumulative_sum(x).dtype.name == expected
    assert ml.sum(x, dtype="float64").dtype is ml.float64
