"""One graph of several runs of a model at different sizes: equal but for sizes, of which it finds what they follow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlcore.compile.graph import Graph, Node, Value, leaves
from mlcore.compile.sizes import Dim, Size, Vector, fit
from mlcore.errors import UnsupportedOpError


class DifferError(UnsupportedOpError):
    """Two runs did different things."""


def unify(graphs: list[Graph], named: dict[str, list[tuple[str, int]]]) -> Graph:
    """The first of `graphs` with each size that differs between them as a formula of named dimensions.

    Sizes that follow from no named dimension by a simple formula get names of their own.
    """
    return _Unifier(graphs, named).run()


class _Unifier:
    def __init__(self, graphs: list[Graph], named: dict[str, list[tuple[str, int]]]) -> None:
        self.graphs, self.named = graphs, named
        self.known: dict[str, Vector] = {}
        self.formulas: set[Size] = set()  # in the parameters of the operation that is looked at
        self.twins: dict[
            int, tuple[Value, ...]
        ] = {}  # by the id of the first graph's value: that of each graph

    def run(self) -> Graph:
        first = self.graphs[0]
        inputs = [{one.name: one for one in graph.inputs} for graph in self.graphs]
        for name, places in self.named.items():
            for i, (path, axis) in enumerate(places):
                if i == 0:
                    first.sizes[name] = (inputs[0][path], axis)
                    self.known[name] = tuple(one[path].shape[axis] for one in inputs)
        for values in zip(*(graph.inputs for graph in self.graphs), strict=True):
            self.match(values, "inputs")
        if len({len(graph.nodes) for graph in self.graphs}) > 1:
            for nodes in zip(*(graph.nodes for graph in self.graphs), strict=False):
                self.same_op(nodes)
            raise DifferError("the runs have different numbers of operations")
        for nodes in zip(*(graph.nodes for graph in self.graphs), strict=True):
            self.node(nodes)
        for values in zip(*([one for _, one in leaves(g.result, Value)] for g in self.graphs), strict=True):
            self.match(values, "the result")
        return first

    def same_op(self, nodes: tuple[Node, ...]) -> None:
        if len({node.op.name for node in nodes}) > 1:
            names = " or ".join(sorted({node.op.name for node in nodes}))
            raise DifferError(f"it does {names}, by the size, in {nodes[0].place}")

    def node(self, nodes: tuple[Node, ...]) -> None:
        self.same_op(nodes)
        first = nodes[0]
        where = f"{first.op.name} in {first.place}"
        if len({len(node.inputs) for node in nodes}) > 1:
            raise DifferError(f"{where} has a number of inputs that follows the size")
        for values in zip(*(node.inputs for node in nodes), strict=True):
            if any(one is None for one in values):
                if any(one is not None for one in values):
                    raise DifferError(f"{where} has an input at some sizes only")
                continue
            self.match(values, where)
        self.formulas.clear()
        first.sizes = {
            name: self.params([node.params[name] for node in nodes], f"{where}: {name}")
            for name in first.params
        }
        for values in zip(*(node.outputs for node in nodes), strict=True):
            self.match(values, where)

    def match(self, values: tuple[Any, ...], where: str) -> None:
        """These are one value of the graph; the first time, its sizes are found."""
        first = values[0]
        known = self.twins.get(id(first))
        if known is not None:
            if any(a is not b for a, b in zip(known, values, strict=True)):
                raise DifferError(f"{where} takes other inputs at another size")
            return
        if (
            len({(one.kind, one.dtype, len(one.shape), one.kind != "result" and one.name) for one in values})
            > 1
        ):
            raise DifferError(f"{where} takes something else at another size")
        self.twins[id(first)] = values
        if first.kind == "constant":
            self.constant(values, where)
        first.dims = tuple(
            self.dim(sizes, first, axis)
            for axis, sizes in enumerate(zip(*(one.shape for one in values), strict=True))
        )

    def dim(self, sizes: Vector, value: Value, axis: int) -> Dim:
        found = fit(sizes, self.known) if value.kind != "constant" else sizes[0]
        if isinstance(found, Size) and found.divisor != 1 and found not in self.formulas:
            found = None  # a guess, where the value itself can be asked
        if found is not None:
            return found
        name = f"size_{len(self.graphs[0].sizes)}"
        self.graphs[0].sizes[name] = (value, axis)
        self.known[name] = sizes
        return Size((name,))

    def constant(self, values: tuple[Value, ...], where: str) -> None:
        """Constants are equal, or a number that follows from the sizes."""
        data = [np.asarray(one.data.detach() if hasattr(one.data, "detach") else one.data) for one in values]
        if all(one is data[0] or _equal(one, data[0]) for one in data):
            return
        if data[0].ndim == 0 and data[0].dtype.kind != "c":
            for inverse in (False, True):
                found = self.number([float(one) for one in data], inverse)
                if found is not None:
                    values[0].size, values[0].inverse = found, inverse
                    return
        raise DifferError(f"{where} takes a constant that follows the size: {data[0].shape} {data[0].dtype}")

    def number(self, data: list[float], inverse: bool) -> Size | None:
        """The size that some numbers are, or are the inverse of."""
        if not all(math.isfinite(one) and one for one in data):
            return None
        exact = [1 / one if inverse else one for one in data]
        whole = tuple(round(one) for one in exact)
        if any(abs(a - b) > 1e-6 * abs(b) for a, b in zip(exact, whole, strict=True)):
            return None
        found = fit(whole, self.known)
        return found if isinstance(found, Size) else None

    def params(self, held: list[Any], where: str) -> Any:
        first = held[0]
        if all(type(one) is int for one in held):
            found = fit(tuple(held), self.known)
            if found is None:
                raise DifferError(f"{where} follows the size in a way that is not found: {held}")
            if isinstance(found, Size):
                self.formulas.add(found)
            return found
        if isinstance(first, tuple):
            if len({len(one) for one in held}) > 1:
                raise DifferError(f"{where} has a length that follows the size")
            return tuple(self.params(list(one), where) for one in zip(*held, strict=True))
        if any(one != first and not (one != one and first != first) for one in held):
            raise DifferError(f"{where} follows the size: {held}")
        return first


def _equal(a: Any, b: Any) -> bool:
    return bool(a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes())
