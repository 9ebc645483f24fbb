"""Fused kernels against the core's compositions, run in double precision on the reference backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_helpers import BF16, FLOATS, close, kernel, layouts, oracle

F = FLOATS
rows = (40, 70)
image = (3, 20, 9, 11)


def data(rng: Any, shape: Any, dtype: Any, scale: float = 1.0) -> Any:
    return (rng.standard_normal(shape) * scale).astype(dtype)


@pytest.mark.parametrize("dtype", F, ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name: str, axis: int, dtype: Any, rng: Any) -> None:
    x = data(rng, (6, 33, 21), dtype, 4)
    x[0, :, 0] = -np.inf
    for label, v in layouts(x):
        y = kernel(name)(v, axis)
        want = oracle(name, [v], [axis])
        if name == "log_softmax":  # compare where finite; -inf and nan must agree exactly
            np.testing.assert_array_equal(np.isfinite(y.astype(np.float64)), np.isfinite(want))
            y, want = np.where(np.isfinite(want), y, 0).astype(dtype), np.where(np.isfinite(want), want, 0)
        close(y, want, 8, label)
        y = oracle(name, [data(rng, v.shape, dtype)], [axis]).astype(dtype)
        g = data(rng, v.shape, dtype)
        close(kernel(name + "_grad")(g, y, axis), oracle(name + "_grad", [g, y], [axis]), 16, label)


@pytest.mark.parametrize("dtype", F, ids=str)
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp(axes: Any, keepdims: bool, dtype: Any, rng: Any) -> None:
    x = data(rng, (6, 33, 21), dtype, 4)
    for label, v in layouts(x):
        close(kernel("logsumexp")(v, axes, keepdims), oracle("logsumexp", [v], [axes, keepdims]), 4, label)


def test_logsumexp_edges() -> None:
    lse = kernel("logsumexp")
    assert lse(np.full(5, -np.inf, "f"), (0,), False) == -np.inf
    assert lse(np.zeros((3, 0), "f"), (1,), False).tolist() == [-np.inf] * 3
    assert lse(np.array([1000.0, 1000.0], "f"), (0,), False) == np.float32(1000 + np.log(2))
    assert np.isnan(lse(np.array([0.0, np.nan], "f"), (0,), False))


@pytest.mark.parametrize("dtype", F, ids=str)
def test_cross_entropy(dtype: Any, rng: Any) -> None:
    x, t, g = data(rng, (300, 70), dtype, 3), rng.integers(0, 70, 300), data(rng, 300, dtype)
    for label, v in layouts(x):
        loss, lse = kernel("softmax_cross_entropy")(v, t)
        close((loss, lse), oracle("softmax_cross_entropy", [v, t], []), 8, label)
        close(
            kernel("softmax_cross_entropy_grad")(g, v, t, lse),
            oracle("softmax_cross_entropy_grad", [g, v, t, lse], []),
            32,
            label,
        )


@pytest.mark.parametrize("dtype", F, ids=str)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("n_axes", [1, 2])
def test_layer_norm(n_axes: int, affine: bool, dtype: Any, rng: Any) -> None:
    x, g = data(rng, (70, 9, 40), dtype) + dtype.type(1), data(rng, (70, 9, 40), dtype)
    w, b = (data(rng, x.shape[-n_axes:], dtype) for _ in range(2)) if affine else (None, None)
    for label, v in layouts(x):
        y, mean, rstd = kernel("layer_norm")(v, w, b, n_axes, 1e-5)
        close((y, mean, rstd), oracle("layer_norm", [v, w, b], [n_axes, 1e-5]), 16, label)
        found = kernel("layer_norm_grad")(g, v, w, mean, rstd, n_axes)
        close(found, oracle("layer_norm_grad", [g, v, w, mean, rstd], [n_axes]), 64, label)


@pytest.mark.parametrize("dtype", F, ids=str)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [image, (64, 30), (2, 5, 300), (2, 3, 4, 5, 6)])
def test_batch_norm(shape: Any, affine: bool, dtype: Any, rng: Any) -> None:
    x, g = data(rng, shape, dtype) + dtype.type(2), data(rng, shape, dtype)
    w, b = (data(rng, shape[1], dtype) for _ in range(2)) if affine else (None, None)
    for label, v in layouts(x):
        y, mean, rstd = kernel("batch_norm")(v, w, b, 1e-5, "none")
        close((y, mean, rstd), oracle("batch_norm", [v, w, b], [1e-5, "none"]), 32, label)
        found = kernel("batch_norm_grad")(g, v, w, b, mean, rstd, "none")
        close(found, oracle("batch_norm_grad", [g, v, w, b, mean, rstd], ["none"]), 128, label)


def test_batch_norm_keeps_layout(rng: Any) -> None:
    x = np.moveaxis(data(rng, (3, 9, 11, 20), "f"), -1, 1)
    assert kernel("batch_norm")(x, None, None, 1e-5, "none")[0].strides == x.strides


POOLS = [
    ((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    ((3, 2), (1, 2), ((1, 1), (0, 1)), (1, 1)),
    ((3, 3), (2, 2), ((1, 0), (1, 1)), (2, 1)),
]


@pytest.mark.parametrize("dtype", F, ids=str)
@pytest.mark.parametrize("how", POOLS)
def test_max_pool(how: Any, dtype: Any, rng: Any) -> None:
    x = np.round(data(rng, (3, 70, 9, 11), dtype) * dtype.type(2)).astype(dtype)  # ties: the first one wins
    for label, v in layouts(x):
        y = kernel("max_pool")(v, *how)
        close(y, oracle("max_pool", [v], how), 0, label)
        g = data(rng, y.shape, dtype)
        close(kernel("max_pool_grad")(g, v, y, *how), oracle("max_pool_grad", [g, v, y], how), 8, label)


def test_max_pool_nan_and_dimensions(rng: Any) -> None:
    x = data(rng, (2, 3, 8), "f")
    x[0, 0, 3] = np.nan
    how = ((2,), (2,), ((0, 0),), (1,))
    y = kernel("max_pool")(x, *how)
    np.testing.assert_array_equal(y, oracle("max_pool", [x], how))
    assert np.isnan(y[0, 0, 1])
    cube = data(rng, (2, 3, 4, 5, 6), "f")
    how = ((2, 2, 3), (2, 1, 1), ((1, 0), (0, 0), (1, 1)), (1, 1, 1))
    for label, v in layouts(cube):
        y = kernel("max_pool")(v, *how)
        close(y, oracle("max_pool", [v], how), 0, label)
        close(kernel("max_pool_grad")(y, v, y, *how), oracle("max_pool_grad", [y, v, y], how), 8, label)


@pytest.mark.parametrize("dtype", F, ids=str)
@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("how", POOLS)
def test_avg_pool(how: Any, include: bool, dtype: Any, rng: Any) -> None:
    how = (*how[:3], include)
    for label, v in layouts(data(rng, (3, 70, 9, 11), dtype)):
        y = kernel("avg_pool")(v, *how)
        close(y, oracle("avg_pool", [v], how), 8, label)
        g = data(rng, y.shape, dtype)
        close(
            kernel("avg_pool_grad")(g, v.shape, *how),
            oracle("avg_pool_grad", [g], (v.shape, *how)),
            16,
            label,
        )


@pytest.mark.parametrize("offset", [0, 5, 2**32 - 1000, 2**32 + 7, 2**63])
@pytest.mark.parametrize("shape", [(), (7,), (40, 1000)])
def test_random_bits(offset: int, shape: Any) -> None:
    for key in [(0, 0), (7, 2**32 - 1)]:
        np.testing.assert_array_equal(
            kernel("random_bits")(key, offset, shape), oracle_bits(key, offset, shape)
        )


def oracle_bits(key: Any, offset: int, shape: Any) -> Any:
    from mlcore.ops.registry import get

    return get("random_bits").reference(key, offset, shape)


def test_random_bits_known() -> None:
    """Random123's own test vectors of Threefry-2x32 with 20 rounds, as x0 ^ x1."""
    bits = kernel("random_bits")
    assert bits((0, 0), 0, (1,))[0] == 0x6B200159 ^ 0x99BA4EFE
    top = 2**64 - 1
    assert bits((0xFFFFFFFF, 0xFFFFFFFF), top, (1,))[0] == 0x1CB996FC ^ 0xBB002BE7


@pytest.mark.parametrize("dtype", F, ids=str)
def test_dropout(dtype: Any, rng: Any) -> None:
    for label, v in layouts(data(rng, (40, 1000), dtype)):
        for p in (0.1, 0.5, 0.999):
            close(
                kernel("dropout_mask")(v, p, (3, 4), 2**32 - 9),
                oracle("dropout_mask", [v], [p, (3, 4), 2**32 - 9]),
                2,
                label,
            )


@pytest.mark.parametrize("dtype", F[:2], ids=str)
@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam(dtype: Any, decoupled: bool, decay: float, rng: Any) -> None:
    shapes = [(3,), (200, 300), (), (0, 4), (17, 5)]
    arrays = [data(rng, s, dtype) for _ in range(4) for s in shapes]
    arrays[15:] = [abs(a) for a in arrays[15:]]
    arrays[1] = arrays[1].T.copy().T
    how = (1e-2, 0.9, 0.99, 1e-8, decay, decoupled, 7)
    close(kernel("adam_step")(*arrays, *how), oracle("adam_step", arrays, how), 8)


@pytest.mark.parametrize("dtype", F[:2], ids=str)
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_sgd(dtype: Any, nesterov: bool, first: bool, rng: Any) -> None:
    arrays = [data(rng, s, dtype) for _ in range(3) for s in [(3,), (200, 300), ()]]
    how = (1e-2, 0.9, 0.1, 0.05, nesterov, first)
    close(kernel("sgd_momentum_step")(*arrays, *how), oracle("sgd_momentum_step", arrays, how), 8)
    close(kernel("sgd_step")(*arrays[:6], 1e-2, 0.1), oracle("sgd_step", arrays[:6], (1e-2, 0.1)), 8)


@pytest.mark.parametrize("dtype", [*F, np.dtype("int32"), np.dtype("bool"), np.dtype("complex64")], ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_indexing(axis: int, dtype: Any, rng: Any) -> None:
    x = data(rng, (6, 33, 21), "f", 5).astype(dtype)
    i = rng.integers(0, x.shape[axis], (5, 20))
    for label, v in layouts(x):
        np.testing.assert_array_equal(kernel("gather")(v, i, axis), np.take(v, i, axis), err_msg=label)
        flat = i.ravel()
        values = data(rng, (*x.shape[:axis], 100, *x.shape[axis + 1 :]), "f", 5).astype(dtype)
        want = np.moveaxis(v, axis, 0).copy()
        want[flat] = np.moveaxis(values, axis, 0)
        np.testing.assert_array_equal(
            kernel("scatter")(v, flat, values, axis), np.moveaxis(want, 0, axis), err_msg=label
        )
        if dtype.kind != "b":
            wide = np.moveaxis(v, axis, 0).astype(np.complex128 if dtype.kind == "c" else np.float64)
            np.add.at(wide, flat, np.moveaxis(values, axis, 0).astype(wide.dtype))
            found = kernel("index_add")(v, flat, values, axis)
            assert found.dtype == dtype
            np.testing.assert_allclose(
                found.astype(wide.dtype),
                np.moveaxis(wide, 0, axis),
                rtol=2e-2 if dtype in (BF16, np.float16) else 1e-4,
                atol=1e-3,
            )


@pytest.mark.parametrize("dtype", [*F, np.dtype("int64"), np.dtype("bool"), np.dtype("complex128")], ids=str)
def test_moving(dtype: Any, rng: Any) -> None:
    x = data(rng, (6, 33, 21), "f", 5).astype(dtype)
    key = ((1, 6, 2), (32, None, -3), (0, 21, 1))
    slices = tuple(slice(*one) for one in key)
    for label, v in layouts(x):
        want = v.copy()
        value = np.ascontiguousarray(v[::-1, ::-1])[slices]
        want[slices] = value
        before = v.copy()
        np.testing.assert_array_equal(kernel("slice_update")(v, value, key), want, err_msg=label)
        np.testing.assert_array_equal(v, before)
        for axis in range(3):
            np.testing.assert_array_equal(
                kernel("concat")(v, x, v, axis), np.concatenate([v, x, v], axis), err_msg=label
            )
    import mlcore.dtypes as d

    made = kernel("fill")((3, 50, 400), 1, d.from_numpy(dtype))
    assert made.dtype == dtype
    assert (made == np.ones((), dtype)).all()
