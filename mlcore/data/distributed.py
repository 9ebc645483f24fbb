"""One process's share of a dataset, with PyTorch's numbers."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from mlcore.data.sampler import Indices, Sampler, check_count
from mlcore.errors import ArgumentError, DataError


class DistributedSampler(Sampler[int]):
    """The samples of process `rank` of `num_replicas`: every so-many-th of an order that all processes share.

    With `shuffle` the order is drawn from `seed` + epoch, so `set_epoch(epoch)` has to be called before each epoch. The
    order is the one that PyTorch 2 draws. So that all processes have as many, samples from the front come again at the
    end, or with `drop_last` the rest is left out. Without numbers, `WORLD_SIZE` and `RANK` of the environment count.

    >>> from mlcore import data
    >>> [list(data.DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        count = _environment("WORLD_SIZE", 1) if num_replicas is None else num_replicas
        place = _environment("RANK", 0) if rank is None else rank
        check_count("DistributedSampler", "num_replicas", count)
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < count:
            raise ArgumentError(
                f"DistributedSampler: rank is {place!r} of {count}", fix=f"use a rank from 0 to {count - 1}"
            )
        size = len(dataset)
        if size == 0:
            raise DataError("DistributedSampler: the dataset is empty")
        self.dataset, self.num_replicas, self.rank = dataset, count, place
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0
        self.num_samples = size // count if drop_last else math.ceil(size / count)
        self.total_size = self.num_samples * count

    def order(self) -> Indices:
        size = len(self.dataset)
        whole = shuffled(size, self.seed + self.epoch) if self.shuffle else np.arange(size)
        return np.resize(whole, self.total_size)[self.rank :: self.num_replicas]

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """The epoch that is drawn next."""
        self.epoch = epoch


def shuffled(size: int, seed: int) -> Indices:
    """The permutation that PyTorch draws from this seed: Fisher and Yates with the 32-bit numbers of MT19937."""
    bits: Any = np.random.MT19937()
    bits._legacy_seeding(seed & 0xFFFFFFFF)
    steps = (bits.random_raw(max(size - 1, 0)) % np.arange(size, 1, -1, dtype=np.uint64)).tolist()
    order = list(range(size))
    for i, step in enumerate(steps):
        order[i], order[i + step] = order[i + step], order[i]
    return np.asarray(order, np.int64)


def _environment(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.strip().lstrip("-").isdecimal() else default
