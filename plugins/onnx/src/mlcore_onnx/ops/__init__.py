"""The operators: each declared once, in the file of its kind. `load()` reads the files."""

from __future__ import annotations

import importlib
import pkgutil

_loaded: list[bool] = []


def load() -> None:
    """Read every file of this folder; what they declare is found by `declare.handler_of`."""
    if _loaded:
        return
    for one in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{one.name}")
    importlib.import_module(f"{__name__}.derived").declare()  # those that no file has itself
    _loaded.append(True)
