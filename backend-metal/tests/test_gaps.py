"""What MLX lacks, composed: beside NumPy, over dtypes, layouts and shapes, with the host out of it."""

import math

import ml_dtypes
import numpy as np
import pytest

import mlcore as ml

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
rng = np.random.default_rng(0)


def put(array, device):
    return ml.asarray(array, device=device)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(
    "shapes", [((3, 4), (4, 5)), ((2, 1, 65, 300), (3, 300, 70)), ((0, 3), (3, 2)), ((2, 0), (0, 3))]
)
def test_integer_matrix_products_wrap_as_numpys(device, dtype, shapes):
    info = np.iinfo(dtype)
    a, b = (rng.integers(info.min, info.max, s, dtype=dtype, endpoint=True) for s in shapes)
    with np.errstate(over="ignore"):
        wanted = np.matmul(a, b)
    found = put(a, device) @ put(b, device)
    assert np.array_equal(np.asarray(found), wanted)
    assert found.dtype.name == dtype


def test_integer_matrix_products_of_strided_operands(device):
    a = rng.integers(-1000, 1000, (70, 90)).astype(np.int32)
    x = put(a, device)
    assert np.array_equal(np.asarray(x.mT[::-1, ::2] @ x[::2]), a.T[::-1, ::2] @ a[::2])
    wide = ml.matmul(
        put(np.full((1, 9), 100, np.int8), device), put(np.full((9, 1), 100, np.int8), device), dtype=ml.int32
    )
    assert wide.item() == 90000


@pytest.mark.parametrize("shape", [(7,), (3, 4), (0,), (2, 0, 3), (1,), (5, 6, 7)])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_boolean_masks_and_nonzero(device, shape, share):
    values = rng.integers(0, 100, shape).astype(np.int32)
    mask = rng.random(shape) < share
    x, m = put(values, device), put(mask, device)
    assert np.array_equal(np.asarray(x[m]), values[mask])
    for one, other in zip(ml.nonzero(m), np.nonzero(mask), strict=True):
        assert np.array_equal(np.asarray(one), other)
    x[m] = -1
    values[mask] = -1
    assert np.array_equal(np.asarray(x), values)


def test_unique(device):
    values = rng.integers(0, 9, (40,))
    found = ml.unique_values(put(values, device)) if hasattr(ml, "unique_values") else None
    if found is not None:
        assert sorted(np.asarray(found).tolist()) == np.unique(values).tolist()


def test_the_last_of_repeated_writes_wins(device):
    x = put(np.zeros((5, 2), np.float32), device)
    x[put(np.array([1, 3, 1, 1]), device)] = put(np.arange(8, dtype=np.float32).reshape(4, 2), device)
    assert np.asarray(x).tolist() == [[0, 0], [6, 7], [0, 0], [2, 3], [0, 0]]


@pytest.mark.parametrize("array", [
    np.array(1.5, ml_dtypes.bfloat16), np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3),
    np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3).T[::-1], np.zeros((0, 2), ml_dtypes.bfloat16),
])  # fmt: skip
def test_bfloat16_goes_to_the_device_and_back(device, array):
    back = np.asarray(put(array, device))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == np.ascontiguousarray(array).tobytes()
    assert not back.flags.writeable


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_division_of_integers_is_rounded_down_and_never_ends_the_process(device, dtype):
    info = np.iinfo(dtype)
    a = np.array([info.min, info.min + 1, -7, -1, 0, 1, 7, info.max], dtype=dtype).reshape(-1, 1)
    b = np.array([info.min, -3, -1, 1, 2, info.max], dtype=dtype)
    x, y = put(a, device), put(b, device)
    with np.errstate(over="ignore"):
        assert np.array_equal(np.asarray(x // y), a // b)
        assert np.array_equal(np.asarray(x % y), a % b)


@pytest.mark.parametrize(
    ("start", "stop", "step"), [(0.0, 1.0, 0.1), (-3.0, 5.0, 0.37), (1e6, 1e6 + 50, 0.25), (5.0, -5.0, -0.5)]
)
def test_ranges_of_floats_are_numpys_without_float64(device, start, stop, step):
    wanted = np.arange(start, stop, step)
    found = ml.arange(start, stop, step, device=device)
    assert np.array_equal(np.asarray(found), (start + step * np.arange(wanted.size)).astype(np.float32))


def test_functions_of_float64_are_as_precise_as_that(device):
    if ml.float64 not in device.backend.dtypes:
        with pytest.raises(ml.errors.DTypeError, match="float64"):
            put(np.ones(2), device)
        return
    x = np.linspace(-20, 20, 4001)
    for ours, theirs in (
        (ml.exp, np.exp), (ml.sin, np.sin), (ml.cos, np.cos), (ml.sigmoid, lambda v: 1 / (1 + np.exp(-v))),
        (ml.erf, np.vectorize(math.erf)),
    ):  # fmt: skip
        found, wanted = np.asarray(ours(put(x, device))), theirs(x)
        assert np.max(np.abs(found - wanted) / np.maximum(np.abs(wanted), 1e-3)) < 1e-12, ours


@pytest.mark.parametrize("shape", [(2, 3, 11), (2, 4, 9, 8), (1, 2, 5, 4, 6)])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_and_their_gradients_of_strided_inputs(device, shape, groups):
    from mlcore.nn import functional as F

    n, c, *sizes = shape
    c = 4 if groups == 2 else c
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(sizes)]
    x = rng.standard_normal((n, *sizes[::-1], c)).astype(np.float32)
    w = rng.standard_normal((6, c // groups, *(2,) * len(sizes))).astype(np.float32)
    found = {}
    for name in (device, "reference"):
        a, b = ml.asarray(x, device=name, requires_grad=True), ml.asarray(w, device=name, requires_grad=True)
        y = conv(
            a.permute_dims(tuple(range(x.ndim))[:1] + tuple(range(x.ndim))[:0:-1]),
            b,
            stride=2,
            padding=1,
            groups=groups,
        )
        (y * y).sum().backward()
        found[str(name)] = [np.asarray(one.detach()) for one in (y, a.grad, b.grad)]
    for one, other in zip(*found.values(), strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, rtol=1e-4, atol=1e-3)


def test_a_stable_order_is_made_from_any_sort(device, mx):
    from mlcore_metal.structure import stable_order

    def shaken(x, axis):  # an order that is right, and not stable: the last of equal ones first
        back = (slice(None),) * axis + (slice(None, None, -1),)
        return x.shape[axis] - 1 - mx.argsort(x[back], axis=axis).astype(mx.int64)

    values = rng.integers(0, 5, (4, 60)).astype(np.float32)
    values[:, ::7] = np.nan
    for axis in (0, 1):
        wanted = np.argsort(values, axis=axis, kind="stable")
        assert not np.array_equal(np.array(shaken(mx.array(values), axis)), wanted)
        assert np.array_equal(np.array(stable_order(mx.array(values), axis, shaken)), wanted)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_inputs", "params"), [("gelu_grad", 2, ("tanh",)), ("softmax", 1, (-1,))])
def test_functions_that_are_compiled_on_a_gpu_are_the_same(device, mx, name, n_inputs, params):
    from mlcore_metal.catalog import Fused, find

    from mlcore.ops.registry import get

    call, _ = find(get(name), device.backend)
    given = [mx.array(rng.standard_normal((5, 9)).astype(np.float32)) for _ in range(n_inputs)]
    made = Fused(call)(*given, *params)
    assert np.allclose(np.array(made), np.array(call(*given, *params)), rtol=1e-6, atol=1e-6)


def test_the_order_is_stable_whatever_the_librarys_sort(device):
    values = rng.integers(0, 4, (3, 500)).astype(np.float32)
    values[:, ::50] = np.nan
    x = put(values, device)
    assert np.array_equal(np.asarray(ml.argsort(x, axis=1)), np.argsort(values, axis=1, kind="stable"))
