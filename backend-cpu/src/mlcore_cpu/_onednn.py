"""Loads libdnnl where the extension does not find it beside itself: in a tree built before it was copied there."""

from __future__ import annotations

import ctypes
import sys
from importlib.metadata import PackageNotFoundError, distribution


def preload() -> bool:
    """Load libdnnl of the distribution onednn-cpu-gomp; False if it is not installed that way."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        files = distribution("onednn-cpu-gomp").files or []
    except PackageNotFoundError:
        return False
    for file in files:
        if file.name == "libdnnl.so.3":
            try:
                ctypes.CDLL(str(file.locate()))
            except OSError:
                return False
            return True
    return False
