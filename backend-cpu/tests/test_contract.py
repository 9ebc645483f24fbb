"""Matrix products and convolutions, with oneDNN and without, against NumPy and the core's compositions."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpu_helpers import BF16, EPS, FLOATS, close, kernel, layouts, oracle, run_python

import mlcore_cpu
from mlcore_cpu.loader import kernels


def data(rng: Any, shape: Any, dtype: Any) -> Any:
    return rng.standard_normal(shape).astype(dtype)


MATMULS = [
    ((3, 4), (4, 5)),
    ((1, 1), (1, 1)),
    ((1, 70), (70, 1)),
    ((64, 1), (1, 64)),
    ((200, 300), (300, 130)),
    ((33, 65), (65, 700)),
    ((5, 20, 30), (30, 40)),
    ((5, 20, 30), (5, 30, 40)),
    ((2, 1, 20, 30), (7, 30, 4)),
    ((20, 30), (5, 30, 40)),
    ((40, 3, 8, 8), (40, 3, 8, 8)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((2, 3, 4), (2, 4, 0)),
    ((1030, 40), (40, 20)),
    ((8, 512), (512, 4096)),
]


@pytest.mark.parametrize(("left", "right"), MATMULS)
@pytest.mark.parametrize(
    "dtype", [*FLOATS, np.dtype("int32"), np.dtype("uint8"), np.dtype("complex64")], ids=str
)
def test_matmul(left: Any, right: Any, dtype: Any, rng: Any) -> None:
    x, y = (
        data(rng, s, "f").astype(dtype) if dtype.kind != "u" else rng.integers(0, 9, s).astype(dtype)
        for s in (left, right)
    )
    wide = np.complex128 if dtype.kind == "c" else np.int64 if dtype.kind in "iu" else np.float64
    for (label, v), (other, w) in itertools.product(layouts(x), layouts(y)):
        got, want = kernel("contract")(v, w), np.matmul(v.astype(wide), w.astype(wide))
        assert got.dtype == dtype
        assert got.shape == want.shape
        what = f"{label} {other}"
        if dtype.kind in "iu":
            np.testing.assert_array_equal(got, want.astype(dtype), err_msg=what)
        else:
            eps = EPS.get(dtype.name, 2**-23)
            size = np.matmul(abs(v.astype(wide)), abs(w.astype(wide))) if want.size else want
            assert (np.abs(got.astype(wide) - want) <= 2 * eps * (size + np.abs(want))).all(), what


CUT = [  # m, n, k: products with few rows or columns, parts of k, slices of rows and of columns, tails of all tiles
    (1, 5000, 1203), (3, 2100, 1501), (8, 1030, 700), (9, 1030, 700), (5000, 1, 1203), (2100, 3, 1501), (4100, 8, 99),
    (1, 1, 300_000), (2, 3, 150_001), (40, 30, 40_003), (300, 70, 501), (700, 501, 300), (50, 2000, 257), (1031, 10, 7),
    (257, 255, 256), (48, 65, 513), (13, 33, 1), (241, 64, 2),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.dtype("float32"), np.dtype("float64"), BF16, np.dtype("int8")], ids=str)
@pytest.mark.parametrize("shape", CUT, ids=str)
def test_products_that_are_cut(shape: Any, dtype: Any, rng: Any) -> None:
    """Right, and bit for bit the same on one thread, two and four."""
    m, n, k = shape
    wide = np.int64 if dtype.kind == "i" else np.float64
    turned = [((m, k), (k, n)), ((k, m), (k, n)), ((m, k), (n, k))]
    threads = kernels.get_num_threads()
    for left, right in turned:
        x, y = (data(rng, s, "f").astype(dtype) if dtype.kind != "i" else rng.integers(-128, 128, s).astype(dtype)
                for s in (left, right))  # fmt: skip
        x, y = x if left == (m, k) else x.T, y if right == (k, n) else y.T
        found = []
        try:
            for count in (1, 2, 4):
                kernels.set_num_threads(count)
                found.append(kernel("contract")(x, y))
        finally:
            kernels.set_num_threads(threads)
        assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
        want = x.astype(wide) @ y.astype(wide)
        if dtype.kind == "i":
            np.testing.assert_array_equal(found[0], want.astype(dtype))
        else:
            size = np.abs(x.astype(wide)) @ np.abs(y.astype(wide))
            assert (np.abs(found[0].astype(wide) - want) <= 2 * EPS[dtype.name] * (size + np.abs(want))).all()


@pytest.mark.parametrize("shape", [*CUT, (3, 0, 4), (0, 3, 4), (3, 4, 0)], ids=str)
def test_int8_is_added_up_in_int32(shape: Any, rng: Any) -> None:
    m, n, k = shape
    x, y = (rng.integers(-128, 128, s).astype(np.int8) for s in ((m, k), (k, n)))
    want = x.astype(np.int64) @ y.astype(np.int64)
    for v, w in itertools.product((x, np.asfortranarray(x)), (y, np.asfortranarray(y))):
        got = kernel("contract_wide")(v, w)
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, want)


def test_a_lost_library_is_named(tmp_path: Path) -> None:
    """A copy of the package from which libdnnl was deleted says so, and what to do."""
    package = Path(mlcore_cpu.__file__).parent
    if not (package / "libdnnl.so.3").exists():
        pytest.skip("this build has no libdnnl beside it")
    copy = tmp_path / "mlcore_cpu"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("libdnnl*", "csrc", "__pycache__"))
    (copy / "libdnnl.so.3").write_bytes(b"")  # hides one that the system may have
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import mlcore_cpu.loader"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "libdnnl.so.3, which is installed beside the extension" in done.stderr, done.stderr
    assert "pip install --force-reinstall --no-deps mlcore-cpu" in done.stderr


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    "shape", [(1, 300, 70), (300, 1, 70), (5, 7, 3), (60, 47, 33), (300, 200, 100)], ids=str
)
def test_nan_and_infinity_stay_in_their_rows_and_columns(shape: Any, dtype: Any, rng: Any) -> None:
    m, n, k = shape
    x, y = data(rng, (m, k), dtype), data(rng, (k, n), dtype)
    x[m // 2, k - 1], y[0, n - 1] = np.nan, np.inf
    for v, w in itertools.product((x, np.asfortranarray(x)), (y, np.asfortranarray(y))):
        got, want = kernel("contract")(v, w).astype(float), x.astype(float) @ y.astype(float)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(want))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lead", [(), (7,), (130,), (4, 50), (0,), (2, 3, 4)])
def test_linear(lead: Any, bias: bool, dtype: Any, rng: Any) -> None:
    w, b = data(rng, (90, 70), dtype), data(rng, 90, dtype) if bias else None
    for label, v in layouts(data(rng, (*lead, 70), dtype)):
        got = kernel("linear")(v, w, b)
        assert got.dtype == dtype
        close(got, oracle("linear", [v, w, b], []), 8, label)


CONVS = [  # input, weight, stride, padding, dilation, groups
    ((2, 3, 9, 8), (5, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((3, 4, 11, 9), (6, 4, 3, 2), (2, 1), ((0, 1), (2, 0)), (1, 2), 1),
    ((2, 8, 7, 7), (8, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 8),
    ((2, 6, 7, 7), (4, 3, 1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 2),
    ((1, 1, 28, 28), (6, 1, 5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 1),
    ((17, 16, 8, 8), (16, 16, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 3, 20), (4, 3, 5), (2,), ((2, 1),), (2,), 1),
    ((2, 3, 5, 6, 7), (4, 3, 2, 3, 3), (1, 2, 1), ((0, 0), (1, 1), (1, 2)), (1, 1, 2), 1),
]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CONVS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_convolution(case: Any, dtype: Any, rng: Any) -> None:
    x_shape, w_shape, *how = case
    w, b = data(rng, w_shape, dtype), data(rng, w_shape[0], dtype)
    for label, x in layouts(data(rng, x_shape, dtype)):
        for bias in (b, None):
            y = kernel("convolution")(x, w, bias, *how)
            assert y.dtype == dtype
            close(y, oracle("convolution", [x, w, bias], how), 8, label)
        g = data(rng, y.shape, dtype)
        close(
            kernel("convolution_grad_input")(g, w, x_shape, *how),
            oracle("convolution_grad_input", [g, w], [x_shape, *how]),
            8,
            label,
        )
        found = kernel("convolution_grad_weight")(g, x, w_shape, *how)
        assert found.dtype == dtype
        close(found, oracle("convolution_grad_weight", [g, x], [w_shape, *how]), 16, label)


def test_convolution_of_nothing(rng: Any) -> None:
    how = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    w = data(rng, (4, 3, 3, 3), "f")
    assert kernel("convolution")(np.zeros((0, 3, 5, 5), "f"), w, None, *how).shape == (0, 4, 5, 5)
    assert (
        kernel("convolution_grad_weight")(
            np.zeros((0, 4, 5, 5), "f"), np.zeros((0, 3, 5, 5), "f"), w.shape, *how
        )
        == 0
    ).all()


def test_results_are_channels_last(rng: Any) -> None:
    if kernel("convolution").origin != "onednn":
        pytest.skip("built without oneDNN")
    y = kernel("convolution")(
        data(rng, (2, 3, 9, 8), "f"), data(rng, (5, 3, 3, 3), "f"), None, (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    )
    assert y.shape == (2, 5, 9, 8)
    assert y.strides == (9 * 8 * 5 * 4, 4, 8 * 5 * 4, 5 * 4)


@pytest.mark.skipif(
    "MLCORE_CPU__EXPECT" not in os.environ, reason="MLCORE_CPU__EXPECT is not set: any build will do"
)
def test_this_build_is_the_expected_one() -> None:
    assert os.environ["MLCORE_CPU__EXPECT"] == "without-onednn"
    assert mlcore_cpu.onednn_version == ""
    with open("/proc/self/maps") as maps:
        assert "libdnnl" not in maps.read()


def test_without_onednn() -> None:
    """The same numbers through NumPy's matmul and im2col."""
    print(run_python(
        """
import numpy as np, mlcore as ml, mlcore_cpu
assert mlcore_cpu.onednn_version == ""
from mlcore.backends.detect import resolve
from mlcore.ops.registry import get
backend = resolve("cpu").backend
assert backend.kernel(get("convolution")).origin == "im2col"
rng = np.random.default_rng(0)
x, w = rng.standard_normal((2, 4, 9, 8)).astype("f"), rng.standard_normal((6, 2, 3, 3)).astype("f")
how = ((2, 1), ((1, 0), (1, 1)), (1, 2), 2)
y = backend.kernel(get("convolution"))(x, w, None, *how)
gx = backend.kernel(get("convolution_grad_input"))(y, w, x.shape, *how)
gw = backend.kernel(get("convolution_grad_weight"))(y, x, w.shape, *how)
assert abs((gx * x).sum() - (y * y).sum()) < 1e-2 and abs((gw * w).sum() - (y * y).sum()) < 1e-2  # adjoints
a = rng.standard_normal((3, 40, 50)).astype("f")
assert np.allclose(backend.kernel(get("contract"))(a, a[0].T), a @ a[0].T, atol=1e-4)
""",
        MLCORE_CPU_ONEDNN="0",
    ))  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("lead", [(), (7,), (130,), (4, 50), (0,), (2, 3, 4)])
@pytest.mark.parametrize("needs", [(True, True, True), (False, True, True), (True, False, False)])
def test_linear_grad(lead: Any, needs: Any, dtype: Any, rng: Any) -> None:
    w = data(rng, (90, 70), dtype)
    for label, x in layouts(data(rng, (*lead, 70), dtype)):
        for other, g in layouts(data(rng, (*lead, 90), dtype)):
            got = kernel("linear_grad")(g, x, w, needs)
            close(got, oracle("linear_grad", [g, x, w], [needs]), 16, f"{label} {other}")


SMALL = [
    (m, n, k) for m in (1, 2, 3, 5, 7, 8, 9, 13) for n in (1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 70) for k in (1, 4, 9)
] + [(1, 64, 64), (3, 40, 64), (17, 9, 0), (2, 3, 255), (2, 3, 256), (2, 3, 257), (8, 0, 8), (0, 8, 8)]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.dtype("float32"), np.dtype("float64")], ids=str)
def test_small_products(dtype: Any, rng: Any) -> None:
    """Those that are done without packing, in every layout, alone, with a bias and in a batch."""
    for m, n, k in SMALL:
        x, y, bias = data(rng, (m, k), dtype), data(rng, (k, n), dtype), data(rng, (n,), dtype)
        spread = np.empty((2 * m, 3 * k), dtype)[::2, ::3]
        spread[:] = x
        for v in (x, x.T.copy().T, x[::-1].copy()[::-1], spread):
            for w in (y, y.T.copy().T):
                want = np.matmul(v.astype(np.float64), w.astype(np.float64))
                size = 4 * np.finfo(dtype).eps * (np.matmul(abs(v), abs(w)).astype(np.float64) + 1)
                got = kernel("contract")(v, w)
                assert got.shape == want.shape, (m, n, k)
                assert (abs(got - want) <= size).all(), (m, n, k)
                both = kernel("contract")(np.stack([v, v]), np.stack([w, w]))
                assert (abs(both - want) <= size).all(), (m, n, k)
                linear = kernel("linear")(v, w.T, bias)
                assert (abs(linear - (want + bias)) <= size + 1e-6 * abs(bias)).all(), (m, n, k)
