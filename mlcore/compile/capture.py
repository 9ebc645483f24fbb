"""Capture: the graph of a whole model, from a run on shapes alone.

The model runs on a device whose arrays are the graph's values: dispatch checks and promotes as always, and the one
interceptor that `shape_only` has writes each operation down. Nothing is computed, so what looks at an input's values is
refused; what looks at constants is told them.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.compile import unify
from mlcore.compile.chain import alone
from mlcore.compile.graph import Graph, Node, Value, as_call, held_tensor, leaves, mapped, run_nodes
from mlcore.compile.shape_only import ShapeBackend, inputs_like, like, shape_only, twin_of, watched
from mlcore.dispatch import new_plan
from mlcore.dtypes import from_numpy
from mlcore.errors import ArgumentError, ArgumentTypeError, MlcoreError, UnsupportedOpError
from mlcore.lines import user_line
from mlcore.modes import casting
from mlcore.tensor import TensorBase, wrap

Keep = Callable[[Any, tuple[Any, ...], dict[str, Any]], bool]
Dynamic = Mapping[str, Any]
"""Names of dimensions that may differ: {"x": {0: "batch"}} or {"x": ("batch", None, None)}."""

_RUNS: Final = 5  # how often a graph is captured to find what its sizes follow


class _CaptureBackend(ShapeBackend):
    """Arrays are Values. Data of the host are constants."""

    captures = True  # what mlcore.host.is_captured asks

    def __init__(self, device: Device, recorder: _Recorder) -> None:
        super().__init__(device)
        self.to_host = recorder.read

    def from_host(self, array: Any) -> Value:
        host = np.array(array)
        return Value("constant", host.shape, from_numpy(host.dtype), data=host)


class _Recorder(shape_only):
    """Writes down each operation; composites that `keep` refuses come as their parts."""

    def __init__(self, keep: Keep | None) -> None:
        self.device = Device("capture")
        self.device.backend = _CaptureBackend(self.device, self)
        super().__init__(device=self.device)
        self._inside.append(casting(self._lifted))
        self.keep = keep
        self.start = user_line()  # who asked for the graph: no line of a model
        self.nodes: list[Node] = []
        self.places: list[tuple[str, str]] = []
        self.known: dict[int, tuple[Any, Value]] = {}  # by id, with the tensor, so that no other gets its id

    def value(self, kind: str, name: str, tensor: Any) -> Value:
        """The Value that stands for a tensor which the graph holds, or gets."""
        if id(tensor) not in self.known:
            made = Value(kind, tensor.shape, tensor.dtype, name, None if kind == "input" else tensor)
            self.known[id(tensor)] = (tensor, made)
        return self.known[id(tensor)][1]

    def _lifted(self, op: Any, raw: tuple[Any, ...]) -> tuple[Any, ...]:
        """Tensors of real devices that the code found by itself are constants of the graph."""
        return tuple([self.lift(one) for one in raw])

    def lift(self, one: Any) -> Any:
        """A tensor on the capture device; anything else as it is."""
        if not isinstance(one, TensorBase) or one.device is self.device:
            return one
        return like(one, self.value("constant", "", one), self.device)

    def _operation(
        self, op: Any, inputs: tuple[Any, ...], params: dict[str, Any], proceed: Callable[[], Any]
    ) -> Any:
        if op.rule is None:
            return proceed()
        first = next((one for one in inputs if one is not None), None)
        plan = new_plan(op, inputs, params, self.device, None if first is None else first.dtype)
        values = dict(zip(op.params, plan.values, strict=True))
        if op.body is not None and self.keep is not None and not self.keep(op, inputs, values):
            return op.body(*inputs, **values)
        path, kind = self.places[-1] if self.places else ("", "")
        line = user_line()
        node = Node(
            op, tuple(None if one is None else one.array for one in inputs), values, path, kind,
            None if line == self.start else line,
        )  # fmt: skip
        made = []
        for shape, dtype in plan.outs:
            if shape is None:
                raise UnsupportedOpError(
                    f"capture: the shape of what {op.name} gives depends on values",
                    cause=f"called in {node.place}" if node.place else "",
                    fix="use an operation whose shapes follow from shapes, such as where",
                )
            made.append(wrap(Value("result", shape, dtype, node=node), self.device, dtype, shape))
        node.outputs = tuple(one.array for one in made)
        self.nodes.append(node)
        return made[0] if plan.single else tuple(made)

    def read(self, value: Value) -> Any:
        """A value's data, where it follows from constants; what follows from an input or a weight is refused."""
        needed = _needed(self.nodes, [value])
        given = [one for node in needed for one in node.inputs if one is not None] or [value]
        found = [f"{one.kind} {one.name!r}" for one in given if one.kind in ("input", "parameter")]
        found += ["random numbers" for node in needed if node.op.group == "random"]
        if found:
            path, kind = self.places[-1] if self.places else ("", "")
            raise UnsupportedOpError(
                f"capture: a value that follows from {found[0]} was asked for"
                + (f", in {path} ({kind})" if path else ""),
                cause="the code reads a tensor: item(), bool(), numpy(), or a branch on what it holds",
                fix="compute with tensors instead, as with where; a graph has one way for all values",
            )
        with alone(), detect.device("reference"):
            device = detect.resolve(None)
            known = {id(one): held_tensor(one, {}, device) for one in given if one.held}
            run_nodes(needed, known, {}, device, {})
            return device.to_host(known[id(value)].array)

    def before(self, path: str, module: Any, args: Any, kwargs: Any) -> None:
        """A module is called."""
        self.places.append((path, type(module).__name__))

    def after(self, path: str, module: Any, result: Any) -> None:
        """It has returned."""
        self.places.pop()


def _needed(nodes: Sequence[Node], values: list[Any]) -> list[Node]:
    """The nodes that these values follow from, in order."""
    wanted = {id(one) for one in values}
    found = []
    for node in reversed(nodes):
        if any(id(one) in wanted for one in node.outputs):
            found.append(node)
            wanted.update(id(one) for one in node.inputs)
    return found[::-1]


def capture(
    model: Callable[..., Any],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic: Dynamic | None = None,
    keep: Keep | None = None,
    training: bool = False,
    dtype: Any = None,
) -> Graph:
    """The graph of `model(*args, **kwargs)`: a Module, in evaluation mode unless `training`, or any function.

    Only shapes and dtypes of the arguments count; a shape may stand for a tensor of `dtype`, as in `nn.summary`.
    Nothing is computed and the model is not touched. Composites stay one node, but for those of which
    `keep(op, inputs, params)` says False. `dynamic` names dimensions that may differ from run to run, for each input
    by the name of the argument: {"x": {0: "batch"}}; the model is then captured at several sizes, and what follows
    from them is found. Raises UnsupportedOpError where values of an input or a parameter decide what happens, or where
    the graph is another one at another size.

    >>> from mlcore import nn
    >>> graph = capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), (3, 4), dynamic={"input": {0: "n"}})
    >>> print(graph)
    Sequential(input: float32[n, 4])
      parameter 0.weight: float32[8, 4]
      parameter 0.bias: float32[8]
      0.linear: float32[n, 8] = linear(input, 0.weight, 0.bias)  # 0
      1.relu: float32[n, 8] = relu(0.linear)  # 1
      return 1.relu
    """
    if not callable(model):
        raise ArgumentTypeError(
            f"capture: a {type(model).__name__} cannot be called", fix="pass a Module or a function"
        )
    bound = _bound(model, inputs_like(list(as_call(args)), dtype), inputs_like(dict(kwargs or {}), dtype))
    graph = _once(model, bound, keep, training)
    if dynamic:
        graph = _with_sizes(graph, lambda given: _once(model, given, keep, training), bound, dynamic)
    _name(graph)
    return graph


def _bound(model: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments by name, those of *args and **kwargs as a tuple and a dict."""
    call = model.forward if hasattr(model, "named_modules") else model
    try:
        signature = inspect.signature(call)
    except ValueError:  # a builtin
        return {**{str(i): one for i, one in enumerate(args)}, **kwargs}
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise ArgumentTypeError(f"capture: {error}", expects=f"{type(model).__name__}{signature}") from error


def input_names(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[int, str]:
    """What capture calls each tensor among the arguments, by its id."""
    return {id(tensor): path for path, tensor in leaves(_bound(model, args, dict(kwargs)), TensorBase)}


def _call(model: Any, bound: dict[str, Any]) -> Any:
    call = model.forward if hasattr(model, "named_modules") else model
    try:
        signature = inspect.signature(call)
    except ValueError:
        return model(*bound.values())
    whole = inspect.BoundArguments(signature, dict(bound))
    return model(*whole.args, **whole.kwargs)


def _once(model: Any, bound: dict[str, Any], keep: Keep | None, training: bool) -> Graph:
    recorder = _Recorder(keep)

    def given(path: str, tensor: Any) -> Any:
        return like(tensor, recorder.value("input", path, tensor), recorder.device)

    arguments = mapped(bound, TensorBase, given)
    twin, names = model, {}
    if hasattr(model, "named_modules"):
        for kind, held in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
            for name, tensor in held:
                names[id(tensor)] = (kind, name)
                _check_made(name, tensor)

        def stand_in(tensor: Any) -> Any:
            kind, name = names.get(id(tensor), ("constant", ""))
            return like(tensor, recorder.value(kind, name, tensor), recorder.device)

        twin = twin_of(model, stand_in).train(training)
    try:
        with recorder:
            if twin is model:
                result = _call(twin, arguments)
            else:
                with watched(twin, recorder.before, recorder.after):
                    result = _call(twin, arguments)
            result = mapped(result, TensorBase, lambda path, one: recorder.lift(one).array)
    except RecursionError as error:
        raise UnsupportedOpError("capture: the model calls itself without end") from error
    nodes = _needed(recorder.nodes, [one for _, one in leaves(result, Value)])
    name = type(model).__name__ if hasattr(model, "named_modules") else getattr(model, "__name__", "graph")
    graph = Graph(
        name,
        mapped(arguments, TensorBase, lambda path, one: one.array),
        nodes,
        result,
        lambda args, kwargs: _bound(model, args, kwargs),
    )
    if twin is not model:
        graph.modules = {path: type(one).__name__ for path, one in model.named_modules()}
    return graph


def _check_made(name: str, tensor: Any) -> None:
    if getattr(tensor, "shape", None) is None or type(tensor).__name__.startswith("Uninitialized"):
        raise ArgumentError(
            f"capture: parameter {name} has no shape yet", fix="run the model once on a real input"
        )


def _with_sizes(
    graph: Graph, run: Callable[[dict[str, Any]], Graph], bound: dict[str, Any], dynamic: Dynamic
) -> Graph:
    """The graph with the sizes in it that follow from named dimensions, found in runs at other sizes."""
    named = _named_axes(graph, dynamic)
    trouble: Exception | None = None
    for manner in ("above", "near", "below", "multiples"):  # the further ones where the model refuses a size
        chosen = _choices(graph, named, manner)
        if chosen is None:
            continue
        try:
            others = [run(_resized(bound, named, sizes)) for sizes in chosen]
            try:
                return unify.unify([graph, *others], named)
            except unify.DifferError:
                # A size of 1 may take another way, as it broadcasts: then the others are the graph.
                if all(_example(graph, places) != 1 for places in named.values()):
                    raise
                return unify.unify(others, named)
        except unify.DifferError as error:
            trouble = error
            break
        except MlcoreError as error:
            trouble = trouble or error
    raise UnsupportedOpError(
        f"capture: the graph is another one when {', '.join(named)} "
        + ("differs" if len(named) == 1 else "differ"),
        cause=str(trouble),
        fix="leave the dimension fixed, or write the model so that its operations do not depend on the size",
    ) from trouble


def _named_axes(graph: Graph, dynamic: Dynamic) -> dict[str, list[tuple[str, int]]]:
    """For each name, the (input, axis) that it is the size of."""
    inputs = {one.name: one for one in graph.inputs}
    found: dict[str, list[tuple[str, int]]] = {}
    for name, axes in dynamic.items():
        if name not in inputs:
            raise ArgumentError(
                f"dynamic shapes name an input {name!r}", fix=f"the inputs are {', '.join(inputs)}"
            )
        pairs = axes.items() if isinstance(axes, Mapping) else enumerate(axes or ())
        for axis, dimension in pairs:
            if dimension is None:
                continue
            rank = len(inputs[name].shape)
            if not isinstance(axis, int) or not -rank <= axis < rank or not isinstance(dimension, str):
                raise ArgumentError(
                    f"dynamic shapes of {name}: {axis!r}: {dimension!r}",
                    fix=f"name axes from 0 to {rank - 1}, as in {{0: 'batch'}}",
                )
            found.setdefault(dimension, []).append((name, axis % rank))
    for dimension, places in found.items():
        sizes = {inputs[name].shape[axis] for name, axis in places}
        if len(sizes) > 1:
            raise ArgumentError(
                f"dynamic shapes: {dimension} is {' and '.join(map(str, sorted(sizes)))} in the example",
                fix="give dimensions of different sizes different names",
            )
    return found


def _example(graph: Graph, places: list[tuple[str, int]]) -> int:
    name, axis = places[0]
    return next(one.shape[axis] for one in graph.inputs if one.name == name)


def _choices(
    graph: Graph, named: dict[str, list[tuple[str, int]]], manner: str
) -> list[dict[str, int]] | None:
    """Sizes for each run, spread so that one formula fits by accident seldom; None where there are too few."""
    draw = random.Random(len(named))
    columns = {}
    for name, places in named.items():
        base = max(2, _example(graph, places))
        sizes = {
            "above": range(base + 1, base + 40), "near": range(base + 1, base + 8), "below": range(2, base),
            "multiples": range(2 * base, 12 * base, base),
        }[manner]  # fmt: skip
        if len(sizes) < _RUNS:
            return None
        columns[name] = draw.sample(sizes, _RUNS)
    return [{name: column[i] for name, column in columns.items()} for i in range(_RUNS)]


def _resized(
    bound: dict[str, Any], named: dict[str, list[tuple[str, int]]], chosen: dict[str, int]
) -> dict[str, Any]:
    from mlcore.compile.shape_only import blank

    wanted = {place: chosen[name] for name, places in named.items() for place in places}

    def resize(path: str, tensor: Any) -> Any:
        return blank([wanted.get((path, i), d) for i, d in enumerate(tensor.shape)], tensor.dtype)

    made: dict[str, Any] = mapped(bound, TensorBase, resize)
    return made


def _name(graph: Graph) -> None:
    """Give every value a name that no other has: results that of their module and operation."""
    taken: set[str] = set()

    def named(value: Value, wanted: str) -> None:
        name, count = wanted, 1
        while name in taken:
            count += 1
            name = f"{wanted}_{count}"
        taken.add(name)
        value.name = name

    for value in [*graph.inputs, *(one for one in graph.held if one.name)]:
        named(value, value.name)
    for value in graph.held:
        if not value.name:
            named(value, "constant")
    for node in graph.nodes:
        for value, output in zip(node.outputs, node.op.outputs, strict=False):
            place = f"{node.path}." if node.path else ""
            named(value, place + node.op.name + ("" if output is node.op.outputs[0] else f".{output}"))
        for value in node.outputs[len(node.op.outputs) :]:
            named(value, f"{node.path}.{node.op.name}")
