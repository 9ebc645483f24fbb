"""The tape: what a recorded operation leaves behind, a Node with its edges and the values that its vjp names.

The elementwise operations have ways of their own, since every `x + y` passes here. Types are in tape.pxd.
"""

from __future__ import annotations

from typing import Any

from mlcore.backends.device import Device
from mlcore.backends.protocol import Array
from mlcore.dtype import DType
from mlcore.lines import user_line
from mlcore.modes import MODES
from mlcore.op import EXTRA_BIT, INPUT_BITS, OUTPUT_BIT, OpFacts
from mlcore.shapes import Shape
from mlcore.table import Plan
from mlcore.tensor import Node, new_node, wrap, wrap_recorded

_serial = 0
NOTHING = ((), (None,), (None, None), (None, None, None))  # what is saved of so many inputs


def finish(node: Node, need: int, array: Array, device: Device, dtype: DType, shape: Shape) -> Any:
    """The tensor that a new node made, and what every node keeps."""
    global _serial
    if need & OUTPUT_BIT:
        node.out = wrap(array, device, dtype, shape)
    _serial += 1
    node.serial = _serial
    if need:  # only what saves values can be freed, and then asked for the line that made it
        node.where = user_line()
    if MODES.special != 0 and MODES.local.saver is not None:
        MODES.local.saver(node)
    return wrap_recorded(array, device, dtype, shape, node)


def record_unary(op: OpFacts, array: Array, device: Device, dtype: DType, x: Any) -> Any:
    """record for an elementwise operation of one input."""
    if op.needs_shapes:
        return record(op, array, device, dtype, x.shape, (x,), (), None)
    need = op.mask
    edge = x if x.node is None else x.node
    saved = (wrap(x.array, x.device, x.dtype, x.shape),) if need & 1 else NOTHING[1]
    return finish(new_node(op, device, (edge,), saved, ()), need, array, device, dtype, x.shape)


def _two_edges(op: OpFacts, x: Any, y: Any, bare: bool) -> Node:
    """A node of two inputs with what must be saved of them (arrays, if `bare`); `need` is left in its serial."""
    need = 0
    head = tail = kept = other = None
    if x.requires_grad:
        head = x if x.node is None else x.node
        need = op.mask
    if y.requires_grad:
        tail = y if y.node is None else y.node
        need |= op.second_mask
    if need & 1:
        kept = x.array if bare else wrap(x.array, x.device, x.dtype, x.shape)
    if need & 2:
        other = y.array if bare else wrap(y.array, y.device, y.dtype, y.shape)
    node = new_node(op, x.device, (head, tail), (kept, other) if need & 3 else NOTHING[2], ())
    node.serial = need
    return node


def record_one(op: OpFacts, plan: Plan, array: Array, x: Any) -> Any:
    """record for one tensor and a plan."""
    need = op.mask
    edge = x if x.node is None else x.node
    node = new_node(op, x.device, (edge,), (x.array,) if need & 1 else NOTHING[1], plan.values)
    if op.needs_shapes or need & 1:
        node.shapes = plan.given
    return finish(node, need, array, x.device, plan.dtype, plan.shape)


def record_two(op: OpFacts, plan: Plan, array: Array, x: Any, y: Any) -> Any:
    """record for two tensors and a plan."""
    node = _two_edges(op, x, y, True)
    need = node.serial
    if op.needs_shapes or need & 3:
        node.shapes = plan.given
    return finish(node, need, array, x.device, plan.dtype, plan.shape)


def record_binary(
    op: OpFacts, array: Array, device: Device, dtype: DType, shape: Shape, x: Any, y: Any
) -> Any:
    """record for an elementwise operation of two inputs."""
    if op.needs_shapes:
        return record(op, array, device, dtype, shape, (x, y), (), None)
    node = _two_edges(op, x, y, False)
    need = node.serial
    if (x.shape is not shape and x.shape != shape) or (y.shape is not shape and y.shape != shape):
        node.shapes = ((x.shape, x.dtype), (y.shape, y.dtype))
    return finish(node, need, array, device, dtype, shape)


def record(
    op: OpFacts,
    array: Array,
    device: Device,
    dtype: DType,
    shape: Shape,
    inputs: tuple[Any, ...],
    params: tuple[Any, ...],
    extra: tuple[Any, ...] | None,
) -> Any:
    """A new tensor with its node: edges to what made it, and the values that its vjp names."""
    count = len(inputs)
    masks = op.masks
    variadic = op.variadic
    need = 0
    if count == 2:  # most operations: without the list
        first, second = inputs
        head = tail = None
        if first is not None and first.requires_grad:
            head = first if first.node is None else first.node
            need = masks[0]
        if second is not None and second.requires_grad:
            tail = second if second.node is None else second.node
            need |= masks[0 if variadic else 1]
        edges: Any = (head, tail)
    else:
        found: list[Any] = [None] * count
        for i in range(count):
            one = inputs[i]
            if one is not None and one.requires_grad:
                found[i] = one if one.node is None else one.node
                need |= masks[0 if variadic else i]
        edges = tuple(found)
    if need & INPUT_BITS:
        saved: list[Any] = [None] * count
        for i in range(count):
            one = inputs[i]
            if one is not None and (need >> (0 if variadic else i)) & 1:
                saved[i] = wrap(one.array, one.device, one.dtype, one.shape)
        node = new_node(op, device, edges, tuple(saved), params)
    else:
        node = new_node(op, device, edges, NOTHING[count] if count < 4 else (None,) * count, params)
    if op.needs_shapes:
        node.shapes = tuple([None if one is None else (one.shape, one.dtype) for one in inputs])
    elif op.elementwise:
        for one in inputs:
            if one.shape is not shape and one.shape != shape:
                node.shapes = tuple([(other.shape, other.dtype) for other in inputs])
                break
    if need & EXTRA_BIT:
        node.extra = extra
    return finish(node, need, array, device, dtype, shape)
