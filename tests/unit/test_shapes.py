"""Pure functions on shapes, against NumPy."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcore import shapes
from mlcore.errors import ArgumentError, ArgumentTypeError, OutOfRangeError, ShapeError

dims = st.lists(st.sampled_from([0, 1, 1, 2, 3]), max_size=4).map(tuple)


@settings(max_examples=400)
@given(st.lists(dims, min_size=1, max_size=3))
def test_broadcast(given_shapes: list[tuple[int, ...]]) -> None:
    try:
        expected = np.broadcast_shapes(*given_shapes)
    except ValueError:
        with pytest.raises(ShapeError, match="cannot broadcast"):
            shapes.broadcast("op", *given_shapes)
    else:
        assert shapes.broadcast("op", *given_shapes) == expected


@settings(max_examples=400)
@given(dims, st.lists(st.integers(-1, 6), max_size=4).map(tuple))
def test_reshape(shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    try:
        expected = np.zeros(shape).reshape(target).shape
    except ValueError:
        with pytest.raises(ShapeError, match="reshape"):
            shapes.resolve_reshape(shape, target)
    else:
        assert shapes.resolve_reshape(shape, target) == expected


bounds = st.one_of(st.none(), st.integers(-7, 7))
steps = st.one_of(st.none(), st.integers(-3, 3))


@settings(max_examples=600)
@given(st.integers(0, 5), bounds, bounds, steps)
def test_slices(size: int, start: Any, stop: Any, step: Any) -> None:
    item = slice(start, stop, step)
    if step == 0:
        with pytest.raises(ArgumentError, match="step is 0"):
            shapes.slice_key(item, size)
        return
    values = list(range(size))
    key = shapes.slice_key(item, size)
    assert values[shapes.key_slices((key,))[0]] == values[item]
    assert shapes.span(*key) == len(values[item])
    assert shapes.sliced((size,), (key,)) == (len(values[item]),)
    again = [k for k in [slice(start, stop, step)] if values[k] == values[item]]
    assert shapes.slice_key(again[0], size) == key


def test_equal_selections_give_equal_keys() -> None:
    keys = {shapes.slice_key(s, 5) for s in (slice(0, 5), slice(None), slice(-9, 99), slice(0, None, 1))}
    assert keys == {(0, 5, 1)}
    assert {shapes.slice_key(s, 5) for s in (slice(3, 3), slice(9, 12), slice(4, 1))} == {(0, 0, 1)}


@pytest.mark.parametrize("ndim", range(4))
def test_axes(ndim: int) -> None:
    for axis in range(-ndim, ndim):
        assert shapes.normalize_axis("op", axis, ndim) == axis % ndim
    for axis in (-ndim - 1, ndim):
        with pytest.raises(OutOfRangeError, match=rf"op: axis {axis} out of range"):
            shapes.normalize_axis("op", axis, ndim)
    assert shapes.normalize_axes("op", None, ndim) == tuple(range(ndim))
    assert shapes.normalize_axes("op", (), ndim) == ()


def test_axes_that_make_no_sense() -> None:
    with pytest.raises(ArgumentError, match=r"repeated axis in \(0, -2\) of a 2-d tensor"):
        shapes.normalize_axes("sum", (0, -2), 2)
    with pytest.raises(ArgumentTypeError, match=r"axis must be an int, got 1\.0"):
        shapes.normalize_axis("sum", 1.0, 2)  # type: ignore[arg-type]
    with pytest.raises(OutOfRangeError, match="a 0-d tensor has no axes"):
        shapes.normalize_axis("sum", 0, 0)


@pytest.mark.parametrize("value", [3, np.int64(3), [3], (3,), np.array([3]), range(3, 4)])
def test_shapes_are_ints_or_sequences(value: Any) -> None:
    found = shapes.as_shape(value)
    assert found == (3,)
    assert type(found[0]) is int


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ((2, -1), ShapeError, r"negative dimension -1 in \(2, -1\)"),
        ((2**32, 2**32), ShapeError, "overflows"),
        ((2**33, 2**31), ShapeError, "overflows"),
        ((2**62, 4, 0), ShapeError, "overflows"),  # also where another dimension is 0
        ("ab", ArgumentTypeError, "expected ints, got 'ab'"),
        (1.5, ArgumentTypeError, r"expected ints, got 1\.5"),
        ((1, 2.0), ArgumentTypeError, "expected ints"),
        (None, ArgumentTypeError, "expected ints, got None"),
    ],
)
def test_bad_shapes(value: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        shapes.as_shape(value)


@settings(max_examples=300)
@given(
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(1, 3),
)
def test_windows(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> None:
    padded = range(size + before + after)
    reach = dilation * (kernel - 1) + 1
    expected = sum(1 for start in padded[::stride] if start + reach <= len(padded))
    if expected:
        assert shapes.windows("pool", size, kernel, stride, (before, after), dilation) == expected
    else:
        with pytest.raises(
            ShapeError, match=re.escape(f"kernel of {kernel} (dilation {dilation}, reach {reach})")
        ):
            shapes.windows("pool", size, kernel, stride, (before, after), dilation)


@given(dims, st.booleans())
def test_reduced(shape: tuple[int, ...], keepdims: bool) -> None:
    for axes in [(), tuple(range(len(shape))), tuple(range(0, len(shape), 2))]:
        expected = np.zeros(shape).sum(axis=axes, keepdims=keepdims).shape
        assert shapes.reduced(shape, axes, keepdims) == expected
        assert math.prod(shapes.reduced(shape, axes, True)) == math.prod(shapes.reduced(shape, axes, False))
