"""``mlcore view``: the graph of a model's operations, as text or as a page for the browser.

mlcore view my.models:Net --in "B 3 224 224"
mlcore view vision/mobilenet_v2 --in "B 3 224 224" --depth 2
mlcore view vision/mobilenet_v2 --in "B 3 224 224" --html net.html

The model and its inputs are named as for ``mlcore check``; names of sizes stay names in the graph. Nothing is computed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

from mlcore.cli.check import add_model, asked
from mlcore.compile.capture import capture
from mlcore.compile.graph import Graph
from mlcore.compile.outline import Group, Step, outline
from mlcore.errors import MlcoreError
from mlcore.nn.tabulate import aligned, short_count


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "view", help="the graph of a model's operations, as text or as a page for the browser", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_model(parser)
    parser.add_argument(
        "--depth", type=int, metavar="N", help="show modules no deeper than this (default: all)"
    )
    parser.add_argument("--html", metavar="FILE", help="write a page that needs nothing else")
    parser.add_argument("--train", action="store_true", help="in training mode (default: evaluation)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    given = asked(arguments, real=False)
    try:
        graph = capture(given.model, given.args, given.kwargs, dynamic=given.named, training=arguments.train)
    except MlcoreError:
        if not given.named:
            raise
        fixed = ", ".join(f"{name} = {size}" for name, size in given.sizes.items())
        print(f"the graph is another one at other sizes; this is it at {fixed}\n")
        graph = capture(given.model, given.args, given.kwargs, training=arguments.train)
    top = outline(graph)
    if arguments.html:
        from mlcore.cli.page import page

        path = Path(arguments.html)
        path.write_text(page(graph, top), encoding="utf-8")
        print(f"{path}: {len(graph.nodes)} operations, {path.stat().st_size:,} bytes")
        return 0
    print(as_text(graph, top, math.inf if arguments.depth is None else arguments.depth))
    return 0


def as_text(graph: Graph, top: Group, depth: float = math.inf) -> str:
    """A graph as lines: what each module and operation gives, its parameters and FLOPs; then the totals.

    A module of one operation has one line; modules `depth` levels down are shown as a whole.

    >>> from mlcore import nn
    >>> from mlcore.compile.capture import capture
    >>> graph = capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), (3, 4), dynamic={"input": {0: "n"}})
    >>> print(as_text(graph, outline(graph)))
    takes  input: float32[n, 4]
    gives  1.relu: float32[n, 8]
    FLOPs  at n = 3
    <BLANKLINE>
    layer       what    gives          parameters  FLOPs
    ----------------------------------------------------
    Sequential          float32[n, 8]          40    240
      0         Linear  float32[n, 8]          40    216
      1         ReLU    float32[n, 8]           -     24
    """
    lines = [("layer", "what", "gives", "parameters", "FLOPs"), *_rows(top, 0, depth)]
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    text = [aligned(line, widths) for line in lines]
    text.insert(1, "-" * max(map(len, text)))
    outputs = [repr(one) for _, one in graph.outputs]
    ends = [f"takes  {', '.join(map(repr, graph.inputs))}", f"gives  {', '.join(outputs)}"]
    sizes = ", ".join(f"{name} = {value.shape[axis]}" for name, (value, axis) in graph.sizes.items())
    ends += [f"FLOPs  at {sizes}", ""] if sizes else [""]
    return "\n".join([*ends, *(line.rstrip() for line in text)])


def _rows(group: Group, level: int, depth: float) -> Iterator[tuple[str, ...]]:
    whole = level >= depth or (len(group.parts) == 1 and isinstance(group.parts[0], Step))
    kind = "" if group.kind == group.name else group.kind
    yield _row("  " * level + group.name, kind, group.gives, group.parameters, group.flops)
    for part in () if whole else group.parts:
        if isinstance(part, Step):
            yield _row("  " * (level + 1) + "·", part.node.op.name, part.gives, part.parameters, part.flops)
        else:
            yield from _rows(part, level + 1, depth)


def _row(name: str, what: str, gives: str, parameters: int, flops: int) -> tuple[str, ...]:
    return name, what, gives, short_count(parameters), short_count(flops)
