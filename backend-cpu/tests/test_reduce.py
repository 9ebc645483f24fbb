"""Reductions over every axis set, layout and dtype, against NumPy in double precision."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from cpu_helpers import BF16, EPS, FLOATS, kernel, layouts

import mlcore.dtypes as d

NUMPY = {
    "reduce_sum": np.sum,
    "reduce_prod": np.prod,
    "max": np.max,
    "min": np.min,
    "any": np.any,
    "all": np.all,
    "mean": np.mean,
}
SHAPES = [(7,), (3, 4, 5), (2, 40, 33), (1, 5, 1), (130, 3), (3, 130), (2, 3, 4, 5)]


def axis_sets(ndim: int) -> Any:
    return [s for k in range(ndim + 1) for s in itertools.combinations(range(ndim), k)]


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("dtype", [d for d in d.all_dtypes if d.kind != "c"], ids=str)
def test_reduction(name: str, dtype: Any, rng: Any) -> None:
    if (dtype.kind == "b") != (name in ("any", "all")) and name not in ("any", "all"):
        pytest.skip("not accepted")
    if name == "mean" and dtype.kind != "f":
        pytest.skip("not accepted")
    run = kernel(name)
    for shape in SHAPES:
        x = rng.uniform(0.5, 1.5, shape) if name == "reduce_prod" else rng.standard_normal(shape) * 3
        x = (np.abs(x) if dtype.kind == "u" else x).astype(dtype.numpy)
        if name in ("any", "all"):
            x = (rng.random(shape) > (0.97 if name == "any" else 0.03)).astype(dtype.numpy)
        for label, v in layouts(x):
            for axes, keepdims in itertools.product(axis_sets(v.ndim), (False, True)):
                wide = v.astype(np.longdouble) if dtype.kind == "f" else v
                want = np.asarray(
                    NUMPY[name](
                        wide,
                        axis=axes,
                        keepdims=keepdims,
                        **({"dtype": dtype.numpy} if dtype.kind in "iu" and "reduce" in name else {}),
                    )
                )
                got = run(v, axes, keepdims)
                assert got.shape == want.shape
                assert got.dtype == (np.bool_ if name in ("any", "all") else dtype.numpy)
                what = f"{name} {dtype} {shape} {axes} {label}"
                if dtype.kind != "f" or name in ("any", "all", "max", "min"):
                    np.testing.assert_array_equal(got, want.astype(got.dtype), err_msg=what)
                else:
                    count = v.size // max(want.size, 1)
                    ulp = 2 + count**0.5 if name == "reduce_prod" else 2  # a product rounds at every step
                    scale = np.abs(wide).sum(axis=axes, keepdims=keepdims) / (count if name == "mean" else 1)
                    floor = (
                        np.finfo("f").tiny
                        if dtype.name in ("float32", "bfloat16")
                        else 6e-8
                        if dtype.name == "float16"
                        else 0
                    )
                    room = ulp * EPS[dtype.name] * np.abs(want) + floor
                    if name != "reduce_prod" and dtype.numpy.itemsize >= 4:
                        room = (
                            EPS[dtype.name]
                            * (
                                np.abs(want)
                                + scale * EPS["float32" if dtype.name == "float32" else "float64"] * 1e-1
                            )
                            + EPS["float64"] * scale * 4
                        )
                    assert (np.abs(got.astype(np.longdouble) - want) <= room).all(), what


@pytest.mark.parametrize("name", ["reduce_argmax", "reduce_argmin"])
@pytest.mark.parametrize("dtype", [d for d in d.all_dtypes if d.kind in "iuf"], ids=str)
def test_arg(name: str, dtype: Any, rng: Any) -> None:
    pick = np.argmax if name == "reduce_argmax" else np.argmin
    for shape in [*SHAPES, (3, 2500), (2500, 3)]:
        x = np.rint(rng.uniform(0, 20, shape)).astype(dtype.numpy)  # many ties: the first one wins
        if dtype.kind == "f" and x.size > 50:
            x[tuple(rng.integers(0, s) for s in shape)] = np.nan
        for label, v in layouts(x):
            for axis in range(v.ndim):
                with np.errstate(invalid="ignore"):
                    want = pick(v.astype(np.float64) if dtype.name == "bfloat16" else v, axis=axis)
                got = kernel(name)(v, axis, False)
                np.testing.assert_array_equal(got, want, err_msg=f"{name} {dtype} {shape} {axis} {label}")
                assert got.dtype == np.int64
                assert kernel(name)(v, axis, True).shape == np.expand_dims(want, axis).shape


def test_large_reductions_are_split_and_right(rng: Any) -> None:
    for shape in [(1_000_003,), (1000, 1001), (3, 70_000), (70_000, 3), (20, 30, 40, 50)]:
        x = rng.standard_normal(shape).astype("f")
        for label, v in layouts(x):
            for axes in axis_sets(v.ndim):
                want = v.astype(np.float64).sum(axis=axes)
                np.testing.assert_allclose(
                    kernel("reduce_sum")(v, axes, False),
                    want,
                    rtol=1.2e-7,
                    atol=1e-9,
                    err_msg=f"{shape} {axes} {label}",
                )
                np.testing.assert_array_equal(kernel("max")(v, axes, False), v.max(axis=axes))


def test_sums_are_accurate() -> None:
    x = np.full(10_000_000, 0.1, "f")
    assert kernel("reduce_sum")(x, (0,), False) == np.float32(float(np.float32(0.1)) * 10_000_000)
    y = np.full(3_000_000, 0.1)
    assert abs(float(kernel("reduce_sum")(y, (0,), False)) - math.fsum(y)) <= np.spacing(3e5)
    ill = np.array([1e100, 1.0, -1e100] * 1000)
    assert np.isfinite(kernel("reduce_sum")(ill, (0,), False))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_special_values(dtype: Any) -> None:
    x = np.ones((3, 200), dtype)
    x[0, 7], x[1, 100], x[2, 0], x[2, 1] = np.nan, np.inf, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        assert np.isnan(kernel("reduce_sum")(x, (1,), False).astype("f")).tolist() == [True, False, True]
    assert kernel("reduce_sum")(x, (1,), False)[1] == np.inf
    assert np.isnan(kernel("max")(x, (1,), False).astype("f")).tolist() == [True, False, False]
    assert np.isnan(kernel("min")(x, (0,), False).astype("f")).sum() == 1
    for axis in (0, 1):
        assert kernel("max")(-x, (axis,), False).shape == (x.shape[1 - axis],)


def test_empty() -> None:
    x = np.zeros((3, 0, 4), "f")
    assert kernel("reduce_sum")(x, (1,), False).tolist() == np.zeros((3, 4)).tolist()
    assert kernel("reduce_prod")(x, (1,), False).tolist() == np.ones((3, 4)).tolist()
    assert kernel("reduce_sum")(x, (0,), False).shape == (0, 4)
    assert kernel("any")(x, (0, 1, 2), False) == np.False_
    assert kernel("all")(x, (0, 1, 2), False) == np.True_
    assert np.isnan(kernel("mean")(x, (1,), False)).all()
    assert kernel("reduce_sum")(np.zeros((), "f"), (), False).shape == ()


def test_integers_wrap_and_bfloat16_accumulates_in_float32() -> None:
    assert kernel("reduce_sum")(np.full(300, 100, np.int8), (0,), False) == np.int8(
        30000 % 256 - 256 if 30000 % 256 > 127 else 30000 % 256
    )
    assert float(kernel("reduce_sum")(np.ones(4096, BF16), (0,), False)) == 4096


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_variance(dtype: Any, rng: Any) -> None:
    """Against extended precision, far from 0 too, over lines longer than a block and tiles that are not full."""
    run = kernel("var")
    for shape in [*SHAPES, (3000,), (70, 130), (5, 2500), (2500, 5)]:
        for centre in (0.0, 100.0):
            # float64 has no wider type to take the mean in: its last place, of about `centre`, shows in small distances
            near = 16 * EPS[dtype.name] * (1 + centre if dtype == np.float64 else 1)
            x = (rng.standard_normal(shape) * 3 + centre).astype(dtype)
            for label, v in layouts(x):
                wide = v.astype(np.longdouble)
                for axes, correction in itertools.product(axis_sets(v.ndim), (0.0, 1.0)):
                    if math.prod(v.shape[a] for a in axes) <= correction:
                        continue
                    want = np.var(wide, axis=axes, ddof=int(correction))
                    got = run(v, axes, correction, False)
                    assert got.dtype == dtype
                    np.testing.assert_allclose(
                        got.astype(np.float64), want.astype(np.float64), rtol=near, atol=1e-30,
                        err_msg=f"{shape} {axes} {label}",
                    )  # fmt: skip


def test_variance_of_too_little() -> None:
    run = kernel("var")
    with np.errstate(all="ignore"):
        assert np.isnan(run(np.ones((0, 3), "f"), (0,), 0.0, False)).all()
        assert np.isnan(run(np.ones((1, 3), "f"), (0,), 1.0, False)).all()
    assert run(np.float32([1e8, 1, 1, 1, -1e8]), (0,), 0.0, False) == np.float32(4e15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["max", "min"])
def test_a_nan_is_found_wherever_it_is(name: str, dtype: str) -> None:
    run = kernel(name)
    for n in (1, 5, 64, 129, 300):
        rows = np.tile(np.linspace(-1, 1, n).astype(dtype), (n, 1))
        np.fill_diagonal(rows, np.nan)  # row i, and column i, has one at i
        assert np.isnan(run(rows, (1,), False)).all(), n
        assert np.isnan(run(rows, (0,), False)).all(), n
        assert np.isnan(run(rows, (0, 1), False)), n
        for edge in (np.inf, -np.inf, -0.0):
            same = np.full((n, 7), edge, dtype)
            np.testing.assert_array_equal(run(same, (0,), False), same[0])
            np.testing.assert_array_equal(run(same, (1,), False), same[:, 0])


def test_a_float_sum_has_one_rounding_at_every_length(rng: Any) -> None:
    run = kernel("reduce_sum")
    for n in [*range(1, 140), 1000, 1023, 4097]:
        x = (rng.standard_normal((5, n)) * 10.0 ** rng.integers(-4, 5, (5, n))).astype(np.float32)
        exact = np.array([math.fsum(row) for row in x.astype(np.float64)]).astype(np.float32)
        np.testing.assert_array_equal(run(x, (1,), False), exact)
        np.testing.assert_array_equal(run(np.ascontiguousarray(x.T), (0,), False), exact)
