"""Caches of samples, in memory and on disk."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import data


class Slow(data.Dataset):
    """Counts what is loaded."""

    def __init__(self, size: int = 6) -> None:
        self.size, self.loaded = size, []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        self.loaded.append(index)
        return {
            "x": np.full((100,), index, np.float32), "t": (ml.full((3,), float(index), dtype=ml.bfloat16), [index, 2.5, True, None, "é", b"\0x"]),
            "s": np.float64(index), "e": np.zeros((0, 2), np.int8), "z": np.array(3 + 4j),
        }  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "dtype"):
        return bool(a.dtype == b.dtype and a.shape == b.shape and (np.asarray(a) == np.asarray(b)).all())
    return bool(a == b)


def test_memory_cache() -> None:
    inner = Slow()
    cache = data.MemoryCache(inner, limit=2000)
    assert same(cache[1], Slow()[1])
    assert same(cache[1], Slow()[1])
    assert same(cache[-5], Slow()[1])
    assert (inner.loaded, cache.hits, cache.misses) == ([1], 2, 1)
    for i in range(6):
        assert same(cache[i], Slow()[i])
    assert cache.size <= 2000
    assert 0 < len(cache.kept) < 6
    with pytest.raises(ValueError, match="read-only"):
        cache[5]["x"][0] = 7
    copy = pickle.loads(pickle.dumps(cache))
    assert len(copy.kept) == 0
    assert len(list(data.DataLoader(data.MemoryCache(np.arange(50)), 5, num_workers=3))) == 10
    cache.clear()
    assert cache.size == 0


def test_disk_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inner = Slow()
    cache = data.DiskCache(inner, tmp_path)
    for _ in range(2):
        assert all(same(cache[i], Slow()[i]) for i in range(6))
    assert (inner.loaded, cache.hits, cache.misses) == (list(range(6)), 6, 6)
    later = data.DiskCache(Slow(), tmp_path)  # another program
    assert all(same(later[i], Slow()[i]) for i in range(6))
    assert later.dataset.loaded == []
    assert data.DiskCache(Slow(), tmp_path, version=2)[0]["s"] == 0
    path = cache.path(3)
    content = path.read_bytes()
    damages = 0
    for place in range(0, len(content), 7):  # no damage goes unnoticed
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert same(cache[3], Slow()[3])
        damages += 1
    path.write_bytes(content[:100])
    assert same(cache[3], Slow()[3])
    assert len(caplog.records) == damages + 1 == len(inner.loaded) - 6
    assert "sample 3 is made again" in caplog.text
    assert path.read_bytes() == content
    assert (
        len(list(data.DataLoader(cache, 2, num_workers=2, multiprocessing_context="fork", collate_fn=list)))
        == 3
    )
    cache.clear()
    assert not list(tmp_path.iterdir())
    keyed = data.DiskCache([5, 6], tmp_path, key=lambda i: "one")
    assert (keyed[0], keyed[1]) == (5, 5)


def test_disk_cache_keeps_its_limit(tmp_path: Path) -> None:
    inner = data.MapDataset(range(60), lambda i: np.full((1000,), i))
    caches = [data.DiskCache(inner, tmp_path, limit="100 kB") for _ in range(2)]

    def read(cache: Any) -> None:
        for i in range(60):
            assert cache[i][0] == i

    threads = [threading.Thread(target=read, args=(one,)) for one in caches]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert 20_000 < sum(path.stat().st_size for path in tmp_path.iterdir()) <= 120_000
    fresh = data.DiskCache(inner, tmp_path, limit="100 kB")
    fresh[59]
    assert fresh.hits == 1  # the most recent are still there
    tiny = data.DiskCache(inner, tmp_path / "t", limit=100)
    assert tiny[3][0] == 3
    assert not list((tmp_path / "t").iterdir())
