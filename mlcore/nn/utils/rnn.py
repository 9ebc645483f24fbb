"""Sequences of different lengths: padded to one length, or packed so that no step is spent on padding.

A packed batch holds the first step of every sequence, then the second step of those that have one, and so on, the
longest sequence first; the recurrent layers take it and give one back.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mlcore import dispatch, dtypes
from mlcore.errors import ArgumentError, ArgumentTypeError, OutOfRangeError, ShapeError
from mlcore.ops.elementwise import where
from mlcore.ops.index import take
from mlcore.ops.shape import pad, reshape, stack, swapaxes
from mlcore.tensor import Tensor


class _Fields(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(_Fields):
    """A packed batch: `data` (steps of all sequences, *), and in `batch_sizes` how many sequences each step has.

    `sorted_indices` says where in the original batch each sequence stood, `unsorted_indices` the reverse; both None if
    they were sorted already. Made by `pack_padded_sequence` and `pack_sequence`.

    >>> import mlcore as ml
    >>> from mlcore.nn.utils.rnn import pack_sequence
    >>> packed = pack_sequence([ml.asarray([1, 2, 3]), ml.asarray([4])])
    >>> packed.data.tolist(), packed.batch_sizes.tolist()
    ([1, 4, 2, 3], [2, 1, 1])
    """

    __slots__ = ()

    def __new__(
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (tuple, list)) or len(data) != 2:
                raise ArgumentTypeError(
                    f"PackedSequence: a {type(data).__name__} without batch_sizes",
                    fix="use pack_padded_sequence or pack_sequence",
                )
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same batch with `data` as `Tensor.to` makes it, and the rest on its device."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        rest = [None if one is None else one.to(data.device) for one in self[1:]]
        return PackedSequence(data, *rest)

    def double(self) -> PackedSequence:
        """`to(float64)`."""
        return self.to(dtypes.float64)

    def float(self) -> PackedSequence:
        """`to(float32)`."""
        return self.to(dtypes.float32)

    def half(self) -> PackedSequence:
        """`to(float16)`."""
        return self.to(dtypes.float16)

    def long(self) -> PackedSequence:
        """`to(int64)`."""
        return self.to(dtypes.int64)

    def int(self) -> PackedSequence:
        """`to(int32)`."""
        return self.to(dtypes.int32)

    def short(self) -> PackedSequence:
        """`to(int16)`."""
        return self.to(dtypes.int16)

    def char(self) -> PackedSequence:
        """`to(int8)`."""
        return self.to(dtypes.int8)

    def byte(self) -> PackedSequence:
        """`to(uint8)`."""
        return self.to(dtypes.uint8)


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes `permutation`, a vector of indices; None stays None.

    >>> import mlcore as ml
    >>> from mlcore.nn.utils.rnn import invert_permutation
    >>> invert_permutation(ml.asarray([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    if permutation is None:
        return None
    host = permutation.numpy()
    if host.ndim != 1 or sorted(host.tolist()) != list(range(host.size)):
        raise ArgumentError(
            f"invert_permutation: {permutation.tolist()}", fix="use each of 0 to n - 1 once, in a vector"
        )
    return dispatch.from_data(np.argsort(host).astype(host.dtype), None, permutation.device)


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch (T, B, *), or (B, T, *) with `batch_first`, of sequences with the given lengths.

    `lengths`, a list or a vector of integers from 1 to T, falls from sequence to sequence unless
    `enforce_sorted=False`, which sorts the sequences (equal lengths keep their order).

    >>> import mlcore as ml
    >>> from mlcore.nn.utils.rnn import pack_padded_sequence
    >>> x = ml.asarray([[1, 2, 0], [3, 0, 0], [4, 5, 6]])
    >>> packed = pack_padded_sequence(x, [2, 1, 3], batch_first=True, enforce_sorted=False)
    >>> packed.data.tolist(), packed.batch_sizes.tolist(), packed.sorted_indices.tolist()
    ([4, 1, 3, 5, 2, 6], [3, 2, 1], [2, 0, 1])
    """
    _at_least_2d("pack_padded_sequence", input, batch_first)
    steps, batch = input.shape[:2] if not batch_first else input.shape[1::-1]
    counts = _lengths("pack_padded_sequence", lengths, batch, 1, steps)
    if not batch:
        raise ShapeError(f"pack_padded_sequence: no sequence, input {input.shape}", fix="pass at least one")
    order = np.argsort(-counts, kind="stable")
    if enforce_sorted and (np.diff(counts) > 0).any():
        raise ArgumentError(
            f"pack_padded_sequence: lengths {counts.tolist()} are not sorted",
            cause="with enforce_sorted=True the longest sequence comes first",
            fix="pass enforce_sorted=False",
        )
    counts = counts[order]
    sizes = (counts[None, :] > np.arange(counts[0])[:, None]).sum(axis=1)
    step, which = np.repeat(np.arange(len(sizes)), sizes), np.concatenate([order[:n] for n in sizes])
    rows = which * steps + step if batch_first else step * batch + which
    flat = reshape(input, (steps * batch, *input.shape[2:]))
    device = input.device
    return PackedSequence(
        take(flat, dispatch.from_data(rows, None, device), axis=0),
        dispatch.from_data(sizes, None, device),
        None if enforce_sorted else dispatch.from_data(order, None, device),
    )


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Any, Any]:  # fmt: skip
    """(The batch padded with `padding_value` to its longest sequence or to `total_length`, the lengths).

    The reverse of `pack_padded_sequence`: (T, B, *), or (B, T, *) with `batch_first`, in the original order.

    >>> import mlcore as ml
    >>> from mlcore.nn.utils.rnn import pack_sequence, pad_packed_sequence
    >>> packed = pack_sequence([ml.asarray([1, 2, 3]), ml.asarray([4])])
    >>> padded, lengths = pad_packed_sequence(packed, batch_first=True, padding_value=-1)
    >>> padded.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, -1, -1]], [3, 1])
    """
    _packed("pad_packed_sequence", sequence)
    data, device = sequence.data, sequence.data.device
    sizes = np.asarray(batch_sizes("pad_packed_sequence", sequence))
    steps = len(sizes) if total_length is None else total_length
    if steps < len(sizes):
        raise ArgumentError(
            f"pad_packed_sequence: total_length={total_length}", cause=f"the longest sequence has {len(sizes)} steps"
        )  # fmt: skip
    slots = np.arange(sizes[0])
    lengths = (sizes[:, None] > slots).sum(axis=0)
    starts = np.zeros(steps, np.int64)
    starts[1 : len(sizes)] = np.cumsum(sizes)[:-1]
    if sequence.unsorted_indices is not None:  # the slot of each sequence of the original batch
        slots = sequence.unsorted_indices.numpy()
        lengths = lengths[slots]
    real = np.arange(steps)[:, None] < lengths
    rows = np.where(real, starts[:, None] + slots, 0)
    if batch_first:
        real, rows = real.T, rows.T
    found = take(data, dispatch.from_data(np.ascontiguousarray(rows).ravel(), None, device), axis=0)
    found = reshape(found, (*rows.shape, *data.shape[1:]))
    if not real.all():
        mask = np.ascontiguousarray(real).reshape(*rows.shape, *(1,) * (data.ndim - 1))
        value = _of_kind(data, padding_value)
        found = where(dispatch.from_data(mask, None, device), found, value)
    return found, dispatch.from_data(np.ascontiguousarray(lengths), None, device)


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Any:
    """The sequences (length, *), padded with `padding_value` to the longest, as (T, B, *) or (B, T, *).

    `padding_side` "left" puts the padding before them.

    >>> import mlcore as ml
    >>> from mlcore.nn.utils.rnn import pad_sequence
    >>> pad_sequence([ml.asarray([1, 2, 3]), ml.asarray([4])], batch_first=True).tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    found = _several("pad_sequence", sequences)
    if padding_side not in ("left", "right"):
        raise ArgumentError(f"pad_sequence: padding_side={padding_side!r}", fix="use 'left' or 'right'")
    longest = max(one.shape[0] for one in found)
    padded = []
    for one in found:
        lacking = longest - one.shape[0]
        width = (lacking, 0) if padding_side == "left" else (0, lacking)
        padded.append(pad(one, (width, *((0, 0),) * (one.ndim - 1)), value=_of_kind(one, padding_value)))
    return stack(padded, axis=0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Any]:
    """The sequences of a padded batch, each as long as `lengths` says: the reverse of `pad_sequence`.

    >>> import mlcore as ml
    >>> from mlcore.nn.utils.rnn import unpad_sequence
    >>> [one.tolist() for one in unpad_sequence(ml.asarray([[1, 2, 3], [4, 0, 0]]), [3, 1], batch_first=True)]
    [[1, 2, 3], [4]]
    """
    _at_least_2d("unpad_sequence", padded_sequences, batch_first)
    batch = padded_sequences if batch_first else swapaxes(padded_sequences, 0, 1)
    counts = _lengths("unpad_sequence", lengths, batch.shape[0], 0, batch.shape[1])
    return [batch[i, :n] for i, n in enumerate(counts.tolist())]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (length, *), the longest first unless `enforce_sorted=False`.

    >>> import mlcore as ml
    >>> from mlcore.nn.utils.rnn import pack_sequence, unpack_sequence
    >>> packed = pack_sequence([ml.asarray([4]), ml.asarray([1, 2, 3])], enforce_sorted=False)
    >>> packed.data.tolist(), [one.tolist() for one in unpack_sequence(packed)]
    ([1, 4, 2, 3], [[4], [1, 2, 3]])
    """
    found = _several("pack_sequence", sequences)
    lengths = [one.shape[0] for one in found]
    return pack_padded_sequence(pad_sequence(found), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Any]:
    """The sequences of a packed batch, in their original order: the reverse of `pack_sequence`."""
    _packed("unpack_sequence", packed_sequences)
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True), batch_first=True)


def batch_sizes(function: str, packed: PackedSequence) -> list[int]:
    """How many sequences each step has, looked at and checked."""
    sizes: list[int] = packed.batch_sizes.tolist()
    rows = packed.data.shape[0]
    if not sizes or min(sizes) < 1 or sum(sizes) != rows or any(a < b for a, b in pairwise(sizes)):
        raise ArgumentError(
            f"{function}: batch_sizes {sizes} for data of {rows} rows",
            cause="they never grow, are at least 1, and add up to the rows",
            fix="use pack_padded_sequence or pack_sequence",
        )
    return sizes


def _packed(function: str, sequence: Any) -> None:
    if not isinstance(sequence, PackedSequence):
        raise ArgumentTypeError(
            f"{function}: a {type(sequence).__name__}, expected a PackedSequence",
            fix="pack_sequence makes one",
        )


def _several(function: str, sequences: Any) -> list[Any]:
    """The sequences as a list, with shapes that fit together."""
    if not isinstance(sequences, Iterable):
        raise ArgumentTypeError(f"{function}: a {type(sequences).__name__}", fix="pass a list of tensors")
    found = list(sequences)
    if not found:
        raise ArgumentError(f"{function}: no sequence", fix="pass at least one")
    for i, one in enumerate(found):
        if not isinstance(one, Tensor):
            raise ArgumentTypeError(f"{function}: sequence {i} is a {type(one).__name__}", fix="pass tensors")
        if one.ndim == 0 or one.shape[1:] != found[0].shape[1:]:
            raise ShapeError(
                f"{function}: sequence {i} has shape {one.shape}, sequence 0 {found[0].shape}",
                cause="sequences are (length, *) and differ in length alone",
            )
    return found


def _of_kind(x: Any, value: float) -> float:
    """The padding as a number of the kind that `x` holds."""
    return bool(value) if x.dtype.kind == "b" else int(value) if x.dtype.kind in "iu" else value


def _at_least_2d(function: str, x: Any, batch_first: bool) -> None:
    if x.ndim < 2:
        raise ShapeError(
            f"{function}: input of shape {x.shape}", fix=f"pass {'(B, T, *)' if batch_first else '(T, B, *)'}"
        )


def _lengths(function: str, lengths: Any, batch: int, least: int, most: int) -> Any:
    """Lengths as int64 on the host, one for each sequence."""
    host = lengths.numpy() if isinstance(lengths, Tensor) else np.asarray(lengths)
    if host.size and host.dtype.kind not in "iu":
        raise ArgumentTypeError(f"{function}: lengths are {host.dtype}", fix="pass integers")
    if host.shape != (batch,):
        raise ShapeError(
            f"{function}: lengths of shape {host.shape} for a batch of {batch}", fix="give one for each"
        )
    if host.size and not least <= host.min() <= host.max() <= most:
        raise OutOfRangeError(
            f"{function}: lengths {host.tolist()}",
            cause=f"the input has {most} steps",
            fix=f"use {least} to {most}",
        )
    return host.astype(np.int64)
