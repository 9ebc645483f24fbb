"""The light object that mlcore finds: what JAX would compute on here, and how to open it. JAX is not imported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mlcore.errors import DeviceError
from mlcore.plugin import BackendPlugin, DeviceInfo, Probe, probes
from mlcore.plugin.api import ProbeContext

if TYPE_CHECKING:
    from mlcore.backends.protocol import Backend, Device


class Platform(NamedTuple):
    """Where JAX computes: its name for it in JAX_PLATFORMS, the package it needs, the files of its devices."""

    name: str
    packages: tuple[str, ...]
    files: tuple[str, ...]


# In the order in which JAX itself looks for them.
ACCELERATORS = (
    Platform("tpu", ("libtpu",), ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")),
    Platform("cuda", ("jax_cuda13_plugin", "jax_cuda12_plugin"), ("/dev/nvidia[0-9]*",)),
    Platform("rocm", ("jax_rocm7_plugin", "jax_rocm60_plugin"), ("/dev/dri/renderD*",)),
)


def devices_of(platform: Platform) -> list[str]:
    """The device files of an accelerator whose package is installed."""
    if not any(map(probes.find_spec, platform.packages)):
        return []
    return next(filter(None, map(probes.device_node, platform.files)), [])


def found(env: Mapping[str, str]) -> tuple[str, int]:
    """The platform that JAX will take, and how many devices it seems to have; ("", 0) where it would have none."""
    asked = [name.strip() for name in env.get("JAX_PLATFORMS", "").split(",") if name.strip()]
    wanted = [{"gpu": "cuda"}.get(name, name) for name in asked] or [*(p.name for p in ACCELERATORS), "cpu"]
    known = {platform.name: platform for platform in ACCELERATORS}
    for name in wanted:
        if name == "cpu":
            return name, int(env.get("JAX_NUM_CPU_DEVICES") or 1)
        count = len(devices_of(known[name])) if name in known else 0
        if count:
            return name, count
    return "", 0


class JaxPlugin(BackendPlugin):
    """JAX on the platform that JAX itself would choose: TPU, GPU or processor."""

    name, api, requires, kind = "jax", "1.0", ("jax>=0.8",), "accelerator"
    visible_env = ("JAX_PLATFORMS",)
    rank = (
        4 if found(os.environ)[0] in ("", "cpu") else 250
    )  # on a processor never before mlcore's own kernels

    def probe(self, ctx: ProbeContext) -> Probe:
        """Installed packages and device files; opening the device is what finds out whether it works."""
        platform, count = found(ctx.env)
        if not count:
            return Probe.no_hardware(
                f"no device of JAX's for JAX_PLATFORMS={ctx.env.get('JAX_PLATFORMS')}",
                fix="unset JAX_PLATFORMS, or install JAX's package for it",
            )
        name = (
            f"JAX on the processor ({probes.processor_name()})" if platform == "cpu" else f"JAX on {platform}"
        )
        details = {"jax": probes.installed_version("jax") or "", "platform": platform}
        return Probe.ready([DeviceInfo(f"jax:{i}", name, platform, details=details) for i in range(count)])

    def open(self, device: Device, options: Mapping[str, str]) -> Backend:
        """The backend of one of JAX's devices; this imports JAX."""
        import jax

        devices = jax.devices()
        if device.index >= len(devices):
            raise DeviceError(f"JAX has no device {device.index}", has=", ".join(map(str, devices)))
        from mlcore_jax.backend import JaxBackend

        return JaxBackend(device, devices[device.index])


plugin: Any = JaxPlugin()
