"""What the system says about NVIDIA's GPUs without a call of the driver: device files and the driver's text files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mlcore_cupy.installed import Distribution, distributions

from mlcore.plugin import probes

DRIVERS = {"13": "580.65", "12": "525.60", "11": "450.80"}
"""The oldest Linux driver that runs each CUDA version that CuPy is built for (NVIDIA's CUDA release notes)."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as the driver lists it."""

    minor: int
    name: str = ""
    uuid: str = ""
    bus: str = ""


class Facts:
    """The facts of this machine; tests have others."""

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)

    def nodes(self) -> list[str]:
        """Device files: of the driver, or of Windows' subsystem for Linux."""
        found = [one for one in probes.device_node(f"{self.root}/dev/nvidia[0-9]*") if one[-1].isdigit()]
        return found or probes.device_node(f"{self.root}/dev/dxg")

    def driver(self) -> str | None:
        """The driver's version."""
        return probes.driver_version(f"{self.root}/proc/driver/nvidia/version")

    def gpus(self) -> list[Gpu]:
        """The GPUs, in the order of their places on the bus."""
        found: list[Gpu] = []
        for folder in sorted((self.root / "proc/driver/nvidia/gpus").glob("*")):
            try:
                text = (folder / "information").read_text(errors="replace")
            except OSError:
                continue
            facts = dict(re.findall(r"^([^:\n]+):[ \t]*(.*)$", text, re.MULTILINE))
            minor = facts.get("Device Minor", "").strip()
            found.append(
                Gpu(
                    int(minor) if minor.isdecimal() else len(found), facts.get("Model", "").strip(),
                    facts.get("GPU UUID", "").strip(), facts.get("Bus Location", folder.name).strip(),
                )
            )  # fmt: skip
        return found

    def distributions(self) -> list[Distribution]:
        """The installed distributions of CuPy."""
        return distributions()

    def library(self) -> str:
        """Why the driver's library cannot be loaded; empty when it can. Asked in a child process."""
        return probes.loads("libcuda.so.1")


def needed(distribution: Distribution) -> str | None:
    """The oldest driver for a CuPy, as far as its name tells.

    >>> needed(Distribution("cupy-cuda13x", "14.2.0")), needed(Distribution("cupy", "14.2.0"))
    ('580.65', None)
    """
    match = re.fullmatch(r"cupy-cuda(\d\d)x", distribution.name)
    return DRIVERS.get(match[1]) if match else None
