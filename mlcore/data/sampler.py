"""Samplers: in which order the samples of a dataset are visited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from mlcore import dtypes
from mlcore.errors import ArgumentError, DataError
from mlcore.ops import random
from mlcore.tensor import TensorBase

T_co = TypeVar("T_co", covariant=True)
Indices = np.ndarray[Any, Any]


class Sampler(Generic[T_co]):
    """Base of all samplers: an iterable of indices (or of lists of indices), with a length.

    `order()` may give one epoch's indices as one NumPy array; `__iter__` goes through it.
    """

    def order(self) -> Indices:
        """The indices of one epoch, int64."""
        raise ArgumentError(f"{type(self).__name__} has neither __iter__ nor order()")

    def __iter__(self) -> Iterator[T_co]:
        return iter(self.order().tolist())


class BatchesSampler(Sampler[list[int]]):
    """Base of the samplers that give batches: `batches()` draws an epoch's order and goes through it."""

    def batches(self) -> Iterator[Any]:
        """The batches of one epoch, as arrays or lists of indices."""
        raise ArgumentError(f"{type(self).__name__} has neither __iter__ nor batches()")

    def __iter__(self) -> Iterator[list[int]]:
        return (one.tolist() if isinstance(one, np.ndarray) else one for one in self.batches())


def draws_at_once(sampler: Any) -> bool:
    """Whether a sampler draws all of an epoch's random numbers when the epoch starts."""
    if type(sampler) is BatchSampler:
        return draws_at_once(sampler.sampler)
    if isinstance(sampler, BatchesSampler):
        return type(sampler).__iter__ is BatchesSampler.__iter__
    return isinstance(sampler, (list, tuple, range, np.ndarray)) or (
        isinstance(sampler, Sampler) and type(sampler).__iter__ is Sampler.__iter__
    )


def drawn(sampler: Any) -> Iterable[Any]:
    """One epoch of a sampler; the order is drawn here if the sampler can."""
    if isinstance(sampler, BatchesSampler) and type(sampler).__iter__ is BatchesSampler.__iter__:
        return sampler.batches()
    if isinstance(sampler, Sampler) and type(sampler).__iter__ is Sampler.__iter__:
        order: list[Any] = sampler.order().tolist()
        return order
    found: Iterator[Any] = iter(sampler)
    return found


def permuted(count: int, generator: Any) -> Indices:
    """0 to `count` - 1 in a random order."""
    found: Indices = random.permutation(count, generator=generator).numpy()
    return found


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ...

    >>> from mlcore import data
    >>> list(data.SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def order(self) -> Indices:
        return np.arange(len(self.data_source))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """A new random order each time, from `generator` or mlcore's default one; the same on every device.

    With `replacement` (or more `num_samples` than there are), samples may come several times.

    >>> from mlcore import data
    >>> sorted(data.RandomSampler(range(4)))
    [0, 1, 2, 3]
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        if len(data_source) == 0:
            raise DataError("RandomSampler: the dataset is empty")
        if num_samples is not None:
            check_count("RandomSampler", "num_samples", num_samples)
        self.data_source, self.replacement, self._num_samples, self.generator = (
            data_source,
            replacement,
            num_samples,
            generator,
        )

    @property
    def num_samples(self) -> int:
        """How many indices an epoch has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def order(self) -> Indices:
        size, count = len(self.data_source), self.num_samples
        if self.replacement:
            drawn: Indices = random.integers(size, shape=(count,), generator=self.generator).numpy()
            return drawn
        rounds = [permuted(size, self.generator) for _ in range(-(count // -size))]
        whole: Indices = rounds[0] if len(rounds) == 1 else np.concatenate(rounds)
        return whole[:count]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in a new random order each time.

    >>> from mlcore import data
    >>> sorted(data.SubsetRandomSampler([5, 3]))
    [3, 5]
    """

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices, self.generator = indices, generator

    def order(self) -> Indices:
        chosen: Indices = np.asarray(self.indices, dtype=np.int64)[
            permuted(len(self.indices), self.generator)
        ]
        return chosen

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` indices in proportion to `weights`, with or without replacement.

    >>> from mlcore import data
    >>> list(data.WeightedRandomSampler([0.0, 1.0], 3))
    [1, 1, 1]
    """

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None
    ) -> None:
        # the methods are attached to Tensor
        host = np.asarray(weights.detach() if isinstance(weights, TensorBase) else weights, dtype=np.float64)  # type: ignore[attr-defined]
        if host.ndim != 1 or not np.isfinite(host).all() or (host < 0).any() or host.sum() <= 0:
            raise ArgumentError(
                "WeightedRandomSampler: weights must be 1-d, finite, >= 0 and not all 0", got=str(host)
            )
        check_count("WeightedRandomSampler", "num_samples", num_samples)
        if not replacement and num_samples > (host > 0).sum():
            raise ArgumentError(
                f"WeightedRandomSampler: {num_samples} samples without replacement of {(host > 0).sum()} with a weight",
                fix="use replacement=True, or fewer samples",
            )
        self.weights, self.num_samples, self.replacement, self.generator = (
            host,
            num_samples,
            replacement,
            generator,
        )

    def order(self) -> Indices:
        count = self.num_samples if self.replacement else len(self.weights)
        uniform = random.uniform((count,), dtype=dtypes.float64, generator=self.generator).numpy()
        if self.replacement:
            edges = np.cumsum(self.weights)
            last: Any = np.flatnonzero(self.weights)[-1]  # where rounding would go past the end
            drawn: Indices = np.minimum(np.searchsorted(edges, uniform * edges[-1], side="right"), last)
            return drawn
        with np.errstate(divide="ignore"):  # Efraimidis and Spirakis 2006: the largest u ** (1 / w)
            keys = np.where(self.weights > 0, np.log(uniform) / self.weights, -np.inf)
        return np.argsort(-keys, kind="stable")[: self.num_samples]

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(BatchesSampler):
    """Lists of `batch_size` indices of another sampler; the last may be shorter, or is dropped.

    >>> from mlcore import data
    >>> list(data.BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        check_batch_size(batch_size)
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, bool(drop_last)

    def batches(self) -> Iterator[Any]:
        if isinstance(self.sampler, Sampler) and type(self.sampler).__iter__ is Sampler.__iter__:
            order, size = self.sampler.order(), self.batch_size
            end = len(order) - len(order) % size if self.drop_last else len(order)
            return (order[start : start + size] for start in range(0, end, size))
        return self._gathered(iter(self.sampler))

    def _gathered(self, indices: Iterator[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in indices:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        size = len(self.sampler)  # type: ignore[arg-type]  # not every sampler has a length: the error says so
        return size // self.batch_size if self.drop_last else -(size // -self.batch_size)


def check_count(who: str, name: str, value: Any) -> None:
    """Refuse what is no count of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(f"{who}: {name} is {value!r}", fix="use a count of at least 1")


def check_batch_size(value: Any) -> None:
    """Refuse what is no size of a batch."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(f"batch_size is {value!r}", fix="use an integer of at least 1")
