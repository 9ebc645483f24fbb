"""DataLoader: batches of a dataset, in an order that depends on the generator alone."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Any

from mlcore.data.bars import progress as progress_bar
from mlcore.data.collate import default_collate, default_convert
from mlcore.data.dataset import IterableDataset
from mlcore.data.epoch import Epoch, Place
from mlcore.data.fetch import Crew, Fetcher, Job, Start
from mlcore.data.sampler import BatchSampler, RandomSampler, SequentialSampler, drawn, draws_at_once
from mlcore.data.state import Marks
from mlcore.data.threads import InlinePool, ThreadPool
from mlcore.errors import ArgumentError, ArgumentTypeError, DataError
from mlcore.ops import random


class DataLoader:
    """Batches of a dataset, shuffled or not, prepared ahead by `num_workers` workers (0: where they are asked for).

    Workers are threads; `workers="processes"` (or a `multiprocessing_context`) makes them processes, for samples that
    are made by Python code and not by libraries. They get the dataset by forking or pickled, and hand over batches in
    shared memory. The order comes from `generator`, or mlcore's default one, when an epoch starts: it is the same for
    any number and kind of workers and on every device. Each batch has a random stream of its own, `sample_rng()` and
    `sample_generator()`; with processes, Python's `random`, NumPy's global generator and mlcore's default one start
    from it too. `batch_size=None` gives single samples. An iterable dataset is read by one worker.

    An error in a sample is raised where the batch is asked for, with its traceback and the sample's number; so is the
    death of a worker, and, with `timeout`, one that hangs. `state_dict()` says where the loader stands, in the middle
    of an epoch too, and `load_state_dict()` goes on there with exactly the batches that would have come.
    `prefetch_factor` batches for each worker are under way at a time; by default, one more than there are workers.
    `persistent_workers` keeps the workers from epoch to epoch, `in_order=False` gives batches as they are made, and
    `progress=True` shows a bar. `pin_memory` and `pin_memory_device` are accepted and change nothing.

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
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        workers: str | None = None,
        progress: bool | str = False,
    ) -> None:
        _check_numbers(num_workers, timeout, prefetch_factor, batch_size)
        if batch_size is None and (drop_last or batch_sampler is not None):
            raise ArgumentError(
                "DataLoader: batch_size=None with drop_last or batch_sampler", fix="leave those out"
            )
        if sampler is not None and shuffle:
            raise ArgumentError("DataLoader: both sampler and shuffle=True", fix="use one of them")
        if generator is not None and not isinstance(generator, random.Generator):
            raise ArgumentTypeError(
                f"DataLoader: generator is a {type(generator).__name__}",
                fix="pass an mlcore.random.Generator",
            )
        self.workers = _kind_of_workers(workers, multiprocessing_context)
        self.dataset, self.num_workers, self.timeout = dataset, num_workers, float(timeout)
        self.worker_init_fn, self.multiprocessing_context = worker_init_fn, multiprocessing_context
        self.generator, self.prefetch_factor = generator, prefetch_factor
        self.persistent_workers, self.in_order, self.progress = persistent_workers, in_order, progress
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.collate_fn = collate_fn or (default_convert if batch_size is None else default_collate)
        self._whole = collate_fn is None and callable(getattr(dataset, "batch", None))
        self.batch_size, self.drop_last = batch_size, drop_last
        self._iterable = isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")
        self.sampler: Any = None
        self.batch_sampler: Any = None
        self._pool: Any = None
        self._epoch: weakref.ref[Epoch] | None = None
        self._marks = Marks()
        if self._iterable:
            _check_iterable(dataset, bool(shuffle) or sampler is not None or batch_sampler is not None)
            return
        _check_sized(dataset)
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
        return len(self._source())

    def __iter__(self) -> Iterator[Any]:
        place = self._marks.begin(self)
        source = self.generator or random.default_generator()
        streams = source.spawn(source.take(1))  # one stream a batch
        jobs = self._pieces(streams, place) if self._iterable else self._indexed(streams, place)
        self._marks.drawn(self, self._iterable or draws_at_once(self._source()))
        ahead = self.num_workers * self.prefetch_factor if self.prefetch_factor else self.num_workers + 1
        ahead = max(1, ahead if self.num_workers else 1)
        epoch = Epoch(jobs, self._workers(streams), ahead, self.in_order, place)
        self._epoch = weakref.ref(epoch)
        if not self.progress:
            return epoch
        return progress_bar(epoch, self.progress, _length(self), place.position)

    # -- where it stands ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: plain numbers, lists and dicts. Valid in the middle of an epoch, for any number of
        workers; a sampler or an iterable dataset of one's own is asked for its state_dict if it has one.

        >>> import mlcore as ml
        >>> from mlcore import data
        >>> loader = data.DataLoader(range(6), 2, shuffle=True, generator=ml.random.Generator(1))
        >>> batches = iter(loader)
        >>> first, state = next(batches).tolist(), loader.state_dict()
        >>> rest = [batch.tolist() for batch in batches]
        >>> again = data.DataLoader(range(6), 2, shuffle=True, generator=ml.random.Generator(2))
        >>> again.load_state_dict(state)
        >>> [batch.tolist() for batch in again] == rest
        True
        """
        return self._marks.save(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the next epoch go on where a loader with this state stood. Raises DataError if it was another's."""
        self._marks.load(self, state_dict)

    # -- jobs -------------------------------------------------------------------------------------------------------

    def _source(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _indexed(self, streams: Any, place: Place) -> Iterator[Job]:
        """A job for each batch that is left; the order is drawn here, when the epoch starts."""
        left = islice(enumerate(drawn(self._source())), place.position, None)
        given = frozenset(place.beyond)
        return (Job(n, what, streams.seed) for n, what in left if n not in given)

    @staticmethod
    def _pieces(streams: Any, place: Place) -> Iterator[Job]:
        """Jobs without end, for a dataset that says itself when it ends."""
        first = place.position
        start = Start(first, place.dataset)
        return (Job(n, start if n == first else None, streams.seed) for n in count(first))

    # -- workers ------------------------------------------------------------------------------------------------------

    def _workers(self, streams: Any) -> Any:
        """What makes the batches of the epoch: last epoch's workers if they are kept and idle, else new ones."""
        kept, epoch = self._pool, self._epoch() if self._epoch is not None else None
        if kept is not None and (epoch is None or epoch.finished):
            if not kept.closed:
                return kept
            self._pool = None
        kind = "whole" if self._whole else "batch"
        if self._iterable:
            kind = "stream"
        elif self.batch_sampler is None:
            kind = "sample"
        fetcher = Fetcher(self.dataset, self.collate_fn, kind, self.batch_size, self.drop_last)
        if self.num_workers == 0:
            return InlinePool(fetcher, self.workers == "processes")
        count = 1 if self._iterable else self.num_workers  # only one can be at the next sample
        keep = self.persistent_workers and self._pool is None
        crew = Crew(fetcher, count, self.timeout, self.worker_init_fn, streams.spawn(2**63).seed, keep)
        if self.workers == "threads":
            pool: Any = ThreadPool(crew)
        else:
            from mlcore.data.processes import ProcessPool, context_of

            pool = ProcessPool(crew, context_of(self.multiprocessing_context))
        if keep:
            self._pool = pool
        return pool

    def __del__(self) -> None:
        if getattr(self, "_pool", None) is not None:
            self._pool.close()


def _length(loader: DataLoader) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


# -- what is refused --------------------------------------------------------------------------------------------------


def _check_numbers(num_workers: Any, timeout: Any, prefetch_factor: Any, batch_size: Any) -> None:
    if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 0:
        raise ArgumentError(f"DataLoader: num_workers is {num_workers!r}", fix="use a count >= 0")
    if not timeout >= 0:
        raise ArgumentError(f"DataLoader: timeout is {timeout}", fix="use seconds >= 0; 0 waits without end")
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


def _kind_of_workers(workers: Any, context: Any) -> str:
    if workers not in (None, "threads", "processes"):
        raise ArgumentError(f"DataLoader: workers is {workers!r}", fix="use 'threads' or 'processes'")
    if context is None:
        return workers or "threads"
    if workers == "threads":
        raise ArgumentError(
            "DataLoader: workers='threads' with a multiprocessing_context", fix="use one of them"
        )
    if isinstance(context, str):
        from multiprocessing import get_all_start_methods

        if context not in get_all_start_methods():
            raise ArgumentError(
                f"DataLoader: multiprocessing_context is {context!r}",
                fix=f"this system has {', '.join(get_all_start_methods())}",
            )
    elif not (hasattr(context, "Process") and hasattr(context, "Pipe")):
        raise ArgumentTypeError(
            f"DataLoader: multiprocessing_context is a {type(context).__name__}",
            fix="pass the name of a start method, or multiprocessing.get_context(name)",
        )
    return "processes"


def _check_iterable(dataset: Any, ordered: bool) -> None:
    if not hasattr(dataset, "__iter__"):
        raise ArgumentTypeError(
            f"DataLoader: a {type(dataset).__name__} is no dataset",
            fix="it needs __getitem__ and __len__, or __iter__",
        )
    if ordered:
        raise ArgumentError(
            "DataLoader: shuffle or a sampler with an iterable dataset",
            cause="it has an order of its own",
            fix="shuffle inside the dataset",
        )


def _check_sized(dataset: Any) -> None:
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
