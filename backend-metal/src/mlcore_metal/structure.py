"""Places and order: what MLX has no function for (nonzero, last write wins, stable order) from what it has."""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import numeric, real
from mlcore_metal.catalog import kernel, maker
from mlcore_metal.elementwise import narrow, wide
from mlcore_metal.library import mx


@kernel("slice")
def slice_(x: Any, key: tuple[Any, ...]) -> Any:
    return x[tuple(slice(*one) for one in key)] if key else x


@kernel("narrow")
def narrow_(x: Any, axis: int, start: int, stop: int) -> Any:
    return x[(*(slice(None),) * axis, slice(start, stop))]


@kernel("select")
def select(x: Any, axis: int, index: int) -> Any:
    return x[(*(slice(None),) * axis, index)]


@kernel("slice_update")
def slice_update(x: Any, v: Any, key: tuple[Any, ...]) -> Any:
    """MLX's assignment makes a new value for the name it is given: a name of our own."""
    if not key:
        return v
    y = mx.array(x)
    y[tuple(slice(*one) for one in key)] = v
    return y


def stable_order(x: Any, axis: int, argsort: Any) -> Any:
    """The stable order from any order: equal elements are runs of the sorted array, sorted again by their places."""
    order = argsort(x, axis=axis).astype(mx.int64)
    ordered = mx.moveaxis(mx.take_along_axis(x, order, axis=axis), axis, -1)
    before, after = ordered[..., :-1], ordered[..., 1:]
    other = before != after
    if mx.issubdtype(x.dtype, mx.floating):
        other = other & ~(mx.isnan(before) & mx.isnan(after))
    first = mx.zeros((*ordered.shape[:-1], 1), dtype=mx.int64)
    runs = mx.concatenate([first, mx.cumsum(other.astype(mx.int64), axis=-1)], axis=-1)
    keys = mx.moveaxis(runs, -1, axis) * x.shape[axis] + order  # all different
    return mx.take_along_axis(order, argsort(keys, axis=axis).astype(mx.int64), axis=axis)


@maker("sort_indices", dtypes=real)
def sort_indices(op: Any, backend: Any) -> Any:
    """On a processor MLX's sort is stable; of the GPU's nothing is promised."""

    def order(x: Any, axis: int) -> Any:
        if backend.runtime.gpu:
            return stable_order(x, axis, mx.argsort)
        return mx.argsort(x, axis=axis).astype(mx.int64)

    def run(x: Any, axis: int, descending: bool) -> Any:
        if not x.size:
            return mx.zeros(x.shape, dtype=mx.int64)
        if not descending:
            return order(x, axis)
        back = (*(slice(None),) * axis, slice(None, None, -1))
        # The stable descending order is the ascending order of the reversed array, reversed.
        return (x.shape[axis] - 1 - order(x[back], axis))[back]

    return run


@maker("where_true")
def where_true(op: Any, backend: Any) -> Any:
    """One number goes to the host: how many there are."""

    def run(x: Any) -> tuple[Any, ...]:
        hit = (x if x.dtype == mx.bool_ else x != mx.zeros((), dtype=x.dtype)).reshape(-1)
        if not hit.size:
            return places(x, hit, 0)
        total = mx.sum(hit)
        backend.runtime.evaluate(total)
        return places(x, hit, int(total.item()))

    return run


def places(x: Any, hit: Any, count: int) -> tuple[Any, ...]:
    """The indices of `count` hits: a running count says of each where its place belongs."""
    size = hit.size
    if not count:
        return tuple(mx.zeros((0,), dtype=mx.int64) for _ in x.shape)
    turn = mx.where(hit, mx.cumsum(hit.astype(mx.int64)) - 1, mx.array(count, dtype=mx.int64))
    flat = mx.put_along_axis(mx.zeros((count + 1,), mx.int64), turn, mx.arange(size, dtype=mx.int64), axis=0)
    flat = flat[:count]
    found = []
    for d in reversed(x.shape):
        width = mx.array(d, dtype=mx.int64)
        found.append(mx.remainder(flat, width))
        flat = mx.divmod(flat, width)[0]
    return tuple(reversed(found))


@kernel("gather")
def gather(x: Any, indices: Any, axis: int) -> Any:
    return mx.take(x, indices, axis=axis)


@kernel("index_add", dtypes=numeric)
def index_add(x: Any, indices: Any, values: Any, axis: int) -> Any:
    if not values.size:
        return x
    return narrow(wide(x).at[(*(slice(None),) * axis, indices)].add(wide(values)), x.dtype)


@kernel("index_sum", dtypes=numeric)
def index_sum(values: Any, indices: Any, axis: int, size: int) -> Any:
    shape = (*values.shape[:axis], size, *values.shape[axis + 1 :])
    return index_add(mx.zeros(shape, dtype=values.dtype), indices, values, axis)


@kernel("scatter")
def scatter(x: Any, indices: Any, values: Any, axis: int) -> Any:
    """Of repeated indices the last wins: the largest turn that names a place."""
    count = indices.shape[0]
    if not count or not x.size:
        return x
    turns = (
        mx.full((x.shape[axis],), -1, dtype=mx.int32).at[indices].maximum(mx.arange(count, dtype=mx.int32))
    )
    picked = mx.take(values, mx.maximum(turns, 0), axis=axis)
    hit = (turns >= 0).reshape(tuple(-1 if i == axis else 1 for i in range(x.ndim)))
    return mx.where(hit, picked, x)
