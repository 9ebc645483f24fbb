"""Datasets made of datasets: one after the other, side by side, or with a function on each sample."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any, TypeVar

from mlcore.data.dataset import Dataset, IterableDataset, check_index
from mlcore.errors import ArgumentError, ArgumentTypeError, DataError

T_co = TypeVar("T_co", covariant=True)


class ConcatDataset(Dataset[T_co]):
    """Datasets one after the other.

    >>> from mlcore import data
    >>> both = data.ConcatDataset([[1, 2], [3]])
    >>> len(both), both[2]
    (3, 3)
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise DataError("ConcatDataset: no datasets given", fix="pass at least one")
        for i, one in enumerate(self.datasets):
            if isinstance(one, IterableDataset):
                raise DataError(
                    f"ConcatDataset: dataset {i} is an IterableDataset, which has no numbers",
                    fix="use ChainDataset",
                )
        self.cumulative_sizes = list(accumulate(len(one) for one in self.datasets))

    @staticmethod
    def cumsum(sequence: Iterable[Any]) -> list[int]:
        """The lengths of datasets, summed up."""
        return list(accumulate(len(one) for one in sequence))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> T_co:
        place = check_index("ConcatDataset", index, len(self))
        which = bisect.bisect_right(self.cumulative_sizes, place)
        # what it comes from is Any
        return self.datasets[which][place - (self.cumulative_sizes[which - 1] if which else 0)]  # type: ignore[no-any-return]


class ChainDataset(IterableDataset[T_co]):
    """Iterable datasets one after the other.

    >>> from mlcore import data
    >>> class Count(data.IterableDataset):
    ...     def __init__(self, n): self.n = n
    ...     def __iter__(self): return iter(range(self.n))
    >>> list(data.ChainDataset([Count(2), Count(3)]))
    [0, 1, 0, 1, 2]
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        for i, one in enumerate(self.datasets):
            if not isinstance(one, IterableDataset):
                raise ArgumentTypeError(
                    f"ChainDataset: dataset {i} is a {type(one).__name__}, no IterableDataset",
                    fix="use ConcatDataset for datasets with numbers",
                )
        if self.datasets and all(hasattr(one, "__len__") for one in self.datasets):
            self.__class__ = _SizedChain

    def __iter__(self) -> Iterator[T_co]:
        for one in self.datasets:
            yield from one


class _SizedChain(ChainDataset[T_co]):
    """A chain whose datasets all have a length."""

    def __len__(self) -> int:
        return sum(len(one) for one in self.datasets)


class StackDataset(Dataset[Any]):
    """Datasets of one length side by side: samples are tuples, or dicts where the datasets are named.

    >>> from mlcore import data
    >>> data.StackDataset([1, 2], [3, 4])[1], data.StackDataset(a=[1, 2], b=[3, 4])[0]
    ((2, 4), {'a': 1, 'b': 3})
    """

    datasets: tuple[Any, ...] | dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            raise ArgumentError(
                f"StackDataset: {'both positional and named' if args else 'no'} datasets given",
                fix="pass at least one; all by position, or all by name",
            )
        named: dict[Any, Any] = dict(kwargs) if kwargs else dict(enumerate(args))
        sizes = {str(name): len(one) for name, one in named.items()}
        if len(set(sizes.values())) > 1:
            raise DataError(
                f"StackDataset: lengths differ: {', '.join(f'{name} has {n}' for name, n in sizes.items())}",
                fix="stack datasets of the same samples",
            )
        self.datasets = kwargs or args
        self._length = next(iter(sizes.values()))
        self.one_by_one = not any(callable(getattr(one, "__getitems__", None)) for one in named.values())

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {name: one[index] for name, one in self.datasets.items()}
        return tuple(one[index] for one in self.datasets)

    def __getitems__(self, indices: list[Any]) -> list[Any]:
        if isinstance(self.datasets, dict):
            columns = [self._column(one, indices) for one in self.datasets.values()]
            return [dict(zip(self.datasets, row, strict=True)) for row in zip(*columns, strict=True)]
        return list(zip(*(self._column(one, indices) for one in self.datasets), strict=True))

    @staticmethod
    def _column(dataset: Any, indices: list[Any]) -> list[Any]:
        several = getattr(dataset, "__getitems__", None)
        if not callable(several):
            return [dataset[i] for i in indices]
        found = list(several(indices))
        if len(found) != len(indices):
            raise DataError(
                f"StackDataset: {type(dataset).__name__}.__getitems__ gave {len(found)} samples for"
                f" {len(indices)} indices",
                fix="return one for each, in their order",
            )
        return found


class MapDataset(Dataset[Any]):
    """A dataset with a function on each sample, applied when the sample is loaded.

    >>> from mlcore import data
    >>> data.MapDataset([1, 2, 3], lambda x: 10 * x)[1]
    20
    """

    def __init__(self, dataset: Any, function: Callable[[Any], Any]) -> None:
        _check_function("MapDataset", function)
        if isinstance(dataset, IterableDataset):
            raise ArgumentTypeError(
                "MapDataset: an IterableDataset has no numbers", fix="use MapIterableDataset"
            )
        self.dataset, self.function = dataset, function

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        return self.function(self.dataset[index])


class MapIterableDataset(IterableDataset[Any]):
    """An iterable dataset with a function on each sample.

    >>> from mlcore import data
    >>> list(data.MapIterableDataset([1, 2], str))
    ['1', '2']
    """

    def __init__(self, dataset: Iterable[Any], function: Callable[[Any], Any]) -> None:
        _check_function("MapIterableDataset", function)
        self.dataset, self.function = dataset, function

    def __iter__(self) -> Iterator[Any]:
        return map(self.function, self.dataset)


def _check_function(who: str, function: Any) -> None:
    if not callable(function):
        raise ArgumentTypeError(
            f"{who}: function is a {type(function).__name__}", fix="pass what takes a sample and returns one"
        )
