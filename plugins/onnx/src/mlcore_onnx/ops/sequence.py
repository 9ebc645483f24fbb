"""Sequences and optionals: lists, and a value or None."""

from __future__ import annotations

from typing import Any

import numpy as np

import mlcore as ml
from mlcore.errors import ArgumentError, OutOfRangeError
from mlcore.tensor import Tensor
from mlcore_onnx.ops.declare import onnx_op
from mlcore_onnx.ops.shape import even
from mlcore_onnx.values import HOST, Carrier, ints, on_host, to_numpy, together


def _place(index: Any, size: int, more: int = 0) -> int:
    found = int(np.asarray(to_numpy(index)).reshape(-1)[0])
    if not -size - more <= found < size + more:
        raise OutOfRangeError(f"place {found} in a sequence of {size}")
    return found


def _sequence(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ArgumentError("not a sequence", got=type(value).__name__)
    return value


@onnx_op("SequenceConstruct", 11, raw=True)
def construct(*values: Any) -> Any:
    return list(values)


@onnx_op("SequenceEmpty", 11, raw=True)
def empty(*, dtype: int = 1) -> Any:
    return []


@onnx_op("SequenceAt", 11, raw=True)
def at(sequence: Any, position: Any) -> Any:
    return _sequence(sequence)[_place(position, len(sequence))]


@onnx_op("SequenceInsert", 11, raw=True)
def insert(sequence: Any, tensor: Any, position: Any = None) -> Any:
    size = len(_sequence(sequence))
    place = size if position is None else _place(position, size, 1)
    place = place + size if place < 0 else place
    return [*sequence[:place], tensor, *sequence[place:]]


@onnx_op("SequenceErase", 11, raw=True)
def erase(sequence: Any, position: Any = None) -> Any:
    size = len(_sequence(sequence))
    place = (-1 if position is None else _place(position, size)) % max(size, 1)
    return [*sequence[:place], *sequence[place + 1 :]]


@onnx_op("SequenceLength", 11, raw=True)
def length(sequence: Any) -> Any:
    return on_host(np.asarray(len(_sequence(sequence)), np.int64))


@onnx_op("ConcatFromSequence", 11, raw=True)
def concat_from(sequence: Any, *, axis: int, new_axis: int = 0) -> Any:
    parts = _sequence(sequence)
    if not parts:
        raise ArgumentError("ConcatFromSequence of nothing")
    if isinstance(parts[0], np.ndarray):
        return np.stack(parts, axis) if new_axis else np.concatenate(parts, axis)
    return ml.stack(together(parts), axis=axis) if new_axis else ml.concat(together(parts), axis=axis)


@onnx_op("SplitToSequence", 11, raw=True)
def split_to(x: Any, split: Any = None, *, axis: int = 0, keepdims: int = 1) -> Any:
    carrier = Carrier([x], "SplitToSequence") if isinstance(x, np.ndarray) else None
    value = x if carrier is None else carrier.carry(x)
    axis = axis % value.ndim
    total = value.shape[axis]
    if split is None:
        sizes = [1] * total
    else:
        given = np.asarray(to_numpy(split))
        sizes = list(ints(given)) if given.ndim else _chunks(total, int(given))
    if sum(sizes) != total or min(sizes, default=1) < 0:
        raise ArgumentError(f"SplitToSequence of {value.shape} at axis {axis} into {sizes[:8]}")
    parts = list(ml.split(value, sizes, axis=axis)) if sizes else []
    if split is None and not keepdims:
        parts = [ml.squeeze(one, (axis,)) for one in parts]
    return parts if carrier is None else [carrier.back(one) for one in parts]


def _chunks(total: int, size: int) -> list[int]:
    if size < 1:
        raise ArgumentError(f"SplitToSequence into pieces of {size}")
    return [size] * (total // size) + ([total % size] if total % size else [])


@onnx_op("SequenceMap", 17, raw=True)
def sequence_map(sequence: Any, *others: Any, body: Any, outputs: int) -> Any:
    columns: list[list[Any]] = [[] for _ in range(outputs)]
    for i, one in enumerate(_sequence(sequence)):
        made = body(one, *(other[i] if isinstance(other, list) else other for other in others))
        for column, value in zip(columns, made, strict=True):
            column.append(value)
    return tuple(columns) if outputs > 1 else (columns[0],)


@onnx_op("Optional", 15, raw=True)
def optional(value: Any = None, *, type: Any = None) -> Any:
    return (value,)


@onnx_op("OptionalHasElement", 15, raw=True)
def has_element(value: Any = None) -> Any:
    return on_host(np.asarray(value is not None))


@onnx_op("OptionalGetElement", 15, raw=True)
def get_element(value: Any) -> Any:
    if value is None:
        raise ArgumentError("OptionalGetElement of an empty optional", fix="ask OptionalHasElement first")
    return (value,)


__all__ = ["HOST", "Tensor", "even"]
