"""What a plugin's light module imports: the classes to subclass, probes, and the hook marker.

>>> from mlcore.plugin import BackendPlugin, DeviceInfo, Probe, probes
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlcore.plugin.api import PLUGIN_API, BackendPlugin, DeviceInfo, DomainPlugin, Probe, ProbeContext

if TYPE_CHECKING:
    from mlcore.plugin.hooks import Check, hookimpl

__all__ = [
    "PLUGIN_API",
    "BackendPlugin",
    "Check",
    "DeviceInfo",
    "DomainPlugin",
    "Probe",
    "ProbeContext",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    # The hooks need pluggy, which a program that only computes never has to import.
    if name in ("hookimpl", "Check"):
        from mlcore.plugin import hooks

        return getattr(hooks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
