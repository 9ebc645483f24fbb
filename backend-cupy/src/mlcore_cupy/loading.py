"""CuPy imported, with its cache of compiled kernels under mlcore's."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from mlcore import config

VARIABLE = "CUPY_CACHE_DIR"


def load() -> Any:
    """The module `cupy`. It reads where compiled kernels are kept once, when it is imported: a place that the user
    named stays, and so does that of a CuPy which the program has imported itself.
    """
    if "cupy" not in sys.modules:
        os.environ.setdefault(VARIABLE, str(config.cache_dir() / "cupy"))
    return importlib.import_module("cupy")
