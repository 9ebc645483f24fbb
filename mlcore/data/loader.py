"""DataLoader: batches of a dataset, in an order that depends on the generator alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from mlcore.data import workers
from mlcore.data.collate import default_collate, default_convert
from mlcore.data.dataset import IterableDataset
from mlcore.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler
from mlcore.errors import ArgumentError, ArgumentTypeError, DataError
from mlcore.ops import random


class DataLoader:
    """Batches of a dataset, shuffled or not, prepared ahead by `num_workers` threads (0: in the caller's).

    The order comes from `generator`, or mlcore's default one, when an epoch starts: it is the same for any number
    of workers and on every device. `batch_size=None` gives single samples. An error in a sample is raised where the
    batch is asked for, with its traceback and the sample's number. `pin_memory` and `persistent_workers` are accepted
    and change nothing.

    >>> import mlcore as ml
    >>> from mlcore import data
    >>> loader = data.DataLoader(data.TensorDataset(ml.arange(6)), batch_size=4, shuffle=True)
    >>> len(loader), sorted(v for (batch,) in loader for v in batch.tolist())
    (2, [0, 1, 2, 3, 4, 5])
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        *,
        generator: Any = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 0:
            raise ArgumentError(f"DataLoader: num_workers is {num_workers!r}", fix="use a count >= 0")
        if not timeout >= 0:
            raise ArgumentError(
                f"DataLoader: timeout is {timeout}", fix="use seconds >= 0; 0 waits without end"
            )
        if prefetch_factor is not None and (not isinstance(prefetch_factor, int) or prefetch_factor < 1):
            raise ArgumentError(
                f"DataLoader: prefetch_factor is {prefetch_factor!r}", fix="use a count of at least 1"
            )
        if batch_size is not None and (
            isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1
        ):
            raise ArgumentError(
                f"DataLoader: batch_size is {batch_size!r}",
                fix="use an integer of at least 1, or None for single samples",
            )
        if batch_size is None and (drop_last or batch_sampler is not None):
            raise ArgumentError(
                "DataLoader: batch_size=None with drop_last or batch_sampler", fix="leave those out"
            )
        if sampler is not None and shuffle:
            raise ArgumentError("DataLoader: both sampler and shuffle=True", fix="use one of them")
        self.dataset, self.num_workers, self.timeout, self.worker_init_fn = (
            dataset,
            num_workers,
            float(timeout),
            worker_init_fn,
        )
        self.generator, self.prefetch_factor = generator, prefetch_factor or 2
        self.collate_fn = collate_fn or (default_convert if batch_size is None else default_collate)
        self._whole = (
            collate_fn is None and batch_size is not None and callable(getattr(dataset, "batch", None))
        )
        self.batch_size, self.drop_last = batch_size, drop_last
        self._iterable = isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")
        self.sampler: Any = None
        self.batch_sampler: Any = None
        if self._iterable:
            if not hasattr(dataset, "__iter__"):
                raise ArgumentTypeError(
                    f"DataLoader: a {type(dataset).__name__} is no dataset",
                    fix="it needs __getitem__ and __len__, or __iter__",
                )
            if shuffle or sampler is not None or batch_sampler is not None:
                raise ArgumentError(
                    "DataLoader: shuffle or a sampler with an iterable dataset",
                    cause="it has an order of its own",
                    fix="shuffle inside the dataset",
                )
            return
        if not hasattr(dataset, "__len__"):
            raise ArgumentTypeError(
                f"DataLoader: {type(dataset).__name__} has no __len__",
                fix="define it, or derive from IterableDataset",
            )
        if len(dataset) == 0:
            raise DataError(
                f"DataLoader: the dataset is empty: {type(dataset).__name__} of length 0",
                fix="check its files or filters",
            )
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ArgumentError(
                    "DataLoader: batch_sampler together with batch_size, shuffle, sampler or drop_last",
                    fix="use it alone",
                )
            self.batch_sampler, self.batch_size = batch_sampler, getattr(batch_sampler, "batch_size", None)
            return
        self.sampler = sampler
        if sampler is None:
            self.sampler = (
                RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
            )
        if batch_size is not None:
            self.batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        if self._iterable:
            if not hasattr(self.dataset, "__len__"):
                raise ArgumentTypeError(
                    f"DataLoader: {type(self.dataset).__name__} has no __len__",
                    fix="count the batches instead",
                )
            size = len(self.dataset)
            if self.batch_size is None:
                return size
            return size // self.batch_size if self.drop_last else -(size // -self.batch_size)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        source = self.generator or random.default_generator()
        streams = source.spawn(source.take(1))  # one stream a batch, for sample_generator()
        if self._iterable:
            return self._read(streams)
        if self.batch_sampler is None:
            order = self._order()
            jobs = (
                (self._job(self._sample, i, streams.spawn(n)), f"sample {i}") for n, i in enumerate(order)
            )
        else:
            batches = self._batches()
            jobs = (
                (self._job(self._batch, b, streams.spawn(n)), f"samples {_some(b)}")
                for n, b in enumerate(batches)
            )
        if self.num_workers == 0:
            return (function() for function, _ in jobs)
        ahead = self.num_workers * self.prefetch_factor
        return workers.in_order(jobs, self.num_workers, ahead, self.timeout, self.worker_init_fn)

    # -- samples by number --------------------------------------------------------------------------------------

    def _order(self) -> Iterable[Any]:
        ours = isinstance(self.sampler, Sampler) and type(self.sampler).__iter__ is Sampler.__iter__
        return self.sampler.order().tolist() if ours else self.sampler  # type: ignore[no-any-return]

    def _batches(self) -> Iterable[Any]:
        """The batches' indices; the order is drawn here, when the epoch starts."""
        one = self.batch_sampler
        if (
            type(one) is BatchSampler
            and isinstance(one.sampler, Sampler)
            and type(one.sampler).__iter__ is Sampler.__iter__
        ):
            order, size = one.sampler.order(), one.batch_size
            end = len(order) - len(order) % size if one.drop_last else len(order)
            return (order[start : start + size] for start in range(0, end, size))
        return iter(one)  # type: ignore[no-any-return]

    @staticmethod
    def _job(function: Callable[[Any], Any], argument: Any, generator: Any) -> Callable[[], Any]:
        return lambda: workers.with_generator(generator, lambda: function(argument))

    def _sample(self, index: Any) -> Any:
        return self.collate_fn(self._get(index))

    def _batch(self, indices: Any) -> Any:
        if self._whole:
            try:
                return self.dataset.batch(np.asarray(indices, dtype=np.int64))
            except Exception as error:
                error.add_note(f"while loading samples {_some(indices)} of {type(self.dataset).__name__}")
                raise
        samples = [self._get(int(i) if isinstance(i, np.integer) else i) for i in indices]
        try:
            return self.collate_fn(samples)
        except Exception as error:
            error.add_note(
                f"while making a batch of samples {_some(indices)} of {type(self.dataset).__name__}"
            )
            raise

    def _get(self, index: Any) -> Any:
        try:
            return self.dataset[index]
        except IndexError as error:
            size = len(self.dataset)
            if isinstance(index, int) and 0 <= index < size:
                raise DataError(
                    f"sample {index} of {type(self.dataset).__name__}, whose length is {size}, raised IndexError:"
                    f" {error}",
                    cause="__len__ promises more samples than __getitem__ has, or the sample itself failed",
                    fix="make __len__ and __getitem__ agree",
                ) from error
            error.add_note(
                f"while loading sample {index} of {type(self.dataset).__name__}, whose length is {size}"
            )
            raise
        except Exception as error:
            error.add_note(f"while loading sample {index} of {type(self.dataset).__name__}")
            raise

    # -- samples one after the other ------------------------------------------------------------------------------

    def _read(self, streams: Any) -> Iterator[Any]:
        """An iterable dataset, read by one thread at most, since only one can be at its next sample."""
        reader = _Reader(self)
        ahead = self.num_workers * self.prefetch_factor

        def jobs() -> Iterator[tuple[Callable[[], Any], str]]:
            number = 0
            while not reader.ended:
                yield self._job(reader.read, None, streams.spawn(number)), f"batch {number}"
                number += 1

        if self.num_workers == 0:
            made: Iterator[Any] = (function() for function, _ in jobs())
        else:
            made = workers.in_order(jobs(), 1, ahead, self.timeout, self.worker_init_fn)
        return (batch for batch in made if batch is not _END)


_END = object()


class _Reader:
    """Takes batch after batch from an iterable dataset, and holds its length against what came."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader, self.ended, self.count = loader, False, 0
        self.samples: Iterator[Any] | None = None

    def read(self, _: Any) -> Any:
        if self.ended:
            return _END
        loader = self.loader
        if self.samples is None:
            self.samples = iter(loader.dataset)
        wanted = 1 if loader.batch_size is None else loader.batch_size
        found: list[Any] = []
        while len(found) < wanted:
            try:
                found.append(next(self.samples))
            except StopIteration:
                self.ended = True
                self._hold_against_length()
                break
            except Exception as error:
                self.ended = True
                error.add_note(f"while loading sample {self.count} of {type(loader.dataset).__name__}")
                raise
            self.count += 1
        if not found or (self.ended and loader.drop_last):
            return _END
        return loader.collate_fn(found[0] if loader.batch_size is None else found)

    def _hold_against_length(self) -> None:
        dataset = self.loader.dataset
        if hasattr(dataset, "__len__") and len(dataset) != self.count:
            raise DataError(
                f"{type(dataset).__name__} gave {self.count} samples, its length is {len(dataset)}",
                cause="__len__ and __iter__ disagree",
                fix="make them agree, or leave __len__ out",
            )


def _some(indices: Any) -> str:
    """The first few of many indices."""
    shown = ", ".join(str(int(i)) for i in list(indices[:4]))
    return f"{shown}, ... ({len(indices)})" if len(indices) > 4 else shown
