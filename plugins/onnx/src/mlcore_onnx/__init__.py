"""mlcore-onnx: models go out as ONNX files, and come in from them.

`export(model, args, path)` writes a model's graph, `load(path)` makes a Module of a file. Both are imported when first
used: onnx itself takes longer to import than mlcore.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlcore_onnx.export_model import export as export
    from mlcore_onnx.load_model import load as load

__version__ = "0.1.0"
__all__ = ["export", "load"]

# Not modules of the functions' own names: importing one of those would put it in the function's place here.
_MODULES = {"export": "mlcore_onnx.export_model", "load": "mlcore_onnx.load_model"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(_MODULES[name]), name)
    return found
