"""What the system says about AMD's GPUs without a call of the driver: device files and the kernel's topology."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mlcore_cupy.installed import Distribution, distributions

from mlcore.plugin import probes


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as the kernel's driver lists it."""

    name: str = ""
    arch: str = ""
    uuid: str = ""
    memory: int | None = None


class Facts:
    """The facts of this machine; tests have others."""

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)

    def node(self) -> str:
        """The driver's device file, or ''."""
        return next(iter(probes.device_node(f"{self.root}/dev/kfd")), "")

    def may_open(self, node: str) -> bool:
        """Whether this user may use the device file."""
        return os.access(node, os.R_OK | os.W_OK)

    def gpus(self) -> list[Gpu]:
        """The nodes of the topology that compute; processors are nodes too."""
        found = []
        for folder in sorted(
            (self.root / "sys/class/kfd/kfd/topology/nodes").glob("*"), key=lambda one: int(one.name)
        ):
            facts = _properties(folder / "properties")
            if facts.get("simd_count", 0) > 0:
                arch = architecture(facts.get("gfx_target_version", 0))
                unique = facts.get("unique_id", 0)
                uuid = f"GPU-{unique:016x}" if unique else ""
                found.append(Gpu(_text(folder / "name") or arch, arch, uuid, _memory(folder)))
        return found

    def version(self) -> str | None:
        """The version of the installed ROCm."""
        return probes.driver_version(f"{self.root}/opt/rocm/.info/version")

    def distributions(self) -> list[Distribution]:
        """The installed distributions of CuPy."""
        return distributions()

    def library(self, name: str) -> str:
        """Why HIP's library cannot be loaded; empty when it can. Asked in a child process."""
        return probes.loads(name)


def architecture(version: int) -> str:
    """The name of a target version as the kernel writes it.

    >>> architecture(90010), architecture(110000), architecture(100300)
    ('gfx90a', 'gfx1100', 'gfx1030')
    """
    return f"gfx{version // 10000}{version // 100 % 100}{version % 100:x}" if version else ""


def needed(distribution: Distribution) -> str | None:
    """The ROCm that a CuPy is built for, as far as its name tells.

    >>> needed(Distribution("cupy-rocm-7-0", "14.2.0"))
    '7.0'
    """
    match = re.fullmatch(r"cupy-rocm-(\d+)-(\d+)", distribution.name)
    return f"{match[1]}.{match[2]}" if match else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _properties(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _memory(folder: Path) -> int | None:
    sizes = [
        _properties(bank / "properties").get("size_in_bytes", 0) for bank in (folder / "mem_banks").glob("*")
    ]
    return sum(sizes) or None
