"""Reductions, scans, sorting and searching against NumPy, on empty and 0-d tensors too."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

import mlcore as ml
from mlcore.errors import ArgumentError, ArgumentTypeError, OutOfRangeError, ShapeError

REDUCTIONS: dict[str, Any] = {
    "sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "any": np.any, "all": np.all, "mean": np.mean,
    "var": np.var, "std": np.std, "logsumexp": scipy.special.logsumexp,
}  # fmt: skip
SHAPES = [(), (1,), (5,), (3, 4), (2, 3, 4), (0,), (2, 0, 3)]
CASES = [
    (name, shape, axis)
    for name, shape in itertools.product(REDUCTIONS, SHAPES)
    for axis in [None, (), *range(-len(shape), len(shape)), *itertools.combinations(range(len(shape)), 2)]
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "shape", "axis"), CASES)
def test_reductions(name: str, shape: tuple[int, ...], axis: Any) -> None:
    host = np.random.default_rng(1).standard_normal(shape) + 0.1
    x = ml.asarray(host)
    for keepdims in (False, True):
        if name in ("max", "min") and host.size == 0:
            axes = range(host.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
            if any(shape[a] == 0 for a in axes):
                with pytest.raises(ArgumentError, match=rf"{name}: dim \d of shape .* is empty"):
                    getattr(ml, name)(x, axis=axis, keepdims=keepdims)
                continue
        if name == "logsumexp":
            if axis == ():
                continue  # SciPy refuses
            with np.errstate(all="ignore"):
                expected = np.log(np.sum(np.exp(host), axis=axis, keepdims=keepdims))
        else:
            expected = REDUCTIONS[name](host, axis=axis, keepdims=keepdims)
        found = getattr(ml, name)(x, axis=axis, keepdims=keepdims)
        assert found.shape == np.shape(expected)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-14)
        assert getattr(x, name)(axis=axis, keepdims=keepdims).shape == found.shape


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_method_takes_its_axis_as_the_function_does(name: str) -> None:
    x = ml.asarray(np.random.default_rng(1).standard_normal((2, 3, 4)))
    function, method = getattr(ml, name), getattr(x, name)
    if inspect.signature(function).parameters["axis"].kind is inspect.Parameter.KEYWORD_ONLY:
        with pytest.raises(ArgumentTypeError, match=f"{name}: 2 positional arguments, at most 1"):
            method(1)
        return
    for axis in (0, -1, (0, 2), None):
        expected = function(x, axis=axis)
        assert method(axis).tolist() == function(x, axis).tolist() == expected.tolist()
        assert method(axis, keepdims=True).tolist() == function(x, axis=axis, keepdims=True).tolist()
    with pytest.raises(ArgumentTypeError, match=name):
        method(0, axis=1)


def test_of_nothing() -> None:
    nothing = ml.zeros((0,))
    assert ml.sum(nothing).item() == 0
    assert ml.prod(nothing).item() == 1
    assert ml.all(nothing).item() is True
    assert ml.any(nothing).item() is False
    assert np.isnan(ml.mean(nothing).item())
    assert np.isnan(ml.var(nothing).item())
    assert ml.logsumexp(nothing).item() == -np.inf
    assert ml.argsort(nothing).shape == ml.sort(nothing).shape == ml.cumulative_sum(nothing).shape == (0,)
    for f in (ml.argmax, ml.argmin):
        with pytest.raises(ArgumentError, match="is empty"):
            f(nothing)
    assert ml.max(ml.zeros((0, 3)), axis=1).shape == (0,)
    assert ml.softmax(ml.zeros((2, 0))).shape == ml.log_softmax(ml.zeros((2, 0))).shape == (2, 0)


def test_of_a_number() -> None:
    x = ml.asarray(3.0)
    for name in ("sum", "prod", "max", "min", "mean", "logsumexp", "argmax"):
        assert getattr(ml, name)(x).shape == ()
    with pytest.raises(OutOfRangeError, match=r"axis 0 out of range \(a 0-d tensor has no axes\)"):
        ml.mean(x, axis=0)


@pytest.mark.parametrize("correction", [0, 1, 1.5])
def test_correction(correction: float) -> None:
    host = np.random.default_rng(0).standard_normal((4, 5))
    np.testing.assert_allclose(
        np.asarray(ml.var(ml.asarray(host), axis=0, correction=correction)),
        host.var(axis=0, ddof=correction), rtol=1e-13,
    )  # fmt: skip
    np.testing.assert_allclose(
        ml.std(ml.asarray(host), correction=correction).item(), host.std(ddof=correction), rtol=1e-13
    )


def test_special_values() -> None:
    x = ml.asarray([1.0, float("nan"), 3.0])
    assert np.isnan(ml.max(x).item())
    assert np.isnan(ml.min(x).item())
    assert ml.argmax(x).item() == ml.argmin(x).item() == 1
    assert ml.logsumexp(ml.asarray([1e4, 1e4])).item() == pytest.approx(1e4 + np.log(2))
    assert ml.logsumexp(ml.asarray([-np.inf, -np.inf])).item() == -np.inf
    assert ml.logsumexp(ml.asarray([np.inf, 1.0])).item() == np.inf
    assert ml.any(ml.asarray([float("nan")])).item() is True


def test_sums_are_accurate() -> None:
    """Adding ten million times 0.1 one by one is wrong in the fifth digit; in pairs it is not."""
    found = ml.sum(ml.full((10_000_000,), 0.1)).item()
    assert abs(found - 1_000_000.01) < 0.5
    assert abs(ml.mean(ml.full((3_000_000,), 1.1)).item() - 1.1) < 1e-5


@settings(max_examples=200)
@given(st.data())
def test_sorting(data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.sampled_from([0, 1, 3, 5]), min_size=1, max_size=3)))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    seed = data.draw(st.integers(0, 10**6))
    dtype = data.draw(st.sampled_from(["int64", "uint8", "float32", "float64", "bool"]))
    host = np.random.default_rng(seed).integers(0, 4, shape).astype(dtype)  # many ties
    if dtype[0] == "f" and host.size and data.draw(st.booleans()):
        host.flat[seed % host.size] = np.nan
        host.flat[(seed // 7) % host.size] = -np.inf
    x = ml.asarray(host)
    np.testing.assert_array_equal(
        np.asarray(ml.argsort(x, axis=axis)), np.argsort(host, axis=axis, kind="stable")
    )
    np.testing.assert_array_equal(np.asarray(ml.sort(x, axis=axis)), np.sort(host, axis=axis))
    down = ml.argsort(x, axis=axis, descending=True)
    np.testing.assert_array_equal(
        np.asarray(ml.sort(x, axis=axis, descending=True)), np.flip(np.sort(host, axis=axis), axis=axis)
    )
    picked = np.take_along_axis(host, np.asarray(down), axis=axis)
    np.testing.assert_array_equal(picked, np.flip(np.sort(host, axis=axis), axis=axis))
    order, values = np.moveaxis(np.asarray(down), axis, 0), np.moveaxis(picked, axis, 0)
    ties = values[1:] == values[:-1]
    assert (order[1:][ties] > order[:-1][ties]).all()  # stable the other way round, too


@settings(max_examples=150)
@given(
    st.lists(st.integers(-3, 3), max_size=8),
    st.lists(st.integers(-4, 4), max_size=5),
    st.sampled_from(["left", "right"]),
)
def test_searchsorted(sorted_values: list[int], wanted: list[int], side: Any) -> None:
    a = np.sort(np.array(sorted_values, dtype=np.int64))
    v = np.array(wanted, dtype=np.int64)
    np.testing.assert_array_equal(
        np.asarray(ml.searchsorted(ml.asarray(a), ml.asarray(v), side=side)), np.searchsorted(a, v, side=side)
    )


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("k", [0, 1, 3, 5])
def test_topk(k: int, largest: bool) -> None:
    host = np.random.default_rng(k).permutation(20).reshape(4, 5).astype(np.float64)
    values, order = ml.topk(ml.asarray(host), k, largest=largest)
    expected = (np.flip(np.sort(host), axis=-1) if largest else np.sort(host))[:, :k]
    np.testing.assert_array_equal(np.asarray(values), expected)
    np.testing.assert_array_equal(np.take_along_axis(host, np.asarray(order), axis=-1), expected)
    with pytest.raises(ArgumentError, match="k is 6 for dim 1 of size 5"):
        ml.topk(ml.asarray(host), 6)


def test_gradient_of_sort_and_topk() -> None:
    x = ml.asarray([3.0, 1.0, 2.0], requires_grad=True)
    (ml.sort(x) * ml.asarray([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [100.0, 1.0, 10.0]
    x.grad = None
    ml.topk(x, 2)[0].sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scans(axis: int) -> None:
    host = np.random.default_rng(0).standard_normal((3, 4, 2))
    np.testing.assert_allclose(
        np.asarray(ml.cumulative_sum(ml.asarray(host), axis=axis)), np.cumsum(host, axis), rtol=1e-13
    )
    np.testing.assert_allclose(
        np.asarray(ml.cumulative_prod(ml.asarray(host), axis=axis)), np.cumprod(host, axis), rtol=1e-13
    )
    with pytest.raises(ArgumentError, match="axis is needed for a tensor of shape"):
        ml.cumulative_sum(ml.asarray(host))


@settings(max_examples=200)
@given(st.data())
def test_shape_functions(data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=3)))
    host = np.arange(int(np.prod(shape))).reshape(shape)
    x = ml.asarray(host)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    shift = data.draw(st.integers(-5, 5))

    def same(found: Any, expected: Any) -> None:
        assert found.shape == expected.shape
        np.testing.assert_array_equal(np.asarray(found), expected)

    same(ml.roll(x, shift, axis=axis), np.roll(host, shift, axis))
    same(ml.roll(x, shift), np.roll(host, shift))
    same(ml.flip(x, axis=axis), np.flip(host, axis))
    same(ml.repeat(x, abs(shift), axis=axis), np.repeat(host, abs(shift), axis))
    reps = tuple(data.draw(st.lists(st.integers(0, 3), min_size=0, max_size=4)))
    same(ml.tile(x, reps), np.tile(host, reps))
    other = data.draw(st.integers(-len(shape), len(shape) - 1))
    same(ml.moveaxis(x, axis, other), np.moveaxis(host, axis, other))
    same(ml.swapaxes(x, axis, other), np.swapaxes(host, axis, other))
    order = data.draw(st.permutations(range(len(shape))))
    same(ml.permute_dims(x, order), host.transpose(order))
    same(ml.expand_dims(x, axis=axis), np.expand_dims(host, axis))
    same(ml.squeeze(x), np.squeeze(host))
    same(ml.stack([x, x + 1], axis=axis), np.stack([host, host + 1], axis))
    same(ml.concat([x, x[:0], x], axis=0), np.concatenate([host, host[:0], host]))
    widths = [tuple(data.draw(st.lists(st.integers(0, 2), min_size=2, max_size=2))) for _ in shape]
    same(ml.pad(x, widths, value=7), np.pad(host, widths, constant_values=7))
    for found, expected in zip(ml.unstack(x, axis=axis), np.moveaxis(host, axis, 0), strict=True):
        same(found, expected)
    pieces = ml.split(x, 2, axis=axis)
    same(ml.concat(pieces, axis=axis), host)
    assert all(p.shape[axis] <= 2 for p in pieces)


def test_split_by_sizes() -> None:
    x = ml.arange(6)
    assert [p.tolist() for p in ml.split(x, [1, 0, 5])] == [[0], [], [1, 2, 3, 4, 5]]
    with pytest.raises(ShapeError, match=r"sizes \[1, 2\] add up to 3, dim 0 of \(6,\) is 6"):
        ml.split(x, [1, 2])
