"""The backend on the stand-in for CuPy: devices, streams, memory, transfers, failures, capture, optimizer steps.

The kernels are the real ones, run by the emulator; CuPy's functions are NumPy's. What a GPU does is not shown here.
"""

from __future__ import annotations

import gc
import threading
from typing import Any

import cupy
import numpy as np
import pytest
from mlcore_cupy import transfer

import mlcore as ml
from mlcore import errors, nn, optim
from mlcore.nn import functional as F


def test_arrays_of_the_stand_in_refuse_what_cupys_refuse() -> None:
    x = cupy.asarray(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(x)
    with pytest.raises(TypeError, match="Unsupported type"):
        x + np.ones(3, np.float32)
    with cupy.cuda.Device(1), pytest.raises(ValueError, match="same as the current device"):
        x + x


@pytest.mark.parametrize("bytes_", [40, transfer.PINNED_FROM * 5])
def test_transfers_copy(cuda: Any, rng: np.random.Generator, bytes_: int) -> None:
    values = rng.standard_normal(bytes_ // 40 * 5)
    kept = values.copy()
    there = cuda.backend.from_host(values)
    values[:] = 0
    back = cuda.backend.to_host(there)
    assert np.array_equal(back, kept)
    turned = cuda.backend.from_host(np.asfortranarray(kept.reshape(5, -1)))
    assert np.array_equal(cuda.backend.to_host(turned), kept.reshape(5, -1))
    swapped = cuda.backend.from_host(kept.astype(">f8"))
    assert np.array_equal(cuda.backend.to_host(swapped), kept)


def test_large_uploads_go_through_page_locked_memory(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    pinned = cupy.cuda.alloc_pinned_memory
    monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", lambda size: asked.append(size) or pinned(size))
    cuda.backend.from_host(np.zeros(10, np.float32))
    assert asked == []
    large = cuda.backend.from_host(np.zeros(transfer.PINNED_FROM, np.float32))
    cuda.backend.to_host(large)
    assert asked == [4 * transfer.PINNED_FROM] * 2


def test_each_device_has_its_own_memory_and_stream(cuda: Any, cuda1: Any) -> None:
    """Calls for one device while the other is current: the stand-in refuses arrays of the wrong one."""
    with cupy.cuda.Device(1):
        x = ml.ones((40, 30), device="cuda:0")
        y = ml.softmax(x @ x.mT, axis=0) + ml.exp(x).sum()
    z = ml.ones((5,), device="cuda:1") * 2
    assert y.device is cuda
    assert z.device is cuda1
    assert cuda.backend.runtime.stream is not cuda1.backend.runtime.stream
    assert z.to("cuda:0").to("cpu").tolist() == [2.0] * 5
    assert y.array.data.device_id == 0
    assert z.array.data.device_id == 1
    with pytest.raises(errors.DeviceError, match="different devices: cuda and cuda:1"):
        y + z


def test_the_threads_own_device_stays_as_it_was(cuda: Any) -> None:
    with cupy.cuda.Device(1):
        ml.ones((3,), device="cuda:0") + 1
        assert cupy.cuda.runtime.getDevice() == 1
    assert cupy.cuda.runtime.getDevice() == 0


def test_threads_share_a_device(cuda: Any) -> None:
    found: list[float] = []

    def work(k: int) -> None:
        x = ml.full((257,), float(k), device="cuda")
        for _ in range(5):
            x = ml.softmax(x * 1.0, axis=0) * 257 * k
        found.append(float(x.sum().item()))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert np.allclose(sorted(found), [257.0 * k for k in range(1, 5)], rtol=1e-4)


def test_memory_is_counted_and_given_back(cuda: Any) -> None:
    gc.collect()
    backend = cuda.backend
    before = backend.memory_stats()
    x = ml.zeros((1 << 20,), device="cuda")
    held = backend.memory_stats()
    assert held.in_use - before.in_use == 4 << 20
    assert held.peak >= held.in_use
    assert held.limit > held.in_use
    del x
    gc.collect()
    assert backend.memory_stats().in_use == before.in_use
    assert backend.memory_stats().reserved >= 4 << 20
    assert backend.empty_cache() >= 4 << 20
    assert backend.memory_stats().reserved == before.in_use


def test_full_memory_is_our_error_and_the_device_goes_on(cuda: Any) -> None:
    pool = cupy.get_default_memory_pool()
    pool.set_limit(size=pool.used_bytes() + (1 << 20))
    try:
        with pytest.raises(errors.OutOfMemoryError) as told:
            ml.zeros((1 << 24,), device="cuda")
        assert "cuda" in str(told.value)
    finally:
        pool.set_limit(size=0)
    assert ml.ones((2,), device="cuda").sum().item() == 2


def test_options(cuda: Any) -> None:
    from mlcore.backends import detect

    chosen = cupy._core._routines_linalg.chosen
    assert "tf32" not in cuda.id
    assert not chosen
    detect.resolve("cuda:0?tf32=1")
    assert list(chosen.values()) == [cupy._core._routines_linalg.COMPUTE_TYPE_TF32]
    chosen.clear()
    with pytest.raises(errors.DeviceError, match=r"tf32=0\|1"):
        detect.resolve("cuda:0?tf32=yes")
    with pytest.raises(errors.MlcoreError, match="colour"):
        detect.resolve("cuda:0?colour=red")


def test_a_kernel_that_does_not_compile_is_composed_loudly(
    cuda1: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source line, the operation and the device are named, and the composition gives the values."""
    from mlcore_cupy import runtime

    real = runtime.module_source
    monkeypatch.setattr(
        runtime, "module_source", lambda file, dtype: real(file, dtype) + "\nKERNEL broken( {\n"
    )
    x = ml.asarray(np.linspace(-1, 1, 12, dtype=np.float64).reshape(3, 4), device="cuda:1")
    with pytest.warns(UserWarning, match=r"rms_norm"):
        y, _ = ml.ops.rms_norm.rms_norm(x, None, n_axes=1, eps=1e-5)
    values = np.linspace(-1, 1, 12).reshape(3, 4)
    wanted = values / np.sqrt((values**2).mean(1, keepdims=True) + 1e-5)
    assert np.allclose(y.numpy() if hasattr(y, "numpy") else np.asarray(y.to("cpu")), wanted)


def test_what_cupys_errors_mean(cuda: Any) -> None:
    explain = cuda.backend.explain
    lost = cupy.cuda.runtime.CUDARuntimeError(
        700, "cudaErrorIllegalAddress: an illegal memory access was encountered"
    )
    assert isinstance(explain(lost), errors.DeviceLostError)
    assert isinstance(explain(cupy.cuda.memory.OutOfMemoryError(10, 5)), errors.OutOfMemoryError)
    assert explain(cupy.cuda.runtime.CUDARuntimeError(1, "cudaErrorInvalidValue: invalid argument")) is None
    assert explain(ValueError("?")) is None


def test_a_kernel_that_writes_outside_is_noticed(cuda: Any) -> None:
    """What the emulator would say of a kernel with a wrong bound."""
    module = cupy.RawModule(
        code='#include "emulator.h"\nextern "C" __global__ void over(float* y, int n) { y[n] = 1; }\n'
    )
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="wrote outside"):
        module.get_function("over")((1,), (1,), (cupy.empty((4,), np.float32), np.int32(4)))


# -- capture -----------------------------------------------------------------------------------------------------


def test_a_captured_step_replays_on_new_inputs(cuda: Any, rng: np.random.Generator) -> None:
    backend = cuda.backend
    first, second = (rng.standard_normal((6, 9)).astype(np.float32) for _ in range(2))
    x = ml.asarray(first, device="cuda")

    def step() -> Any:
        return ml.softmax(ml.exp(x) * 0.5, axis=1) @ ml.ones((9, 2), device="cuda")

    step()
    with backend.capture() as captured:
        y = step()
    for values in (first, second):
        x.array.set(values)
        captured.replay()
        wanted = np.exp(np.exp(values) * 0.5)
        wanted = wanted / wanted.sum(1, keepdims=True)
        assert np.allclose(backend.to_host(y.array), np.repeat(wanted.sum(1, keepdims=True), 2, 1), atol=1e-5)


def test_a_captured_training_step_replays(cuda: Any) -> None:
    """Optimizer and all: as many replays give what as many steps do."""
    values = {}
    for way in ("steps", "replays"):
        p = nn.Parameter(ml.ones((5000,), device="cuda"))
        optimizer = optim.SGD([p], lr=0.25, momentum=0.5)

        def step(p: Any = p, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()

        step()
        if way == "replays":
            with cuda.backend.capture() as captured:
                step()
        for _ in range(3):
            captured.replay() if way == "replays" else step()
        values[way] = np.asarray(p.detach().to("cpu"))
    assert np.array_equal(values["steps"], values["replays"])


def test_reading_a_value_while_capturing_is_an_error(cuda: Any) -> None:
    x = ml.ones((3,), device="cuda")
    with pytest.raises(errors.MlcoreError, match="Capture"), cuda.backend.capture():
        x.sum().item()
    assert x.sum().item() == 3  # and the stream is usable again


def test_replay_without_capture_is_an_error(cuda: Any) -> None:
    with pytest.raises(errors.DeviceError, match="nothing was captured"):
        cuda.backend.capture().replay()


# -- optimizer steps -----------------------------------------------------------------------------------------------


def _train(
    device: str, make: Any, steps: int = 4
) -> tuple[list[float], list[np.ndarray[Any, Any]], list[int]]:
    ml.manual_seed(3)
    with ml.device(device):
        model = nn.Sequential(nn.Linear(7, 70), nn.LayerNorm(70), nn.GELU(), nn.Linear(70, 3))
        optimizer = make(model.parameters())
        x, t = ml.random.normal((11, 7)), ml.arange(11) % 3
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        places = [getattr(getattr(p.array, "data", None), "ptr", 0) for p in model.parameters()]
        return losses, [np.asarray(p.detach().to("cpu")) for p in model.parameters()], places


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_as_on_the_reference(cuda: Any, name: str) -> None:
    losses, values, _ = _train("cuda", OPTIMIZERS[name])
    wanted_losses, wanted, _ = _train("reference", OPTIMIZERS[name])
    assert np.allclose(losses, wanted_losses, rtol=1e-4)
    for one, other in zip(values, wanted, strict=True):
        assert np.allclose(one, other, rtol=2e-3, atol=2e-5)


def test_a_step_writes_over_what_nobody_else_holds_and_over_nothing_else(cuda: Any) -> None:
    p = nn.Parameter(ml.ones((5000,), device="cuda"))
    shared = nn.Parameter(ml.ones((10,), device="cuda"))
    seen = shared.detach()
    optimizer = optim.SGD([p, shared], lr=0.5)
    places = []
    for _ in range(3):
        (p.sum() + shared.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
        places.append((p.array.data.ptr, shared.array.data.ptr))
    assert len({one for one, _ in places}) == 1, "the parameter stays where it is"
    assert seen.tolist() == [1.0] * 10, "a tensor that shares the old value keeps it"
    assert p.detach().to("cpu").tolist()[:2] == [-0.5, -0.5]
    assert shared.detach().tolist()[0] == -0.5


# -- ROCm ----------------------------------------------------------------------------------------------------------


def test_the_backend_for_rocm_is_the_same_but_for_what_cupy_lacks_there(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    from mlcore_rocm.backend import RocmBackend

    from mlcore.backends.device import Device
    from mlcore.dtypes import bfloat16
    from mlcore.ops import registry

    monkeypatch.setattr(cupy.cuda.runtime, "is_hip", True)
    device = Device("rocm", 0)
    backend = device.backend = RocmBackend(cupy, device)
    a, b = (rng.standard_normal(shape).astype(bfloat16.numpy) for shape in ((20, 33), (33, 9)))
    wanted = a.astype(np.float32) @ b.astype(np.float32)
    monkeypatch.setattr(cupy, "matmul", lambda *_: pytest.fail("bfloat16 products are left to CuPy"))
    product = backend.kernel(registry.get("contract"))
    found = backend.to_host(product(backend.from_host(a), backend.from_host(b)))
    assert found.dtype == bfloat16.numpy
    assert np.allclose(found.astype(np.float32), wanted, rtol=2e-2, atol=2e-2)
    with pytest.raises(errors.DeviceError, match="no graphs on ROCm"), backend.capture():
        pass
