"""The engine: a gradient's way back over the tape, node by node, the latest first.

It knows the declared vjps and nothing else of an operation. Types are in engine.pxd.
"""

from __future__ import annotations

from typing import Any

from mlcore.dispatch import Op, apply, binary, is_recording, recording
from mlcore.errors import AutogradError, ShapeError
from mlcore.lines import describe_line
from mlcore.modes import MODES, casting
from mlcore.op import EXTRA, GRADIENT, INPUT, MASK, OUTPUT, PARAM, SHAPE
from mlcore.shapes import Shape
from mlcore.tape import finish
from mlcore.tensor import AfterGradient, Node, TensorBase, new_node, wrap

# The operations that the engine itself needs, put here by mlcore.ops.
IDENTITY: list[Op] = []
PLUS: list[Op] = []
SUM: list[Op] = []
RESHAPE: list[Op] = []
CONCAT: list[Op] = []


class Piece:
    """The gradient of a slice along one axis: zero elsewhere, until it is known what else there is."""

    __slots__ = ("axis", "part", "start", "stop", "whole")

    def __init__(self, part: Any, axis: int, start: int, stop: int, whole: Any) -> None:
        self.part = part
        self.axis = axis
        self.start = start
        self.stop = stop
        self.whole = whole  # makes the full gradient from the part


def _joined(pieces: list[Piece]) -> Any:
    """The gradient that pieces along one axis make: joined where they cover it, else each in zeros, added up."""
    first = pieces[0]
    ordered = sorted(pieces, key=_start)
    at = 0
    for one in ordered:
        at = one.stop if one.start == at else -1
        if at < 0:
            break
    if at == first.whole.shape[first.axis]:
        return apply(CONCAT[0], tuple([one.part for one in ordered]), {"axis": first.axis})
    total = first.whole()
    for one in pieces[1:]:
        total = binary(PLUS[0], total, one.whole())
    return total


def _start(piece: Piece) -> int:
    return piece.start


def _reachable(roots: list[Node]) -> list[Node]:
    """The nodes above `roots`, latest first: a node comes before everything it was computed from."""
    seen = set()
    stack = []
    for node in roots:
        if node not in seen:
            seen.add(node)
            stack.append(node)
    order = list(stack)
    while stack:
        for edge in stack.pop().edges:
            if isinstance(edge, Node) and edge not in seen:
                seen.add(edge)
                stack.append(edge)
                order.append(edge)
    order.sort(key=_by_serial, reverse=True)
    return order


def _by_serial(node: Node) -> int:
    return node.serial


def _wanted(order: list[Node], goal: set[int]) -> set[int]:
    """The nodes that lie between the outputs and the targets; the others need no gradient."""
    wanted = set()
    for node in reversed(order):
        if id(node) in goal:
            wanted.add(id(node))
            continue
        for edge in node.edges:
            if edge is not None and (id(edge) in goal or id(edge) in wanted):
                wanted.add(id(node))
                break
    return wanted | goal


def run_backward(
    outputs: list[Any], seeds: list[Any], targets: list[Any] | None, retain: bool, create: bool
) -> Any:
    """Push the seeds back through the tape; returns the targets' gradients, or fills the leaves' `.grad`.

    Whatever used a node's result was recorded after it: taking the latest waiting node first, its gradient is whole.
    """
    if MODES.special != 0 and MODES.local.autocast is not None:
        # a gradient has the dtype of what it belongs to
        with casting(None):
            return run_backward(outputs, seeds, targets, retain, create)
    pending: dict[Any, Any] = {}
    waiting: list[Node] = []
    roots = []
    for tensor, seed in zip(outputs, seeds):
        _receive(tensor if tensor.node is None else tensor.node, seed, pending, waiting)
        if tensor.node is not None:
            roots.append(tensor.node)
    if targets is None:
        found: Any = None
        goal = wanted = None
    else:
        found, goal = {}, set(map(id, targets))
        wanted = _wanted(_reachable(roots), goal)
    if create == is_recording():
        _drain(pending, waiting, wanted, goal, found, retain, create)
    else:
        with recording(create):
            _drain(pending, waiting, wanted, goal, found, retain, create)
    return None if found is None else [found.get(id(one)) for one in targets or ()]


def _drain(
    pending: dict[Any, Any],
    waiting: list[Node],
    wanted: set[int] | None,
    goal: set[int] | None,
    found: dict[int, Any] | None,
    retain: bool,
    create: bool,
) -> None:
    """Step through the waiting nodes, latest first; then what is left are leaves."""
    while waiting:
        node = _take(waiting)
        gradient = pending.pop(node)
        if type(gradient) is list:
            gradient = _joined(gradient)
        if node.hooks is not None:
            gradient = _call_hooks(node.hooks, gradient)
        if node.retains is not None:
            _accumulate_retained(node, gradient)
        if wanted is not None and goal is not None and found is not None:
            if id(node) in goal:
                found[id(node)] = gradient
            if id(node) not in wanted:
                continue
        _step(node, gradient, pending, waiting, wanted, create)
        if not retain:
            _free(node)
    for leaf, gradient in pending.items():
        if type(gradient) is list:
            gradient = _joined(gradient)
        if leaf._hooks is not None:
            gradient = _call_hooks(leaf._hooks, gradient)
        if found is None:
            _accumulate(leaf, gradient, create)
            if leaf._hooks is not None:
                _tell(leaf, leaf._hooks)
        elif goal is not None and id(leaf) in goal:
            found[id(leaf)] = gradient


def _receive(key: Any, gradient: Any, pending: dict[Any, Any], waiting: list[Node]) -> None:
    """Add a gradient to what waits at a node or leaf, a list where that is pieces; the first one queues a node."""
    before = pending.get(key)
    piece = type(gradient) is Piece
    if before is None:
        pending[key] = [gradient] if piece else gradient
        if isinstance(key, Node):
            _queue(waiting, key)
        return
    if type(before) is list:
        if piece and before[0].axis == gradient.axis:
            before.append(gradient)
            return
        before = _joined(before)
    pending[key] = binary(PLUS[0], before, gradient.whole() if piece else gradient)


def _queue(heap: list[Node], node: Node) -> None:
    """Put a node on a heap whose first element was recorded last."""
    heap.append(node)
    i = len(heap) - 1
    while i > 0:
        above = heap[(i - 1) >> 1]
        if above.serial >= node.serial:
            break
        heap[i] = above
        i = (i - 1) >> 1
    heap[i] = node


def _take(heap: list[Node]) -> Node:
    """Remove and return the node of a heap that was recorded last."""
    last = heap.pop()
    if not heap:
        return last
    first = heap[0]
    size = len(heap)
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        below = heap[child]
        if child + 1 < size:
            other = heap[child + 1]
            if other.serial > below.serial:
                below = other
                child += 1
        if last.serial >= below.serial:
            break
        heap[i] = below
        i = child
    heap[i] = last
    return first


def _step(
    node: Node,
    gradient: Any,
    pending: dict[Any, Any],
    waiting: list[Node],
    wanted: set[int] | None,
    create: bool,
) -> None:
    """One node: call its vjp and hand the results to its edges."""
    op = node.op
    edges = node.edges
    count = len(edges)
    if node.freed:
        raise _refuse_second_backward(node)
    if node.checkpoint is not None:
        node.checkpoint.restore(node)
    if op.vjps is not None:
        rules = op.vjps
        for i in range(count):
            edge = edges[i]
            if edge is None or rules[i] is None or (wanted is not None and id(edge) not in wanted):
                continue
            result = _call_rule(rules[i], node, op.plans[i], gradient, create)
            if result is not None:
                _hand_over(node, i, result, pending, waiting)
        return
    needs = tuple([edge is not None and (wanted is None or id(edge) in wanted) for edge in edges])
    if True not in needs:
        return
    if op.vjp_all is None or (create and op.multiple and op.body is not None):
        results: Any = _replay(node, gradient, needs)
    else:
        results = op.vjp_all(*_arguments(node, op.plans[0], gradient, create, needs))
        if not isinstance(results, (tuple, list)):
            results = (results,)
    for i in range(count):
        if needs[i] and results[i] is not None:
            _hand_over(node, i, results[i], pending, waiting)


def _refuse_second_backward(node: Node) -> AutogradError:
    """The error for a node whose saved values are gone."""
    return AutogradError(
        f"backward through {node.op.name!r} a second time: the values it saved were freed by the first",
        made_at=describe_line(node.where),
        fix="pass retain_graph=True to the first backward, or compute the value again",
    )


def _hand_over(node: Node, i: int, gradient: Any, pending: dict[Any, Any], waiting: list[Node]) -> None:
    """Pass a gradient to an input's edge, without the dimensions that broadcasting had added."""
    if node.shapes is not None and node.op.elementwise:
        gradient = unbroadcast(gradient, node.shapes[i][0])
    _receive(node.edges[i], gradient, pending, waiting)


def _call_rule(rule: Any, node: Node, plan: list[tuple[int, int]], gradient: Any, create: bool) -> Any:
    """Call the vjp of one input; most have one or two parameters."""
    count = len(plan)
    if count == 1:
        return rule(_argument(node, plan[0], gradient, create, None))
    if count == 2:
        return rule(
            _argument(node, plan[0], gradient, create, None), _argument(node, plan[1], gradient, create, None)
        )
    return rule(*_arguments(node, plan, gradient, create, None))


def _arguments(
    node: Node, plan: list[tuple[int, int]], gradient: Any, create: bool, needs: tuple[bool, ...] | None
) -> list[Any]:
    """The values for a vjp's parameters, by the names it was declared with."""
    return [_argument(node, one, gradient, create, needs) for one in plan]


def _argument(
    node: Node, source: tuple[int, int], gradient: Any, create: bool, needs: tuple[bool, ...] | None
) -> Any:
    """The value for one parameter of a vjp."""
    kind = source[0]
    i = source[1]
    if kind == GRADIENT:
        return gradient
    if kind == PARAM:
        return node.params[i]
    if kind == INPUT:
        if node.op.variadic:
            return [_connected(_kept(node, at), edge, create) for at, edge in enumerate(node.edges)]
        return _connected(_kept(node, i), node.edges[i], create)
    if kind == OUTPUT:
        return _connected(node.out, node, create)
    if kind == EXTRA:
        extra: Any = node.extra
        return extra[i]
    if kind == MASK:
        return needs
    shapes: Any = node.shapes
    if kind == SHAPE:
        return [one[0] for one in shapes] if node.op.variadic else shapes[i] and shapes[i][0]
    return shapes[i] and shapes[i][1]


def _kept(node: Node, i: int) -> Any:
    """The snapshot of an input as a tensor."""
    saved = node.saved[i]
    if saved is None or isinstance(saved, TensorBase):
        return saved
    shapes: Any = node.shapes
    shape, dtype = shapes[i]
    return wrap(saved, node.device, dtype, shape)


def _connected(saved: Any, edge: Any, create: bool) -> Any:
    """A saved value; while a graph is created, with its place on the tape again."""
    if saved is None or not create or edge is None:
        return saved
    twin = wrap(saved.array, saved.device, saved.dtype, saved.shape)
    if isinstance(edge, Node):
        twin.node = edge
        twin.requires_grad = True
        return twin
    return edge if edge.array is saved.array else _stand_in(saved, edge)


def _replay(node: Node, gradient: Any, needs: tuple[bool, ...]) -> list[Any]:
    """The gradient of a composite without a rule of its own: run its body again, recorded, and differentiate that."""
    op = node.op
    with recording(True):
        inputs = []
        for i, edge in enumerate(node.edges):
            saved = _kept(node, i)
            if saved is None or edge is None:
                inputs.append(saved)
            else:
                inputs.append(_stand_in(saved, edge))
        made = op.body(*inputs, **dict(zip(op.params, node.params)))
    first = made if isinstance(made, TensorBase) else made[0]
    asked = [one for one, need in zip(inputs, needs) if need]
    if not first.requires_grad:
        return [None] * len(inputs)
    targets = [one.node for one in asked]
    again = is_recording()
    found = iter(run_backward([first], [gradient], targets, again, again))
    return [next(found) if need else None for need in needs]


def _stand_in(saved: Any, edge: Any) -> Any:
    """A saved value with a node of its own, whose gradient goes on to `edge`.

    A replay's gradient stops there and yet stays connected; and a leaf that took a new value since has the old one.
    """
    node = new_node(IDENTITY[0], saved.device, (edge,), (None,), ())
    return finish(node, 0, saved.array, saved.device, saved.dtype, saved.shape)


def unbroadcast(gradient: Any, shape: Shape) -> Any:
    """Sum a gradient over the dimensions that broadcasting had added to an input of `shape`."""
    if gradient.shape == shape:
        return gradient
    extra = len(gradient.shape) - len(shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, dim in enumerate(shape) if dim == 1 and gradient.shape[i + extra] != 1
    )
    summed = apply(SUM[0], (gradient,), {"axis": axes, "keepdims": True}) if axes else gradient
    return summed if not extra else apply(RESHAPE[0], (summed,), {"shape": shape})


def _accumulate(leaf: Any, gradient: Any, create: bool) -> None:
    before = leaf._grad
    if before is None:
        leaf._grad = (
            gradient if create else wrap(gradient.array, gradient.device, gradient.dtype, gradient.shape)
        )
    else:
        leaf._grad = binary(PLUS[0], before, gradient)


def _accumulate_retained(node: Node, gradient: Any) -> None:
    tensor = node.retains()
    if tensor is not None:
        before = tensor.grad
        tensor._grad = gradient.detach() if before is None else binary(PLUS[0], before, gradient).detach()


def _tell(leaf: Any, hooks: dict[Any, Any]) -> None:
    """Call the hooks that wait for a leaf's `.grad`."""
    for hook in list(hooks.values()):
        if type(hook) is AfterGradient:
            hook.hook(leaf)


def _call_hooks(hooks: dict[Any, Any], gradient: Any) -> Any:
    for hook in list(hooks.values()):
        if type(hook) is AfterGradient:
            continue
        changed = hook(gradient)
        if changed is not None:
            if not isinstance(changed, TensorBase) or changed.shape != gradient.shape:
                raise ShapeError(
                    f"a gradient hook returned {getattr(changed, 'shape', type(changed).__name__)} for a gradient of"
                    f" shape {gradient.shape}",
                    fix="return None or a Tensor of the gradient's shape",
                )
            gradient = changed
    return gradient


def _free(node: Node) -> None:
    """Drop what a node saved; one that saved nothing can be read again."""
    saved = node.saved
    for one in saved:
        if one is not None:
            node.freed = True
    if node.out is not None or node.extra is not None:
        node.freed = True
    if node.freed:
        node.saved = ()
    node.out = None
    node.extra = None
