"""The tape read backwards: backward, gradients of any order, checkpoint.

It knows Op.vjp and nothing else of an operation: each rule is written in operations, so recording while the tape
is read gives the next order.
"""

from __future__ import annotations

from typing import Any

from mlcore import dispatch
from mlcore.dispatch import Op, apply, binary, is_recording, recording
from mlcore.errors import ArgumentTypeError, AutogradError, ShapeError
from mlcore.inputs import constant
from mlcore.lines import describe_line
from mlcore.op import EXTRA, GRADIENT, INPUT, MASK, OUTPUT, PARAM, SHAPE
from mlcore.shapes import Shape
from mlcore.tensor import Node, TensorBase, new_node, wrap


class no_grad(recording):
    """Context manager and decorator: operations inside are not recorded.

    >>> import mlcore as ml
    >>> x = ml.ones((2,), requires_grad=True)
    >>> with ml.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    __slots__ = ()

    def __init__(self) -> None:
        recording.__init__(self, False)


class enable_grad(recording):
    """Context manager and decorator: operations inside are recorded, also under no_grad."""

    __slots__ = ()

    def __init__(self) -> None:
        recording.__init__(self, True)


# -- the engine ------------------------------------------------------------------------------------------


def backward(
    tensor: Any, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add the gradients of `tensor` to `.grad` of every leaf that it was computed from.

    `gradient` is needed where the tensor has more than one element. The values saved on the tape are freed on the
    way unless `retain_graph`; `create_graph` records the backward pass itself.
    """
    seed = _seed(tensor, gradient)
    if create_graph and retain_graph is None:
        retain_graph = True
    _run_backward([tensor], [seed], None, bool(retain_graph), create_graph)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; nothing is accumulated in `.grad`.

    An input that the outputs do not depend on raises, or gives None with `allow_unused`.
    """
    outputs, inputs = _several(outputs), _several(inputs)
    seeds = [None] * len(outputs) if grad_outputs is None else grad_outputs
    seeds = [seeds] if isinstance(seeds, TensorBase) else list(seeds)
    if len(seeds) != len(outputs):
        raise ShapeError(f"grad: {len(outputs)} outputs but {len(seeds)} grad_outputs")
    for one in inputs:
        if not one.requires_grad:
            raise AutogradError(
                "grad: an input does not require a gradient", fix="set requires_grad=True on it first"
            )
    if create_graph and retain_graph is None:
        retain_graph = True
    seeds = [_seed(tensor, seed) for tensor, seed in zip(outputs, seeds)]
    targets = [one if one.node is None else one.node for one in inputs]
    found = _run_backward(outputs, seeds, targets, bool(retain_graph), create_graph)
    for i, one in enumerate(found):
        if one is None and not allow_unused:
            raise AutogradError(
                f"grad: the outputs do not depend on input {i}",
                fix="pass allow_unused=True to get None for it",
            )
    return tuple(found)


def _several(given: Any) -> list[Any]:
    """One tensor or a sequence of tensors, as a list."""
    kind: Any = TensorBase
    found = list(given) if isinstance(given, (list, tuple)) else [given]
    for one in found:
        if not isinstance(one, kind):
            raise ArgumentTypeError(f"grad: expected a Tensor, got {type(one).__name__}")
    return found


def _seed(tensor: Any, gradient: Any) -> Any:
    kind: Any = TensorBase
    if not isinstance(tensor, kind):
        raise ArgumentTypeError(f"backward: expected a Tensor, got {type(tensor).__name__}")
    if not tensor.requires_grad:
        raise AutogradError(
            "backward: this tensor has no history and requires no gradient",
            cause="no input required a gradient, or it was made under no_grad or detached",
            fix="set requires_grad=True on what you differentiate by",
        )
    if gradient is None:
        if tensor.size != 1:
            raise AutogradError(
                f"backward: a tensor of shape {tensor.shape} needs a gradient of the same shape",
                cause="only a tensor of one element has the default gradient 1",
                fix="reduce it first, e.g. .sum().backward(), or pass gradient=",
            )
        one = constant(1, tensor.dtype, tensor.device)
        seed = wrap(one.array, one.device, one.dtype, ())  # a twin: a hook may change what it is given
        return seed if not tensor.shape else apply(_reshape[0], (seed,), {"shape": tensor.shape})
    if not isinstance(gradient, TensorBase):
        raise ArgumentTypeError(f"backward: gradient is a {type(gradient).__name__}, expected a Tensor")
    if gradient.shape != tensor.shape:
        raise ShapeError(f"backward: gradient of shape {gradient.shape} for a tensor of shape {tensor.shape}")
    return gradient if gradient.dtype is tensor.dtype else dispatch.cast(gradient, tensor.dtype)


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


def _run_backward(
    outputs: list[Any], seeds: list[Any], targets: list[Any] | None, retain: bool, create: bool
) -> Any:
    """Push the seeds back through the tape; returns the targets' gradients, or fills the leaves' `.grad`.

    Whatever used a node's result was recorded after it: taking the latest waiting node first, its gradient is whole.
    """
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
        if leaf._hooks is not None:
            gradient = _call_hooks(leaf._hooks, gradient)
        if found is None:
            _accumulate(leaf, gradient, create)
        elif goal is not None and id(leaf) in goal:
            found[id(leaf)] = gradient


def _receive(key: Any, gradient: Any, pending: dict[Any, Any], waiting: list[Node]) -> None:
    """Add a gradient to what waits at a node or leaf; a node is queued by its first one."""
    before = pending.get(key)
    if before is None:
        pending[key] = gradient
        if isinstance(key, Node):
            _queue(waiting, key)
    else:
        pending[key] = binary(_plus[0], before, gradient)


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
            return [_connected(one, edge, create) for one, edge in zip(node.saved, node.edges)]
        return _connected(node.saved[i], node.edges[i], create)
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


def _connected(saved: Any, edge: Any, create: bool) -> Any:
    """A saved value; while a graph is created, with its place on the tape again."""
    if saved is None or not create or edge is None:
        return saved
    twin = wrap(saved.array, saved.device, saved.dtype, saved.shape)
    if isinstance(edge, Node):
        twin.node = edge
        twin.requires_grad = True
        return twin
    return edge if edge.array is saved.array else _alias(edge, twin)


def _alias(leaf: Any, snapshot: Any) -> Any:
    """The value that a leaf had, whose gradient still flows to the leaf (it took a new value since)."""
    node = new_node(_identity[0], leaf.device, (leaf,), (None,), ())
    snapshot.node = node
    snapshot.requires_grad = True
    return snapshot


_identity: list[Op] = []  # the identity operation ("positive"), put here by mlcore.ops


def _replay(node: Node, gradient: Any, needs: tuple[bool, ...]) -> list[Any]:
    """The gradient of a composite without a rule of its own: run its body again, recorded, and differentiate that."""
    op = node.op
    with recording(True):
        inputs = []
        for saved, edge in zip(node.saved, node.edges):
            if saved is None or edge is None:
                inputs.append(saved)
            else:
                inputs.append(_stand_in(saved, edge))
        made = op.body(*inputs, **dict(zip(op.params, node.params)))
    first = made if isinstance(made, TensorBase) else made[0]
    asked = [one for one, need in zip(inputs, needs) if need]
    if not first.requires_grad:
        return [None] * len(inputs)
    found = iter(
        grad(
            [first],
            asked,
            [gradient],
            create_graph=is_recording(),
            retain_graph=is_recording(),
            allow_unused=True,
        )
    )
    return [next(found) if need else None for need in needs]


def _stand_in(saved: Any, edge: Any) -> Any:
    """A saved input with a node of its own, so that a replay's gradient stops here and yet stays connected."""
    node = new_node(_identity[0], saved.device, (edge,), (None,), ())
    twin = wrap(saved.array, saved.device, saved.dtype, saved.shape)
    twin.node = node
    twin.requires_grad = True
    return twin


def unbroadcast(gradient: Any, shape: Shape) -> Any:
    """Sum a gradient over the dimensions that broadcasting had added to an input of `shape`."""
    if gradient.shape == shape:
        return gradient
    extra = len(gradient.shape) - len(shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, dim in enumerate(shape) if dim == 1 and gradient.shape[i + extra] != 1
    )
    summed = apply(_sum[0], (gradient,), {"axis": axes, "keepdims": True}) if axes else gradient
    return summed if not extra else apply(_reshape[0], (summed,), {"shape": shape})


_sum: list[Op] = []  # put here by mlcore.ops
_reshape: list[Op] = []


_plus: list[Op] = []  # the add operation, put here by mlcore.ops


def _accumulate(leaf: Any, gradient: Any, create: bool) -> None:
    before = leaf._grad
    if before is None:
        leaf._grad = (
            gradient if create else wrap(gradient.array, gradient.device, gradient.dtype, gradient.shape)
        )
    else:
        leaf._grad = binary(_plus[0], before, gradient)


def _accumulate_retained(node: Node, gradient: Any) -> None:
    tensor = node.retains()
    if tensor is not None:
        before = tensor.grad
        tensor._grad = gradient.detach() if before is None else binary(_plus[0], before, gradient).detach()


def _call_hooks(hooks: dict[Any, Any], gradient: Any) -> Any:
    for hook in list(hooks.values()):
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
