"""Datasets made of datasets, caches, files, tables and transforms: values, bad input, and PyTorch's own where it has one."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import data
from mlcore.errors import DataError, MlcoreError

ARROW = importlib.util.find_spec("pyarrow") is not None
PANDAS = importlib.util.find_spec("pandas") is not None
needs_arrow = pytest.mark.skipif(not ARROW, reason="pyarrow is not installed")


class Several(data.Dataset):
    """Loads several samples at once, and counts how often."""

    def __init__(self, size: int = 8) -> None:
        self.size, self.calls = size, 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        return [10 * i for i in index] if isinstance(index, list) else 10 * index

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.calls += 1
        return [10 * i for i in indices]


class Count(data.IterableDataset):
    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Any:
        return iter(range(self.size))


class Sized(Count):
    def __len__(self) -> int:
        return self.size


# -- made of others ---------------------------------------------------------------------------------------------------


def test_several_samples_at_once() -> None:
    inner = Several()
    assert [b.tolist() for b in data.DataLoader(inner, 4)] == [[0, 10, 20, 30], [40, 50, 60, 70]]
    assert inner.calls == 2
    part = data.Subset(inner, [7, 1, 2])
    assert (part[[0, 2]], part.__getitems__([1, 2])) == ([70, 20], [10, 20])
    assert [b.tolist() for b in data.DataLoader(part, 3)] == [[70, 10, 20]]
    stack = data.StackDataset(inner, range(8))
    assert stack.__getitems__([1, 3]) == [(10, 1), (30, 3)]
    assert data.StackDataset(a=inner, b=range(8)).__getitems__([1]) == [{"a": 10, "b": 1}]
    before = inner.calls
    assert [a.tolist() for a, _ in data.DataLoader(stack, 8)] == [[10 * i for i in range(8)]]
    assert inner.calls == before + 1

    class Short(Several):
        def __getitems__(self, indices: list[int]) -> list[Any]:
            return [1]

    with pytest.raises(DataError, match=r"Short.__getitems__ gave 1 samples for 4 indices"):
        list(data.DataLoader(Short(), 4))
    with pytest.raises(DataError, match=r"Short.__getitems__ gave 1 samples for 2 indices"):
        data.StackDataset(Short()).__getitems__([1, 2])


def test_a_subset_that_changes_its_samples_is_asked_for_each() -> None:
    class Doubled(data.Subset[Any]):
        def __getitem__(self, index: Any) -> Any:
            return tuple(2 * one for one in super().__getitem__(index))

    part = Doubled(data.TensorDataset(ml.arange(6)), [4, 5])
    assert [b.tolist() for (b,) in data.DataLoader(part, 2)] == [[8, 10]]


def test_chains_and_maps() -> None:
    chain = data.ChainDataset([Sized(2), Sized(3)])
    assert (list(chain), len(chain)) == ([0, 1, 0, 1, 2], 5)
    assert not hasattr(data.ChainDataset([Sized(2), Count(3)]), "__len__")
    assert list(Count(1) + Count(2)) == [0, 0, 1]
    assert [b.tolist() for b in data.DataLoader(chain, 2)] == [[0, 1], [0, 1], [2]]
    mapped = data.MapDataset(range(4), lambda x: x * x)
    assert (len(mapped), mapped[3]) == (4, 9)
    assert list(data.MapIterableDataset(Count(3), str)) == ["0", "1", "2"]
    assert data.ConcatDataset.cumsum([range(2), range(3)]) == [2, 5]


def test_the_same_as_pytorch() -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    for a, b in [((range(5), range(5, 10)), {}), ((), {"x": range(3), "y": "abc"})]:
        ours, theirs = data.StackDataset(*a, **b), torch_data.StackDataset(*a, **b)
        assert len(ours) == len(theirs)
        assert [ours[i] for i in range(len(ours))] == [theirs[i] for i in range(len(theirs))]
        assert ours.__getitems__([1, 2]) == theirs.__getitems__([1, 2])
    compared = 0
    for size in (1, 2, 7, 10, 101):
        for count in (1, 2, 3, 8):
            for rank in range(count):
                for shuffle in (False, True):
                    for drop in (False, True):
                        for seed, epoch in ((0, 0), (5, 3), (2**32 - 1, 1)):
                            ours = data.DistributedSampler(range(size), count, rank, shuffle, seed, drop)
                            theirs = torch_data.DistributedSampler(
                                range(size), count, rank, shuffle, seed, drop
                            )
                            ours.set_epoch(epoch)
                            theirs.set_epoch(epoch)
                            assert (list(ours), len(ours)) == (list(theirs), len(theirs))
                            compared += 1
    assert compared == 840
    names = {name for name in torch_data.__all__ if name[0] != "_"} - set(data.__all__)
    assert names == {  # DataPipes, which PyTorch has deprecated, and their helpers
        *(
            "DFIterDataPipe",
            "DataChunk",
            "IterDataPipe",
            "MapDataPipe",
            "argument_validation",
            "functional_datapipe",
        ),
        *(
            "guaranteed_datapipes_determinism",
            "non_deterministic",
            "runtime_validation",
            "runtime_validation_disabled",
        ),
    }


def test_the_loader_has_pytorchs_arguments() -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    import inspect

    for name in (
        "DataLoader",
        "DistributedSampler",
        "RandomSampler",
        "WeightedRandomSampler",
        "BatchSampler",
        "SubsetRandomSampler",
        "Subset",
    ):
        ours = inspect.signature(getattr(data, name)).parameters
        theirs = inspect.signature(getattr(torch_data, name)).parameters
        assert list(ours)[: len(theirs)] == list(theirs), name
        assert [ours[one].default for one in theirs] == [theirs[one].default for one in theirs], name
        assert [ours[one].kind for one in theirs] == [theirs[one].kind for one in theirs], name


# -- balanced samplers ------------------------------------------------------------------------------------------------


def test_stratified_batches_have_the_datasets_shares() -> None:
    labels = np.random.default_rng(0).permutation([0] * 600 + [1] * 300 + [2] * 100)
    sampler = data.StratifiedSampler(labels, ml.random.Generator(1))
    order = list(sampler)
    assert sorted(order) == list(range(1000))
    assert list(sampler) != order
    for batch in data.BatchSampler(sampler, 50, False):
        counts = np.bincount(labels[batch], minlength=3)
        assert (abs(counts - [30, 15, 5]) <= 1).all()
    parts = data.stratified_split(range(1000), labels, [0.7, 0.3], ml.random.Generator(2))
    assert sorted([*parts[0].indices, *parts[1].indices]) == list(range(1000))
    assert (abs(np.bincount(labels[parts[1].indices]) - [180, 90, 30]) <= 1).all()


def test_class_balance_and_its_report() -> None:
    labels = ["cat"] * 90 + ["dog"] * 9 + ["owl"]
    sampler = data.ClassBalancedSampler(labels, generator=ml.random.Generator(1))
    report = sampler.report()
    assert (report.classes, report.counts) == (["cat", "dog", "owl"], [90, 9, 1])
    assert sorted(report.drawn) == [33, 33, 34]
    assert report.distinct[1:] == [9, 1]
    assert report.effective[2] == 1
    assert report.imbalance == pytest.approx(34 / 33)
    again = sampler.report()
    assert again == report  # asking moves nothing on
    for batch in data.BatchSampler(sampler, 9, True):
        assert max(np.unique([labels[i] for i in batch], return_counts=True)[1]) <= 4
    under = data.ClassBalancedSampler(labels[:99], replacement=False)
    assert (len(under), under.report().drawn) == (18, [9, 9])
    assert data.class_report(labels).effective == [90, 9, 1]
    assert "owl" in str(report)
    skewed = data.class_report([0, 1], data.WeightedRandomSampler([1.0, 0.0], 4))
    assert (skewed.drawn, skewed.imbalance) == ([4, 0], float("inf"))


def test_groups_and_buckets() -> None:
    groups = np.random.default_rng(1).integers(0, 5, 97)
    for sampler in (data.GroupSampler(groups), data.GroupSampler(groups, shuffle=False)):
        order = list(sampler)
        assert (len(order), sorted(order)) == (97, list(range(97)))
        assert np.count_nonzero(np.diff(groups[order])) == 4
    for drop in (False, True):
        batches = data.GroupBatchSampler(groups, 8, drop, generator=ml.random.Generator(1))
        found = list(batches)
        assert len(found) == len(batches)
        assert all(len(set(groups[batch])) == 1 for batch in found)
        assert drop or sorted(i for batch in found for i in batch) == list(range(97))
        assert not drop or {len(batch) for batch in found} == {8}
    lengths = np.random.default_rng(2).integers(1, 500, 400)
    plain = data.BatchSampler(data.RandomSampler(lengths, generator=ml.random.Generator(1)), 16, False)
    bucketed = data.BucketBatchSampler(lengths, 16, generator=ml.random.Generator(1))
    bounded = data.BucketBatchSampler(lengths, max_total=4000, generator=ml.random.Generator(1))

    def padded(batches: Any) -> int:
        return sum(len(batch) * lengths[batch].max() for batch in batches)

    for one in (bucketed, bounded):
        found = list(one)
        assert len(found) == len(one)
        assert sorted(i for batch in found for i in batch) == list(range(400))
    assert padded(bucketed) < 1.2 * lengths.sum() < padded(plain)
    assert max(len(batch) * lengths[batch].max() for batch in bounded) <= 4000
    loader = data.DataLoader(np.arange(97), batch_sampler=data.GroupBatchSampler(groups, 8))
    assert len(list(loader)) == len(loader)


# -- caches -------------------------------------------------------------------------------------------------------------


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


# -- files -----------------------------------------------------------------------------------------------------------------


def test_numpy_files(tmp_path: Path) -> None:
    x, y = np.arange(40.0).reshape(10, 4), np.arange(10)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "both.npz", x=x, y=y)
    for rows in (
        data.NumpyDataset(tmp_path / "x.npy", tmp_path / "y.npy"),
        data.NumpyDataset(tmp_path / "both.npz"),
        data.NumpyDataset(tmp_path / "x.npy", tmp_path / "y.npy", mmap=False),
    ):
        assert len(rows) == 10
        assert rows[-1][0].tolist() == x[-1].tolist()
        a, b = rows.batch(np.asarray([7, -1, 2, 2]))
        assert (a.tolist(), b.tolist()) == (x[[7, 9, 2, 2]].tolist(), [7, 9, 2, 2])
        assert len(pickle.dumps(rows)) < 1000
        for options in (dict(), dict(num_workers=2), dict(num_workers=2, multiprocessing_context="fork")):
            loader = data.DataLoader(rows, 3, True, generator=ml.random.Generator(1), **options)
            found = [(u.tolist(), v.tolist()) for u, v in loader]
            assert all(u == x[v].tolist() for u, v in found)
            assert sorted(i for _, v in found for i in v) == list(range(10))
    assert isinstance(data.NumpyDataset(tmp_path / "x.npy").arrays[0], np.memmap)
    x.tofile(tmp_path / "x.bin")
    raw = data.MemmapDataset(tmp_path / "x.bin", np.float64, (-1, 4))
    assert (len(raw), raw[9].tolist()) == (10, x[9].tolist())
    assert [b.shape for b in data.DataLoader(raw, 5)] == [(5, 4)] * 2
    assert data.MemmapDataset(tmp_path / "x.bin", np.float64, (3, 4), offset=32)[0].tolist() == x[1].tolist()
    paths = data.save_arrays(data.TensorDataset(x, y), tmp_path / "out", ["x", "y"])
    assert [path.name for path in paths] == ["x.npy", "y.npy"]
    assert (np.load(paths[0]) == x).all()


def test_files_larger_than_what_is_read(tmp_path: Path) -> None:
    """A mapped file of 1 GiB (of holes) costs no memory."""
    np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.uint8, (1 << 20, 1 << 10))
    rows = data.NumpyDataset(tmp_path / "big.npy")
    assert next(iter(data.DataLoader(rows, 16, True))).shape == (16, 1024)


# -- tables -------------------------------------------------------------------------------------------------------------------

CSV = "x,name,flag,y\n1,a b,true,0.5\n2,c,false,\n-3,d,true,1e3\n"
ENGINES = ["python", *(["pyarrow"] if ARROW else []), *(["pandas"] if PANDAS else []), "auto"]


@pytest.mark.parametrize("engine", ENGINES)
def test_csv(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(CSV, encoding="utf-8")
    table = data.read_csv(path, engine=engine)
    assert len(table) == 3
    assert {**table[0]} == {"x": 1, "name": "a b", "flag": True, "y": 0.5}
    assert np.isnan(table[1]["y"])
    batch = table.batch(np.asarray([2, 0]))
    assert (batch["x"].tolist(), batch["x"].dtype, batch["name"]) == ([-3, 1], ml.int64, ["d", "a b"])
    assert (batch["y"].dtype, batch["flag"].dtype) == (ml.float64, ml.bool)
    (whole,) = data.DataLoader(table, 3)
    assert whole["x"].tolist() == [1, 2, -3]
    assert list(data.read_csv(path, ["y", "x"], engine=engine).columns) == ["y", "x"]
    features, target = table.tensors(["x", "y"], "flag")[2]
    assert (features.tolist(), features.dtype, target.item()) == ([-3.0, 1000.0], ml.float32, True)
    (tmp_path / "n.csv").write_text("1;2\n3;4\n", encoding="utf-8")
    assert data.read_csv(tmp_path / "n.csv", delimiter=";", header=False, engine=engine)[1] == {
        "0": 3,
        "1": 4,
    }


@needs_arrow
def test_parquet_and_arrow(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    table = pyarrow.table(
        {
            "x": np.arange(100), "name": [f"n{i}" for i in range(100)], "v": [[i, i + 1.0] for i in range(100)],
            "hole": [None if i == 3 else i for i in range(100)],
        }
    )  # fmt: skip
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=30)
    pyarrow.feather.write_feather(table, tmp_path / "t.arrow", compression="uncompressed")
    for found in (data.read_parquet(tmp_path / "t.parquet"), data.read_arrow(tmp_path / "t.arrow")):
        assert len(found) == 100
        row = found[7]
        assert (row["x"], row["name"], row["v"].tolist(), row["hole"]) == (7, "n7", [7.0, 8.0], 7.0)
        assert np.isnan(found[3]["hole"])
        (batch,) = data.DataLoader(found, 100)
        assert batch["v"].shape == (100, 2)
    assert list(data.read_parquet(tmp_path / "t.parquet", ["v"]).columns) == ["v"]
    assert list(data.read_arrow(tmp_path / "t.arrow", ["x"]).columns) == ["x"]
    stream = data.ParquetStream(tmp_path / "t.parquet", tmp_path / "t.parquet", columns=["x"], rows=7)
    assert [row["x"] for row in stream] == [*range(100)] * 2
    for options in (dict(), dict(num_workers=2), dict(num_workers=2, multiprocessing_context="fork")):
        loader = data.DataLoader(stream, 6, **options)
        seen = []
        for batch in loader:
            seen += batch["x"].tolist()
            if len(seen) >= 120:
                break
        again = data.DataLoader(
            data.ParquetStream(tmp_path / "t.parquet", tmp_path / "t.parquet", columns=["x"]), 6, **options
        )
        again.load_state_dict(loader.state_dict())
        rest = [i for batch in again for i in batch["x"].tolist()]
        assert seen + rest == [*range(100)] * 2
    for i in range(0, 200, 13):
        stream.load_state_dict({"place": i})
        assert [row["x"] for row in stream] == ([*range(100)] * 2)[i:]


def test_without_pyarrow_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("pyarrow", "pyarrow.parquet", "pyarrow.feather"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (data.read_parquet, data.read_arrow, data.ParquetStream):
        with pytest.raises(DataError, match=r"needs pyarrow(.|\n)*pip install pyarrow"):
            call(tmp_path / "x")


# -- transforms ----------------------------------------------------------------------------------------------------------------


def test_transforms() -> None:
    Point = namedtuple("Point", "x y")
    assert data.OnField("x", abs)({"x": -1, "y": 2}) == {"x": 1, "y": 2}
    assert data.OnField(1, abs)(Point(-1, -2)) == Point(-1, 2)
    assert data.OnField(0, abs)([-1]) == [1]
    image = np.random.default_rng(0).random((3, 4, 5))
    done = data.Normalize([0.1, 0.2, 0.3], [1, 2, 4])(image)
    np.testing.assert_allclose(
        done, (image - np.reshape([0.1, 0.2, 0.3], (3, 1, 1))) / np.reshape([1, 2, 4], (3, 1, 1))
    )
    assert data.Normalize(0.5, 2.0)(np.full((2,), 3, np.uint8)).dtype == np.float32
    assert data.Normalize([1.0, 2.0], [1.0, 1.0], axis=-1)(ml.ones((3, 2))).tolist() == [[0.0, -1.0]] * 3
    chain = data.Compose(
        [
            data.Lambda(abs, "abs"),
            data.Identity(),
            data.RandomApply([abs], 0.5),
            data.RandomChoice([abs]),
            data.RandomOrder([abs]),
        ]
    )
    assert (
        repr(chain)
        == "Compose([Lambda(abs), Identity(), RandomApply(Compose([abs]), p=0.5), RandomChoice([abs]), RandomOrder([abs])])"
    )
    assert chain(-4) == 4
    assert pickle.loads(pickle.dumps(chain))(-4) == 4


@pytest.mark.parametrize(
    "options", [dict(num_workers=2), dict(num_workers=2, multiprocessing_context="fork"), dict(num_workers=1)]
)
def test_random_transforms_do_not_depend_on_the_workers(options: dict[str, Any]) -> None:
    chain = data.Compose(
        [
            data.RandomApply([lambda x: x + 1000]),
            data.RandomChoice([lambda x: x, lambda x: x + 10_000], p=[0.25, 0.75]),
            data.RandomOrder([lambda x: x * 2, lambda x: x + 1]),
        ]
    )

    def run(**more: Any) -> list[Any]:
        loader = data.DataLoader(
            data.MapDataset(range(200), chain), 8, True, generator=ml.random.Generator(2), **more
        )
        return [batch.tolist() for batch in loader]

    first = run()
    assert run(**options) == first
    values = np.sort(np.concatenate(first))
    assert 60 < (values % 10_000 >= 1000).sum() < 140
    assert 120 < (values >= 10_000).sum() < 180


def test_padding() -> None:
    samples = [{"t": np.arange(3), "n": 1}, {"t": np.arange(5), "n": 2}]
    batch = data.PadCollate()(samples)
    assert batch["t"].tolist() == [[0, 1, 2, 0, 0], [0, 1, 2, 3, 4]]
    assert batch["n"].tolist() == [1, 2]
    tensors, lengths = data.PadCollate(-1.0, lengths=True)([ml.ones((2, 1)), ml.ones((1, 3))])
    assert tensors.tolist() == [[[1, -1, -1], [1, -1, -1]], [[1, 1, 1], [-1, -1, -1]]]
    assert lengths.tolist() == [2, 1]
    loader = data.DataLoader(
        [np.ones(i + 1) for i in range(6)],
        3,
        num_workers=2,
        multiprocessing_context="fork",
        collate_fn=data.PadCollate(),
    )
    assert [one.shape for one in loader] == [(3, 3), (3, 6)]


# -- progress ------------------------------------------------------------------------------------------------------------------


def test_progress(tmp_path: Path) -> None:
    script = tmp_path / "bar.py"
    script.write_text(
        "from mlcore import data\n"
        "print(list(data.progress(range(3), 'epoch 1', disable=False)))\n"
        "loader = data.DataLoader(range(4), None, progress='train')\n"
        "print(list(loader), list(data.progress(x for x in range(2))))\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["[0, 1, 2]", "[0, 1, 2, 3] [0, 1]"]
    assert "epoch 1" in done.stderr
    assert "3/3" in done.stderr
    assert "train" not in done.stderr  # no terminal


# -- what is refused ------------------------------------------------------------------------------------------------------------

WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda: data.StackDataset(), ValueError, "no datasets given"),
    (lambda: data.StackDataset([1], a=[1]), ValueError, "both positional and named"),
    (lambda: data.StackDataset([1], [1, 2]), ValueError, "lengths differ: 0 has 1, 1 has 2"),
    (lambda: data.ChainDataset([[1]]), TypeError, "dataset 0 is a list, no IterableDataset"),
    (lambda: data.ConcatDataset([Count(1)]), ValueError, "dataset 0 is an IterableDataset"),
    (lambda: data.MapDataset([1], 5), TypeError, "function is a int"),
    (lambda: data.MapDataset(Count(1), abs), TypeError, "an IterableDataset has no numbers"),
    (lambda: data.MemoryCache(Count(1)), TypeError, "a Count has no samples by number"),
    (lambda: data.MemoryCache([1], limit="many"), ValueError, "limit is 'many'"),
    (lambda: data.MemoryCache([1], limit=-1), ValueError, "limit is -1"),
    (lambda: data.MemoryCache([1])[1], IndexError, "index 1 out of range for 1 samples"),
    (lambda: data.MemoryCache([1])["a"], TypeError, "index 'a' is a str"),
    (lambda: data.DiskCache([object()], "c")[0], ValueError, "cannot keep a builtins.object in a file"),
    (lambda: data.DiskCache([(1, {"a": np.asarray(["x"])})], "c")[0], ValueError, r"dtype <U1 in a file \(sample\[1\]\['a'\]\)"),
    (lambda: data.NumpyDataset(), ValueError, "no files given"),
    (lambda: data.NumpyDataset("none.npy"), FileNotFoundError, "none.npy"),
    (lambda: data.NumpyDataset("text.npy"), ValueError, "text.npy is no NumPy file"),
    (lambda: data.NumpyDataset("objects.npy"), ValueError, "objects.npy is no NumPy file of numbers"),
    (lambda: data.NumpyDataset("a.npy", "b.npy"), ValueError, r"a.npy \(3,\), b.npy \(4,\)"),
    (lambda: data.NumpyDataset("a.npy")[3], IndexError, "index 3 out of range for 3 samples"),
    (lambda: data.NumpyDataset("a.npy").batch(np.asarray([1, 5])), IndexError, "index 5 out of range"),
    (lambda: data.MemmapDataset("a.npy", np.int64, (99, 4)), ValueError, "99 rows need 3168 bytes"),
    (lambda: data.MemmapDataset("a.npy", np.int64, (-1, 7)), ValueError, "the last row is not whole"),
    (lambda: data.MemmapDataset("a.npy", object, (-1,)), ValueError, "dtype object"),
    (lambda: data.save_arrays([], "o"), ValueError, "the dataset is empty"),
    (lambda: data.save_arrays([1, 2.5], "o"), ValueError, "sample 1 has the form"),
    (lambda: data.save_arrays([1], "o", ["a", "b"]), ValueError, "2 names for 1 parts"),
    (lambda: data.TableDataset({}), ValueError, "no columns"),
    (lambda: data.TableDataset({"a": [1], "b": [1, 2]}), ValueError, "a has 1, b has 2"),
    (lambda: data.TableDataset({"a": 1}), ValueError, "'a' is a single value"),
    (lambda: data.TableDataset({"age": [1]}).column("aeg"), ValueError, "no column 'aeg'; did you mean 'age'"),
    (lambda: data.TableDataset({"a": ["x"]}).tensors(["a"]), ValueError, "column 'a' holds object"),
    (lambda: data.TableDataset({"a": [1]}).tensors([]), ValueError, "no features"),
    (lambda: data.read_csv("t.csv", engine="excel"), ValueError, "engine is 'excel'"),
    (lambda: data.read_csv("t.csv", delimiter="||"), ValueError, r"delimiter is '\|\|'"),
    (lambda: data.read_csv("none.csv"), FileNotFoundError, "none.csv"),
    (lambda: data.read_csv("empty.csv"), ValueError, "empty.csv is empty"),
    (lambda: data.read_csv("ragged.csv", engine="python"), ValueError, "row 2 has 3 fields, there are 2 columns"),
    (lambda: data.read_csv("ragged.csv"), ValueError, "ragged.csv cannot be read|row 2 has 3 fields"),
    (lambda: data.read_csv("t.csv", ["q"]), ValueError, "t.csv has no column 'q'"),
    (lambda: data.StratifiedSampler([[1]]), ValueError, r"labels of shape \(1, 1\)"),
    (lambda: data.StratifiedSampler([]), ValueError, "labels|empty"),
    (lambda: data.ClassBalancedSampler([0, 1], 5, replacement=False), ValueError, "the smallest of 2 classes has 1"),
    (lambda: data.ClassBalancedSampler([0, 1], 0), ValueError, "num_samples is 0"),
    (lambda: data.GroupBatchSampler([0, 1], 2, drop_last=True), ValueError, "no group has 2 samples"),
    (lambda: data.GroupBatchSampler([0, 1], 0), ValueError, "batch_size is 0"),
    (lambda: data.BucketBatchSampler([1, 2]), ValueError, "neither batch_size nor max_total"),
    (lambda: data.BucketBatchSampler([1, 9], max_total=5), ValueError, "sample 1 is 9 long, max_total is 5"),
    (lambda: data.BucketBatchSampler([1, 9], 2, boundaries=[5, 3]), ValueError, r"boundaries \[5, 3\]"),
    (lambda: data.BucketBatchSampler([1, -9], 2), ValueError, "finite numbers >= 0"),
    (lambda: data.stratified_split([1], [0, 1], [1.0]), ValueError, "2 labels for 1 samples"),
    (lambda: data.class_report([0, 1], [5]), ValueError, "index 5, there are 2 labels"),
    (lambda: data.DistributedSampler([1], 2, 2), ValueError, "rank is 2 of 2"),
    (lambda: data.DistributedSampler([1], 0, 0), ValueError, "num_replicas is 0"),
    (lambda: data.DistributedSampler([], 1, 0), ValueError, "the dataset is empty"),
    (lambda: data.Compose(abs), ValueError, "transforms is <built-in function abs>"),
    (lambda: data.Compose([1]), TypeError, "transform 0 is a int"),
    (lambda: data.RandomApply([abs], 2), ValueError, "p is 2"),
    (lambda: data.RandomChoice([abs], [1, 2]), ValueError, r"p is \[1, 2\] for 1 transforms"),
    (lambda: data.RandomChoice([]), ValueError, r"transforms is \[\]"),
    (lambda: data.Normalize(0.0, 0.0), ValueError, "std 0.0"),
    (lambda: data.OnField("a", abs)(5), TypeError, "the sample is a int"),
    (lambda: data.PadCollate()([]), ValueError, "a batch of no samples"),
    (lambda: data.default_collate([]), ValueError, "a batch of no samples"),
    (lambda: data.PadCollate()([np.zeros(2), np.zeros((2, 2))]), ValueError, "ragged batch: dimensions"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    np.save(tmp_path / "a.npy", np.arange(3))
    np.save(tmp_path / "b.npy", np.arange(4))
    np.save(tmp_path / "objects.npy", np.asarray([object()], dtype=object), allow_pickle=True)
    for name, text in {
        "text.npy": "no",
        "t.csv": CSV,
        "empty.csv": "",
        "ragged.csv": "a,b\n1,2\n1,2,3\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text for _, _, text in WRONG])
def test_refusals(call: Any, kind: type[Exception], text: str, folder: Path) -> None:
    with pytest.raises(kind, match=text) as caught:
        call()
    assert isinstance(caught.value, (MlcoreError, FileNotFoundError))


def test_distributed_numbers_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "4")
    monkeypatch.setitem(os.environ, "RANK", "3")
    sampler = data.DistributedSampler(range(8), shuffle=False)
    assert (sampler.num_replicas, sampler.rank, list(sampler)) == (4, 3, [3, 7])
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    assert list(data.DistributedSampler(range(3), shuffle=False)) == [0, 1, 2]


def test_a_field_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError) as caught:
        data.OnField("b", abs)({"a": 1})
    assert caught.value.__notes__ == ["while OnField('b', abs) was applied to a dict with the keys 'a'"]
