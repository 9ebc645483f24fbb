"""MLX, imported in one place and untyped: which of its builds is installed is nothing that a type checker must know."""

from __future__ import annotations

import importlib
from typing import Any

mx: Any = importlib.import_module("mlx.core")
