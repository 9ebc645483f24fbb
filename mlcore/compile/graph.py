"""A captured graph: operations in the order in which they ran, their values by name, and a way to run it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from mlcore.compile.sizes import Dim, Size, at
from mlcore.dispatch import apply, describe_line, from_data
from mlcore.dtype import DType
from mlcore.errors import ArgumentTypeError, ShapeError
from mlcore.shapes import Shape
from mlcore.tensor import TensorBase


class Value:
    """A tensor of a graph: an input, a parameter, a buffer, a constant, or what a node gives.

    `shape` is that of the example, `dims` the same with the sizes that may differ as `Size`. `data` is the tensor (or
    host array) of what the graph holds; `size` stands for a 0-d constant that a size of the inputs gave, or, where
    `inverse`, one divided by it.
    """

    __slots__ = ("data", "dims", "dtype", "inverse", "kind", "name", "node", "shape", "size")

    def __init__(
        self, kind: str, shape: Shape, dtype: DType, name: str = "", data: Any = None, node: Any = None
    ) -> None:
        self.kind, self.shape, self.dtype, self.name, self.data, self.node = (
            kind,
            shape,
            dtype,
            name,
            data,
            node,
        )
        self.dims: tuple[Dim, ...] = shape
        self.size: Size | None = None
        self.inverse = False

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def held(self) -> bool:
        """Whether the graph has its data: a parameter, buffer or constant."""
        return self.kind in ("parameter", "buffer", "constant")

    @property
    def spec(self) -> str:
        """Its dtype and sizes, as in float32[n, 4]."""
        return f"{self.dtype}[{', '.join(map(str, self.dims))}]"

    def __repr__(self) -> str:
        return f"{self.name or '?'}: {self.spec}"


class Node:
    """One operation as it was called: `params` are its canonical parameters, `sizes` the same with each `Size`.

    `path` and `kind` are those of the module that called it, `line` is the user's.
    """

    __slots__ = ("_line", "inputs", "kind", "op", "outputs", "params", "path", "sizes")

    def __init__(
        self,
        op: Any,
        inputs: tuple[Value | None, ...],
        params: dict[str, Any],
        path: str = "",
        kind: str = "",
        line: Any = None,
    ) -> None:
        self.op, self.inputs, self.params, self.path, self.kind = op, inputs, params, path, kind
        self.sizes: dict[str, Any] = params
        self.outputs: tuple[Value, ...] = ()
        self._line = line

    @property
    def line(self) -> str:
        """Where the user's code called it: 'file.py:12, in forward'; empty where only layers did."""
        return "" if self._line is None else describe_line(self._line)

    @property
    def place(self) -> str:
        """Module and line, for messages."""
        module = f"{self.path} ({self.kind})" if self.path else self.kind
        return ", ".join(one for one in (module, self.line) if one)

    def __repr__(self) -> str:
        given = [*("None" if one is None else one.name for one in self.inputs)]
        given += [f"{name}={_brief(value)}" for name, value in self.sizes.items()]
        return f"{', '.join(map(repr, self.outputs))} = {self.op.name}({', '.join(given)})"


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_brief, value))}{',' if len(value) == 1 else ''})"
    return str(value)


class Graph:
    """What a model does with its inputs. `result` and `arguments` hold Values where the model had tensors.

    `sizes` says, for each name of a dimension that may differ, which value and axis it is the size of. `run` computes
    the same as the model did, on the device of its inputs.
    """

    def __init__(
        self, name: str, arguments: Any, nodes: list[Node], result: Any, bind: Callable[..., Any]
    ) -> None:
        self.name, self.arguments, self.nodes, self.result = name, arguments, nodes, result
        self.bind = bind
        self.sizes: dict[str, tuple[Value, int]] = {}
        self.modules: dict[str, str] = {}  # the class of each module, by its path

    @property
    def inputs(self) -> list[Value]:
        """The input values, in the order of the arguments."""
        return [one for _, one in leaves(self.arguments, Value)]

    @property
    def outputs(self) -> list[tuple[str, Value]]:
        """(where in the result, value) of what comes out."""
        return list(leaves(self.result, Value))

    @property
    def held(self) -> list[Value]:
        """Parameters, buffers and constants, in the order of their use."""
        found: dict[int, Value] = {}
        for node in self.nodes:
            for one in node.inputs:
                if one is not None and one.held:
                    found.setdefault(id(one), one)
        for _, one in self.outputs:
            if one.held:
                found.setdefault(id(one), one)
        return list(found.values())

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the model gives for these arguments, computed node by node."""
        given = self.bind(args, kwargs)
        known: dict[int, Any] = {}
        device = None
        for (name, value), (_, tensor) in zip(
            leaves(self.arguments, Value), leaves(given, TensorBase), strict=True
        ):
            _check(name, value, tensor)
            known[id(value)] = tensor
            device = device or tensor.device
        sizes = {
            name: known[id(value)].shape[axis]
            for name, (value, axis) in self.sizes.items()
            if value.kind == "input"
        }
        for value in self.held:
            known[id(value)] = held_tensor(value, sizes, device)
        later: dict[int, list[tuple[str, int]]] = {}
        for name, (value, axis) in self.sizes.items():
            later.setdefault(id(value), []).append((name, axis))
        run_nodes(self.nodes, known, sizes, device, later)
        return mapped(self.result, Value, lambda path, value: known[id(value)])

    def __str__(self) -> str:
        lines = [f"{self.name}({', '.join(map(repr, self.inputs))})"]
        lines += [f"  {one.kind} {one!r}" for one in self.held if one.kind != "constant"]
        lines += [f"  {node!r}" + (f"  # {node.path}" if node.path else "") for node in self.nodes]
        return "\n".join([*lines, f"  return {', '.join(one.name for _, one in self.outputs)}"])


def _check(name: str, value: Value, tensor: Any) -> None:
    fits = tensor.ndim == len(value.dims) and all(
        isinstance(want, Size) or have == want for have, want in zip(tensor.shape, value.dims, strict=True)
    )
    if not fits or tensor.dtype is not value.dtype:
        raise ShapeError(
            f"input {name}: {tensor.dtype}{list(tensor.shape)} for a graph of {value!r}",
            fix="capture it again with such an input, or name the dimensions that may differ",
        )


def held_tensor(value: Value, sizes: Mapping[str, int], device: Any) -> Any:
    """A parameter, buffer or constant as a tensor on a device."""
    if value.size is not None:
        number = value.size.at(sizes)
        return from_data(1 / number if value.inverse else number, value.dtype, device)
    if isinstance(value.data, TensorBase):
        tensor: Any = value.data.detach()  # type: ignore[attr-defined]  # the methods are attached to Tensor
        return tensor if device is None else tensor.to(device)
    return from_data(value.data, value.dtype, device)


def run_nodes(
    nodes: Sequence[Node],
    known: dict[int, Any],
    sizes: dict[str, int],
    device: Any,
    later: Mapping[int, list[tuple[str, int]]],
) -> None:
    """Run nodes on what is known, by the id of the Value; `later` are the sizes that results give."""
    for node in nodes:
        inputs = tuple(None if one is None else known[id(one)] for one in node.inputs)
        made = apply(node.op, inputs, at(node.sizes, sizes), None if inputs else device)
        for value, tensor in zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True):
            known[id(value)] = tensor
            for name, axis in later.get(id(value), ()):
                sizes[name] = tensor.shape[axis]


# -- nested arguments and results ----------------------------------------------------------------------------------


def leaves(tree: Any, kind: type, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, leaf) of everything of a kind in nested lists, tuples, dicts and dataclasses.

    >>> list(leaves({"a": [1, 2.5], "b": 3}, int))
    [('a.0', 1), ('b', 3)]
    """
    if isinstance(tree, kind):
        yield path, tree
        return
    for name, one in _parts(tree):
        yield from leaves(one, kind, f"{path}.{name}" if path else name)


def mapped(tree: Any, kind: type, function: Callable[[str, Any], Any], path: str = "") -> Any:
    """The same tree with `function(path, leaf)` in place of each leaf of a kind.

    >>> mapped({"a": (1, "b")}, int, lambda path, leaf: f"{path}={leaf}")
    {'a': ('a.0=1', 'b')}
    """
    if isinstance(tree, kind):
        return function(path, tree)
    made = {
        name: mapped(one, kind, function, f"{path}.{name}" if path else name) for name, one in _parts(tree)
    }
    if isinstance(tree, dict):
        return dict(zip(tree, made.values(), strict=True))
    if isinstance(tree, tuple):
        return type(tree)(*made.values()) if hasattr(tree, "_fields") else tuple(made.values())
    if isinstance(tree, list):
        return list(made.values())
    return replace(tree, **made) if made else tree


def _parts(tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for name, one in tree.items():
            yield str(name), one
    elif isinstance(tree, (tuple, list)):
        names = getattr(tree, "_fields", None) or [str(i) for i in range(len(tree))]
        yield from zip(names, tree, strict=True)
    elif is_dataclass(tree) and not isinstance(tree, type):
        for field in fields(tree):
            if field.init:
                yield field.name, getattr(tree, field.name)


def as_call(args: Any) -> tuple[Any, ...]:
    """Positional arguments: a tuple or list of them, or one."""
    if isinstance(args, dict):
        raise ArgumentTypeError("capture: args is a dict", fix="give arguments by name as kwargs=")
    shape = isinstance(args, (tuple, list)) and args and all(type(one) is int for one in args)
    return tuple(args) if isinstance(args, (tuple, list)) and not shape else (args,)
