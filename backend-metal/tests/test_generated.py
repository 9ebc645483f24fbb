"""Kernels generated from the operations' bodies: a C++ compiler reads all, those in use run beside their twins."""

import numpy as np
import pytest
from metal_shim import BFLOAT16, Launch, check_syntax, run

import mlcore.optim  # noqa: F401  (declares operations)
from mlcore.codegen import cast, elementwise
from mlcore.codegen.bodies import op_body
from mlcore.dtypes import all_dtypes, from_numpy
from mlcore.ops.registry import all_ops, get

SHAPES = [((37,), (37,)), ((5, 1, 3), (4, 1)), ((), (6,)), ((1,), (1,))]


def numbers(dtype, shape, seed):
    """Ordinary values and special ones of a NumPy dtype."""
    rng = np.random.default_rng(seed)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        found = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        return np.where(rng.random(shape) < 0.5, found, rng.integers(0, 9, shape)).astype(dtype)
    found = rng.uniform(-6, 6, shape)
    special = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, 100.0], shape)
    return np.where(rng.random(shape) < 0.8, found, special).astype(dtype)


def cases(dtypes):
    from mlcore_metal.generated import OPS

    for name in sorted(OPS):
        op = get(name)
        for dtype in dtypes:
            if op_body(op, dtype) is not None and dtype.name != "float64":
                yield op, dtype


@pytest.mark.parametrize("kind", ["f", "iu"])
def test_generated_kernels_are_their_twins(device, mx, tmp_path, kind):
    from mlcore_metal import catalog
    from mlcore_metal.generated import source_of, words_of

    launches, expected = [], []
    for op, dtype in cases([d for d in all_dtypes if d.kind in kind]):
        twin, _ = catalog.find(op, device.backend)
        for n, shapes in enumerate(SHAPES):
            given = [numbers(dtype.numpy, one, n + i) for i, one in enumerate(shapes[: op.n_inputs])]
            shape, form, words = words_of([one.shape for one in given])
            source, _ = source_of(op, dtype, form)
            out = np.zeros(shape, dtype.numpy)
            launches.append(Launch(source, [*given, words], [out], 5))  # fewer threads than elements
            arrays = [device.backend.from_host(one) for one in given]
            expected.append((op, dtype, given, device.backend.to_host(twin(*arrays))))
    compared = 0
    for (out,), (op, dtype, given, twin) in zip(run(launches, tmp_path), expected, strict=True):
        assert out.shape == twin.shape
        a, b = out.astype(np.float64), twin.astype(np.float64)
        eps = 0 if dtype.kind != "f" else np.ldexp(1.0, {"bfloat16": -6, "float16": -9}.get(dtype.name, -18))
        near = np.isclose(a, b, rtol=eps, atol=eps, equal_nan=True)
        assert near.all(), f"{op.name} {dtype}: {given}: {a[~near]} and {b[~near]}"
        compared += out.size
    print(f"{len(launches)} launches, {compared} elements compared")
    assert len(launches) >= (4 if kind == "iu" else 30)


@pytest.mark.parametrize("form", ["flat", "strided"])
def test_every_body_becomes_a_kernel_that_a_compiler_reads(device, tmp_path, form):
    from mlcore_metal.dialect import METAL, THROUGH_MLX
    from mlcore_metal.generated import as_metal

    launches = []
    for op in all_ops():
        for dtype in all_dtypes if op.elementwise and op.c else ():
            if (
                op_body(op, dtype) is None
                or not METAL.has(dtype)
                or not METAL.has(op.result[dtype.index] or dtype)
            ):
                continue
            source, kinds = as_metal(elementwise(THROUGH_MLX, op, dtype, form), op.n_inputs)
            whole = elementwise(METAL, op, dtype, form).text
            assert whole.startswith("#include <metal_stdlib>")
            assert "[[thread_position_in_grid]]" in whole
            inputs = [
                np.zeros(9, np.bool_ if op.promoted and i not in op.promoted else dtype.numpy)
                for i in range(op.n_inputs)
            ]
            outputs = [np.zeros(9, _numpy(kind)) for kind in kinds]
            launches.append(Launch(source, [*inputs, np.zeros(9, np.int64)], outputs, 0))
    assert len(launches) > 300
    check_syntax("\n".join(one.text(i) for i, one in enumerate(launches)), tmp_path)
    print(f"{len(launches)} kernels read")


def _numpy(kind):
    name = str(kind).rpartition(".")[2]
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


def test_casts_are_numpys_and_saturate(device, mx, tmp_path):
    from mlcore_metal.dialect import THROUGH_MLX
    from mlcore_metal.generated import as_metal, words_of

    launches, expected = [], []
    for source in ("float32", "float16", "bfloat16", "int32", "uint8", "int64", "bool"):
        for target in ("float32", "float16", "bfloat16", "int32", "int8", "uint64", "bool"):
            a, b = (BFLOAT16 if one == "bfloat16" else np.dtype(one) for one in (source, target))
            given = np.array([0, 1, 2, 3, 100, 7, 1, 0, 9], dtype=a)
            kernel, _ = as_metal(cast(THROUGH_MLX, from_numpy(a), from_numpy(b)), 1)
            launches.append(Launch(kernel, [given, words_of([given.shape])[2]], [np.zeros(9, b)], 9))
            expected.append(given.astype(b))
    for (out,), wanted in zip(run(launches, tmp_path), expected, strict=True):
        assert np.array_equal(out, wanted)


def test_a_kernel_that_does_not_run_is_told_once_and_its_twin_runs(device, mx, recwarn):
    from mlcore_metal import catalog
    from mlcore_metal.generated import Generated

    import mlcore as ml

    if mx.metal.is_available():
        pytest.skip("here the kernels run")
    op = get("silu")
    twin, _ = catalog.find(op, device.backend)
    call = Generated(op, twin, device.backend.runtime.evaluate)
    x = mx.array([1.0, -2.0])
    with pytest.warns(
        ml.errors.FallbackWarning, match=r"silu: its Metal kernel .* does not run .*No Metal back-end"
    ):
        found = call(x)
    assert np.array_equal(np.array(found), np.array(twin(x)))
    call(x)
    assert not recwarn.list
