"""A graph as people look at it: its operations inside the modules that called them, with parameters and work."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from mlcore.compile.graph import Graph, Node, Value
from mlcore.compile.shape_only import blank, shape_only
from mlcore.dispatch import apply
from mlcore.errors import UnsupportedOpError


@dataclass(slots=True)
class Step:
    """One operation: the parameters that it is the first to use, and its FLOPs."""

    node: Node
    held: list[Value]
    flops: int

    @property
    def parameters(self) -> int:
        """How many numbers those parameters hold."""
        return sum(math.prod(one.shape) for one in self.held)

    @property
    def gives(self) -> str:
        """Dtype and sizes of its first output."""
        return self.node.outputs[0].spec


@dataclass(slots=True)
class Group:
    """One call of a module: what it did, in order. `name` is the last part of its path."""

    path: str
    name: str
    kind: str
    parts: list[Group | Step] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """How many numbers the parameters in it hold."""
        return sum(one.parameters for one in self.parts)

    @property
    def flops(self) -> int:
        """The work of all in it."""
        return sum(one.flops for one in self.parts)

    @property
    def gives(self) -> str:
        """Dtype and sizes of what its last operation gives."""
        return self.parts[-1].gives if self.parts else ""

    @property
    def steps(self) -> Iterator[Step]:
        """Its operations, those of inner groups too."""
        for one in self.parts:
            if isinstance(one, Step):
                yield one
            else:
                yield from one.steps


def outline(graph: Graph) -> Group:
    """The operations of a graph by module, in the order of calling: a module that is called again comes again.

    >>> from mlcore import nn
    >>> from mlcore.compile.capture import capture
    >>> found = outline(capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), (3, 4)))
    >>> [(one.name, one.kind, one.parameters, one.flops) for one in found.parts]
    [('0', 'Linear', 40, 216), ('1', 'ReLU', 0, 24)]
    """
    top = Group("", graph.name, graph.modules.get("", graph.name))
    opened = [top]
    seen: set[int] = set()
    for node in graph.nodes:
        while not _inside(node.path, opened[-1].path):
            opened.pop()
        while opened[-1].path != node.path:
            outer = opened[-1].path
            name = node.path[len(outer) + 1 if outer else 0 :].split(".")[0]
            path = f"{outer}.{name}" if outer else name
            while path not in graph.modules and path != node.path:  # ModuleList's members: "layers.0"
                path = (
                    node.path[: node.path.find(".", len(path) + 1)]
                    if "." in node.path[len(path) + 1 :]
                    else node.path
                )
            group = Group(path, path[len(outer) + 1 if outer else 0 :], graph.modules.get(path, node.kind))
            opened[-1].parts.append(group)
            opened.append(group)
        fresh = [
            one for one in node.inputs if one is not None and one.kind == "parameter" and id(one) not in seen
        ]
        seen.update(map(id, fresh))
        opened[-1].parts.append(Step(node, fresh, flops_of(node)))
    return top


def _inside(path: str, outer: str) -> bool:
    return not outer or path == outer or path.startswith(outer + ".")


def flops_of(node: Node) -> int:
    """The work of one operation on the sizes of the example, as it is declared; for a composite that of its parts."""
    counted = 0

    def count(flops: int) -> None:
        nonlocal counted
        counted += flops

    inputs = tuple(None if one is None else blank(one.shape, one.dtype) for one in node.inputs)
    if not inputs:
        return 0
    try:
        with shape_only(count):
            apply(node.op, inputs, dict(node.params))
    except UnsupportedOpError:  # what looks at values counts as one formula
        counted = max(counted, *(math.prod(one.shape) for one in node.outputs))
    return counted
