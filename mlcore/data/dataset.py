"""Datasets: samples by number, or one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentError, ArgumentTypeError, DataError, OutOfRangeError
from mlcore.ops import random
from mlcore.ops.index import gather
from mlcore.tensor import TensorBase

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Samples by number: derive from it and write `__getitem__(index)` and `__len__()`.

    A dataset that can load several samples at once may write `__getitems__(indices)`, which returns a list of samples.
    One that can make a whole batch may write `batch(indices)`, which takes an int64 NumPy array and returns what
    collating the samples would have given; the loader then uses that.

    >>> from mlcore import data
    >>> class Squares(data.Dataset):
    ...     def __len__(self): return 4
    ...     def __getitem__(self, i): return i * i
    >>> [batch.tolist() for batch in data.DataLoader(Squares(), batch_size=2)]
    [[0, 1], [4, 9]]
    """

    def __getitem__(self, index: int) -> T_co:
        raise ArgumentTypeError(
            f"{type(self).__name__} has no __getitem__", fix="define __getitem__(self, index)"
        )

    def __add__(self, other: Dataset[Any]) -> Any:
        from mlcore.data.combine import ConcatDataset

        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """Samples one after the other: derive from it and write `__iter__()`, and `__len__()` if it is known.

    A loader reads it in one worker, in order, whatever `num_workers` is. Resuming in the middle of an epoch reads past
    what has come before, unless the dataset has `state_dict()` and `load_state_dict()`.

    >>> from mlcore import data
    >>> class Count(data.IterableDataset):
    ...     def __iter__(self): return iter(range(3))
    >>> [batch.tolist() for batch in data.DataLoader(Count(), batch_size=2)]
    [[0, 1], [2]]
    """

    __getitem__ = None  # type: ignore[assignment]  # says that there is none

    def __iter__(self) -> Iterator[T_co]:
        raise ArgumentTypeError(f"{type(self).__name__} has no __iter__", fix="define __iter__(self)")

    def __add__(self, other: Dataset[Any]) -> Any:
        from mlcore.data.combine import ChainDataset

        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Any, ...]]):
    """Rows of tensors (or NumPy arrays) with one first dimension. A batch is one gather, not a stack of samples.

    >>> import mlcore as ml
    >>> from mlcore import data
    >>> ds = data.TensorDataset(ml.zeros((5, 2)), ml.arange(5))
    >>> len(ds), ds[3][1].item()
    (5, 3)
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ArgumentError("TensorDataset: no tensors given", fix="pass at least one")
        self.tensors: tuple[Any, ...] = tuple(
            one if isinstance(one, TensorBase) else dispatch.from_data(one) for one in tensors
        )
        shapes = [one.shape for one in self.tensors]
        if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
            raise DataError(
                f"TensorDataset: tensors of shapes {', '.join(map(str, shapes))}",
                cause="all need the same first dimension: the samples",
                fix="check what was loaded",
            )

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(one[index] for one in self.tensors)

    def batch(self, indices: np.ndarray[Any, Any]) -> tuple[Any, ...]:
        """The rows at these indices."""
        size = len(self)
        check_indices("TensorDataset", indices, size)
        first, count = (int(indices[0]) if len(indices) else 0), len(indices)
        if first >= 0 and count and int(indices[-1]) - first == count - 1 and (np.diff(indices) == 1).all():
            return tuple(one[first : first + count] for one in self.tensors)  # neighbours: no copy needed
        positions = np.where(indices < 0, indices + size, indices)
        places: dict[Any, Any] = {}
        found = []
        for one in self.tensors:
            if one.device not in places:
                places[one.device] = dispatch.from_data(positions, None, one.device)
            found.append(gather(one, places[one.device], axis=0))
        return tuple(found)


def check_indices(who: str, indices: np.ndarray[Any, Any], size: int) -> None:
    """Refuse indices outside a dataset, naming the first."""
    if len(indices) and (int(indices.min()) < -size or int(indices.max()) >= size):
        bad = int(indices[(indices < -size) | (indices >= size)][0])
        raise OutOfRangeError(f"{who}: index {bad} out of range for {size} samples")


def check_index(who: str, index: Any, size: int) -> int:
    """An index as a number from 0 on."""
    try:
        place = index.__index__()
    except AttributeError:
        raise ArgumentTypeError(
            f"{who}: index {index!r} is a {type(index).__name__}", fix="use an integer"
        ) from None
    if not -size <= place < size:
        raise OutOfRangeError(f"{who}: index {place} out of range for {size} samples")
    return int(place % size)


class Subset(Dataset[T_co]):
    """The samples of a dataset at the given indices.

    >>> from mlcore import data
    >>> list(data.DataLoader(data.Subset([10, 20, 30], [2, 0]), batch_size=None))
    [30, 10]
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices
        own = type(self).__getitem__ is Subset.__getitem__  # else a subclass changes the samples
        self.one_by_one = not (own and callable(getattr(dataset, "__getitems__", None)))
        if own and callable(getattr(dataset, "batch", None)):
            self.batch = self._batch

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> T_co:
        if isinstance(index, list):
            # what it comes from is Any
            return self.dataset[[int(self.indices[i]) for i in index]]  # type: ignore[no-any-return]
        return self.dataset[int(self.indices[index])]  # type: ignore[no-any-return]  # what it comes from is Any

    def __getitems__(self, indices: list[int]) -> list[T_co]:
        if self.one_by_one:
            return [self[i] for i in indices]
        return list(self.dataset.__getitems__([int(self.indices[i]) for i in indices]))

    def _batch(self, indices: np.ndarray[Any, Any]) -> Any:
        return self.dataset.batch(np.asarray(self.indices, dtype=np.int64)[indices])


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset[Any]]:
    """A dataset divided at random into parts of these lengths, or of these fractions of it (which add up to 1).

    >>> from mlcore import data
    >>> import mlcore as ml
    >>> [len(part) for part in data.random_split(range(10), [0.8, 0.2], generator=ml.random.Generator(1))]
    [8, 2]
    """
    counts = split_counts("random_split", len(dataset), lengths)
    order = random.permutation(len(dataset), generator=generator).numpy()
    ends = list(accumulate(counts))
    return [Subset(dataset, order[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def split_counts(who: str, size: int, lengths: Sequence[float]) -> list[int]:
    """How many samples each part has: the lengths themselves, or fractions of the size, the rest given in turn."""
    if any(not one >= 0 for one in lengths):
        raise ArgumentError(f"{who}: lengths {list(lengths)}", fix="use lengths, or fractions, >= 0")
    if _fractions(lengths, size):
        counts = [math.floor(size * one) for one in lengths]
        for i in range(size - sum(counts)):
            counts[i % len(counts)] += 1
        return counts
    counts = [int(one) for one in lengths]
    if any(a != b for a, b in zip(counts, lengths, strict=True)) or sum(counts) != size:
        raise ArgumentError(
            f"{who}: lengths {list(lengths)} for {size} samples",
            cause=f"they add up to {sum(lengths)}",
            fix="they must add up to the size, or to 1 as fractions",
        )
    return counts


def _fractions(lengths: Sequence[float], size: int) -> bool:
    total = sum(lengths)
    if not math.isclose(total, 1) or total > 1 + 1e-9:
        return False
    return size != 1 or any(one != int(one) for one in lengths)
