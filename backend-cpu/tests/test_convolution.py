"""Convolutions at the edges of how they are cut into tasks, and copies between layouts."""

from __future__ import annotations

import itertools
import os
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from cpu_helpers import EPS, kernel, run_python

import mlcore_cpu
from mlcore_cpu import fallback
from mlcore_cpu.loader import kernels as K

DTYPES = [np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)]


def last(x: Any) -> Any:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def two(n: int, lo: int = 0, hi: int | None = None) -> Any:
    return ((n, n), ((lo, lo if hi is None else hi),) * 2)


# input, weight, (stride, padding), dilation, groups
CASES = [
    ((1, 32, 40, 36), (32, 32, 3, 3), two(1, 1), (1, 1), 1),  # one image: rows
    ((3, 16, 65, 20), (48, 16, 5, 5), two(2, 2), (1, 1), 1),  # rows with a stride and a rest
    ((2, 16, 64, 64), (32, 16, 3, 3), two(1, 2, 1), (2, 2), 1),  # uneven padding, dilation
    ((1, 3, 96, 96), (64, 3, 7, 7), two(2, 3), (1, 1), 1),  # the first layer of a large network
    ((2, 96, 40, 40), (96, 1, 3, 3), two(2, 1), (1, 1), 96),  # depthwise
    ((2, 37, 23, 17), (37, 1, 3, 3), two(2, 1), (1, 1), 37),
    ((2, 16, 30, 29), (16, 1, 5, 5), two(1, 2, 0), (1, 1), 16),
    ((1, 70, 21, 20), (70, 1, 3, 3), two(1, 4), (2, 2), 70),  # more padding than the kernel reaches
    ((2, 24, 33, 9), (24, 1, 7, 7), two(3, 3), (1, 1), 24),
    ((2, 20, 6, 5), (20, 1, 1, 1), two(2), (1, 1), 20),  # pixels that nobody reads
    ((2, 9, 50), (9, 1, 4), ((2,), ((1, 2),)), (1,), 9),
    ((5, 64, 13, 11), (96, 64, 1, 1), two(1), (1, 1), 1),  # a row of pixels
    ((4, 16, 40, 40), (96, 16, 1, 1), two(1), (1, 1), 1),  # few channels to many
    ((2, 1, 5, 5), (3, 1, 1, 1), two(1), (1, 1), 1),
    ((2, 320, 7, 7), (96, 320, 1, 1), two(1), (1, 1), 1),
    ((3, 64, 13, 11), (96, 64, 1, 1), two(2), (1, 1), 1),
    ((2, 33, 8, 9, 7), (20, 33, 1, 1, 1), ((2, 1, 3), ((0, 0),) * 3), (1, 1, 1), 1),
    ((4, 64, 31), (128, 64, 1), ((3,), ((0, 0),)), (1,), 1),
    ((7, 32, 9, 9), (64, 8, 1, 1), two(1), (1, 1), 4),
    ((9, 256, 4, 4), (320, 256, 3, 3), two(1, 1), (1, 1), 1),  # large weights: cut by output channels
    ((2, 128, 6, 6), (256, 128, 3, 3), two(2, 1), (1, 1), 1),
    ((19, 24, 12, 12), (40, 24, 3, 3), two(1, 1), (1, 1), 1),  # images that no split divides
    ((1, 16, 3000), (32, 16, 9), ((2,), ((4, 4),)), (1,), 1),  # one long signal
    ((1, 8, 5, 40, 40), (16, 8, 3, 3, 3), ((1, 1, 1), ((1, 1),) * 3), (1, 1, 1), 1),
]


def near(got: Any, of: Any, *arrays: Any, units: int = 2) -> None:
    """`got` within so many units of the sum of the magnitudes that `of(*arrays)` adds up."""
    want, size = of(*arrays), of(*(np.abs(a) for a in arrays))
    assert got.shape == want.shape
    assert (
        np.abs(got.astype(np.float64) - want) <= units * EPS[got.dtype.name] * (size + np.abs(want))
    ).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_cut_into_tasks(case: Any, dtype: Any, rng: Any) -> None:
    x_shape, w_shape, (stride, padding), dilation, groups = case
    how = (stride, padding, dilation, groups)
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in (x_shape, w_shape, w_shape[:1]))
    x = last(x)
    y = kernel("convolution")(x, w, b, *how)
    wide_x, wide_w, wide_b = (a.astype(np.float64) for a in (x, w, b))
    near(y, lambda x, w, b: fallback.convolution(x, w, b, *how), wide_x, wide_w, wide_b)
    g = rng.standard_normal(y.shape).astype(dtype)
    for grad in (g, last(g)):
        wide = grad.astype(np.float64)
        gx = kernel("convolution_grad_input")(grad, w, x_shape, *how)
        near(gx, lambda g, w: fallback.grad_input(g, w, x_shape, *how), wide, wide_w)
        gw = kernel("convolution_grad_weight")(grad, x, w_shape, *how)
        near(gw, lambda g, x: fallback.grad_weight(g, x, w_shape, *how), wide, wide_x)


HUGE = [  # images whose gradients are made band by band
    ((1, 64, 165, 130), (64, 32, 5, 5), two(1, 2), (1, 1), 2),
    ((2, 64, 331, 250), (64, 32, 5, 5), two(2, 2), (1, 1), 2),
    ((1, 64, 420, 80), (64, 32, 3, 5), ((1, 1), ((9, 4), (2, 2))), (3, 1), 2),  # rows of padding only
    ((1, 64, 900, 320), (64, 32, 3, 3), ((5, 1), ((0, 0), (0, 0))), (1, 1), 2),  # rows that nobody reads
]


@pytest.mark.parametrize("case", HUGE, ids=lambda case: f"{case[0]}-{case[1]}")
def test_gradients_of_huge_images(case: Any, rng: Any) -> None:
    x_shape, w_shape, (stride, padding), dilation, groups = case
    how = (stride, padding, dilation, groups)
    x, w = (rng.standard_normal(s).astype("f") for s in (x_shape, w_shape))
    g = rng.standard_normal(kernel("convolution")(x, w, None, *how).shape).astype("f")
    for grad, of in ((g, x), (last(g), last(x))):
        gx = kernel("convolution_grad_input")(grad, w, x_shape, *how)
        near(
            gx,
            lambda g, w: fallback.grad_input(g, w, x_shape, *how),
            g.astype(float),
            w.astype(float),
            units=4,
        )
        gw = kernel("convolution_grad_weight")(grad, of, w_shape, *how)
        near(gw, lambda g, x: fallback.grad_weight(g, x, w_shape, *how), g.astype(float), x.astype(float))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
def test_finished_where_it_is_made(case: Any, activation: str, rng: Any) -> None:
    """Batch norm and an activation behind a convolution, as three operations and as one."""
    x_shape, w_shape, (stride, padding), dilation, groups = case
    how, size = (stride, padding, dilation, groups), w_shape[:1]
    x, w, b, mean, gain, offset = (
        rng.standard_normal(s).astype("f") for s in (x_shape, w_shape, size, size, size, size)
    )
    var = rng.uniform(0.5, 2, size).astype("f")
    bounds = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}[activation]
    channel = (1, -1, *(1,) * (len(x_shape) - 2))
    for bias, g, o in ((b, gain, offset), (None, None, None)):
        wide = fallback.convolution(
            x.astype("d"), w.astype("d"), None if bias is None else bias.astype("d"), *how
        )
        scale = (1 if g is None else g.astype("d")) / np.sqrt(var.astype("d") + 1e-3)
        shift = (0 if o is None else o.astype("d")) - mean * scale
        want = np.clip(wide * scale.reshape(channel) + shift.reshape(channel), *bounds)
        size_ = fallback.convolution(*(np.abs(a.astype("d")) for a in (x, w, b)), *how) + np.abs(
            mean
        ).reshape(channel)
        size_ = size_ * np.abs(scale).reshape(channel) + np.abs(want)
        for given in (x, last(x)):
            got = kernel("convolution_norm")(given, w, bias, mean, var, g, o, *how, 1e-3, activation)
            assert (np.abs(got - want) <= 4 * EPS["float32"] * size_).all()


def test_depthwise_and_pointwise_of_our_own() -> None:
    """The same cases without oneDNN, with every instruction set."""
    for isa in ("v2", "v3", "v4"):
        try:
            run_python(
                """
import sys, numpy as np
sys.path.insert(0, TESTS)
import test_convolution as t
rng = np.random.default_rng(0)
for case in t.CASES:
    if case[4] == case[0][1] or case[1][2:] == (1, 1):
        t.test_cut_into_tasks(case, np.dtype('f'), rng)
        t.test_finished_where_it_is_made(case, 'relu6', rng)
""".replace("TESTS", repr(os.path.dirname(__file__))),
                MLCORE_CPU_ISA=isa,
                MLCORE_CPU_ONEDNN="0",
            )
        except AssertionError as error:
            if "no kernels for this processor" not in str(error):
                raise


def test_no_value_leaves_its_window(rng: Any) -> None:
    """An infinity reaches the outputs whose windows hold it, and no other."""
    how = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    x, w = rng.standard_normal((2, 64, 16, 16)).astype("f"), rng.standard_normal((64, 64, 3, 3)).astype("f")
    x[1, 5, 7, 9] = np.inf
    y = kernel("convolution")(last(x), w, None, *how)
    expected = np.zeros(y.shape, bool)
    expected[1, :, 6:9, 8:11] = True
    np.testing.assert_array_equal(~np.isfinite(y), expected)


def test_every_number_of_threads_gives_the_same_bits(rng: Any) -> None:
    before = mlcore_cpu.get_num_threads()
    found: list[list[bytes]] = []
    arrays = [[rng.standard_normal(s).astype("f") for s in case[:2]] for case in CASES]
    try:
        for threads in (1, 2, 4, 3):
            mlcore_cpu.set_num_threads(threads)
            bits = []
            for (x, w), (x_shape, w_shape, (stride, padding), dilation, groups) in zip(
                arrays, CASES, strict=True
            ):
                how = (stride, padding, dilation, groups)
                y = kernel("convolution")(x, w, None, *how)
                bits += [y, kernel("convolution_grad_input")(y, w, x_shape, *how)]
                bits.append(kernel("convolution_grad_weight")(y, x, w_shape, *how))
            found.append([one.tobytes() for one in bits])
    finally:
        mlcore_cpu.set_num_threads(before)
    assert all(one == found[0] for one in found[1:])


@pytest.mark.parametrize("dtype", ["i1", "f2", "f4", "f8", "c8"])
@pytest.mark.parametrize("shape", [(2, 64, 9, 8), (3, 17, 33), (1, 3, 70, 71), (129, 65), (2, 3, 40, 5, 16)])
def test_copies_between_layouts(shape: Any, dtype: str, rng: Any) -> None:
    x = rng.integers(0, 100, shape).astype(dtype)
    for order in itertools.islice(itertools.permutations(range(len(shape))), 24):
        moved = x.transpose(order)
        got = K.concat((moved,), 0)
        assert got.flags.c_contiguous
        np.testing.assert_array_equal(got, moved)
        cut = moved[..., 1:]
        np.testing.assert_array_equal(K.concat((cut,), 0), cut)


def test_copies_with_every_instruction_set() -> None:
    for isa in ("v2", "v3", "v4"):
        try:
            run_python(
                """
import numpy as np
from mlcore_cpu.loader import kernels as K
x = np.arange(3 * 40 * 70, dtype='f').reshape(3, 40, 70).transpose(0, 2, 1)
assert (K.concat((x,), 0) == x).all()
""",
                MLCORE_CPU_ISA=isa,
            )
        except AssertionError as error:
            if "no kernels for this processor" not in str(error):
                raise
