"""Cheap facts for a backend's probe: device files, PCI vendors, libraries, drivers. Nothing here imports a
library or creates a device context; each answers in about a millisecond, `loads` excepted.
"""  # imports inside functions: `import mlcore` reads this file and calls none of them

from __future__ import annotations

import glob
import os
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final

from mlcore.plugin.requirements import installed_version, satisfies, unmet, version_key

__all__ = [
    "device_node",
    "driver_version",
    "find_spec",
    "installed_version",
    "library",
    "loads",
    "pci_devices",
    "pci_vendors",
    "process_lives",
    "processor_count",
    "processor_name",
    "satisfies",
    "unmet",
    "version_key",
]

_PCI: Final = "/sys/bus/pci/devices"


def device_node(pattern: str) -> list[str]:
    """The device files that match a glob pattern, sorted.

    >>> device_node("/dev/no-such-toy*")
    []
    """
    return sorted(glob.glob(pattern))


def process_lives(pid: int) -> bool:
    """Whether a process of this machine runs; True where the system cannot be asked without harm (Windows).

    >>> process_lives(os.getpid())
    True
    """
    if os.name != "posix":
        return True  # os.kill would end it there
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    try:  # one that has ended and was not collected yet is there by name only
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return sys.platform != "linux"


def pci_devices(*, classes: tuple[int, ...] = (0x03, 0x12), root: str = _PCI) -> list[tuple[str, int, int]]:
    """(address, vendor, device) of the PCI devices of the given base classes.

    The default classes are display controllers (0x03) and processing accelerators (0x12). Empty where the
    system does not tell.

    >>> pci_devices(root="/no/such/folder")
    []
    """
    found = []
    for folder in sorted(glob.glob(f"{root}/*")):
        kind, vendor, device = (_hex(f"{folder}/{name}") for name in ("class", "vendor", "device"))
        if kind is not None and vendor is not None and device is not None and kind >> 16 in classes:
            found.append((os.path.basename(folder), vendor, device))
    return found


def pci_vendors(*, classes: tuple[int, ...] = (0x03, 0x12), root: str = _PCI) -> set[int]:
    """The PCI vendor numbers of the display controllers and accelerators in this machine.

    >>> pci_vendors(root="/no/such/folder")
    set()
    """
    return {vendor for _, vendor, _ in pci_devices(classes=classes, root=root)}


def _hex(path: str) -> int | None:
    try:
        return int(Path(path).read_text(), 16)
    except (OSError, ValueError):
        return None


def find_spec(module: str) -> bool:
    """Whether a top-level module can be found, without importing it.

    >>> find_spec("numpy"), find_spec("no_such_module")
    (True, False)
    """
    import importlib.util

    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def library(name: str) -> str | None:
    """The file name of a shared library that the system's linker would find, or None.

    >>> library("no-such-library") is None
    True
    """
    import ctypes.util

    return ctypes.util.find_library(name)


def loads(name: str, *, limit: float = 5.0) -> str:
    """Why a shared library cannot be loaded; empty when it can. Tried in a child process, so that a library
    that crashes, or that must not be loaded before a fork, does no harm here (about 20 ms).

    >>> loads("libno-such-thing.so.7") != ""
    True
    """
    import subprocess

    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    try:
        run = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, name], capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return f"loading {name} took more than {limit:g} s"
    except OSError as error:
        return f"{name} could not be tried: {error}"
    if run.returncode < 0:
        return f"loading {name} ended the process with signal {-run.returncode}"
    lines = run.stderr.strip().splitlines()
    return "" if run.returncode == 0 else (lines[-1] if lines else f"exit status {run.returncode}")


def driver_version(path: str, pattern: str = r"\d+(?:\.\d+)+") -> str | None:
    """The first text in a driver's version file that matches `pattern`, or None.

    >>> driver_version("/no/such/driver") is None
    True
    """
    try:
        match = re.search(pattern, Path(path).read_text(errors="replace"))
    except OSError:
        return None
    return match.group(0) if match else None


@lru_cache(maxsize=1)
def processor_name() -> str:
    """The processor's name as its maker writes it, or its architecture.

    >>> bool(processor_name())
    True
    """
    import platform

    found = driver_version("/proc/cpuinfo", r"model name\s*:\s*\S[^\n]*")
    name = found.partition(":")[2] if found else platform.processor()
    return " ".join(name.split()) or platform.machine()


def processor_count() -> int:
    """The processors this process may run on.

    >>> processor_count() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
