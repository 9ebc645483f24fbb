"""``mlcore view``: the graph of a model's operations, as text or as a page for the browser.

mlcore view my.models:Net --in "B 3 224 224"
mlcore view vision/mobilenet_v2 --in "B 3 224 224" --depth 2
mlcore view vision/mobilenet_v2 --in "B 3 224 224" --html net.html

The model and its inputs are named as for ``mlcore check``; names of sizes stay names in the graph. Nothing is computed.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from mlcore.cli.check import add_model, asked
from mlcore.errors import MlcoreError


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
    from mlcore.cli.page import as_text, page
    from mlcore.compile.capture import capture
    from mlcore.compile.outline import outline

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
        path = Path(arguments.html)
        path.write_text(page(graph, top), encoding="utf-8")
        print(f"{path}: {len(graph.nodes)} operations, {path.stat().st_size:,} bytes")
        return 0
    print(as_text(graph, top, math.inf if arguments.depth is None else arguments.depth))
    return 0
