"""Places and order: what MLX has no function for (nonzero, last write wins, stable order) from what it has."""

from __future__ import annotations

from typing import Any

from mlcore.dtypes import numeric
from mlcore_metal.catalog import kernel
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


@kernel("where_true")
def where_true(x: Any) -> tuple[Any, ...]:
    """One number goes to the host, how many there are; each says by a running count where its place belongs."""
    hit = (x if x.dtype == mx.bool_ else x != mx.zeros((), dtype=x.dtype)).reshape(-1)
    size = hit.size
    count = int(mx.sum(hit).item()) if size else 0
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
