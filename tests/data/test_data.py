"""Datasets, samplers, collation and the loader: order, seeds, workers, errors, interruption."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import data
from mlcore.errors import DataError, MlcoreError

WORKERS = [0, 1, 3]


class Squares(data.Dataset):
    def __init__(self, size: int = 10) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return ml.full((2,), float(index)), index * index


class Fails(Squares):
    def __getitem__(self, index: int) -> Any:
        if index == 7:
            return self.deep(index)
        return super().__getitem__(index)

    def deep(self, index: int) -> Any:
        raise RuntimeError("broken file")


def rows(loader: Any) -> list[Any]:
    return [batch[1].tolist() for batch in loader]


# -- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_order_and_length(workers: int, device: str) -> None:
    loader = data.DataLoader(Squares(), batch_size=4, num_workers=workers)
    assert rows(loader) == [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81]]
    assert len(loader) == 3
    assert [b[0].shape for b in loader] == [(4, 2), (4, 2), (2, 2)]
    assert all(str(b[0].device) == device.split(":")[0] for b in loader)
    dropped = data.DataLoader(Squares(), batch_size=4, drop_last=True, num_workers=workers)
    assert (len(dropped), len(rows(dropped))) == (2, 2)


def test_shuffling_depends_on_the_generator_alone() -> None:
    def order(workers: int, seed: int, whole: bool) -> list[Any]:
        dataset: Any = (
            data.TensorDataset(ml.arange(20), ml.arange(20)) if whole else [(i, i) for i in range(20)]
        )
        loader = data.DataLoader(
            dataset, 3, shuffle=True, num_workers=workers, generator=ml.random.Generator(seed)
        )
        return [rows(loader), rows(loader)]

    first = order(0, 5, False)
    assert sorted(itertools.chain(*first[0])) == list(range(20))
    assert first[0] != first[1]  # a new order each epoch
    for workers, whole in itertools.product(WORKERS, (False, True)):
        assert order(workers, 5, whole) == first
    assert order(0, 6, False) != first


def test_shuffling_uses_the_default_generator() -> None:
    found = []
    for where in dict.fromkeys(["reference:0", ml.default_device().id]):
        with ml.device(where):
            ml.manual_seed(4)
            found.append(rows(data.DataLoader(Squares(), 5, shuffle=True, num_workers=2)))
    ml.manual_seed(5)
    assert rows(data.DataLoader(Squares(), 5, shuffle=True)) != found[0]
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("workers", WORKERS)
def test_augmentation_is_the_same_for_any_number_of_workers(workers: int) -> None:
    class Noisy(Squares):
        def __getitem__(self, index: int) -> Any:
            time.sleep(0.001 * (index % 3))
            return ml.random.normal((3,), generator=data.sample_generator()), index

    def run(count: int) -> list[Any]:
        loader = data.DataLoader(
            Noisy(12), 4, shuffle=True, num_workers=count, generator=ml.random.Generator(1)
        )
        return [batch[0].tolist() for batch in loader]

    assert run(workers) == run(0)
    flat = [tuple(v) for batch in run(0) for v in batch]
    assert len(set(flat)) == 12  # no sample gets another one's numbers


def test_tensor_dataset_makes_a_batch_with_one_gather_a_tensor(device: str) -> None:
    from mlcore import dispatch

    x, y = ml.random.normal((50, 3)), ml.arange(50)
    loader = data.DataLoader(data.TensorDataset(x, y), batch_size=10, shuffle=True)
    seen: list[str] = []

    def watch(op: Any, inputs: Any, params: Any, proceed: Any) -> Any:
        seen.append(op.name)
        return proceed()

    batches = iter(loader)
    with dispatch.intercept(watch):
        images, labels = next(batches)
    assert seen == ["gather", "gather"]
    np.testing.assert_array_equal(images.numpy(), x.numpy()[labels.numpy()])
    part = data.DataLoader(data.Subset(data.TensorDataset(x, y), range(30, 40)), batch_size=5)
    assert rows(part) == [list(range(30, 35)), list(range(35, 40))]
    assert part.dataset[3][1].item() == 33


def test_samplers(device: str) -> None:
    g = ml.random.Generator
    assert list(data.SequentialSampler(range(3))) == [0, 1, 2]
    assert len(list(data.RandomSampler(range(5), num_samples=12, generator=g(1)))) == 12
    assert sorted(data.RandomSampler(range(5), num_samples=5, generator=g(1))) == [0, 1, 2, 3, 4]
    replaced = list(data.RandomSampler(range(5), replacement=True, num_samples=400, generator=g(1)))
    assert set(replaced) == {0, 1, 2, 3, 4}
    assert sorted(data.SubsetRandomSampler([4, 8, 9], generator=g(1))) == [4, 8, 9]
    assert list(data.BatchSampler(data.SequentialSampler(range(5)), 2, True)) == [[0, 1], [2, 3]]
    counts = np.bincount(list(data.WeightedRandomSampler([1, 0, 3], 4000, generator=g(2))), minlength=3)
    assert counts[1] == 0
    assert abs(counts[2] / counts[0] - 3) < 0.4
    assert sorted(data.WeightedRandomSampler([1, 0, 3, 2], 3, replacement=False, generator=g(2))) == [0, 2, 3]
    loader = data.DataLoader(Squares(), 2, sampler=[3, 1, 2])
    assert rows(loader) == [[9, 1], [4]]
    assert len(loader) == 2
    assert rows(data.DataLoader(Squares(), batch_sampler=[[1, 2], [3]])) == [[1, 4], [9]]
    assert list(data.DataLoader([5, 6], batch_size=None)) == [5, 6]


def test_splits() -> None:
    g = ml.random.Generator
    a, b = data.random_split(range(10), [7, 3], generator=g(3))
    assert sorted([a[i] for i in range(7)] + [b[i] for i in range(3)]) == list(range(10))
    again, _ = data.random_split(range(10), [7, 3], generator=g(3))
    assert list(a.indices) == list(again.indices)
    assert [len(p) for p in data.random_split(range(11), [0.5, 0.25, 0.25])] == [6, 3, 2]
    both = data.ConcatDataset([range(3), range(10, 12)])
    assert [both[i] for i in range(-5, 5)] == [0, 1, 2, 10, 11] * 2
    assert len(Squares() + Squares(3)) == 13


def test_collation(device: str) -> None:
    Point = namedtuple("Point", "x y")
    batch = data.default_collate(
        [
            {"a": Point(1, 2.5), "b": ["t", True], "c": np.float64(2)},
            {"a": Point(3, 4.5), "b": ["u", False], "c": np.float64(3)},
        ]
    )
    assert type(batch["a"]) is Point
    assert (batch["a"].x.tolist(), batch["a"].x.dtype) == ([1, 3], ml.int64)
    assert (batch["a"].y.tolist(), batch["a"].y.dtype) == ([2.5, 4.5], ml.float32)
    assert batch["b"][0] == ["t", "u"]
    assert batch["b"][1].dtype is ml.bool
    assert batch["c"].dtype is ml.float64
    arrays = data.default_collate([np.zeros((2, 3), np.uint8)] * 4)
    assert (arrays.shape, arrays.dtype) == ((4, 2, 3), ml.uint8)
    assert data.default_convert((np.ones(2), {"a": np.zeros(1)}, "x"))[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("workers", WORKERS)
def test_iterable_dataset(workers: int) -> None:
    class Stream(data.IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(7))

    loader = data.DataLoader(Stream(), batch_size=3, num_workers=workers)
    assert [b.tolist() for b in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [b.tolist() for b in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [
        b.tolist() for b in data.DataLoader(Stream(), batch_size=3, num_workers=workers, drop_last=True)
    ] == [[0, 1, 2], [3, 4, 5]]
    assert list(data.DataLoader(Stream(), batch_size=None, num_workers=workers)) == list(range(7))
    with pytest.raises(TypeError, match="no __len__"):
        len(loader)


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_keeps_its_class_traceback_and_names_the_sample(workers: int) -> None:
    found: list[Any] = []
    with pytest.raises(RuntimeError, match="broken file") as caught:
        found.extend(data.DataLoader(Fails(), 4, num_workers=workers))
    assert len(found) == 1  # the batches before it came
    assert "while loading sample 7 of Fails" in caught.value.__notes__
    assert "deep" in [entry.name for entry in caught.traceback]
    assert not [t for t in threading.enumerate() if t.name.startswith("mlcore-loader") and _alive(t)]


def _alive(thread: threading.Thread) -> bool:
    thread.join(2)
    return thread.is_alive()


@pytest.mark.parametrize("workers", WORKERS)
def test_a_lying_length(workers: int) -> None:
    class Short(Squares):
        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> Any:
            return [10, 20, 30][index]

    with pytest.raises(
        DataError, match=r"sample 3 of Short, whose length is 12, raised IndexError(.|\n)*__len__ promises"
    ):
        list(data.DataLoader(Short(), 2, num_workers=workers))

    class Stream(data.IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(5))

        def __len__(self) -> int:
            return 9

    with pytest.raises(DataError, match="Stream gave 5 samples, its length is 9"):
        list(data.DataLoader(Stream(), 2, num_workers=workers))


@pytest.mark.parametrize("workers", WORKERS)
def test_a_ragged_batch(workers: int) -> None:
    class Ragged(Squares):
        def __getitem__(self, index: int) -> Any:
            return {"x": (ml.zeros((2 + (index == 5),)), 1)}

    with pytest.raises(
        DataError, match=r"ragged batch\['x'\]\[0\]: shape \(2,\) of sample 0 and \(3,\) of sample 1"
    ) as caught:
        list(data.DataLoader(Ragged(), 4, num_workers=workers))
    assert "samples 4, 5, 6, 7 of Ragged" in caught.value.__notes__[0]


WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda: data.DataLoader([]), ValueError, "the dataset is empty: list of length 0"),
    (lambda: data.DataLoader([1], 0), ValueError, "batch_size is 0"),
    (lambda: data.DataLoader([1], 2.5), ValueError, "batch_size is 2.5"),
    (lambda: data.DataLoader([1], num_workers=-1), ValueError, "num_workers is -1"),
    (lambda: data.DataLoader([1], timeout=-1), ValueError, "timeout is -1"),
    (lambda: data.DataLoader([1], prefetch_factor=0), ValueError, "prefetch_factor is 0"),
    (lambda: data.DataLoader([1], shuffle=True, sampler=[0]), ValueError, "both sampler and shuffle"),
    (lambda: data.DataLoader([1], 2, batch_sampler=[[0]]), ValueError, "batch_sampler together with"),
    (lambda: data.DataLoader([1], None, drop_last=True), ValueError, "batch_size=None with drop_last"),
    (lambda: data.DataLoader(iter([1]), shuffle=True), ValueError, "shuffle or a sampler with an iterable"),
    (lambda: data.DataLoader(5), TypeError, "a int is no dataset"),
    (lambda: data.TensorDataset(), ValueError, "no tensors given"),
    (lambda: data.TensorDataset(ml.zeros((3,)), ml.zeros((4,))), ValueError, r"tensors of shapes \(3,\), \(4,\)"),
    (lambda: data.TensorDataset(ml.zeros(())), ValueError, "same first dimension"),
    (lambda: data.TensorDataset(ml.zeros((3,)))[5], IndexError, "index 5 out of range"),
    (lambda: data.TensorDataset(ml.zeros((3,))).batch(np.array([0, 3])), IndexError, "index 3 out of range for 3 samples"),
    (lambda: data.ConcatDataset([]), ValueError, "no datasets"),
    (lambda: data.ConcatDataset([[1]])[1], IndexError, "index 1 out of range for 1 samples"),
    (lambda: data.random_split(range(5), [2, 2]), ValueError, r"lengths \[2, 2\] for 5 samples"),
    (lambda: data.random_split(range(5), [-1, 6]), ValueError, r"lengths \[-1, 6\]"),
    (lambda: data.RandomSampler([]), ValueError, "the dataset is empty"),
    (lambda: data.RandomSampler([1], num_samples=0), ValueError, "num_samples is 0"),
    (lambda: data.BatchSampler([1], 0, False), ValueError, "batch_size is 0"),
    (lambda: data.WeightedRandomSampler([0.0, 0.0], 1), ValueError, "weights must be"),
    (lambda: data.WeightedRandomSampler([1.0, float("nan")], 1), ValueError, "weights must be"),
    (lambda: data.WeightedRandomSampler([1.0, 0.0], 2, replacement=False), ValueError, "2 samples without replacement of 1"),
    (lambda: list(data.DataLoader([object()])), TypeError, "cannot make a batch of object objects"),
    (lambda: data.default_collate([(1, 2), (1,)]), ValueError, "length 2 of sample 0 and 1 of sample 1"),
    (lambda: data.default_collate([{"a": 1}, {"b": 1}]), ValueError, "ragged batch: keys"),
    (lambda: data.default_collate([np.zeros(2), np.zeros(3)]), ValueError, "ragged batch"),
    (lambda: data.default_collate([1.0, "x"]), ValueError, "cannot make a batch"),
    (lambda: data.Dataset()[0], TypeError, "Dataset has no __getitem__"),
    (lambda: iter(data.IterableDataset()), TypeError, "IterableDataset has no __iter__"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[text for _, _, text in WRONG])
def test_refusals(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        call()
    assert isinstance(caught.value, MlcoreError)


# -- threads -----------------------------------------------------------------------------------------------------------


def test_a_hanging_sample_is_named() -> None:
    gate = threading.Event()

    class Hangs(Squares):
        def __getitem__(self, index: int) -> Any:
            if index == 2:
                gate.wait(60)
            return index

    with pytest.raises(DataError, match=r"nothing for 0.3 s(.|\n)*for samples 2, 3"):
        list(data.DataLoader(Hangs(), 2, num_workers=2, timeout=0.3))
    gate.set()


def test_leaving_early_stops_the_threads() -> None:
    loaded: list[int] = []

    class Counts(Squares):
        def __getitem__(self, index: int) -> Any:
            loaded.append(index)
            return index

    for _ in data.DataLoader(Counts(10_000), 1, num_workers=3):
        break
    for thread in threading.enumerate():
        if thread.name.startswith("mlcore-loader"):
            thread.join(5)
            assert not thread.is_alive()
    assert len(loaded) < 50  # it did not read ahead without bound


def test_worker_init() -> None:
    told: list[int] = []
    list(data.DataLoader(Squares(), 2, num_workers=3, worker_init_fn=told.append))
    assert sorted(told) == [0, 1, 2]

    def bad(worker: int) -> None:
        raise OSError("no licence")

    with pytest.raises(OSError, match="no licence"):
        list(data.DataLoader(Squares(), 2, num_workers=2, worker_init_fn=bad))


INTERRUPTED = """
import sys, time
from mlcore import data
class Slow(data.Dataset):
    def __len__(self): return 1000
    def __getitem__(self, i):
        if i == 4: print("waiting", flush=True); time.sleep(60)
        return i
try:
    for batch in data.DataLoader(Slow(), 2, num_workers=int(sys.argv[1])): pass
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a child there")
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_stops_it(workers: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(workers)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=30)  # the sample itself would sleep for 60 s
    assert (out, child.returncode) == ("stopped\n", 0)
