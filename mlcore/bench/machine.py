"""Where and with what a run was made: the head of the report."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
from typing import Any

import numpy as np

from mlcore.backends import detect
from mlcore.bench.processes import installed
from mlcore.plugin.probes import processor_count, processor_name

OTHERS = {"jax": "JAX", "onnxruntime": "ONNX Runtime"}


def cores() -> int:
    """The processors this process may use."""
    return processor_count()


def backend_module(device: str | None) -> str:
    """The module of mlcore's backend for a device, the default where None."""
    return type(detect.resolve(device).backend).__module__.partition(".")[0]


def facts(device: str | None, command: str) -> dict[str, Any]:
    """The head of the report, JSON-able."""
    dispatch = importlib.import_module("mlcore.dispatch")
    chosen = detect.resolve(device)
    found = {
        "processor": processor_name(),
        "cores": cores(),
        "load_before": load(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "mlcore": importlib.metadata.version("mlcore-core"),
        "core_compiled": not str(dispatch.__file__).endswith(".py"),
        "device": str(chosen),
        "numpy": np.__version__,
        "torch": version("torch"),
        "others": {title: version(name) for name, title in OTHERS.items() if version(name)},
        "command": command,
    }
    backend = backend_module(device)
    if backend != "mlcore":
        name = backend.replace("_", "-")
        found["backend"] = f"{name} {version(name) or ''}".strip()
    return found


def version(distribution: str) -> str | None:
    """The installed version; None where it is not installed."""
    try:
        return importlib.metadata.version(distribution) if installed(distribution.replace("-", "_")) else None
    except importlib.metadata.PackageNotFoundError:
        return None


def load() -> float | None:
    """How many processes want to run, on average over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
