"""Loads the extension, and says what is broken when a library of its own is missing."""

from __future__ import annotations

from typing import Any


def _load() -> Any:
    try:
        from mlcore_cpu import _kernels
    except ImportError as error:
        if "libdnnl" not in str(error):
            raise
        raise ImportError(
            f"mlcore-cpu: {error}\n  cause: libdnnl.so.3, which is installed beside the extension, is gone or damaged\n"
            "  fix:   pip install --force-reinstall --no-deps mlcore-cpu"
        ) from error
    return _kernels


kernels = _load()
