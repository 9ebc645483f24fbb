"""Samples into batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlcore import dispatch
from mlcore.errors import ArgumentTypeError, DataError
from mlcore.ops.shape import stack
from mlcore.tensor import TensorBase


def default_collate(batch: list[Any]) -> Any:
    """One batch of a list of samples: tensors, arrays and numbers are stacked, tuples, lists and dicts gone into.

    Text stays a list. Python floats become the default dtype, integers int64, arrays keep their dtype.

    >>> from mlcore import data
    >>> images, labels = data.default_collate([(np.zeros((2, 2)), 7), (np.ones((2, 2)), 8)])
    >>> images.shape, labels.tolist()
    ((2, 2, 2), [7, 8])
    """
    if not batch:
        raise DataError("cannot make a batch of no samples", fix="give at least one")
    return _collate(batch, "")


def _stack(values: list[Any]) -> Any:
    """A tensor of tensors, arrays or numbers of one form."""
    if isinstance(values[0], TensorBase):
        return stack(values)
    if isinstance(values[0], (np.ndarray, np.generic)):
        return dispatch.from_data(np.stack([np.asarray(one) for one in values]))
    return dispatch.from_data(values)


def _collate(batch: list[Any], where: str) -> Any:
    first = batch[0]
    if isinstance(first, TensorBase):
        _same(batch, where, lambda one: getattr(one, "shape", type(one).__name__), "shape")
        return _stack(batch)
    if isinstance(first, (np.ndarray, np.generic)):
        _same(batch, where, np.shape, "shape")
        return _stack(batch)
    if isinstance(first, (bool, int, float, complex)):
        try:
            return _stack(list(batch))
        except (TypeError, ValueError) as error:
            raise DataError(f"cannot make a batch{where}: {error}") from error
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        _same(batch, where, lambda one: sorted(map(str, one)), "keys")
        return {key: _collate([one[key] for one in batch], f"{where}[{key!r}]") for key in first}
    if isinstance(first, (tuple, list)):
        _same(
            batch,
            where,
            lambda one: len(one) if isinstance(one, (tuple, list)) else type(one).__name__,
            "length",
        )
        columns = [
            _collate(list(column), f"{where}[{i}]") for i, column in enumerate(zip(*batch, strict=True))
        ]
        if hasattr(first, "_fields"):
            return type(first)(*columns)
        return tuple(columns) if isinstance(first, tuple) else columns
    raise ArgumentTypeError(f"cannot make a batch of {type(first).__name__} objects{where}",
                            fix="return tensors, arrays, numbers, tuples or dicts, or pass collate_fn")  # fmt: skip


def _same(batch: list[Any], where: str, facts: Any, what: str) -> None:
    """Refuse a ragged batch, naming the two samples that differ."""
    first = facts(batch[0])
    for i, one in enumerate(batch):
        if facts(one) != first:
            raise DataError(
                f"ragged batch{where}: {what} {first} of sample 0 and {facts(one)} of sample {i}",
                cause="samples of one batch must have the same form",
                fix="pad or crop them, pass collate_fn=PadCollate(), or a function of your own",
            )


def default_convert(sample: Any) -> Any:
    """A single sample with its arrays as tensors: what a loader without batches returns."""
    if isinstance(sample, np.ndarray):
        return dispatch.from_data(sample)
    if isinstance(sample, Mapping):
        return {key: default_convert(one) for key, one in sample.items()}
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*map(default_convert, sample))
    if isinstance(sample, (tuple, list)):
        return type(sample)(map(default_convert, sample))
    return sample


class PadCollate:
    """Collates samples whose arrays differ in size: each is padded at its end to the largest of the batch.

    With `lengths`, every padded position gives (batch, lengths) instead, the lengths along the first axis.

    >>> from mlcore import data
    >>> batch, lengths = data.PadCollate(-1, lengths=True)([np.arange(3), np.arange(1)])
    >>> batch.tolist(), lengths.tolist()
    ([[0, 1, 2], [0, -1, -1]], [3, 1])
    """

    def __init__(self, value: complex = 0, lengths: bool = False) -> None:
        self.value, self.lengths = value, lengths

    def __call__(self, batch: list[Any]) -> Any:
        if not batch:
            raise DataError("cannot make a batch of no samples", fix="give at least one")
        return self._collate(batch, "")

    def _collate(self, batch: list[Any], where: str) -> Any:
        first = batch[0]
        if isinstance(first, Mapping):
            _same(batch, where, lambda one: sorted(map(str, one)), "keys")
            return {key: self._collate([one[key] for one in batch], f"{where}[{key!r}]") for key in first}
        if isinstance(first, (tuple, list)):
            _same(batch, where, lambda one: len(one), "length")
            columns = [
                self._collate(list(column), f"{where}[{i}]")
                for i, column in enumerate(zip(*batch, strict=True))
            ]
            return type(first)(*columns) if hasattr(first, "_fields") else type(first)(columns)
        if not isinstance(first, (TensorBase, np.ndarray)) or not len(first.shape):
            return _collate(batch, where)
        _same(batch, where, lambda one: len(one.shape), "dimensions")
        arrays = [np.asarray(one) for one in batch]
        shape = tuple(map(max, zip(*(one.shape for one in arrays), strict=True)))
        whole = np.full((len(arrays), *shape), self.value, np.result_type(*arrays))
        for row, one in zip(whole, arrays, strict=True):
            row[tuple(map(slice, one.shape))] = one
        padded = dispatch.from_data(whole)
        return (padded, dispatch.from_data([len(one) for one in arrays])) if self.lengths else padded
