"""The light object that mlcore finds: what this machine has, and how to open the backend. MLX is not imported here."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore import config
from mlcore.errors import ArgumentError
from mlcore.plugin import BackendPlugin, DeviceInfo, Probe, probes
from mlcore.plugin.api import ProbeContext

if TYPE_CHECKING:
    from mlcore.backends.protocol import Backend, Device

EAGER = config.declare(
    config.Variable(
        "MLCORE_METAL_EAGER", False, config.as_bool,
        "1: evaluate each operation of the metal backend at once, so that errors surface where they arise",
        owner="mlcore-metal",
    )
)  # fmt: skip
MEMORY_LIMIT = config.declare(
    config.Variable[int | None](
        "MLCORE_METAL_MEMORY_LIMIT", None, config.as_positive_int,
        "bytes that arrays of the metal backend may occupy", owner="mlcore-metal",
    )
)  # fmt: skip
KERNELS = config.declare(
    config.Variable(
        "MLCORE_METAL_KERNELS", True, config.as_bool,
        "0: do without this backend's own Metal kernels, and run their MLX twins", owner="mlcore-metal",
    )
)  # fmt: skip

RANK_GPU, RANK_CPU = 400, 5


def on_apple_gpu() -> bool:
    """Whether this process runs on macOS on Apple silicon, where MLX computes on the GPU."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


class MetalPlugin(BackendPlugin):
    """The GPU of an Apple processor; elsewhere, for tests, MLX's build for the processor."""

    name, api = "metal", "1.0"
    vendor, kind = "Apple", "gpu"
    options = ("eval",)
    dialect = "mlcore_metal.dialect:METAL"
    rank = RANK_GPU if on_apple_gpu() else RANK_CPU  # MLX on a processor must never be preferred to cpu

    def probe(self, ctx: ProbeContext) -> Probe:
        """Facts from the system and from what is installed; MLX is not imported and no device is opened."""
        apple = on_apple_gpu()
        version = probes.installed_version("mlx")
        if version is None:
            if apple:
                return Probe.missing_dependency("mlx is not installed", fix="pip install mlx")
            return Probe.missing_dependency(
                f"no Apple GPU (this is {sys.platform} on {platform.machine()}), and no mlx for the processor",
                fix='to try the backend on the processor: pip install "mlcore-metal[mlx-cpu]"',
            )
        if not probes.satisfies(version, ">=0.32"):
            return Probe.missing_dependency(
                f"mlx {version} is too old: 0.32 is needed", fix='pip install "mlx>=0.32"'
            )
        if apple:
            return self._apple(version)
        if probes.installed_version("mlx-cpu") is None:
            return Probe.missing_dependency(
                f"mlx {version} is installed without the library it runs on",
                fix=f'pip install "mlx[cpu]=={version}"',
            )
        return Probe.ready([_processor(version)], evidence=[f"mlx-cpu {version}", "no Apple GPU"])

    def _apple(self, version: str) -> Probe:
        """Metal 3 and MLX need macOS 14."""
        release = platform.mac_ver()[0]
        if release and int(release.partition(".")[0]) < 14:
            return Probe.driver_too_old(
                f"macOS {release}: MLX computes on the GPU from macOS 14 on", fix="update macOS"
            )
        if probes.installed_version("mlx-metal") is None:
            return Probe.missing_dependency(
                f"mlx {version} is installed without mlx-metal", fix=f"pip install mlx=={version}"
            )
        from mlcore.backends.reference import physical_memory

        details = {"mlx": version, "macos": release, "runs on": "the GPU, through Metal", "memory": "shared"}
        info = DeviceInfo(
            id="metal:0",
            name=f"{_apple_chip()} GPU",
            kind="gpu",
            arch=platform.machine(),
            memory=physical_memory(),
            uuid="apple-gpu-0",
            driver=f"macOS {release}",
            details=details,
        )
        return Probe.ready([info], evidence=[f"mlx-metal {version}"])

    def open(self, device: Device, options: Mapping[str, str]) -> Backend:
        """The backend; this imports MLX."""
        eager = EAGER.get()
        for name, value in options.items():
            if name != "eval" or value not in ("eager", "lazy"):
                raise ArgumentError(f"device option {name}={value!r}", known="eval=eager, eval=lazy")
            eager = value == "eager"
        from mlcore_metal.backend import MetalBackend

        return MetalBackend(device, eager=eager, memory_limit=MEMORY_LIMIT.get(), own_kernels=KERNELS.get())


def _processor(version: str) -> DeviceInfo:
    from mlcore.backends.reference import physical_memory

    return DeviceInfo(
        id="metal:0",
        name=f"MLX on the processor, no GPU ({probes.processor_name()})",
        kind="cpu",
        arch=platform.machine(),
        memory=physical_memory(),
        details={"mlx": version, "runs on": "the processor: for tests, slower than the cpu backend"},
    )


def _apple_chip() -> str:
    """The chip's name, such as `Apple M3`; read once, from a tool of the system's."""
    import subprocess

    if not Path("/usr/sbin/sysctl").exists():
        return "Apple"
    try:
        run = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True, text=True, timeout=1, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "Apple"
    return run.stdout.strip() or "Apple"


plugin: Any = MetalPlugin()
