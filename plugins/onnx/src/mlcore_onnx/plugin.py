"""What mlcore loads to learn about this package: light, onnx is imported when a model is written or read."""

from __future__ import annotations

import argparse
from typing import Any

from mlcore.plugin import DomainPlugin, hookimpl


class Onnx(DomainPlugin):
    """ONNX files: models out and in; the command `mlcore export`."""

    name, api, module = "onnx", "1.0", "mlcore_onnx"
    summary = "ONNX files: models out and in; mlcore export"
    requires = ("onnx>=1.18",)

    @hookimpl
    def mlcore_cli_commands(self, subparsers: argparse._SubParsersAction[Any]) -> None:
        from mlcore_onnx import export_command

        export_command.add_command(subparsers)


plugin = Onnx()
