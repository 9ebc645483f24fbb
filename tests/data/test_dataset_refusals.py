"""What datasets, samplers, caches, readers and transforms refuse: one clear error with the values."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore import data
from mlcore.errors import MlcoreError

CSV = "x,name,flag,y\n1,a b,true,0.5\n2,c,false,\n-3,d,true,1e3\n"


class Count(data.IterableDataset):
    def __init__(self, size: int) -> None:
        self.size = size


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
