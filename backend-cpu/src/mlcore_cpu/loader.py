"""Loads the extension, with oneDNN found wherever this install has it."""

from __future__ import annotations

from typing import Any


def _load() -> Any:
    try:
        from mlcore_cpu import _kernels
    except ImportError as error:
        if "libdnnl" not in str(error):
            raise
        from mlcore_cpu._onednn import preload

        if not preload():
            raise ImportError(
                f"mlcore-cpu: {error}\n  cause: it was built with oneDNN, which is not installed here\n"
                "  fix:   pip install onednn-cpu-gomp==2023.2.0"
            ) from error
        from mlcore_cpu import _kernels
    return _kernels


kernels = _load()
