"""The Metal sources, compiled as C++ and run, beside their MLX twins and the core's reference."""

import numpy as np
import pytest
from metal_shim import BFLOAT16, Launch, run

from mlcore.ops.random import threefry as reference_threefry
from mlcore.ops.registry import get


@pytest.mark.parametrize("key", [(0, 0), (1, 2), (0x13198A2E, 0x03707344), (0xFFFFFFFF, 0xFFFFFFFF)])
@pytest.mark.parametrize("offset", [0, 5, 2**32 - 3, 7 * 2**32 + 1])
def test_threefry_has_the_references_bits(device, tmp_path, key, offset):
    from mlcore_metal.creation import threefry
    from mlcore_metal.metal_kernels import THREEFRY

    count = 1031
    words = np.array([*key, offset & 0xFFFFFFFF, offset >> 32], dtype=np.uint32)
    ((found,),) = run([Launch(THREEFRY, [words], [np.zeros(count, dtype=np.uint32)], count)], tmp_path)
    counter = np.arange(count, dtype=np.uint64) + np.uint64(offset)
    a, b = reference_threefry(key, (counter >> np.uint64(32)).astype(np.uint32), counter.astype(np.uint32))
    assert np.array_equal(found, a ^ b)
    assert np.array_equal(np.array(threefry(key, offset, count)), a ^ b)


NUMBERS = dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_adam_is_the_twin(device, mx, tmp_path, dtype, decoupled, step):
    from mlcore_metal.metal_kernels import ADAM, adam_numbers
    from mlcore_metal.steps import adam

    numpy = {"bfloat16": BFLOAT16}.get(dtype, np.dtype(dtype))
    rng = np.random.default_rng(step)
    p, g, m, v = (rng.standard_normal(517).astype(np.float32) for _ in range(4))
    given = [one.astype(numpy) for one in (p, g, m, v * v)]
    numbers = (*NUMBERS.values(), decoupled, step)
    row = np.array(adam_numbers(*numbers), dtype=np.float32)
    outputs = [np.zeros(517, numpy) for _ in range(3)]
    (found,) = run([Launch(ADAM, [*given, row], outputs, 517, {"T": dtype})], tmp_path)
    wide = [mx.array(one.astype(np.float32)) for one in given]
    for one, twin in zip(found, adam(*wide, *numbers), strict=True):
        eps = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}[dtype]
        assert np.allclose(one.astype(np.float32), np.array(twin), rtol=eps, atol=eps)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "uint64"])
@pytest.mark.parametrize("shape", [(1, 7, 1), (5, 33, 6), (17, 300, 9)])
def test_integer_matmul_is_the_twin_and_numpys(device, mx, tmp_path, dtype, shape):
    from mlcore_metal.linalg import integer_product
    from mlcore_metal.metal_kernels import INTEGER_MATMUL

    rows, inner, columns = shape
    info, rng = np.iinfo(dtype), np.random.default_rng(3)
    a = rng.integers(info.min, info.max, (2, rows, inner), dtype=dtype, endpoint=True)
    b = rng.integers(info.min, info.max, (2, inner, columns), dtype=dtype, endpoint=True)
    with np.errstate(over="ignore"):
        wanted = a @ b
    unsigned = f"uint{8 * a.dtype.itemsize}"
    out = np.zeros(wanted.shape, unsigned)
    sizes = np.array(shape, dtype=np.uint32)
    inputs = [a.view(unsigned), b.view(unsigned), sizes]
    run([Launch(INTEGER_MATMUL, inputs, [out], out.size, {"T": unsigned})], tmp_path)
    assert np.array_equal(out, wanted.view(unsigned))
    assert np.array_equal(np.array(integer_product(mx.array(a), mx.array(b))), wanted)


def test_without_a_gpu_the_twins_run_and_the_kernels_say_why_not(device, mx):
    from mlcore_metal.metal_kernels import threefry

    if mx.metal.is_available():
        bits_ = np.array(threefry((1, 2), 3, 100))
        assert np.array_equal(bits_, get("random_bits").reference((1, 2), 3, (100,)))
        return
    assert not device.backend.own_kernels
    with pytest.raises(RuntimeError, match="No Metal back-end"):
        threefry((1, 2), 3, 100)


def test_bits_of_nothing(device, mx):
    from mlcore_metal.metal_kernels import THREEFRY

    assert THREEFRY.run([mx.zeros((4,), dtype=mx.uint32)], [(0,)], [mx.uint32], 0)[0].shape == (0,)
