"""Datasets made of datasets, balanced samplers and transforms: values, and PyTorch's own where it has one."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import data
from mlcore.errors import DataError


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
# -- files -----------------------------------------------------------------------------------------------------------------


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
