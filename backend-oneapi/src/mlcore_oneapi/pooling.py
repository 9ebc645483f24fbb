"""Pooling and its gradients: one work-item an element, which looks at the windows it is in."""

from __future__ import annotations

import math
from typing import Any, Final

from mlcore.shapes import windows
from mlcore_oneapi import planes_source as planes
from mlcore_oneapi import windows_source as source
from mlcore_oneapi.convolution import items, three
from mlcore_oneapi.tools import Tools, merged, numbers

PLANES: Final = {
    source.max_pool: planes.max_pool_planes,
    source.max_pool_grad: planes.max_pool_grad_planes,
    source.avg_pool: planes.avg_pool_planes,
    source.avg_pool_grad: planes.avg_pool_grad_planes,
}


def _planes(tools: Tools, x: Any, rank: int) -> tuple[Any, int, tuple[int, ...]]:
    """(array, stride of a plane, strides inside): all leading dimensions as one; a copy where they do not join."""
    lead = merged(x.shape[: len(x.shape) - rank], x.strides[: len(x.shape) - rank])
    if len(lead) > 1:
        x = tools.arrays.contiguous(x)
        lead = merged(x.shape[: len(x.shape) - rank], x.strides[: len(x.shape) - rank])
    return x, lead[0][1] if lead else 0, three(x.strides[len(x.shape) - rank :], 0)


def _run(
    tools: Tools,
    kernel: Any,
    x: Any,
    y_shape: Any,
    how: Any,
    arrays: dict[str, Any],
    shape: Any,
    counted: bool,
) -> Any:
    """Launch a pooling kernel. `x` is the picture (or its shape), `arrays` those that are read, by their letter."""
    kernel_sizes, stride, padding, dilation = how
    rank = len(kernel_sizes)
    z = tools.arrays.empty(shape, next(iter(arrays.values())).dtype)
    count = math.prod(shape)
    if not count:
        return z
    places: dict[str, tuple[int, ...]] = {}
    taken = []
    for letter, array in arrays.items():
        held, plane, inside = _planes(tools, array, rank)
        places[letter] = (held.offset, plane, *inside)
        taken.append(held)
    none = (0,) * 5
    words = numbers(
        count, *places.get("X", none), *three(x[len(x) - rank :], 1), *three(kernel_sizes, 1), *three(stride, 1),
        *three(dilation, 1), *three([one[0] for one in padding], 0), *three(y_shape[len(y_shape) - rank :], 1),
        *places.get("G", none), *places.get("Y", none), int(counted),
    )  # fmt: skip
    if tools.processor:
        size, _ = tools.shares(math.prod(shape[: len(shape) - rank]), math.prod(shape[len(shape) - rank :]))
        tools.run(tools.get(PLANES[kernel], z.dtype), (*taken, z), words, (size, 1, 1))
    else:
        found = tools.get(kernel, z.dtype, local=(source.GROUP, 1, 1))
        tools.run(found, (*taken, z), words, items(tools, count))
    return z


def _pooled(x: Any, how: Any) -> tuple[int, ...]:
    """The shape after pooling."""
    lead = len(x.shape) - len(how[0])
    sizes = [windows("pool", *one) for one in zip(x.shape[lead:], *how)]
    return (*x.shape[:lead], *sizes)


def max_pool(tools: Tools, x: Any, how: Any) -> Any:
    """The largest element of each window."""
    shape = _pooled(x, how)
    return _run(tools, source.max_pool, x.shape, shape, how, {"X": x}, shape, True)


def max_pool_grad(tools: Tools, grad: Any, x: Any, y: Any, how: Any) -> Any:
    """Each window's gradient to its first largest element."""
    arrays = {"G": grad, "X": x, "Y": y}
    return _run(tools, source.max_pool_grad, x.shape, y.shape, how, arrays, x.shape, True)


def avg_pool(tools: Tools, x: Any, how: Any, counted: bool) -> Any:
    """The mean of each window."""
    shape = _pooled(x, how)
    return _run(tools, source.avg_pool, x.shape, shape, how, {"X": x}, shape, counted)


def avg_pool_grad(tools: Tools, grad: Any, input_shape: Any, how: Any, counted: bool) -> Any:
    """Each window's gradient shared by its elements."""
    return _run(tools, source.avg_pool_grad, input_shape, grad.shape, how, {"G": grad}, input_shape, counted)
