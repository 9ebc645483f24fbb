"""The pool: reuse, statistics, and what happens where there is no room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mlcore_oneapi.memory import Pool, size_class

import mlcore as ml
from mlcore.errors import OutOfMemoryError


def test_size_classes_waste_little() -> None:
    sizes = np.unique(np.geomspace(1, 2**40, 4000).astype(np.int64))
    classes = [size_class(int(n)) for n in sizes]
    assert all(c >= n for c, n in zip(classes, sizes))
    assert classes == sorted(classes)
    assert max(c / n for c, n in zip(classes, sizes) if n > 256) <= 1.25
    assert max(c / n for c, n in zip(classes, sizes) if n > 1 << 20) <= 1.126
    assert all(size_class(c) == c for c in classes)


def test_a_block_is_used_again_and_given_back() -> None:
    made: list[int] = []

    def make(size: int) -> bytearray:
        made.append(size)
        return bytearray(1)

    pool = Pool(make, lambda error: False, 1 << 30)
    for _ in range(10):
        pool.take(5000)
    assert len(made) == 1
    held = [pool.take(5000) for _ in range(3)]
    assert len(made) == 3
    stats = pool.stats()
    assert stats.in_use == stats.reserved == stats.peak == 3 * size_class(5000)
    del held
    assert pool.stats().in_use == 0
    assert pool.release() == 3 * size_class(5000)
    assert pool.stats().reserved == 0


def test_a_full_device_gets_its_cache_back_first() -> None:
    room = [10_000]

    class Full(Exception):
        pass

    class Piece:
        def __init__(self, size: int) -> None:
            if size > room[0]:
                raise Full
            self.size = size
            room[0] -= size

        def __del__(self) -> None:
            room[0] += getattr(self, "size", 0)

    pool = Pool(Piece, lambda error: isinstance(error, Full), 1 << 30)
    pool.take(4096)
    pool.take(3000)  # both are kept now
    assert pool.take(8192).size == 8192  # only fits after they are gone
    with pytest.raises(Full):
        pool.take(1 << 20)


def test_the_limit_holds() -> None:
    pool = Pool(bytearray, lambda error: False, 4096)
    held = pool.take(4096)
    with pytest.raises(MemoryError, match="4,096 of 4,096"):
        pool.take(256)
    del held
    assert pool.take(1024).size == 1024


def test_statistics_of_a_device(device: Any) -> None:
    backend = device.backend
    backend.synchronize()
    before = backend.memory_stats().in_use
    x = ml.ones((1024, 1024), device=device)
    assert backend.memory_stats().in_use - before >= 1 << 22
    del x
    assert backend.memory_stats().in_use == before
    assert ml.empty_cache(device) > 0 or backend.memory_stats().reserved == before


def test_no_room_is_an_error_that_people_catch(device: Any) -> None:
    kept = ml.arange(10, device=device)
    with pytest.raises(OutOfMemoryError):
        ml.zeros((1 << 44,), device=device)
    with pytest.raises(MemoryError) as caught:
        device.backend.empty((1 << 44,), ml.float32)
    text = str(caught.value)
    assert "no room for" in text
    assert "in use" in text
    assert "fix:" in text
    assert (kept + 1).tolist() == list(range(1, 11))


def test_a_limit_by_variable(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore_oneapi.queue import Queue

    monkeypatch.setenv("MLCORE_ONEAPI_MEMORY_LIMIT", "100000")
    queue = Queue(device.backend.queue.device, "oneapi:small")
    held = queue.take(90_000)
    with pytest.raises(OutOfMemoryError, match="no room for 90,000 bytes"):
        queue.take(90_000)
    del held
    assert queue.take(90_000).size >= 90_000
