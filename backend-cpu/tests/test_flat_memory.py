"""Resident memory stays where it is: over a million operations, ten thousand training steps, sizes that change."""

from __future__ import annotations

import sys

import pytest
from cpu_helpers import run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

RESIDENT = """
import gc, numpy as np, mlcore as ml, mlcore_cpu
from mlcore import nn, optim
from mlcore.nn import functional
def resident():
    gc.collect()
    with open("/proc/self/statm") as file: return int(file.read().split()[1]) * 4096
def flat(work, warm, rounds, bound):
    work(warm)
    before, held = resident(), mlcore_cpu.memory_stats()["in_use"]
    work(rounds)
    grown = resident() - before
    assert mlcore_cpu.memory_stats()["in_use"] == held, (held, mlcore_cpu.memory_stats())
    assert grown < bound, f"{grown:,} bytes more after {rounds} rounds"
    print(f"{grown:,} bytes")
"""


@pytest.mark.slow
def test_a_million_operations() -> None:
    code = """
x, y = ml.ones((8,)), ml.asarray(np.linspace(-1, 1, 8), dtype=ml.float32, requires_grad=True)
def work(rounds):
    for i in range(rounds):
        z = x + y
        z = ml.exp(z * 0.5)
        w = (z - x).reshape(2, 4)
        w = w[i & 1] @ x[:4]
        try: x + w.reshape(1).detach()[0:0].reshape(0, 1) + ml.ones((3,))
        except ValueError: pass
flat(work, 2_000, 100_000, 1 << 20)
"""
    print(run_python(RESIDENT + code, timeout=250))


@pytest.mark.slow
def test_ten_thousand_training_steps() -> None:
    code = """
ml.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.LayerNorm(16), nn.Linear(16, 4))
optimizer = optim.AdamW(net.parameters())
x, y = ml.asarray(np.random.default_rng(0).standard_normal((16, 8)).astype("f")), ml.asarray(np.arange(16) % 4)
def work(rounds):
    for _ in range(rounds):
        optimizer.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimizer.step()
flat(work, 300, 10_000, 1 << 20)
"""
    print(run_python(RESIDENT + code, timeout=250))


def test_steps_whose_sizes_change_and_fail() -> None:
    """Batches of every size through a network with convolutions, some of which stop with an error in the middle."""
    code = """
ml.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                    nn.Linear(16 * 64, 10))
optimizer = optim.AdamW(net.parameters())
rng = np.random.default_rng(0)
images, y = rng.standard_normal((48, 3, 16, 16)).astype("f"), np.arange(48) % 10
from mlcore_cpu.loader import kernels as K
def work(rounds):
    for i in range(rounds):
        n = 1 + i * 7 % 48
        if i % 3 == 0: K.fail_allocation(i % 101)
        try:
            optimizer.zero_grad()
            functional.cross_entropy(net(ml.asarray(images[:n])), ml.asarray(y[:n])).backward()
            optimizer.step()
        except MemoryError: pass
        K.fail_allocation(-1)
    optimizer.zero_grad()
flat(work, 150, 600, 6 << 20)
"""
    print(run_python(RESIDENT + code, timeout=250))


def test_unused_memory_is_bounded_by_recent_use() -> None:
    """After a large computation a smaller one goes on for long: the large one's memory is given back on the way."""
    code = """
from mlcore.backends.detect import resolve
big = ml.ones((64, 1 << 20))
for _ in range(4): big = big + 1.0
large = mlcore_cpu.memory_stats()["reserved"]
assert large >= 512 << 20, large
del big
small = ml.ones((1 << 16,))
for _ in range(10_000): small = small * 1.0
stats = mlcore_cpu.memory_stats()
assert stats["reserved"] <= 65 << 20, stats
mlcore_cpu.trim_memory()
stats = mlcore_cpu.memory_stats()
assert stats["reserved"] - stats["in_use"] == 0, stats
"""
    run_python(RESIDENT + code, timeout=120)


def test_fragments_are_joined_again() -> None:
    """Many blocks of different sizes, freed in any order, become room for one large block; no byte is in two."""
    code = """
from mlcore.backends.detect import resolve
from mlcore.ops.registry import get
fill = resolve("cpu").backend.kernel(get("fill"))
rng = np.random.default_rng(0)
held = {}
total = 0
for turn in range(3000):
    if held and (len(held) > 60 or rng.integers(2)):
        key = list(held)[rng.integers(len(held))]
        a = held.pop(key)
        assert (a[:: max(1, a.size // 50)] == key).all() and a[-1] == key
        del a
    else:
        held[turn] = fill((int(rng.integers(1 << 14, 1 << 19)),), float(turn), ml.float32)
for key, a in held.items(): assert (a == key).all()
addresses = sorted((a.ctypes.data, a.nbytes) for a in held.values())
for (one, size), (other, _) in zip(addresses, addresses[1:]): assert one + size <= other
stats = mlcore_cpu.memory_stats()
assert stats["in_use"] <= sum(a.nbytes for a in held.values()) * 1.13 + 4096 * len(held), stats
assert stats["reserved"] <= stats["peak"] * 1.25 + (4 << 20), stats
reserved = stats["reserved"]
held.clear(); del a
whole = fill((reserved // 4 - 4096,), 1.0, ml.float32)
assert mlcore_cpu.memory_stats()["reserved"] <= reserved * 1.5
del whole
mlcore_cpu.trim_memory()
assert mlcore_cpu.memory_stats()["reserved"] == 0
"""
    run_python(RESIDENT + code, timeout=120)


def test_blocks_freed_by_other_threads_and_across_forks() -> None:
    code = """
import os, queue, threading
mlcore_cpu.set_num_threads(2)
ml.ones((50_000,)).sum()  # the device is open and all is imported: Python's own locks are no matter of this test
start = mlcore_cpu.memory_stats()["in_use"]
box = queue.Queue(8)
def make():
    for i in range(300): box.put((i, ml.full((20_000 + 64 * i,), i, dtype=ml.float32)))
    box.put(None)
wrong = []
def take():
    while (got := box.get()) is not None:
        i, t = got
        if not (t.numpy() == i).all(): wrong.append(i)
    box.put(None)
threads = [threading.Thread(target=f) for f in (make, take, take)]
for t in threads: t.start()
for _ in range(5):  # a fork while they allocate and free
    child = os.fork()
    if child == 0:
        a = ml.ones((50_000,))
        ok = float((a + a).sum()) == 100_000 and mlcore_cpu.trim_memory() >= 0
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
for t in threads: t.join()
del t
assert not wrong
box.get()
gc.collect()
assert mlcore_cpu.memory_stats()["in_use"] == start, (start, mlcore_cpu.memory_stats())
"""
    run_python(RESIDENT + code, timeout=120)
