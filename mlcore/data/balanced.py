"""Samplers that look at classes, groups and lengths, and a report of what an epoch holds of each class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mlcore import dtypes
from mlcore.data.dataset import Subset, split_counts
from mlcore.data.sampler import BatchesSampler, Indices, Sampler, check_batch_size, check_count, permuted
from mlcore.errors import ArgumentError, DataError
from mlcore.host import as_numpy
from mlcore.ops import random


def label_array(who: str, labels: Any) -> Indices:
    """Labels as a 1-d array: of numbers or texts, from a list, an array or a tensor."""
    found = as_numpy(labels)
    if found.ndim != 1 or found.dtype.kind not in "biufUS":
        raise ArgumentError(
            f"{who}: labels of shape {found.shape} and dtype {found.dtype}",
            fix="give one number or text for each sample",
        )
    if not len(found):
        raise DataError(f"{who}: no labels: the dataset is empty")
    return found


def _members(labels: Indices) -> tuple[Indices, list[Indices]]:
    """The distinct labels, and the samples of each."""
    classes, which = np.unique(labels, return_inverse=True)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which))[:-1]
    return classes, np.split(order, ends)


def _interleaved(parts: list[Indices], generator: Any) -> Indices:
    """The parts as one order in which every stretch has nearly its share of each part."""
    shifts = random.uniform((len(parts),), dtype=dtypes.float64, generator=generator).numpy()
    places = [(np.arange(len(part)) + shift) / len(part) for part, shift in zip(parts, shifts, strict=True)]
    return np.concatenate(parts)[np.argsort(np.concatenate(places), kind="stable")]


class _Labelled(Sampler[int]):
    def __init__(self, who: str, labels: Any, generator: Any) -> None:
        self.labels, self.generator = label_array(who, labels), generator

    def report(self) -> ClassReport:
        """What an epoch holds of each class; the generator stays where it is."""
        return class_report(self.labels, self)


class StratifiedSampler(_Labelled):
    """Every sample once, so that each stretch of the order, and so each batch, has nearly the dataset's class shares.

    >>> from mlcore import data
    >>> labels = [0] * 6 + [1] * 3
    >>> order = list(data.StratifiedSampler(labels))
    >>> sorted(labels[i] for i in order[:3]), sorted(order) == list(range(9))
    ([0, 0, 1], True)
    """

    def __init__(self, labels: Any, generator: Any = None) -> None:
        super().__init__("StratifiedSampler", labels, generator)

    def order(self) -> Indices:
        parts = [part[permuted(len(part), self.generator)] for part in _members(self.labels)[1]]
        return _interleaved(parts, self.generator)

    def __len__(self) -> int:
        return len(self.labels)


class ClassBalancedSampler(_Labelled):
    """As many samples of each class, spread evenly over the epoch: small classes come several times.

    An epoch has `num_samples` (by default as many as the dataset). With `replacement=False` no sample comes twice, and
    an epoch has as many of each class as the smallest has.

    >>> from mlcore import data
    >>> labels = [0, 0, 0, 0, 0, 0, 1, 1]
    >>> drawn = [labels[i] for i in data.ClassBalancedSampler(labels)]
    >>> drawn.count(0), drawn.count(1)
    (4, 4)
    """

    def __init__(
        self, labels: Any, num_samples: int | None = None, replacement: bool = True, generator: Any = None
    ) -> None:
        super().__init__("ClassBalancedSampler", labels, generator)
        classes, self.members = _members(self.labels)
        smallest = min(map(len, self.members))
        if num_samples is not None:
            check_count("ClassBalancedSampler", "num_samples", num_samples)
            if not replacement and num_samples > smallest * len(classes):
                raise ArgumentError(
                    f"ClassBalancedSampler: {num_samples} samples without replacement; the smallest of"
                    f" {len(classes)} classes has {smallest}",
                    fix=f"use replacement=True, or at most {smallest * len(classes)}",
                )
        self.replacement = replacement
        self.num_samples = num_samples or (len(self.labels) if replacement else smallest * len(classes))

    def order(self) -> Indices:
        count, extra = divmod(self.num_samples, len(self.members))
        lucky = set(permuted(len(self.members), self.generator)[:extra].tolist())
        parts = []
        for i, part in enumerate(self.members):
            wanted = count + (i in lucky)
            rounds = [part[permuted(len(part), self.generator)] for _ in range(-(wanted // -len(part)))]
            if wanted:
                parts.append(np.concatenate(rounds)[:wanted])
        return _interleaved(parts, self.generator)

    def __len__(self) -> int:
        return self.num_samples


class GroupSampler(Sampler[int]):
    """Groups in a random order, the samples of each together and in a random order.

    >>> from mlcore import data
    >>> groups = ["a", "b", "a", "b"]
    >>> [groups[i] for i in data.GroupSampler(groups)] in (["a", "a", "b", "b"], ["b", "b", "a", "a"])
    True
    """

    def __init__(self, groups: Any, shuffle: bool = True, generator: Any = None) -> None:
        self.groups, self.shuffle, self.generator = label_array("GroupSampler", groups), shuffle, generator

    def order(self) -> Indices:
        parts = _members(self.groups)[1]
        if not self.shuffle:
            return np.concatenate(parts)
        order = permuted(len(parts), self.generator)
        return np.concatenate([parts[i][permuted(len(parts[i]), self.generator)] for i in order])

    def __len__(self) -> int:
        return len(self.groups)


class GroupBatchSampler(BatchesSampler):
    """Batches whose samples are all of one group, such as images of one size; the batches come in a random order.

    >>> from mlcore import data
    >>> sampler = data.GroupBatchSampler([0, 1, 0, 1, 0], batch_size=2)
    >>> sorted(len(batch) for batch in sampler), len(sampler)
    ([1, 2, 2], 3)
    """

    def __init__(
        self,
        groups: Any,
        batch_size: int,
        drop_last: bool = False,
        shuffle: bool = True,
        generator: Any = None,
    ) -> None:
        check_batch_size(batch_size)
        self.batch_size, self.drop_last, self.shuffle = batch_size, bool(drop_last), shuffle
        self.generator = generator
        self.members = _members(label_array("GroupBatchSampler", groups))[1]
        self.sizes = [batch_size] * len(self.members)
        if not len(self):
            raise DataError(
                f"GroupBatchSampler: no group has {batch_size} samples, and drop_last leaves the smaller ones out"
            )

    def batches(self) -> Iterator[Any]:
        found: list[Indices] = []
        for part, size in zip(self.members, self.sizes, strict=True):
            mixed = part[permuted(len(part), self.generator)] if self.shuffle else part
            end = len(part) - len(part) % size if self.drop_last else len(part)
            found += [mixed[start : start + size] for start in range(0, end, size)]
        order = permuted(len(found), self.generator) if self.shuffle else range(len(found))
        return (found[i] for i in order)

    def __len__(self) -> int:
        parts = zip(self.members, self.sizes, strict=True)
        return sum(len(part) // size if self.drop_last else -(len(part) // -size) for part, size in parts)


class BucketBatchSampler(GroupBatchSampler):
    """Batches of samples of similar length, so that little is padded.

    Lengths fall into buckets at `boundaries` (upper ends, the last open), or into `buckets` of about equally many
    samples. `max_total` bounds a batch's padded size, its longest sample times its samples: then buckets of short
    samples have larger batches, `batch_size` at most if that is given too.

    >>> from mlcore import data
    >>> lengths = [1, 9, 2, 8, 1, 9]
    >>> sampler = data.BucketBatchSampler(lengths, batch_size=3, boundaries=[5])
    >>> sorted(sorted(lengths[i] for i in batch) for batch in sampler)
    [[1, 1, 2], [8, 9, 9]]
    """

    def __init__(
        self,
        lengths: Any,
        batch_size: int | None = None,
        drop_last: bool = False,
        shuffle: bool = True,
        *,
        boundaries: Sequence[float] | None = None,
        buckets: int = 10,
        max_total: int | None = None,
        generator: Any = None,
    ) -> None:
        found = label_array("BucketBatchSampler", lengths)
        if found.dtype.kind not in "iuf" or not np.isfinite(found).all() or (found < 0).any():
            raise ArgumentError("BucketBatchSampler: lengths must be finite numbers >= 0")
        if batch_size is None and max_total is None:
            raise ArgumentError(
                "BucketBatchSampler: neither batch_size nor max_total", fix="give one of them"
            )
        check_count("BucketBatchSampler", "buckets", buckets)
        if boundaries is None:
            boundaries = np.unique(np.quantile(found, np.arange(1, buckets) / buckets)).tolist()
        elif any(b <= a for a, b in pairwise(boundaries)):
            raise ArgumentError(f"BucketBatchSampler: boundaries {list(boundaries)}", fix="let them rise")
        groups = np.searchsorted(np.asarray(boundaries, np.float64), found, side="left")
        super().__init__(groups, batch_size or len(found), False, shuffle, generator)
        self.drop_last = bool(drop_last)
        if max_total is not None:
            check_count("BucketBatchSampler", "max_total", max_total)
            longest = [float(found[part].max()) for part in self.members]
            if max(longest) > max_total:
                where = int(np.argmax(found))
                raise ArgumentError(
                    f"BucketBatchSampler: sample {where} is {found[where]} long, max_total is {max_total}",
                    fix="crop it, or raise max_total",
                )
            limit = batch_size or len(found)
            self.sizes = [max(1, min(limit, int(max_total // max(one, 1)))) for one in longest]


def stratified_split(
    dataset: Any, labels: Any, lengths: Sequence[float], generator: Any = None
) -> list[Subset[Any]]:
    """As `random_split`, with nearly the same share of each class in every part.

    >>> from mlcore import data
    >>> labels = [0] * 8 + [1] * 4
    >>> a, b = data.stratified_split(range(12), labels, [0.75, 0.25])
    >>> sorted(labels[i] for i in b)
    [0, 0, 1]
    """
    found = label_array("stratified_split", labels)
    if len(found) != len(dataset):
        raise DataError(f"stratified_split: {len(found)} labels for {len(dataset)} samples")
    counts = split_counts("stratified_split", len(dataset), lengths)
    order = StratifiedSampler(found, generator).order()
    # A stretch of the stratified order has the shares; which stretch a part gets does not matter.
    ends = np.cumsum(counts).tolist()
    parts: list[Any] = [order[end - count : end] for end, count in zip(ends, counts, strict=True)]
    return [Subset(dataset, part) for part in parts]


# -- the report --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassReport:
    """For each class: its `counts` in the dataset, how many are `drawn` in an epoch, how many of those are `distinct`,
    and how many samples they are worth: the `effective` number (Kish 1965), which repetition makes smaller.
    """

    classes: list[Any]
    counts: list[int]
    drawn: list[int]
    distinct: list[int]
    effective: list[float]

    @property
    def imbalance(self) -> float:
        """The most frequent class's draws to the rarest one's."""
        return max(self.drawn) / min(self.drawn) if min(self.drawn) else float("inf")

    def __str__(self) -> str:
        total = max(1, sum(self.drawn))
        width = max(5, *(len(str(one)) for one in self.classes))
        lines = [
            f"{'class':<{width}} {'in data':>9} {'drawn':>9} {'share':>7} {'distinct':>9} {'effective':>10}"
        ]
        rows = zip(self.classes, self.counts, self.drawn, self.distinct, self.effective, strict=True)
        for name, count, drawn, distinct, effective in rows:
            lines.append(
                f"{name!s:<{width}} {count:>9} {drawn:>9} {drawn / total:>7.1%} {distinct:>9} {effective:>10.1f}"
            )
        return "\n".join([*lines, f"imbalance {self.imbalance:.2f}"])


def class_report(labels: Any, sampler: Any = None) -> ClassReport:
    """What one epoch of a sampler (of indices or of batches) holds of each class; without one, what the dataset holds.

    >>> from mlcore import data
    >>> print(data.class_report([0, 0, 0, 1], data.ClassBalancedSampler([0, 0, 0, 1])))
    class   in data     drawn   share  distinct  effective
    0             3         2   50.0%         2        2.0
    1             1         2   50.0%         1        1.0
    imbalance 1.00
    """
    found = label_array("class_report", labels)
    classes, members = _members(found)
    times = np.ones(len(found), np.int64)
    if sampler is not None:
        source = getattr(sampler, "generator", None) or random.default_generator()
        before = source.get_state()
        try:
            drawn: list[Indices] = [np.atleast_1d(np.asarray(one, np.int64)) for one in sampler]
        finally:
            source.set_state(before)
        flat = np.concatenate(drawn) if drawn else np.zeros(0, np.int64)
        if len(flat) and not (flat.min() >= 0 and flat.max() < len(found)):
            raise DataError(
                f"class_report: the sampler gives index {flat.max()}, there are {len(found)} labels"
            )
        times = np.bincount(flat, minlength=len(found))
    per = [times[part] for part in members]
    return ClassReport(
        classes.tolist(),
        [len(part) for part in members],
        [int(one.sum()) for one in per],
        [int((one > 0).sum()) for one in per],
        [float(one.sum() ** 2 / (one**2).sum()) if one.any() else 0.0 for one in per],
    )
