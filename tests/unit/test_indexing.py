"""x[...] and x[...] = v against NumPy, over random index expressions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlcore as ml
from mlcore.errors import ArgumentTypeError, OutOfRangeError, ShapeError

bound = st.one_of(st.none(), st.integers(-5, 5))
a_slice = st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1, -2, -3]))


@st.composite
def cases(draw: Any) -> tuple[tuple[int, ...], Any]:
    """A shape and an index expression for it; about one in ten is out of range."""
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 4]), min_size=0, max_size=4)))
    fan = draw(st.sampled_from([(), (2,), (3,), (2, 1), (1, 3)]))
    items: list[Any] = []
    axis = 0
    dotted = False
    while axis < len(shape):
        size = shape[axis]
        kind = draw(
            st.sampled_from(
                ["int", "slice", "slice", "array", "mask", "wide mask", "none", "dots", "stop", "list"]
            )
        )
        if kind == "int":
            reach = size + draw(st.sampled_from([0] * 9 + [1]))
            if not reach:
                continue
            items.append(draw(st.integers(-reach, reach - 1)))
        elif kind == "slice":
            items.append(draw(a_slice))
        elif kind in ("array", "list"):
            reach = size + draw(st.sampled_from([0] * 9 + [1]))
            values = np.array(
                [draw(st.integers(-reach, reach - 1)) for _ in range(int(np.prod(fan)))]
                if reach
                else np.zeros(0),
                dtype=np.int64,
            )
            if values.size != int(np.prod(fan)):
                continue
            values = values.reshape(fan)
            items.append(values.tolist() if kind == "list" and fan else values)
        elif kind == "mask":
            items.append(np.array([draw(st.booleans()) for _ in range(size)], dtype=bool))
        elif kind == "wide mask":
            if axis + 1 >= len(shape):
                continue
            count = size * shape[axis + 1]
            items.append(
                np.array([draw(st.booleans()) for _ in range(count)], dtype=bool).reshape(
                    shape[axis : axis + 2]
                )
            )
            axis += 1
        elif kind == "none":
            items.append(None)
            continue
        elif kind == "dots":
            if not dotted:
                dotted = True
                items.append(Ellipsis)
            axis += draw(st.integers(0, len(shape) - axis))
            continue
        else:
            break
        axis += 1
    if draw(st.integers(0, 30)) == 0:
        items.insert(draw(st.integers(0, len(items))), draw(st.booleans()))
    return shape, items[0] if len(items) == 1 and draw(st.booleans()) else tuple(items)


def translated(index: Any, wrap: bool) -> Any:
    """The index with its arrays as tensors."""
    if isinstance(index, tuple):
        return tuple(translated(one, wrap) for one in index)
    return ml.asarray(index) if wrap and isinstance(index, np.ndarray) else index


counts = {"read": 0, "assigned": 0, "refused": 0}


@settings(max_examples=800)
@given(cases(), st.booleans())
def test_reading(case: tuple[tuple[int, ...], Any], wrap: bool) -> None:
    shape, index = case
    host = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)
    x = ml.asarray(host)
    try:
        expected = host[index]
    except IndexError:
        counts["refused"] += 1
        with pytest.raises((OutOfRangeError, ShapeError)):
            x[translated(index, wrap)]
        return
    try:
        found = x[translated(index, wrap)]
    except OutOfRangeError:
        assert expected.size == 0, (shape, index)  # NumPy looks at no index where nothing is selected
        return
    assert found.shape == expected.shape, (shape, index)
    np.testing.assert_array_equal(np.asarray(found), expected)
    np.testing.assert_array_equal(np.asarray(x), host)
    counts["read"] += 1


def repeats(index: Any, host: np.ndarray) -> bool:
    chosen = np.arange(host.size).reshape(host.shape)[index]
    return np.unique(chosen).size != chosen.size


@settings(max_examples=800)
@given(cases(), st.booleans(), st.sampled_from(["scalar", "full", "row", "tensor"]))
def test_assigning(case: tuple[tuple[int, ...], Any], wrap: bool, kind: str) -> None:
    shape, index = case
    host = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)
    x = ml.asarray(host)
    before = ml.asarray(host)
    other = x + 0
    shared = x[...]
    try:
        picked = host[index]
    except IndexError:
        with pytest.raises((OutOfRangeError, ShapeError)):
            x[translated(index, wrap)] = 1.0
        return
    value: Any = -1.0
    if kind != "scalar":
        value = -1.0 - np.arange(picked.size, dtype=np.float64).reshape(picked.shape)
        if kind == "row" and picked.ndim:
            value = value[..., :1]
    expected = host.copy()
    expected[index] = value
    if picked.ndim and repeats(index, host) and kind not in ("scalar", "row"):
        return  # NumPy does not promise which of several wins; mlcore's own rule is tested below
    if kind == "row" and repeats(index, host):
        return
    x[translated(index, wrap)] = ml.asarray(value) if kind == "tensor" else value
    np.testing.assert_array_equal(np.asarray(x), expected)
    for one in (before, other, shared):  # no other tensor changes
        np.testing.assert_array_equal(np.asarray(one), host)
    counts["assigned"] += 1


def test_the_random_cases_covered_much() -> None:
    print(counts)
    if counts["read"]:  # run with the others
        assert counts["read"] > 500
        assert counts["assigned"] > 250
        assert counts["refused"] > 40


EXPLICIT: list[tuple[tuple[int, ...], Any]] = [
    ((), ()),
    ((), ...),
    ((), None),
    ((), (None, ..., None)),
    ((), True),
    ((), False),
    ((), np.array(True)),
    ((3,), True),
    ((3,), False),
    ((2, 3), (True, 0)),
    ((2, 3), (..., False)),
    ((2, 3), (True, [0, 1])),
    ((2, 3, 4), (0, slice(None), [1, 2])),  # an integer counts as an index array: its axes come first
    ((2, 3, 4), (slice(None), 0, [1, 2])),
    ((2, 3, 4), ([0, 1], slice(None), 0)),
    ((2, 3, 4), ([0, 1], None, [1, 2])),
    ((2, 3, 4), (slice(None), [0, 1], [1, 2])),
    ((2, 3, 4), ([[0], [1]], [[1, 2]])),
    ((2, 3, 4), (0, [1, 2])),
    ((2, 3, 4), ([0, 1], ..., [1, 2])),
    ((2, 3, 4), (1, ..., [0])),
    ((0, 3), (slice(None), [0, 2])),
    ((0,), []),
    ((3,), np.zeros(0, np.int64)),
    ((2, 3), np.ones((2, 3), bool)),
    ((2, 3), (slice(None), np.array([True, False, True]))),
    ((4,), slice(None, None, -1)),
    ((4,), slice(10, -10, -3)),
    ((2, 3), (np.int8(1), np.uint8(2))),
    ((3, 4), (np.array([0, 2], np.uint8), slice(1, 3))),
    ((5,), np.array([-1, -5])),
]


@pytest.mark.parametrize(("shape", "index"), EXPLICIT, ids=repr)
def test_explicit_cases(shape: tuple[int, ...], index: Any) -> None:
    host = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    for wrap in (False, True):
        found = ml.asarray(host)[translated(index, wrap)]
        assert found.shape == host[index].shape
        np.testing.assert_array_equal(np.asarray(found), host[index])
        x, expected = ml.asarray(host), host.copy()
        x[translated(index, wrap)] = 7
        expected[index] = 7
        np.testing.assert_array_equal(np.asarray(x), expected)


def test_of_repeated_indices_the_last_wins() -> None:
    x = ml.zeros((3,))
    x[[1, 1, 0, 1]] = ml.asarray([1.0, 2.0, 3.0, 4.0])
    assert x.tolist() == [3.0, 4.0, 0.0]


def test_a_value_takes_the_dtype_of_the_tensor() -> None:
    x = ml.zeros((3,), dtype="int8")
    x[0] = ml.asarray(3, dtype="int64")
    x[1] = 2
    assert x.tolist() == [3, 2, 0]
    assert x.dtype is ml.int8


@pytest.mark.parametrize("dtype", ["bool", "uint16", "float16", "bfloat16", "complex64"])
def test_every_kind_of_dtype(dtype: str, rng: np.random.Generator) -> None:
    host = rng.integers(0, 2, (3, 4)).astype(ml.zeros(1, dtype=dtype).dtype.numpy)
    for index in [(1,), (slice(None), [0, -1]), (..., 2), (None, slice(None, None, -2)), (host != 0,)]:
        np.testing.assert_array_equal(np.asarray(ml.asarray(host)[index]), host[index])
        x, expected = ml.asarray(host), host.copy()
        x[index], expected[index] = 1, 1
        np.testing.assert_array_equal(np.asarray(x), expected)


INDEXED = [
    (slice(None), [0, 2]),
    (1, ...),
    ([0, 1, 0], [1, 1, 1]),
    (np.array([[True, False, True], [False, True, False]]),),
    (slice(None, None, -1),),
    (None, 0, [2, 2]),
    (..., slice(1, None)),
    (np.array([False, True]), 1),
]


@pytest.mark.parametrize("index", INDEXED, ids=repr)
def test_gradient_of_reading(index: Any, rng: np.random.Generator) -> None:
    host = rng.standard_normal((2, 3, 2))
    x = ml.asarray(host, requires_grad=True)
    y = x[index]
    weight = rng.standard_normal(y.shape)
    (y * ml.asarray(weight)).sum().backward()
    expected = np.zeros_like(host)
    np.add.at(expected, index, weight)
    np.testing.assert_allclose(np.asarray(x.grad), expected, rtol=1e-15)


@pytest.mark.parametrize("index", INDEXED, ids=repr)
def test_gradient_of_assigning(index: Any, rng: np.random.Generator) -> None:
    host = rng.standard_normal((2, 3, 2))
    flat = np.arange(host.size).reshape(host.shape)[index].ravel()
    x, v = (
        ml.asarray(host, requires_grad=True),
        ml.asarray(rng.standard_normal(host[index].shape), requires_grad=True),
    )
    y = x * 1
    y[index] = v
    weight = rng.standard_normal(host.shape)
    (y * ml.asarray(weight)).sum().backward()
    kept = weight.copy()
    kept[index] = 0
    np.testing.assert_array_equal(np.asarray(x.grad), kept)
    last = np.array([i == max(np.flatnonzero(flat == p)) for i, p in enumerate(flat)]).reshape(
        host[index].shape
    )
    np.testing.assert_array_equal(np.asarray(v.grad), np.where(last, weight[index], 0))


BAD: list[tuple[Any, type[Exception], str]] = [
    (5, IndexError, "index 5 out of range for dim 0 of size 2"),
    ((0, -4), IndexError, "index -4 out of range for dim 1 of size 3"),
    ((0, [0, 3]), IndexError, "index 3 out of range for dim 1 of size 3"),
    ((0, 0, 0), IndexError, "3 indices for a tensor of 2 dimensions"),
    ((..., ...), IndexError, "more than one ellipsis"),
    (1.0, ArgumentTypeError, "float 1.0 is no index"),
    ("a", ArgumentTypeError, "str 'a' is no index"),
    (slice(0.5, None), ArgumentTypeError, "slice bounds must be ints"),
    (slice(None, None, 0), ValueError, "step is 0"),
    (np.array([1.0]), ArgumentTypeError, "float64 tensor is no index"),
    (np.ones((3, 3), bool), IndexError, "mask of shape"),
    (([0, 1], [0, 1, 2]), ShapeError, "cannot broadcast"),
]


@pytest.mark.parametrize(("index", "kind", "text"), BAD, ids=repr)
def test_indices_that_make_no_sense(index: Any, kind: type[Exception], text: str) -> None:
    x = ml.zeros((2, 3))
    with pytest.raises(kind, match=text):
        x[index]
    with pytest.raises(kind, match=text):
        x[index] = 1.0
    assert not ml.any(x).item()


def test_a_value_that_does_not_fit() -> None:
    x = ml.zeros((2, 3))
    with pytest.raises(ShapeError, match=r"value of shape \(2,\) does not fit the selection of shape \(3,\)"):
        x[0] = ml.ones((2,))
    with pytest.raises(ShapeError, match=r"does not fit the selection of shape \(2, 2\)"):
        x[:, [0, 1]] = ml.ones((3, 2))
    assert not ml.any(x).item()


def test_take_and_take_along_axis(rng: np.random.Generator) -> None:
    host = rng.standard_normal((3, 4, 5))
    x = ml.asarray(host)
    for axis in (0, 1, -1):
        for indices in ([0, 2, -1], [[0, 1], [2, 2]], []):
            found = ml.take(x, ml.asarray(indices, dtype="int64"), axis=axis)
            np.testing.assert_array_equal(
                np.asarray(found), np.take(host, np.array(indices, dtype=np.int64), axis=axis)
            )
        order = np.argsort(host, axis=axis)
        np.testing.assert_array_equal(
            np.asarray(ml.take_along_axis(x, ml.asarray(order), axis=axis)),
            np.take_along_axis(host, order, axis=axis),
        )
    with pytest.raises(OutOfRangeError, match="take: index 4 out of range for dim 1 of size 4"):
        ml.take(x, [4], axis=1)
    with pytest.raises(OutOfRangeError, match="take_along_axis: index -6 out of range for dim 2 of size 5"):
        ml.take_along_axis(x, ml.full((3, 4, 1), -6), axis=2)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shared", [False, True])
def test_gradient_of_take_along_axis(axis: int, shared: bool, rng: np.random.Generator) -> None:
    """Repeated and negative indices; `shared`: both sides broadcast, so their gradients are summed."""
    host = rng.standard_normal((3, 4, 5) if not shared else tuple(4 if i == axis else 1 for i in range(3)))
    shape = tuple(6 if i == axis else (1 if shared and i == 2 else d) for i, d in enumerate((3, 4, 5)))
    at = rng.integers(-host.shape[axis], host.shape[axis], shape)
    x = ml.asarray(host, requires_grad=True)
    y = ml.take_along_axis(x, ml.asarray(at), axis=axis)
    g = rng.standard_normal(y.shape)
    (y * ml.asarray(g)).sum().backward()
    rest = np.broadcast_shapes(
        *(tuple(1 if i == axis else d for i, d in enumerate(s)) for s in (host.shape, shape))
    )
    wide = np.broadcast_to(host, tuple(host.shape[axis] if i == axis else d for i, d in enumerate(rest)))
    at = np.broadcast_to(at, y.shape)
    np.testing.assert_array_equal(np.asarray(y), np.take_along_axis(wide, at, axis=axis))
    expected = np.zeros(wide.shape)
    others = np.ogrid[tuple(slice(d) for d in y.shape)]
    np.add.at(expected, tuple(at if i == axis else one for i, one in enumerate(others)), g)
    summed = tuple(i for i in range(3) if host.shape[i] == 1 and wide.shape[i] > 1)
    np.testing.assert_allclose(
        np.asarray(x.grad), expected.sum(axis=summed, keepdims=True), rtol=1e-6, atol=1e-12
    )


def test_nonzero(rng: np.random.Generator) -> None:
    for shape in [(5,), (3, 4), (2, 0), (2, 2, 3)]:
        host = rng.integers(0, 2, shape)
        for found, expected in zip(ml.nonzero(ml.asarray(host)), np.nonzero(host), strict=True):
            assert found.dtype is ml.int64
            np.testing.assert_array_equal(np.asarray(found), expected)
