"""Building an ONNX graph: nodes, constants, names, and sizes that are known when it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mlcore.compile.graph import Graph, Node, Value
from mlcore.compile.sizes import Dim, Size, is_fixed
from mlcore.dtypes import DType, int64
from mlcore.errors import DTypeError, UnsupportedOpError

IR_VERSIONS: Final = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
"""The opsets that are written, with the IR version of the same release of ONNX."""

_TYPES: Final = {
    "bool": TensorProto.BOOL, "int8": TensorProto.INT8, "int16": TensorProto.INT16, "int32": TensorProto.INT32,
    "int64": TensorProto.INT64, "uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16,
    "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "complex64": TensorProto.COMPLEX64,
    "complex128": TensorProto.COMPLEX128,
}  # fmt: skip

INT64_MIN: Final = -(2**63)


def onnx_type(dtype: DType) -> int:
    """ONNX's number for a dtype."""
    return int(_TYPES[dtype.name])


def tensor_proto(name: str, array: np.ndarray[Any, Any], dtype: DType) -> TensorProto:
    """A tensor as it lies in a file."""
    data = np.ascontiguousarray(array, dtype=dtype.numpy)
    return helper.make_tensor(name, onnx_type(dtype), array.shape, data.tobytes(), raw=True)


Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Handled:
    """How an operation is written: `function(builder, node, *inputs)` gives the names of its outputs.

    `accepts(opset, inputs, params)` says whether it can be; where not, a composite is written as its parts. `sized` are
    the parameters that may be sizes which are known when the graph runs.
    """

    function: Handler
    accepts: Callable[[int, tuple[Any, ...], dict[str, Any]], bool]
    sized: tuple[str, ...] = ()


HANDLERS: Final[dict[str, Handled]] = {}


def handles(
    *names: str, since: int = 17, accepts: Any = None, sized: tuple[str, ...] = ()
) -> Callable[[Handler], Handler]:
    """Declare how operations are written, from an opset on, or where `accepts(inputs, params)` says so."""

    def declare(function: Handler) -> Handler:
        def fits(opset: int, inputs: tuple[Any, ...], params: dict[str, Any]) -> bool:
            return opset >= since and (accepts is None or bool(accepts(inputs, params)))

        for name in names:
            HANDLERS[name] = Handled(function, fits, sized)
        return function

    return declare


@dataclass
class Builder:
    """Collects nodes and initializers. Names of values are those of the captured graph."""

    graph: Graph
    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # of a Value, by id
    types: dict[str, DType] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _known: dict[Any, str] = field(default_factory=dict)
    _node: Node | None = None

    def fresh(self, wanted: str) -> str:
        """A name that nothing has."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def make(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: int = 1,
        dtype: DType | None = None,
        **attributes: Any,
    ) -> Any:
        """Add a node; the name of its output, or a list of several."""
        place = "" if self._node is None or not self._node.path else f"{self._node.path}."
        names = [self.fresh(f"{place}{kind}") for _ in range(outputs)]
        made = helper.make_node(kind, inputs, names, name=names[0], **attributes)
        if self._node is not None:
            made.doc_string = described(self._node)
        self.nodes.append(made)
        return names[0] if outputs == 1 else names

    # -- constants ----------

    def constant(self, value: Any, dtype: DType, name: str = "constant") -> str:
        """An initializer of a number or an array; equal ones are one."""
        array = np.asarray(value, dtype=dtype.numpy)
        key = (dtype.name, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = made = self.fresh(name)
            self.constants[made] = tensor_proto(made, array, dtype)
        return self._known[key]

    def ints(self, *values: int) -> str:
        """A 1-d tensor of int64."""
        return self.constant(np.asarray(values, np.int64), int64)

    def like(self, value: float, tensor: Any) -> str:
        """A number of the dtype of a Value."""
        return self.constant(value, tensor.dtype)

    # -- sizes ----------

    def size(self, dim: Dim) -> str:
        """A size as a tensor of shape (1,)."""
        if isinstance(dim, int):
            return self.ints(dim)
        if dim in self._known:
            return self._known[dim]
        node, self._node = self._node, None
        made = ""
        for name in dim.names:
            value, axis = self.graph.sizes[name]
            key = (id(value), axis)
            if key not in self._known:
                shape = self.make("Shape", [self.names[id(value)]], start=axis, end=axis + 1)
                self._known[key] = shape
            made = self.make("Mul", [made, self._known[key]]) if made else self._known[key]
        for kind, number, nothing in (
            ("Mul", dim.factor, 1), ("Add", dim.offset, 0), ("Div", dim.divisor, 1)
        ):  # fmt: skip
            if number != nothing:
                made = self.make(kind, [made, self.ints(number)])
        self._known[dim], self._node = made, node
        return made

    def sizes(self, dims: Sequence[Dim]) -> str:
        """Sizes as a 1-d tensor."""
        if all(isinstance(one, int) for one in dims):
            return self.ints(*dims)  # type: ignore[arg-type]  # seen above
        parts = [self.size(one) for one in dims]
        return parts[0] if len(parts) == 1 else self.make("Concat", parts, axis=0)

    # -- the parts that several handlers need ----------

    def cast(self, name: str, dtype: DType) -> str:
        """A tensor in another dtype."""
        made: str = self.make("Cast", [name], to=onnx_type(dtype))
        return made

    def reduce(self, kind: str, x: str, axes: Sequence[int], keepdims: bool) -> str:
        """A reduction; where its axes stand depends on the opset. Over no axes it does nothing."""
        if not axes:
            return x
        if kind == "ReduceSum" or self.opset >= 18:
            made: str = self.make(kind, [x, self.ints(*axes)], keepdims=int(keepdims))
        else:
            made = self.make(kind, [x], axes=list(axes), keepdims=int(keepdims))
        return made

    def reshape(self, x: str, have: Sequence[Dim], want: Sequence[Dim]) -> str:
        """Another shape: 0 and -1 stand for sizes that are not known yet, where they can."""
        if tuple(have) == tuple(want):
            return x
        plan: list[Dim] = [
            0 if isinstance(d, Size) and i < len(have) and have[i] == d else d for i, d in enumerate(want)
        ]
        left = [i for i, d in enumerate(plan) if isinstance(d, Size)]
        zero = any(d == 0 and isinstance(d, int) for d in want)
        if len(left) == 1 and not zero:
            plan[left[0]] = -1
        if zero:
            made: str = self.make("Reshape", [x, self.sizes(want)], allowzero=1)
        else:
            made = self.make("Reshape", [x, self.sizes(plan)])
        return made

    def slices(self, x: str, cuts: Sequence[tuple[int, Dim, Dim, int]]) -> str:
        """A slice by (axis, start, stop, step)."""
        if not cuts:
            return x
        axes, starts, stops, steps = zip(*cuts, strict=True)
        inputs = [x, self.sizes(starts), self.sizes(stops), self.ints(*axes)]
        made: str = self.make("Slice", [*inputs, self.ints(*steps)])
        return made

    def expand(self, x: str, have: Sequence[Dim], want: Sequence[Dim]) -> str:
        """Broadcast to another shape."""
        return x if tuple(have) == tuple(want) else self.make("Expand", [x, self.sizes(want)])

    # -- nodes of the captured graph ----------

    def add(self, node: Node) -> None:
        """Write one operation."""
        self._node = node
        first = len(self.nodes)
        inputs = ["" if one is None else self.names[id(one)] for one in node.inputs]
        handled = HANDLERS[node.op.name]
        for name, held in node.sizes.items():
            if name not in handled.sized and not is_fixed(held):
                reason = f"its {name} follows a size that is known when the graph runs: {held}"
                raise refuse(node, self.opset, reason)
        found = handled.function(self, node, *inputs)
        made = found if isinstance(found, tuple) else (found,)
        for value, name in zip(node.outputs, made, strict=False):
            self.names[id(value)] = self._renamed(name, value, first)
            self.types[self.names[id(value)]] = value.dtype
        self._node = None

    def _renamed(self, name: str, value: Value, first: int) -> str:
        """The last node's output gets the value's own name; what only passes through keeps the one it has."""
        for node in reversed(self.nodes[first:]):
            if name in node.output:
                wanted = self.fresh(value.name)
                for one in self.nodes[first:]:
                    _rename(one.input, name, wanted)
                    _rename(one.output, name, wanted)
                for key, known in list(self._known.items()):
                    if known == name:
                        self._known[key] = wanted
                return wanted
        return name


def _rename(names: Any, old: str, new: str) -> None:
    for i, name in enumerate(names):
        if name == old:
            names[i] = new


def described(node: Node) -> str:
    """Where an operation came from, without the folders of this machine."""
    folder, slash, name = node.place.rpartition(os.sep)
    module = folder.rpartition(", ")[0] if slash else ""
    return ", ".join(one for one in (node.op.name, module, name) if one)


def refuse(node: Node, opset: int, reason: str = "") -> UnsupportedOpError:
    """The error for an operation that cannot be written."""
    return UnsupportedOpError(
        f"export: {node.op.name} has no form in ONNX's opset {opset}",
        cause=reason,
        called=node.place,
        fix="use other operations there, or another opset",
    )


def check_dtype(dtype: DType, what: str) -> None:
    """Refuse what no reader of ONNX computes with."""
    if dtype.kind == "c":
        raise DTypeError(f"export: {what} is {dtype}", cause="ONNX's operations take no complex numbers")


def array_of(value: Value) -> np.ndarray[Any, Any]:
    """What a parameter, buffer or constant holds, on the host."""
    data = value.data
    return np.asarray(data.detach().numpy() if hasattr(data, "detach") else data)


def from_proto(proto: TensorProto) -> np.ndarray[Any, Any]:
    """The array of an initializer."""
    return numpy_helper.to_array(proto)
