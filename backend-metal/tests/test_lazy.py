"""Lazy evaluation: what waits, what is waited for, where errors come up, threads and forks."""

import multiprocessing
import os
import threading

import numpy as np
import pytest
from mlcore_metal.backend import MetalBackend, MetalKernel

import mlcore as ml
from mlcore.backends.device import Device


@pytest.fixture
def backend(device):
    """A backend of its own, so that what a test leaves pending is nobody else's."""
    return MetalBackend(Device("metal", 0))


@pytest.fixture
def failing(backend, mx):
    """A function whose node MLX makes, and cannot compute: a dilated float64 convolution on a processor."""
    if backend.runtime.gpu:
        pytest.skip("a GPU has no float64, and so no operation that is known to fail when it is computed")
    return lambda x: mx.conv_general(
        x.reshape(1, 4, 4, 1).astype(mx.float64), mx.ones((1, 2, 2, 1), dtype=mx.float64), kernel_dilation=2
    )


def square(backend):
    return MetalKernel(lambda x: x * x, backend.dtypes, backend.runtime)


def test_what_is_held_is_pending_until_it_is_asked_for(backend):
    x = backend.from_host(np.arange(4, dtype=np.float32))
    y = square(backend)(x)
    assert len(backend.runtime.pending) == 1
    backend.synchronize()
    assert backend.runtime.pending == []
    assert backend.to_host(y).tolist() == [0, 1, 4, 9]


def test_synchronize_computes_what_is_held_and_only_that(backend, mx):
    x = backend.from_host(np.ones(1 << 20, dtype=np.float32))
    backend.synchronize()
    before = mx.get_active_memory()
    square(backend)(x)  # nobody holds it: it is never computed
    kept = [square(backend)(x) for _ in range(3)]
    assert mx.get_active_memory() == before
    backend.synchronize()
    assert mx.get_active_memory() - before == 3 * (4 << 20)
    assert len(kept) == 3


def test_the_last_call_is_computed_even_if_its_result_is_dropped(backend):
    seen = []
    x = backend.from_host(np.ones(3, dtype=np.float32))
    run = square(backend)
    run(x)
    seen.append(backend.runtime.last)
    backend.synchronize()
    assert backend.runtime.last is None
    assert np.asarray(seen[0]).tolist() == [1, 1, 1]


def test_a_long_chain_is_computed_on_the_way(backend):
    from mlcore_metal.runtime import FLUSH

    x, run = backend.from_host(np.ones(3, dtype=np.float32)), square(backend)
    for _ in range(10 * FLUSH):
        x = run(x)
        assert len(backend.runtime.pending) <= FLUSH
    assert backend.to_host(x).tolist() == [1, 1, 1]


def test_memory_is_counted_when_it_is_asked_for(backend):
    before = backend.memory_stats().in_use
    x = backend.from_host(np.ones(1 << 20, dtype=np.float32))
    y = square(backend)(x)
    assert backend.memory_stats().in_use - before >= 2 * (4 << 20)
    del x, y
    assert backend.memory_stats().in_use - before <= 1 << 16
    backend.empty_cache()
    assert backend.memory_stats().reserved <= backend.memory_stats().in_use + (1 << 16)


def test_an_error_comes_up_where_the_value_is_needed_and_says_so(backend, failing):
    run = MetalKernel(failing, backend.dtypes, backend.runtime)
    y = run(backend.from_host(np.ones(16, dtype=np.float32)))
    with pytest.raises(ml.errors.DeviceError, match="MLCORE_METAL_EAGER=1"):
        backend.to_host(y)


def test_synchronize_raises_what_went_wrong_before(backend, failing):
    run = MetalKernel(failing, backend.dtypes, backend.runtime)
    y = run(backend.from_host(np.ones(16, dtype=np.float32)))
    with pytest.raises(ml.errors.DeviceError, match="failed when its result was computed"):
        backend.synchronize()
    del y
    assert backend.to_host(square(backend)(backend.from_host(np.full(2, 3.0)))).tolist() == [9, 9]


def test_eager_evaluation_raises_at_the_call(device, failing):
    eager = MetalBackend(Device("metal", 0), eager=True)
    run = MetalKernel(failing, eager.dtypes, eager.runtime)
    x = eager.from_host(np.ones(16, dtype=np.float32))
    with pytest.raises(ml.errors.DeviceError, match="failed when its result was computed"):
        run(x)
    assert square(eager)(x).shape == (16,)
    assert eager.runtime.pending == []


def test_more_than_the_limit_is_refused_and_nothing_is_lost(device):
    small = MetalBackend(Device("metal", 0), memory_limit=64 << 20)
    x = small.from_host(np.ones(1 << 22, dtype=np.float32))
    wide = MetalKernel(lambda v: v.reshape(1, -1) * v[:8].reshape(8, 1), small.dtypes, small.runtime)
    with pytest.raises(ml.errors.OutOfMemoryError, match="134,217,728 bytes") as caught:
        wide(x)
    assert caught.value.details["limit"] == "67,108,864 bytes"
    assert small.to_host(x)[:2].tolist() == [1, 1]


def _work(x):
    return ((x @ x.mT).tanh().sum() + (x * 2.0).exp().mean()).item()


def test_a_tensor_of_one_thread_is_computed_in_another(device):
    x = ml.asarray(np.arange(6, dtype=np.float32), device=device)
    lazily = [(x + i) * 2 for i in range(4)]
    found, made = {}, {}

    def run(i):
        found[i] = lazily[i].tolist()
        made[i] = x * i

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == {i: [(v + i) * 2.0 for v in range(6)] for i in range(4)}
    assert {i: one.tolist() for i, one in made.items()} == {i: [v * i for v in range(6)] for i in range(4)}


def test_two_threads_compute_the_same_as_one(device):
    inputs = [np.random.default_rng(i).standard_normal((40, 50)).astype(np.float32) for i in range(2)]
    alone = [_work(ml.asarray(one, device=device)) for one in inputs]
    found, errors = {}, []

    def run(i):
        try:
            found[i] = [_work(ml.asarray(inputs[i], device=device)) for _ in range(30)]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not errors
    assert found == {i: [alone[i]] * 30 for i in range(2)}


def _child(x, y, queue):
    queue.put((y.tolist(), (x + 1).tolist()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_computes_with_its_parents_tensors(device):
    x = ml.asarray(np.arange(3, dtype=np.float32), device=device)
    y = x * 5  # not computed yet when the process forks
    if not device.backend.fork_safe:
        pytest.skip("Metal does not survive a fork")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(x, y, queue))
    child.start()
    assert queue.get(timeout=30) == ([0, 5, 10], [1, 2, 3])
    child.join(30)
    assert child.exitcode == 0
    assert (y + x).tolist() == [0, 6, 12]


def test_on_a_gpu_a_forked_child_is_told_what_to_do(backend, monkeypatch):
    monkeypatch.setattr(backend.runtime, "gpu", True)
    monkeypatch.setattr(backend.runtime, "owner", os.getpid() + 1)
    with pytest.raises(ml.errors.DeviceError, match="spawn"):
        backend.runtime.building()
