"""mlcore_cpu: the CPU backend of mlcore. People use it through mlcore; `import mlcore_cpu` alone is light.

>>> import mlcore_cpu
>>> mlcore_cpu.get_num_threads() >= 1
True
"""

from __future__ import annotations

from typing import Any

from mlcore_cpu._version import version as __version__

_EXPORTED = (
    "get_num_threads", "set_num_threads", "memory_stats", "set_memory_limit", "trim_memory", "reset_peak_memory",
    "isa", "onednn_version",
)  # fmt: skip
__all__ = ["__version__", *_EXPORTED]  # noqa: PLE0604  (they are strings)


def __getattr__(name: str) -> Any:
    if name in _EXPORTED:
        from mlcore_cpu import loader

        return getattr(loader.kernels, name)
    raise AttributeError(f"module 'mlcore_cpu' has no attribute {name!r}")
