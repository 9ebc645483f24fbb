"""A page on which one draws a digit and sees what a network reads: trained with mlcore, exported to ONNX, run by
onnxruntime-web in the browser itself. ``python -m mlcore_browser RUN`` makes it from a run of `mlcore train mnist`.
"""

from mlcore_browser.site import build

__all__ = ["build"]
