"""Threads, forks, interrupts, memory, and what importing the backend does to the process."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest
from cpu_helpers import kernel, run_python

import mlcore_cpu
from mlcore.errors import OutOfMemoryError
from mlcore_cpu.loader import kernels as K

# Every family of kernels on data large enough to be split, printed as a digest of the results' bits.
WORK = """
import hashlib, numpy as np
from mlcore.backends.detect import resolve
from mlcore.ops.registry import get
backend = resolve("cpu").backend
def k(name, *args):
    found = backend.kernel(get(name))(*args)
    return found if isinstance(found, tuple) else (found,)
rng = np.random.default_rng(1)
def d(*shape): return rng.standard_normal(shape).astype("f")
def work():
    global rng
    rng = np.random.default_rng(1)
    x, y, i = d(16, 64, 20, 20), d(16, 64, 20, 20), rng.integers(0, 64, 1000)
    last = np.moveaxis(d(16, 20, 20, 64), -1, 1)
    w, how = d(64, 64, 3, 3), ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    pool = ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    m = d(300, 700)
    out = []
    out += k("add", x, last)
    out += k("exp", last)
    out += k("reduce_sum", x, (0, 2, 3), False)
    out += k("reduce_sum", x, (0, 1, 2, 3), False)
    out += k("reduce_sum", last, (0, 2, 3), False)
    out += k("mean", m, (0,), False)
    out += k("max", last, (1,), False)
    out += k("reduce_sum", d(70000, 3), (0,), False)
    out += k("contract", m, d(700, 900))
    out += k("contract", d(30, 64, 64), d(30, 64, 64))
    out += k("linear", d(500, 700), d(128, 700), d(128))
    c = k("convolution", x, w, None, *how)
    out += c
    out += k("convolution_grad_input", c[0], w, x.shape, *how)
    out += k("convolution_grad_weight", c[0], x, w.shape, *how)
    out += k("softmax", m, 1) + k("softmax", m, 0) + k("log_softmax_grad", m, m, 1) + k("logsumexp", m, (0, 1), False)
    for z in (x, last):
        n = k("batch_norm", z, d(64), d(64), 1e-5, "relu")
        out += n + k("batch_norm_grad", y, z, None, None, n[1], n[2], "relu6")
        p = k("max_pool", z, *pool)
        out += p
        out += k("max_pool_grad", p[0], z, p[0], *pool)
        out += k("avg_pool", z, *pool[:3], True)
        out += k("avg_pool_grad", p[0], z.shape, *pool[:3], False)
    n = k("layer_norm", m, d(700), d(700), 1, 1e-5)
    out += n + k("layer_norm_grad", m, m, None, n[1], n[2], 1)
    out += k("dropout_mask", m, 0.3, (1, 2), 5)
    out += k("random_bits", (1, 2), 3, (300, 300))
    out += k("index_add", d(64, 300), i, d(1000, 300), 0)
    many, along = rng.integers(0, 5000, 70000), rng.integers(-700, 700, (300, 700))
    out += k("index_add", d(5000, 40), many, d(70000, 40), 0) + k("index_sum", d(70000), many, 0, 5000)
    out += k("scatter", d(5000, 40), many, d(70000, 40), 0)
    out += k("take_along", m, along, 1) + k("sum_along", m, along, 1, 700) + k("sum_along", m, along % 300, 0, 300)
    flat = d(1200000)
    flat[::7] = flat[3::7][: flat[::7].size]
    out += k("sort_indices", flat, 0, False) + k("ordered", flat, 0, True, 1000) + k("ordered", m, 1, True, 10)
    out += k("sort_indices", flat.astype(float), 0, True) + k("where_true", flat > 0) + k("scan_sum", flat, 0)
    out += k("searchsorted", np.sort(flat), m, "left") + k("reduce_argmax", flat, 0, False)
    out += k("softmax_cross_entropy", m, rng.integers(0, 700, 300))
    out += k("adam_step", *[abs(d(300, 300)) for _ in range(4)], 0.1, 0.9, 0.99, 1e-8, 0.0, True, 3)
    digest = hashlib.sha256()
    for a in out:
        digest.update(np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()
"""


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    code = (
        WORK
        + "import mlcore_cpu\nfor n in (1, 2, 4, 3, 1):\n    mlcore_cpu.set_num_threads(n)\n    print(work())\n"
    )
    assert len(set(run_python(code).split())) == 1


def test_number_of_threads() -> None:
    assert (
        run_python("import mlcore_cpu; print(mlcore_cpu.get_num_threads())", MLCORE_NUM_THREADS="3").strip()
        == "3"
    )
    before = mlcore_cpu.get_num_threads()
    try:
        mlcore_cpu.set_num_threads(5)
        assert mlcore_cpu.get_num_threads() == 5
        x = np.ones((1000, 1000), "f")
        assert kernel("reduce_sum")(x, (0, 1), False) == 1_000_000
    finally:
        mlcore_cpu.set_num_threads(before)
    with pytest.raises(ValueError, match="at least 1"):
        mlcore_cpu.set_num_threads(0)


def test_the_number_of_threads_changes_while_workers_are_on_their_way() -> None:
    """A worker that came to its job just as the pool ended missed the end, once in some hundred thousand times."""
    code = (
        WORK
        + "import mlcore_cpu\nx = np.ones((64, 4096), 'f')\n"
        + "for i in range(3000):\n    mlcore_cpu.set_num_threads(2 + i % 12)\n    k('exp', x)\n"
        + "    mlcore_cpu.set_num_threads(1)\nprint(i)\n"
    )
    assert run_python(code, timeout=120).strip() == "2999"


def test_a_forked_child_computes_the_same() -> None:
    code = (
        WORK
        + """
import os, sys, mlcore_cpu
mlcore_cpu.set_num_threads(4)
mine = work()
for _ in range(3):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, work().encode()); os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe: theirs = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert theirs == mine, (theirs, mine)
assert work() == mine
"""
    )
    run_python(code, timeout=120)


def test_a_fork_while_other_threads_compute() -> None:
    code = (
        WORK
        + """
import os, threading, mlcore_cpu
mlcore_cpu.set_num_threads(4)
want, stop = work(), threading.Event()
def busy():
    x = np.ones((1000, 1000), "f")
    while not stop.is_set(): k("exp", x); k("contract", x[:200], x)
threads = [threading.Thread(target=busy) for _ in range(2)]
for t in threads: t.start()
try:
    for _ in range(10):
        child = os.fork()
        if child == 0:
            os._exit(0 if work() == want else 1)
        assert os.waitpid(child, 0)[1] == 0
finally:
    stop.set()
    for t in threads: t.join()
"""
    )
    run_python(code, timeout=200)


LONG = {
    "pow": "np.broadcast_to(np.full((1, 1), 1.5), (5000, 8000)), np.broadcast_to(np.full((1, 1), 0.3), (5000, 8000))",
    "contract": "np.ones((5000, 5000), 'f'), np.ones((5000, 5000), 'f')",
    "convolution": "np.ones((64, 256, 32, 32), 'f'), np.ones((512, 256, 3, 3), 'f'), None,"
    " (1, 1), ((1, 1), (1, 1)), (1, 1), 1",
    "convolution_grad_weight": "*[np.ones((1, 32, 1500, 1500), 'f')] * 2, (32, 32, 5, 5),"
    " (1, 1), ((2, 2),) * 2, (1, 1), 1",
    "convolution_grad_input": "np.ones((1, 32, 1500, 1500), 'f'), np.ones((32, 32, 5, 5), 'f'), (1, 32, 1500, 1500),"
    " (1, 1), ((2, 2), (2, 2)), (1, 1), 1",
    "max_pool": "np.ones((1, 1, 9000, 9000), 'f'), (9, 9), (1, 1), ((4, 4), (4, 4)), (1, 1)",
    "batch_norm": "np.ones((1, 1, 10000, 10000), 'f'), None, None, 1e-5, 'relu'",
    "log_softmax": "np.zeros((1, 100_000_000), 'f'), 1",
    "sort_indices": "np.random.default_rng(0).random(20_000_000), 0, False",
    "ordered": "np.random.default_rng(0).random(20_000_000, 'f'), 0, True, 5_000_000",
    "scan_prod": "np.ones(100_000_000, 'f'), 0",
    "searchsorted": "np.arange(20_000_000.0), np.random.default_rng(0).random(5_000_000) * 2e7, 'left'",
    "scatter": "np.zeros(9_000_000, 'f'), np.random.default_rng(0).integers(0, 9_000_000, 40_000_000),"
    " np.ones(40_000_000, 'f'), 0",
    "index_sum": "np.ones(40_000_000, 'f'), np.random.default_rng(0).integers(0, 9_000_000, 40_000_000), 0, 9_000_000",
    "sum_along": "np.ones(40_000_000, 'f'), np.random.default_rng(0).integers(-9, 9, 40_000_000), 0, 9",
}


@pytest.mark.parametrize("name", LONG)
def test_an_interrupt_stops_a_running_kernel(name: str) -> None:
    """SIGINT during kernels of about a second each: KeyboardInterrupt soon, and the process stays usable."""
    code = f"""
import os, signal, threading, time, numpy as np
from mlcore.backends.detect import resolve
from mlcore.ops.registry import get
backend = resolve("cpu").backend
def run(name, *args): return backend.kernel(get(name))(*args)
args = ({LONG[name]})
run("add", np.ones(100000, "f"), np.ones(100000, "f"))
sent = []
def later():
    sent.append(time.monotonic()); os.kill(os.getpid(), signal.SIGINT)
timer = threading.Timer(0.5, later)
interrupted = None
timer.start()
try:
    while not sent:
        run("{name}", *args)
    time.sleep(0.01)
except KeyboardInterrupt:
    interrupted = time.monotonic() - sent[0]
assert interrupted is not None
assert interrupted < 5, interrupted  # a quarter of a second where nobody else computes
x = np.ones((1000, 1000), "f")
assert run("reduce_sum", x, (0, 1), False) == 1e6
assert (run("contract", x[:, :64], x[:64]) == 64).all()
assert (run("sort_indices", np.arange(200_000.0), 0, False) == np.arange(200_000)).all()
print(f"{name}: after {{interrupted * 1e3:.0f}} ms")
"""
    print(run_python(code, timeout=240))


def test_one_chunk_that_takes_long_is_interrupted_too() -> None:
    """A running sum along one row is one task: it must look for Ctrl-C itself, and no half of it may be seen."""
    code = """
import signal, threading, time, os, numpy as np, mlcore_cpu
from mlcore.backends.detect import resolve
from mlcore.ops.registry import get
scan = resolve("cpu").backend.kernel(get("scan_prod"))
calls = []
def stop(*_):
    calls.append(time.monotonic())
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, stop)
for n in (1, 2):
    mlcore_cpu.set_num_threads(n)
    x = np.broadcast_to(np.ones(1, "f"), (1, 1 << 28))
    y = "no result"
    start = time.monotonic()
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            y = "no result"
            y = scan(x, 1)
    except KeyboardInterrupt:
        assert isinstance(y, str) or y[0, -1] == 1.0
    assert len(calls) == n
    assert (scan(np.ones((1, 1 << 20), "f"), 1) == 1).all()
"""
    run_python(code, timeout=240)


def test_kernels_from_many_threads() -> None:
    x = np.random.default_rng(0).standard_normal((500, 500)).astype("f")
    names = [("exp", (x,)), ("contract", (x, x)), ("reduce_sum", (x, (0,), False)), ("softmax", (x, 1))]
    want = [kernel(name)(*args) for name, args in names]
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(20):
            for (name, args), expected in zip(names, want, strict=True):
                if not np.array_equal(kernel(name)(*args), expected):
                    wrong.append(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_memory_is_counted_reused_and_given_back() -> None:
    gc.collect()
    K.trim_memory()
    x = np.ones((512, 512), "f")
    start = mlcore_cpu.memory_stats()["in_use"]
    mlcore_cpu.reset_peak_memory()
    y = kernel("add")(x, x)
    during = mlcore_cpu.memory_stats()
    assert during["in_use"] - start >= y.nbytes
    assert during["peak"] >= during["in_use"]
    assert y.ctypes.data % 64 == 0
    address = y.ctypes.data
    view = y[::2]
    del y
    assert mlcore_cpu.memory_stats()["in_use"] == during["in_use"]  # the view keeps it
    del view
    after = mlcore_cpu.memory_stats()
    assert after["in_use"] == start
    assert after["reserved"] >= 512 * 512 * 4
    assert kernel("add")(x, x).ctypes.data == address  # the block is used again
    assert K.trim_memory() > 0
    assert mlcore_cpu.memory_stats()["reserved"] == mlcore_cpu.memory_stats()["in_use"]


def test_the_cache_can_be_emptied() -> None:
    import mlcore as ml

    x = ml.ones((1024, 1024), device="cpu")
    y = x + x
    del x
    backend = y.device.backend
    stats = backend.memory_stats()
    assert stats.reserved - stats.in_use >= 4 << 20
    assert ml.empty_cache("cpu") >= 4 << 20
    after = backend.memory_stats()
    assert after.reserved == after.in_use == stats.in_use
    assert ml.empty_cache("cpu") == 0
    assert float(y.sum()) == 2 << 20  # what is in use stays


def test_nothing_leaks() -> None:
    x = np.ones((300, 300), "f")
    start = mlcore_cpu.memory_stats()["in_use"]
    for _ in range(200):
        kernel("add")(x, x)
        kernel("contract")(x, x)
        kernel("softmax")(x, 0)
        kernel("layer_norm_grad")(x, x, None, x[:, :1], x[:, :1], 1)
    assert mlcore_cpu.memory_stats()["in_use"] == start
    for _ in range(1000):  # small results are NumPy's
        kernel("add")(x[0], x[0])
    assert mlcore_cpu.memory_stats()["in_use"] == start


def test_too_much_memory_is_an_error_and_nothing_is_lost() -> None:
    small = np.zeros((1, 1), "f")
    huge = np.broadcast_to(small, (2**22, 2**22))
    before = mlcore_cpu.memory_stats()["in_use"]
    with pytest.raises(
        OutOfMemoryError,
        match=r"70,368,744,177,664 bytes for an array of shape \(4194304, 4194304\), float32",
    ):
        kernel("add")(huge, huge)
    with pytest.raises(MemoryError):
        kernel("fill")((2**23, 2**22), 1.0, __import__("mlcore").float32)
    assert mlcore_cpu.memory_stats()["in_use"] == before
    assert kernel("add")(small, small) == 0


def test_memory_limit() -> None:
    code = """
import numpy as np, mlcore_cpu
from mlcore.backends.detect import resolve
from mlcore.ops.registry import get
from mlcore.errors import OutOfMemoryError
add = resolve("cpu").backend.kernel(get("add"))
x = np.ones((1000, 1000), "f")
y = add(x, x)
try:
    z = add(y, np.ones((3, 1, 1), "f"))
except OutOfMemoryError as error:
    assert "in_use" in str(error) and "limit 8,000,000" in str(error), error
else:
    raise SystemExit("no error")
del y
assert add(x, x)[0, 0] == 2
"""
    run_python(code, MLCORE_CPU_MEMORY_LIMIT="8000000")


def test_importing_leaves_the_process_as_it_was() -> None:
    code = """
import numpy as np, signal, threading
tiny = np.full(100, 1e-40, np.float32)
before = (tiny * np.float32(0.5)).copy()
import mlcore_cpu
mlcore_cpu.memory_stats()
assert ((tiny * np.float32(0.5)) == before).all() and before[0] > 0
assert threading.active_count() == 1
assert len(open("/proc/self/status").read().split("Threads:")[1].split()[0]) >= 1
"""
    run_python(code)


def test_the_plugin_is_light() -> None:
    code = """
import sys
from mlcore_cpu.plugin import plugin
from mlcore.plugin.api import ProbeContext
probe = plugin.probe(ProbeContext())
assert probe.state == "ready" and probe.devices[0].id == "cpu:0" and probe.devices[0].name
assert "mlcore_cpu._kernels" not in sys.modules and "mlcore_cpu.backend" not in sys.modules
"""
    run_python(code)


def test_poisoned_memory() -> None:
    """Blocks and scratch are full of NaN, the C library's of some byte: a training step reads none of it."""
    code = """
import numpy as np, mlcore as ml
from mlcore import nn
with ml.device("cpu"):
    ml.random.manual_seed(0)
    model = nn.LSTM(20, 37), nn.GRU(37, 50), nn.RNN(50, 16), nn.Linear(16, 3)
    x = ml.asarray(np.random.default_rng(0).standard_normal((9, 70, 20)).astype("f"))
    for layer in model[:3]:
        x = layer(x)[0]
    q = x.reshape(9, 70, 2, 8).swapaxes(1, 2)
    x = nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True).swapaxes(1, 2).reshape(9, 70, 16)
    loss = nn.functional.cross_entropy(model[3](x).reshape(-1, 3), ml.zeros((630,), dtype=ml.int64))
    loss.backward()
    for layer in model:
        for one in layer.parameters():
            assert np.isfinite(np.asarray(one.grad)).all()
    assert abs(float(loss) - np.log(3)) < 0.5
"""
    run_python(code, MLCORE_CPU_POISON="1", MALLOC_PERTURB_="85")
