"""The backend of generated kernels: installed as mlcore-hostc, and in this process with all that may go wrong."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mlcore as ml
from mlcore import dtypes, table
from mlcore.backends import fallback
from mlcore.backends.device import Device
from mlcore.backends.kernel_library import KernelArray, KernelLibraryBackend
from mlcore.errors import KernelWarning
from mlcore.inputs import from_data
from mlcore.ops import registry
from mlcore.testing.kit import conformance

pytest.importorskip("mlcore_cpu")
from mlcore_cpu.dialect import DIALECT

Run = Callable[..., subprocess.CompletedProcess[str]]


if shutil.which("g++") is None:
    pytest.skip("g++ is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def runtime(hostc_source: Path) -> object:
    sys.path.insert(0, str(hostc_source))
    try:
        from mlcore_hostc.runtime import HostRuntime
    finally:
        sys.path.remove(str(hostc_source))
    return HostRuntime()


def device_of(runtime: object, dialect: object = DIALECT, name: str = "toy") -> Device:
    device = Device(name)
    device.backend = KernelLibraryBackend(runtime, dialect, device)
    return device


@pytest.fixture(scope="module")
def device(runtime: object) -> Device:
    return device_of(runtime)


# -- complete ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)  # it compiles about 750 kernels; minutes on a busy machine
def test_hostc_is_found_and_complete(hostc: Run) -> None:
    """Every unit of the quick kit at level 1 but the compositions that its naive products make slow."""
    made = hostc("-m", "mlcore", "conformance", "hostc", "--quick", "-n", "2", "-k", "not body/index")
    assert made.returncode == 0, made.stdout + made.stderr
    found = re.search(r"([\d,]+) cases executed", made.stdout)
    assert found is not None
    assert int(found[1].replace(",", "")) > 15_000


def test_no_operation_runs_on_the_host(device: Device) -> None:
    for op in registry.all_ops():
        if op.rule is not None and not op.host:  # but for those that are declared to
            for dtype in op.accepts & device.backend.dtypes:
                assert table.path(op, dtype, device) in (table.NATIVE, table.COMPOSITE), (op.name, dtype)


def test_every_real_dtype_is_held(device: Device) -> None:
    assert device.backend.dtypes == frozenset(d for d in dtypes.all_dtypes if d.kind != "c")


def test_a_dialect_without_float64(runtime: object) -> None:
    """As many devices are: what remains is complete, counting floats included."""
    types = {name: ctype for name, ctype in DIALECT.types.items() if name != "float64"}
    small = device_of(runtime, dataclasses.replace(DIALECT, types=types), "small")
    assert dtypes.float64 not in small.backend.dtypes
    report = conformance(small, expression="values/exp/ or values/iota or values/astype or layouts/add")
    assert report.ok
    x = ml.arange(0.5, 3.0, 0.5, device=small)
    assert x.tolist() == [0.5, 1.0, 1.5, 2.0, 2.5]


# -- arrays ------------------------------------------------------------------------------------------------


def test_views_share_the_buffer(device: Device) -> None:
    backend = device.backend
    x = backend.from_host(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    turned = x.permuted((2, 0, 1))
    cut = turned.sliced(((3, None, -2), (0, 2, 1), (1, 3, 1)))
    assert cut.buffer is x.buffer
    want = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)[3::-2, :, 1:3]
    assert (backend.to_host(cut) == want).all()
    assert (
        backend.to_host(x.broadcast((5, 2, 3, 4))) == np.broadcast_to(backend.to_host(x), (5, 2, 3, 4))
    ).all()


@pytest.mark.parametrize(
    ("shape", "axes", "target", "view"),
    [
        ((2, 3, 4), (0, 1, 2), (6, 4), True),
        ((2, 3, 4), (1, 2, 0), (12, 2), True),
        ((2, 3, 4), (2, 1, 0), (12, 2), False),
        ((4, 6), (1, 0), (3, 2, 4), True),
        ((4, 6), (1, 0), (24,), False),
        ((2, 0, 3), (2, 1, 0), (0, 5), True),
        ((1, 5), (1, 0), (1, 5, 1), True),
        ((), (), (1, 1), True),
    ],
)
def test_reshape_copies_only_where_strides_cannot_say_it(
    device: Device, shape: tuple[int, ...], axes: tuple[int, ...], target: tuple[int, ...], view: bool
) -> None:
    values = np.arange(int(np.prod(shape)), dtype=np.int16).reshape(shape)
    x = device.backend.from_host(values).permuted(axes)
    found = x.reshaped(target)
    assert (found is not None) is view
    made = table.entry(registry.get("reshape"), device).kernel(x, target)
    assert (device.backend.to_host(made) == values.transpose(axes).reshape(target)).all()


def test_an_array_shows_what_it_is() -> None:
    assert repr(KernelArray(None, (2, 3), dtypes.int8, (1, 2))) == "KernelArray((2, 3), int8, strides (1, 2))"


# -- work is divided as it should be -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "int8", "uint64"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((100_003,), 0), ((3, 50_001), 1), ((40_000, 2), 0), ((5, 7), 1)]
)
def test_long_folds_in_parts(device: Device, name: str, shape: tuple[int, ...], axis: int) -> None:
    """Cut into parts, in groups and alone: sums keep float32's precision for two-byte floats."""
    dtype = dtypes.as_dtype(name)
    rng = np.random.default_rng(8)
    data = (rng.integers(0, 3, shape) if dtype.kind in "iu" else rng.uniform(0, 0.5, shape)).astype(
        dtype.numpy
    )
    x = from_data(data, None, device)
    total = x.sum(axis=axis, dtype=dtype).numpy()
    if dtype.kind in "iu":
        assert (total == data.sum(axis=axis, dtype=dtype.numpy)).all()
    else:
        want = data.astype(np.float64).sum(axis=axis)
        np.testing.assert_allclose(
            total.astype(np.float64),
            want,
            rtol=(4 if dtype.itemsize == 2 else 64) * float(ml.finfo(dtype).eps),
        )
    assert (x.max(axis=axis).numpy() == data.max(axis=axis)).all()
    assert (x.argmin(axis=axis).numpy() == data.astype(np.float64).argmin(axis=axis)).all()
    assert (
        x.astype("int64").cumulative_sum(axis=axis).numpy() == data.astype(np.int64).cumsum(axis=axis)
    ).all()


@pytest.mark.parametrize(("shape", "axis"), [((150_007,), 0), ((3, 9000), 1), ((40_000, 2), 0), ((4096,), 0)])
def test_long_scans_in_blocks(device: Device, shape: tuple[int, ...], axis: int) -> None:
    """Blocks and their totals, whole blocks and a rest; where nothing is 0 to tell, all coordinates are there."""
    rng = np.random.default_rng(10)
    data = rng.integers(-9, 10, shape)
    x = from_data(data, None, device)
    assert (x.cumulative_sum(axis=axis).numpy() == data.cumsum(axis=axis)).all()
    wrapped = from_data((data | 1).astype(np.int32), None, device)
    want = (data | 1).astype(np.int32).cumprod(axis=axis, dtype=np.int32)
    assert (wrapped.cumulative_prod(axis=axis, dtype="int32").numpy() == want).all()
    for found, there in zip(ml.nonzero(x), np.nonzero(data), strict=True):
        assert (found.numpy() == there).all()


def test_repeated_indices_add_in_their_order(device: Device) -> None:
    rng = np.random.default_rng(9)
    indices = rng.integers(0, 7, 500)
    values = rng.standard_normal((500, 3)).astype(np.float32)
    want = np.zeros((7, 3), dtype=np.float32)
    np.add.at(want, indices, values)
    index_sum = registry.get("index_sum")
    found = index_sum(from_data(values, None, device), from_data(indices, None, device), axis=0, size=7)
    assert (found.numpy() == want).all()  # bit by bit


# -- kernels that do not compile ---------------------------------------------------------------------------


def test_a_kernel_that_does_not_compile_is_told_and_composed(runtime: object) -> None:
    """The line, the operation, the device, and what runs instead; once, and the next call is silent."""
    broken = dataclasses.replace(
        DIALECT, library={"sigmoid": {"f": "T sigmoid(T x) { return x / one_of(x); }"}}
    )
    device = device_of(runtime, broken, "broken")
    x = from_data(np.array([0.0, 1.0], dtype=np.float32), None, device)
    with pytest.warns(KernelWarning) as told, fallback.policy("error"):
        y = ml.sigmoid(x)
    np.testing.assert_allclose(y.numpy(), [0.5, 0.7310586], rtol=1e-6)
    (text,) = [str(one.message) for one in told]
    assert "the kernel of 'sigmoid' for float32 does not compile on broken" in text
    assert "composed from other operations" in text
    assert "return x / one_of(x); }" in text
    assert "test_kernel_library.py" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ml.sigmoid(x).numpy().tolist() == y.numpy().tolist()


def test_one_form_of_a_kernel_that_fails_is_not_compiled_twice(runtime: object) -> None:
    compiled: list[str] = []

    class Counting(type(runtime)):  # type: ignore[misc]
        def compile(self, source):  # type: ignore[no-untyped-def]
            compiled.append(source.name)
            return super().compile(source)

    device = device_of(Counting(), name="counting")
    x = from_data(np.ones((3, 4), dtype=np.float32), None, device)
    for _ in range(3):
        ml.exp(x)
        ml.exp(x.reshape((12,)) * 2)
    assert compiled.count("ml_exp_float32_flat") == 1
    assert not [name for name in compiled if name.endswith("strided")]
