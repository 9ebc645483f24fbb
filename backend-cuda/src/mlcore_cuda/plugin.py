"""The light object that mlcore finds: it looks for NVIDIA's GPUs, the driver and CuPy, and imports none of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlcore_cupy.installed import choose, visible

from mlcore import config
from mlcore.plugin import BackendPlugin, DeviceInfo, Probe, hookimpl, probes
from mlcore.plugin.api import ProbeContext
from mlcore_cuda.facts import Facts, Gpu, needed

if TYPE_CHECKING:
    from mlcore.backends.protocol import Backend, Device
    from mlcore.distributed import Offer

EXTRA = "mlcore-cuda[cuda13]"
TF32 = config.declare(
    config.Variable(
        "MLCORE_CUDA_TF32", False, config.as_bool,
        "1: float32 matrix products on CUDA with TF32's 10 bits of fraction", owner="mlcore-cuda",
    )
)  # fmt: skip


class CudaPlugin(BackendPlugin):
    """NVIDIA's GPUs through CuPy."""

    name, api, rank = "cuda", "1.0", 500
    vendor, kind = "nvidia", "gpu"
    visible_env = ("CUDA_VISIBLE_DEVICES",)
    options = ("tf32", "memory")
    dialect = "mlcore_cuda.dialect:DIALECT"

    def __init__(self) -> None:
        self.facts = Facts()

    def probe(self, ctx: ProbeContext) -> Probe:
        """Device files, the driver's version, CuPy's metadata; the driver itself is not woken."""
        facts = self.facts
        chosen = choose("cuda", facts.distributions(), EXTRA)
        nodes, driver = facts.nodes(), facts.driver()
        if not nodes:
            return self._nothing(chosen, driver)
        if isinstance(chosen, Probe):
            return chosen
        oldest = needed(chosen)
        if driver and oldest and not probes.satisfies(driver, f">={oldest}"):
            return Probe.driver_too_old(
                f"driver {driver} found; {chosen.name} needs {oldest} or newer",
                fix="update the driver, or install a CuPy for an older CUDA, such as"
                " mlcore-cuda[cuda12]; or run with MLCORE_DEVICE=cpu",
                evidence=("/proc/driver/nvidia/version",),
            )
        gpus = facts.gpus() or [Gpu(i) for i in range(len(nodes))]
        seen = visible(
            "CUDA_VISIBLE_DEVICES", ctx.env.get("CUDA_VISIBLE_DEVICES"), len(gpus), [g.uuid for g in gpus]
        )
        if isinstance(seen, str):
            return Probe.no_hardware(seen, fix="unset CUDA_VISIBLE_DEVICES, or name a device in it")
        missing = facts.library()
        if missing:
            return Probe.missing_dependency(
                f"the driver's library libcuda.so.1 cannot be loaded: {missing}",
                fix="install the driver's user-space libraries; in a container, start it with the NVIDIA toolkit",
            )
        return Probe.ready([_info(i, gpus[k], driver or "") for i, k in enumerate(seen)], evidence=nodes)

    def _nothing(self, chosen: Any, driver: str | None) -> Probe:
        """No device file: say which half is there, the card or the driver."""
        nvidia = 0x10DE in probes.pci_vendors()
        if nvidia and driver is None:
            return Probe.no_hardware(
                "an NVIDIA GPU is on the PCI bus, but there is no /dev/nvidia* device: its driver is not loaded",
                fix="install NVIDIA's driver, or load it: modprobe nvidia",
            )
        fix = "start the container with access to the GPU" if driver else "use a machine with an NVIDIA GPU"
        if isinstance(chosen, Probe) and chosen.state == "broken":
            return chosen
        return Probe.no_hardware("no /dev/nvidia* device", fix=f"{fix}, or run with MLCORE_DEVICE=cpu")

    def open(self, device: Device, options: Mapping[str, str]) -> Backend:
        """The backend of one GPU; this imports CuPy."""
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order in which the probe lists them
        from mlcore_cupy.loading import load

        from mlcore_cuda.backend import CudaBackend

        return CudaBackend(load(), device, {"tf32": "1" if TF32.get() else "0", **options})

    @hookimpl
    def mlcore_collectives(self) -> Iterable[Offer]:
        from mlcore_cupy.collectives import offer

        return (offer("nccl", "cuda"),)


def _info(index: int, gpu: Gpu, driver: str) -> DeviceInfo:
    details = {"bus": gpu.bus} if gpu.bus else {}
    return DeviceInfo(
        id=f"cuda:{index}", name=gpu.name or "NVIDIA GPU", kind="gpu", uuid=gpu.uuid or gpu.bus, driver=driver,
        details=details,
    )  # fmt: skip


plugin: Any = CudaPlugin()
