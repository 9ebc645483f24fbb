"""``mlcore export``: a model as an ONNX file.

mlcore export my.models:Net --in "B 3 224 224" -o net.onnx
mlcore export my.models:Net width=64 --in "B 3 224 224" --weights net.safetensors -o net.onnx --opset 18
mlcore export vision/mobilenet_v2 --in "1 3 H W" --size H=224 -o mobilenet.onnx

The model and its inputs are named as for ``mlcore check``. A name in a shape is a dimension that may have any size when
the file is run, unless --size gives one. Where ONNX Runtime is installed, the file is run beside the model.
"""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from typing import Any

from mlcore.cli.check import Asked, add_model, asked
from mlcore.errors import UnsupportedOpError


def add_command(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "export", help="write a model as an ONNX file", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_model(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--weights", metavar="FILE", help="weights to load first, in any format that is known"
    )
    parser.add_argument("--opset", type=int, default=20, help="ONNX's operator set, 17 to 21 (default: 20)")
    parser.add_argument("--external-data", action="store_true", help="put the parameters into FILE.data")
    parser.add_argument(
        "--verify", action=argparse.BooleanOptionalAction, default=None,
        help="run the file with ONNX Runtime, and compare with the model (default: where it is installed)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    from mlcore_onnx.export_model import export

    given = asked(arguments, real=True)
    if arguments.weights:
        given.model.load_weights(arguments.weights)
    given.model.eval()
    made = export(
        given.model, given.args, arguments.output, given.kwargs, dynamic_shapes=given.named, opset=arguments.opset,
        external_data=arguments.external_data or None,
    )  # fmt: skip
    size = os.path.getsize(arguments.output)
    print(f"{arguments.output}: {len(made.graph.node)} nodes, opset {arguments.opset}, {size:,} bytes")
    for title, values in (("in", made.graph.input), ("out", made.graph.output)):
        for value in values:
            dims = [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]
            print(f"  {title:<4} {value.name} {dims}".replace("'", ""))
    if arguments.verify or (arguments.verify is None and find_spec("onnxruntime") is not None):
        return _verify(given, arguments.output, arguments.verify is True)
    return 0


def _verify(given: Asked, path: str, asked_for: bool) -> int:
    from mlcore_onnx.export_verify import difference

    try:
        found = difference(given.model, given.args, given.kwargs, path)
    except UnsupportedOpError as error:  # the file is right: it is ONNX Runtime that lacks something
        if asked_for:
            raise
        print(f"  not compared: {error}")
        return 1
    print(f"  ONNX Runtime differs by at most {found:.2g} of the largest output")
    return 0
