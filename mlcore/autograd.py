"""The tape read backwards: backward, gradients of any order, checkpoint.

It knows Op.vjp and nothing else of an operation: each rule is written in operations, so recording while the tape
is read gives the next order.
"""

from __future__ import annotations

from typing import Any

from mlcore import dispatch
from mlcore.dispatch import Op, apply, is_recording, recording
from mlcore.errors import ArgumentTypeError, AutogradError, ShapeError
from mlcore.lines import describe_line
from mlcore.op import DTYPE, EXTRA, GRADIENT, INPUT, OUTPUT, PARAM, SHAPE
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
        return dispatch.apply(
            _fill[0], (), {"shape": tensor.shape, "value": 1, "dtype": tensor.dtype}, tensor.device
        )
    if not isinstance(gradient, TensorBase):
        raise ArgumentTypeError(f"backward: gradient is a {type(gradient).__name__}, expected a Tensor")
    if gradient.shape != tensor.shape:
        raise ShapeError(f"backward: gradient of shape {gradient.shape} for a tensor of shape {tensor.shape}")
    return gradient if gradient.dtype is tensor.dtype else dispatch.cast(gradient, tensor.dtype)


_fill: list[Op] = []  # the full operation, put here by mlcore.ops


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


def _wanted(order: list[Node], targets: list[Any]) -> set[int]:
    """The nodes that lie between the outputs and the targets; the others need no gradient."""
    goal = set(map(id, targets))
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
    """Push the seeds back through the tape; returns the targets' gradients, or fills the leaves' `.grad`."""
    pending: dict[Any, Any] = {}
    for tensor, seed in zip(outputs, seeds):
        key = tensor if tensor.node is None else tensor.node
        before = pending.get(key)
        pending[key] = seed if before is None else dispatch.binary(_plus[0], before, seed)
    order = _reachable([tensor.node for tensor in outputs if tensor.node is not None])
    wanted = None if targets is None else _wanted(order, targets)
    found: dict[int, Any] = {}
    goal = set() if targets is None else set(map(id, targets))
    with recording(create):
        for node in order:
            gradient = pending.pop(node, None)
            if gradient is None:
                continue
            if node.hooks:
                gradient = _call_hooks(node.hooks, gradient)
            if node.retains is not None:
                _accumulate_retained(node, gradient)
            if wanted is not None:
                if id(node) in goal:
                    found[id(node)] = gradient
                if id(node) not in wanted:
                    continue
            _step(node, gradient, pending, wanted, create)
            if not retain:
                _free(node)
        for leaf, gradient in pending.items():
            hooks = getattr(leaf, "_hooks", None)
            if hooks:
                gradient = _call_hooks(hooks, gradient)
            if targets is None:
                _accumulate(leaf, gradient, create)
            elif id(leaf) in goal:
                found[id(leaf)] = gradient
    return None if targets is None else [found.get(id(one)) for one in targets]


def _step(node: Node, gradient: Any, pending: dict[Any, Any], wanted: set[int] | None, create: bool) -> None:
    """One node: call its vjp and hand the results to its edges."""
    op = node.op
    edges = node.edges
    count = len(edges)
    needs = [False] * count
    some = False
    for i in range(count):
        edge = edges[i]
        if edge is not None and (wanted is None or id(edge) in wanted):
            needs[i] = some = True
    if not some:
        return
    if node.freed:
        raise _refuse_second_backward(node)
    if node.checkpoint is not None:
        node.checkpoint.restore(node)
    if op.vjps is not None:
        for i in range(count):
            if needs[i] and op.vjps[i] is not None:
                result = op.vjps[i](*_arguments(node, op.plans[i], gradient, create, needs))
                if result is not None:
                    _hand_over(node, i, result, pending)
        return
    if op.vjp_all is None or (create and op.multiple and op.body is not None):
        results: Any = _replay(node, gradient, needs)
    else:
        results = op.vjp_all(*_arguments(node, op.plans[0], gradient, create, needs))
        if not isinstance(results, (tuple, list)):
            results = (results,)
    for i in range(count):
        if needs[i] and results[i] is not None:
            _hand_over(node, i, results[i], pending)


def _refuse_second_backward(node: Node) -> AutogradError:
    """The error for a node whose saved values are gone."""
    return AutogradError(
        f"backward through {node.op.name!r} a second time: the values it saved were freed by the first",
        made_at=describe_line(node.where),
        fix="pass retain_graph=True to the first backward, or compute the value again",
    )


def _hand_over(node: Node, i: int, gradient: Any, pending: dict[Any, Any]) -> None:
    """Add a gradient to what waits at an edge, without the dimensions that broadcasting had added."""
    if node.shapes is not None and node.op.elementwise:
        gradient = unbroadcast(gradient, node.shapes[i][0])
    key = node.edges[i]
    before = pending.get(key)
    pending[key] = gradient if before is None else dispatch.binary(_plus[0], before, gradient)


def _arguments(
    node: Node, plan: list[tuple[int, int]], gradient: Any, create: bool, needs: list[bool]
) -> list[Any]:
    """The values for a vjp's parameters, by the names it was declared with."""
    values: list[Any] = []
    saved: Any = node.saved
    extra: Any = node.extra
    shapes: Any = node.shapes
    for kind, i in plan:
        if kind == GRADIENT:
            values.append(gradient)
        elif kind == PARAM:
            values.append(node.params[i])
        elif kind == INPUT:
            if node.op.variadic:
                values.append([_connected(one, edge, create) for one, edge in zip(saved, node.edges)])
            else:
                values.append(_connected(saved[i], node.edges[i], create))
        elif kind == OUTPUT:
            values.append(_connected(node.out, node, create))
        elif kind == EXTRA:
            values.append(extra[i])
        elif kind == SHAPE:
            values.append([one[0] for one in shapes] if node.op.variadic else shapes[i] and shapes[i][0])
        elif kind == DTYPE:
            values.append(shapes[i] and shapes[i][1])
        else:
            values.append(tuple(needs))
    return values


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


def _replay(node: Node, gradient: Any, needs: list[bool]) -> list[Any]:
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
    before = leaf.grad
    if before is None:
        leaf._grad = (
            gradient if create else wrap(gradient.array, gradient.device, gradient.dtype, gradient.shape)
        )
    else:
        leaf._grad = dispatch.binary(_plus[0], before, gradient)


def _accumulate_retained(node: Node, gradient: Any) -> None:
    tensor = node.retains()
    if tensor is not None:
        before = tensor.grad
        tensor._grad = (
            gradient.detach() if before is None else dispatch.binary(_plus[0], before, gradient).detach()
        )


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
