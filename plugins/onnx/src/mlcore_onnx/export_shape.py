"""Shapes, reductions, indices, order, creation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore.compile.graph import Node
from mlcore.compile.sizes import Dim, Size, is_fixed
from mlcore.dtypes import float64, int64
from mlcore_onnx.export_build import INT64_MIN, Builder, handles, onnx_type, tensor_proto

# -- shapes ----------


def _dims(node: Node, i: int = 0) -> tuple[Dim, ...]:
    value = node.inputs[i]
    assert value is not None
    return value.dims


@handles("reshape", sized=("shape",))
def _reshape(b: Builder, node: Node, x: str) -> str:
    return b.reshape(x, _dims(node), node.sizes["shape"])


@handles("permute_dims")
def _permute(b: Builder, node: Node, x: str) -> Any:
    axes = node.params["axes"]
    return x if axes == tuple(range(len(axes))) else b.make("Transpose", [x], perm=list(axes))


@handles("broadcast_to", sized=("shape",))
def _broadcast(b: Builder, node: Node, x: str) -> str:
    return b.expand(x, _dims(node), node.sizes["shape"])


def _cuts(key: Any, dims: tuple[Dim, ...]) -> list[tuple[int, Dim, Dim, int]]:
    """(axis, start, stop, step) of the axes of which a key takes a part."""
    found = []
    for axis, ((start, stop, step), dim) in enumerate(zip(key, dims, strict=True)):
        if (start, stop, step) != (0, dim, 1):
            found.append((axis, start, INT64_MIN if stop is None else stop, step))
    return found


@handles("slice", sized=("key",))
def _slice(b: Builder, node: Node, x: str) -> str:
    return b.slices(x, _cuts(node.sizes["key"], _dims(node)))


@handles("narrow", sized=("start", "stop"))
def _narrow(b: Builder, node: Node, x: str) -> str:
    how = node.sizes
    if (how["start"], how["stop"]) == (0, _dims(node)[how["axis"]]):
        return x
    return b.slices(x, [(how["axis"], how["start"], how["stop"], 1)])


@handles("select", sized=("index",))
def _select(b: Builder, node: Node, x: str) -> Any:
    axis, index = node.sizes["axis"], node.sizes["index"]
    if isinstance(index, Size):
        return b.make("Squeeze", [b.make("Gather", [x, b.size(index)], axis=axis), b.ints(axis)])
    return b.make("Gather", [x, b.constant(index, int64)], axis=axis)


@handles("concat")
def _concat(b: Builder, node: Node, *inputs: str) -> Any:
    return inputs[0] if len(inputs) == 1 else b.make("Concat", inputs, axis=node.params["axis"])


@handles("slice_update", sized=("key",))
def _slice_update(b: Builder, node: Node, x: str, v: str) -> Any:
    key, dims, base = node.sizes["key"], _dims(node), node.inputs[0]
    cuts = _cuts(key, dims)
    if not cuts:
        return v
    made_by = base.node if base is not None else None
    if made_by is not None and made_by.op.name == "fill" and all(step == 1 for *_, step in cuts):
        return _pad(b, node, v, cuts, made_by.params["value"])
    return _updated(b, node, x, v, cuts)


def _pad(b: Builder, node: Node, v: str, cuts: Any, value: float) -> Any:
    """What is put into a constant is padded with it."""
    dims, rank = _dims(node), len(_dims(node))
    before: list[Dim] = [0] * rank
    after: list[Dim] = [0] * rank
    for axis, start, stop, _ in cuts:
        before[axis], rest = start, _less(dims[axis], stop)
        if rest is None:
            return _updated(b, node, b.names[id(node.inputs[0])], v, cuts)
        after[axis] = rest
    return b.make("Pad", [v, b.sizes([*before, *after]), b.like(value, node.outputs[0])])


def _less(a: Dim, c: Dim) -> Dim | None:
    """a - c, where that is a number or one formula."""
    if isinstance(a, int) and isinstance(c, int):
        return a - c
    one = a if isinstance(a, Size) else Size((), 0, a)
    two = c if isinstance(c, Size) else Size((), 0, c)
    if (one.names, one.factor, one.divisor) == (two.names, two.factor, two.divisor) and one.divisor == 1:
        return one.offset - two.offset
    if isinstance(a, Size) and isinstance(c, int) and a.divisor == 1:
        return Size(a.names, a.factor, a.offset - c)
    return None


def _updated(b: Builder, node: Node, x: str, v: str, cuts: Any) -> str:
    """Put `v` into the part of `x`: what lies before and behind it along the first axis stays."""
    (axis, start, stop, step), *rest = cuts
    if rest:
        v = _updated(b, node, b.slices(x, [(axis, start, stop, step)]), v, rest)
    if step == 1:
        behind = _dims(node)[axis]
        parts = [] if start == 0 else [b.slices(x, [(axis, 0, start, 1)])]
        parts += [v]
        parts += [] if stop == behind else [b.slices(x, [(axis, stop, behind, 1)])]
        return str(b.make("Concat", parts, axis=axis) if len(parts) > 1 else v)
    last = b.size(stop) if stop != INT64_MIN else b.ints(-1)
    zero = b.ints(0)
    places = b.make("Range", [b.make("Squeeze", [one, zero]) for one in (b.size(start), last, b.ints(step))])
    wide = b.reshape(places, (0,), tuple(-1 if i == axis else 1 for i in range(len(_dims(node)))))
    spread = b.make("Expand", [wide, b.make("Shape", [v])])
    return str(b.make("ScatterElements", [x, spread, v], axis=axis))


# -- reductions ----------


def _has_elements(inputs: Any, params: Any) -> bool:
    """Of nothing ONNX gives no mean, nor a logarithm."""
    return all(inputs[0].shape[axis] > 0 for axis in params["axis"])


@handles("mean", "logsumexp", accepts=_has_elements)
@handles("reduce_sum", "reduce_prod", "max", "min")
def _reduce(b: Builder, node: Node, x: str) -> str:
    kinds = {
        "reduce_sum": "ReduceSum", "reduce_prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin",
        "mean": "ReduceMean", "logsumexp": "ReduceLogSumExp",
    }  # fmt: skip
    return b.reduce(kinds[node.op.name], x, node.params["axis"], node.params["keepdims"])


@handles("any", "all")
def _any(b: Builder, node: Node, x: str) -> Any:
    """How many are true, or false: a sum has a value for no elements too."""
    given, wants = node.inputs[0], node.op.name == "any"
    assert given is not None
    true = x if given.dtype.kind == "b" else b.make("Not", [b.make("Equal", [x, b.like(0, given)])])
    counted = b.cast(true if wants else b.make("Not", [true]), int64)
    count = b.reduce("ReduceSum", counted, node.params["axis"], node.params["keepdims"])
    zero = b.constant(0, int64)
    return b.make("Greater" if wants else "Equal", [count, zero])


@handles("reduce_argmax", "reduce_argmin")
def _argmax(b: Builder, node: Node, x: str) -> Any:
    kind = "ArgMax" if node.op.name == "reduce_argmax" else "ArgMin"
    return b.make(kind, [x], axis=node.params["axis"], keepdims=int(node.params["keepdims"]))


@handles("scan_sum")
def _scan(b: Builder, node: Node, x: str) -> Any:
    return b.make("CumSum", [x, b.constant(node.params["axis"], int64)])


# -- indices ----------


@handles("gather")
def _gather(b: Builder, node: Node, x: str, indices: str) -> Any:
    return b.make("Gather", [x, indices], axis=node.params["axis"])


@handles("take_along")
def _take_along(b: Builder, node: Node, x: str, indices: str) -> Any:
    return b.make("GatherElements", [x, indices], axis=node.params["axis"])


@handles("sum_along", sized=("size",))
def _sum_along(b: Builder, node: Node, values: str, indices: str) -> Any:
    return b.make(
        "ScatterElements", [_zeros(b, node), indices, values], axis=node.params["axis"], reduction="add"
    )


@handles("index_add")
def _index_add(b: Builder, node: Node, x: str, indices: str, values: str) -> Any:
    return _added(b, node, x, indices, values)


@handles("index_sum", sized=("size",))
def _index_sum(b: Builder, node: Node, values: str, indices: str) -> Any:
    return _added(b, node, _zeros(b, node), indices, values)


def _zeros(b: Builder, node: Node) -> str:
    return b.expand(b.like(0, node.outputs[0]), (), node.outputs[0].dims)


def _added(b: Builder, node: Node, x: str, indices: str, values: str) -> Any:
    axis, rank = node.params["axis"], len(node.outputs[0].dims)
    column = (
        indices
        if rank == 1
        else b.make("Reshape", [indices, b.ints(*(-1 if i == axis else 1 for i in range(rank)))])
    )
    places = b.make("Expand", [column, b.make("Shape", [values])])
    return b.make("ScatterElements", [x, places, values], axis=axis, reduction="add")


# -- order ----------


@handles("sort_indices", "ordered", sized=("count",))
def _sorted(b: Builder, node: Node, x: str) -> Any:
    axis, given = node.params["axis"], node.inputs[0]
    assert given is not None
    count = node.sizes.get("count", given.dims[axis])
    found = b.make(
        "TopK", [x, b.size(count)], outputs=2, axis=axis, largest=int(node.params["descending"]), sorted=1
    )
    return found[1] if node.op.name == "sort_indices" else tuple(found)


@handles("searchsorted")
def _searchsorted(b: Builder, node: Node, x1: str, x2: str) -> Any:
    """How many of `x1` lie before each of `x2`."""
    kind = "Less" if node.params["side"] == "left" else "LessOrEqual"
    each = b.make("Unsqueeze", [x2, b.ints(len(_dims(node, 1)))])
    before = b.cast(b.make(kind, [x1, each]), int64)
    return b.reduce("ReduceSum", before, [len(_dims(node, 1))], False)


# -- creation ----------


@handles("fill", sized=("shape",))
def _fill(b: Builder, node: Node) -> Any:
    out, shape = node.outputs[0], node.sizes["shape"]
    value = np.full((1,), node.params["value"], dtype=out.dtype.numpy)
    if is_fixed(shape) and math.prod(shape) <= 64:
        return b.constant(np.full(shape, value[0]), out.dtype)
    if out.dtype.name in ("bfloat16",):  # which ConstantOfShape does not give
        return b.expand(b.constant(value[0], out.dtype), (), shape)
    return b.make("ConstantOfShape", [b.sizes(shape)], value=tensor_proto("value", value, out.dtype))


@handles("iota", sized=("start", "step", "size"))
def _iota(b: Builder, node: Node) -> Any:
    out, how = node.outputs[0], node.sizes
    if is_fixed(how):
        counted = np.arange(how["size"], dtype=np.float64 if out.dtype.kind == "f" else np.int64)
        return b.constant(how["start"] + how["step"] * counted, out.dtype)
    count = b.make(
        "Range",
        [b.constant(0, int64), b.make("Squeeze", [b.size(how["size"]), b.ints(0)]), b.constant(1, int64)],
    )
    wide = float64 if out.dtype.kind == "f" else int64
    made = count if wide is int64 else b.cast(count, wide)
    for kind, name, nothing in (("Mul", "step", 1), ("Add", "start", 0)):
        if how[name] != nothing:
            number = b.size(how[name]) if isinstance(how[name], Size) else b.constant(how[name], wide)
            made = b.make(kind, [made, number])
    return made if wide is out.dtype else b.make("Cast", [made], to=onnx_type(out.dtype))
