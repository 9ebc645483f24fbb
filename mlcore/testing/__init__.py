"""Tools for tests, and the conformance kit for backends (`mlcore conformance NAME`).

`assert_close`, `ulps`, `gradcheck`, `gradgradcheck` are for anybody's tests. `conformance(device)` runs the kit in
a test of one's own; README.md says what it checks and how a backend uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlcore.testing.compare import assert_close, ulps
    from mlcore.testing.gradients import gradcheck, gradgradcheck
    from mlcore.testing.kit import Kit, conformance
    from mlcore.testing.report import Report

__all__ = ["Kit", "Report", "assert_close", "conformance", "gradcheck", "gradgradcheck", "ulps"]

# Loaded when used: pytest imports this package in every run, for the plugin beside it.
_homes = {
    "Kit": "kit", "Report": "report", "assert_close": "compare", "conformance": "kit", "gradcheck": "gradients",
    "gradgradcheck": "gradients", "ulps": "compare",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    import importlib

    if name in _homes:
        return getattr(importlib.import_module(f"mlcore.testing.{_homes[name]}"), name)
    raise AttributeError(f"module 'mlcore.testing' has no attribute {name!r}")
