"""Tools for tests, and the conformance kit for backends (`mlcore conformance NAME`).

`assert_close`, `ulps`, `gradcheck`, `gradgradcheck` are for anybody's tests. `conformance(device)` runs the kit in
a test of one's own; README.md says what it checks and how a backend uses it.
"""

from __future__ import annotations

from typing import Any

from mlcore.testing.compare import assert_close, ulps
from mlcore.testing.gradients import gradcheck, gradgradcheck

__all__ = ["Kit", "Report", "assert_close", "conformance", "gradcheck", "gradgradcheck", "ulps"]

_lazy = {"Kit": "kit", "conformance": "kit", "Report": "report"}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _lazy:
        return getattr(importlib.import_module(f"mlcore.testing.{_lazy[name]}"), name)
    raise AttributeError(f"module 'mlcore.testing' has no attribute {name!r}")
