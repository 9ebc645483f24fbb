"""What mlcore loads to learn about this package: light, onnx is imported when a model is written or read."""

from __future__ import annotations

from mlcore.plugin import DomainPlugin


class Onnx(DomainPlugin):
    """ONNX files: models out and in; the command `mlcore export`."""

    name, api, module = "onnx", "1.0", "mlcore_onnx"
    summary = "ONNX files: models out and in; mlcore export"
    requires = ("onnx>=1.18",)


plugin = Onnx()
