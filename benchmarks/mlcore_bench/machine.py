"""Where and with what a run was made: the head of the report."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import numpy as np

from mlcore_bench.rows import installed


def cores() -> int:
    """The processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not everywhere
        return os.cpu_count() or 1


def set_threads(count: int) -> None:
    """The same number of threads in all libraries. Call it before any of them is imported."""
    for name in ("MLCORE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)


def use_threads(count: int) -> None:
    """What the libraries do not take from the environment."""
    if installed("torch"):
        import torch

        torch.set_num_threads(count)


def compiled() -> bool:
    """Whether the core's hot path is compiled: without, what a call costs is a multiple."""
    from mlcore import dispatch

    return not dispatch.__file__.endswith(".py")


def facts(threads: int) -> dict[str, Any]:
    """The head of the report, JSON-able."""
    import mlcore

    device = mlcore.default_device()
    found = {
        "processor": processor(),
        "threads": threads,
        "cores": cores(),
        "load_before": load(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "mlcore": importlib.metadata.version("mlcore-core"),
        "core_compiled": compiled(),
        "device": str(device),
        "numpy": np.__version__,
        "torch": importlib.metadata.version("torch") if installed("torch") else None,
    }
    backend = type(device.backend).__module__.partition(".")[0].replace("_", "-")
    if backend != "mlcore":
        found["backend"] = f"{backend} {importlib.metadata.version(backend)}"
    return found


def load() -> float | None:
    """How many processes want to run, on average over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def processor() -> str:
    """Its name, as the system tells it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
