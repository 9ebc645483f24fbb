"""What `x[...]` and `x[...] = v` mean: any index expression of NumPy, brought to slices and integer tensors."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from mlcore import dtypes, shapes
from mlcore.dispatch import from_data
from mlcore.dtypes import booleans, integers
from mlcore.errors import ArgumentTypeError, OutOfRangeError, ShapeError
from mlcore.ops.creation import iota_on
from mlcore.ops.elementwise import astype, where
from mlcore.ops.index import _flat, checked, gather, nonzero, scatter
from mlcore.ops.shape import broadcast_to, permute_dims, reshape, slice_, slice_update
from mlcore.tensor import TensorBase


class Plan:
    """An index expression in canonical form: slices per axis, then new and dropped axes, then integer tensors."""

    __slots__ = ("basic", "key", "layout")

    def __init__(self, x: Any, index: Any) -> None:
        items = list(index) if isinstance(index, tuple) else [index]
        items = [_as_item(one, x.device) for one in items]
        items = _spell_out(items, x)
        key: list[tuple[int, int | None, int]] = []
        # per axis of the sliced tensor: None new, "drop", "keep", an index tensor, or (index tensor,) of a new axis
        layout: list[Any] = []
        axis = 0
        for one in items:
            if one is None:
                layout.append(None)
            elif isinstance(one, slice):
                key.append(shapes.slice_key(_indexable(one), x.shape[axis]))
                layout.append("keep")
                axis += 1
            elif isinstance(one, int):
                size = x.shape[axis]
                if not -size <= one < size:
                    raise OutOfRangeError(
                        f"index {one} out of range for dim {axis} of size {size}",
                        fix=f"use an index from {-size} to {size - 1}" if size else "the dimension is empty",
                    )
                one %= size
                key.append((one, one + 1, 1))
                layout.append("drop")
                axis += 1
            elif one.dtype in booleans and not one.shape:  # a new axis that is there once, or not at all
                layout.append((iota_on(x, 1 if one.item() else 0),))
            elif one.dtype in booleans:
                for dim, indices in enumerate(_mask_indices(one, x, axis)):
                    key.append((0, x.shape[axis + dim], 1) if x.shape[axis + dim] else (0, 0, 1))
                    layout.append(indices)
                axis += one.ndim
            else:
                key.append((0, x.shape[axis], 1) if x.shape[axis] else (0, 0, 1))
                layout.append(checked("index", one, x.shape[axis], axis, x.device))
                axis += 1
        self.key = tuple(key)
        self.layout = layout
        self.basic = not [one for one in layout if isinstance(one, (TensorBase, tuple))]


def _indexable(item: slice) -> slice:
    try:
        return slice(
            *(None if one is None else operator.index(one) for one in (item.start, item.stop, item.step))
        )
    except TypeError:
        raise ArgumentTypeError(f"slice bounds must be ints, got {item}") from None


def _as_item(one: Any, device: Any) -> Any:
    if one is None or one is Ellipsis or isinstance(one, slice):
        return one
    if isinstance(one, TensorBase):
        if one.dtype in booleans or one.dtype in integers:
            # the methods are attached to Tensor
            return one if one.shape or one.dtype in booleans else int(one.item())  # type: ignore[attr-defined]
        raise ArgumentTypeError(
            f"index: a {one.dtype} tensor is no index", fix="use integers, bools, slices, ... or None"
        )
    if isinstance(one, (bool, np.bool_)):
        return from_data(bool(one), None, device)
    try:
        return operator.index(one)
    except TypeError:
        pass
    if isinstance(one, np.ndarray):
        return _as_item(from_data(one, None, device), device)
    if isinstance(one, list):
        return _as_item(from_data(one, dtypes.int64 if np.size(one) == 0 else None, device), device)
    raise ArgumentTypeError(
        f"index: {type(one).__name__} {one!r} is no index", fix="use integers, bools, slices, ... or None"
    )


def _spell_out(items: list[Any], x: Any) -> list[Any]:
    """Replace the ellipsis, and add full slices for the axes that are not named."""
    used = 0
    for one in items:
        if one is None or one is Ellipsis:
            continue
        # the methods are attached to Tensor
        used += one.ndim if isinstance(one, TensorBase) and one.dtype in booleans else 1  # type: ignore[attr-defined]
    dots = [i for i, one in enumerate(items) if one is Ellipsis]
    if len(dots) > 1:
        raise OutOfRangeError("index: more than one ellipsis", fix="use `...` once")
    if used > x.ndim:
        raise OutOfRangeError(f"index: {used} indices for a tensor of {x.ndim} dimensions (shape {x.shape})")
    missing = [slice(None)] * (x.ndim - used)
    at = dots[0] if dots else len(items)
    return items[:at] + missing + items[at + bool(dots) :]


def _mask_indices(mask: Any, x: Any, axis: int) -> tuple[Any, ...]:
    wanted = x.shape[axis : axis + mask.ndim]
    if mask.shape != wanted:
        raise OutOfRangeError(f"index: a mask of shape {mask.shape} for dimensions {wanted} of {x.shape}",
                              fix="the mask must have the shape of what it selects from")  # fmt: skip
    found: tuple[Any, ...] = nonzero(mask)
    return found


def getitem(x: Any, index: Any) -> Any:
    """`x[index]`: integers, slices, `...`, None, boolean masks and integer tensors, as in NumPy.

    Always a new tensor, also where everything is selected: assigning to `x` later does not change it.
    """
    plan = Plan(x, index)
    picked = x if plan.key == _whole(x.shape) else slice_(x, plan.key)
    if plan.basic:
        shape, axis = [], 0
        for one in plan.layout:
            if one is None:
                shape.append(1)
                continue
            if one == "keep":
                shape.append(picked.shape[axis])
            axis += 1
        return picked if tuple(shape) == picked.shape and picked is not x else reshape(picked, tuple(shape))
    view, axes, indices = _arrange(picked, plan.layout)
    flat_shape, flat = _advanced(view, axes, indices)
    return gather(reshape(view, flat_shape), flat, axis=axes[0])


def _whole(shape: tuple[int, ...]) -> shapes.Key:
    return tuple((0, d, 1) for d in shape)


def _arrange(picked: Any, layout: list[Any]) -> tuple[Any, list[int], list[Any]]:
    """New axes in, dropped ones out, and the indexed axes side by side; returns (view, those axes, their indices).

    As in NumPy the indexed axes come first where a slice stands between them; a plain integer counts as one.
    """
    dims, indices, places, turns, axis = [], [], [], [], 0
    for turn, one in enumerate(layout):
        if isinstance(one, (TensorBase, tuple)) or (isinstance(one, str) and one == "drop"):
            turns.append(turn)
        if one is None:
            dims.append(1)
            continue
        if isinstance(one, tuple):
            places.append(len(dims))
            indices.append(one[0])
            dims.append(1)
            continue
        if not isinstance(one, str):
            places.append(len(dims))
            indices.append(one)
            dims.append(picked.shape[axis])
        elif one == "keep":
            dims.append(picked.shape[axis])
        axis += 1
    view = reshape(picked, tuple(dims))
    adjacent = turns == list(range(turns[0], turns[0] + len(turns)))
    first = places[0] if adjacent else 0
    order = [i for i in range(len(dims)) if i not in places]
    order[first:first] = places
    if order != list(range(len(dims))):
        view = permute_dims(view, tuple(order))
    return view, list(range(first, first + len(places))), indices


def _advanced(view: Any, axes: list[int], indices: list[Any]) -> tuple[tuple[int, ...], Any]:
    """The shape that merges the indexed axes into one, and the indices into that one."""
    dims = tuple(view.shape[i] for i in axes)
    shape = shapes.broadcast("index", *(one.shape for one in indices))
    merged = (*view.shape[: axes[0]], math.prod(dims), *view.shape[axes[-1] + 1 :])
    return merged, _flat(indices, dims, shape)


# -- x[...] = v ----------------------------------------------------------------------------------------------------


def setitem(x: Any, index: Any, value: Any) -> Any:
    """What `x` is after `x[index] = value`; the value broadcasts and takes the dtype of `x`."""
    if not isinstance(value, TensorBase):
        value = from_data(
            value, x.dtype if isinstance(value, (bool, int, float, complex)) else None, x.device
        )
    if value.dtype is not x.dtype:
        value = astype(value, x.dtype)
    if (
        isinstance(index, TensorBase)
        and index.dtype in booleans
        and index.shape == x.shape
        and value.shape == ()
    ):
        return where(index, value, x)
    plan = Plan(x, index)
    if plan.basic:
        target = shapes.sliced(x.shape, plan.key)
        sizes = iter(target)
        spelt = [(one, 1 if one is None else next(sizes)) for one in plan.layout]
        selected = tuple(size for one, size in spelt if one != "drop")
        return slice_update(x, reshape(_fit(value, selected), target), key=plan.key)
    positions = reshape(iota_on(x, math.prod(x.shape)), x.shape)
    chosen = getitem(positions, index)
    value = _fit(value, chosen.shape)
    flat = scatter(reshape(x, (-1,)), reshape(chosen, (-1,)), reshape(value, (-1,)), axis=0)
    return reshape(flat, x.shape)


def _fit(value: Any, shape: tuple[int, ...]) -> Any:
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = reshape(value, value.shape[1:])
    try:
        return value if value.shape == shape else broadcast_to(value, shape)
    except ShapeError:
        raise ShapeError(f"assignment: a value of shape {value.shape} does not fit the selection of shape {shape}",
                         fix="the value must broadcast to the selection") from None  # fmt: skip
