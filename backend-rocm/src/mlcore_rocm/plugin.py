"""The light object that mlcore finds: it looks for AMD's GPUs, ROCm and CuPy, and imports none of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlcore_cupy.installed import choose, visible

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe, hookimpl, probes
from mlcore.plugin.api import ProbeContext
from mlcore_rocm.facts import Facts, Gpu, needed

if TYPE_CHECKING:
    from mlcore.backends.protocol import Backend, Device
    from mlcore.distributed import Offer

EXTRA = "mlcore-rocm[rocm7]"
VISIBLE = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")


class RocmPlugin(BackendPlugin):
    """AMD's GPUs through CuPy's build for ROCm."""

    name, api, rank = "rocm", "1.0", 480
    vendor, kind = "amd", "gpu"
    visible_env = VISIBLE
    options = ("memory",)
    dialect = "mlcore_rocm.dialect:DIALECT"

    def __init__(self) -> None:
        self.facts = Facts()

    def probe(self, ctx: ProbeContext) -> Probe:
        """Device files, the kernel's topology, ROCm's version, CuPy's metadata; the driver itself is not woken."""
        facts = self.facts
        chosen = choose("rocm", facts.distributions(), EXTRA)
        node = facts.node()
        gpus = facts.gpus() if node else []
        if not gpus:
            return self._nothing(chosen, node)
        if isinstance(chosen, Probe):
            return chosen
        if not facts.may_open(node):
            return Probe.no_hardware(
                f"{node} may not be opened by this user",
                fix="add the user to the groups 'render' and 'video', and log in again",
            )
        wanted, version = needed(chosen), facts.version()
        if version and wanted and not probes.satisfies(version, f">={wanted}"):
            return Probe.driver_too_old(
                f"ROCm {version} found; {chosen.name} needs {wanted} or newer",
                fix="update ROCm, or install a CuPy for the one there is; or run with MLCORE_DEVICE=cpu",
            )
        for variable in VISIBLE:
            seen = visible(variable, ctx.env.get(variable), len(gpus), [gpu.uuid for gpu in gpus])
            if isinstance(seen, str):
                return Probe.no_hardware(seen, fix=f"unset {variable}, or name a device in it")
            gpus = [gpus[k] for k in seen]
        library = f"libamdhip64.so.{(wanted or '7').partition('.')[0]}"
        missing = facts.library(library)
        if missing:
            return Probe.missing_dependency(
                f"HIP's library {library} cannot be loaded: {missing}",
                fix=f"install ROCm {wanted or ''}, and name its lib folder in LD_LIBRARY_PATH".replace(
                    " ,", ","
                ),
            )
        return Probe.ready([_info(i, gpu, version or "") for i, gpu in enumerate(gpus)], evidence=(node,))

    def _nothing(self, chosen: Any, node: str) -> Probe:
        if isinstance(chosen, Probe) and chosen.state == "broken":
            return chosen
        if node:
            return Probe.no_hardware(
                f"{node} lists no GPU", fix="check the amdgpu driver: dmesg | grep amdgpu"
            )
        if 0x1002 in probes.pci_vendors():
            return Probe.no_hardware(
                "an AMD GPU is on the PCI bus, but there is no /dev/kfd device: its compute driver is not loaded",
                fix="load the driver: modprobe amdgpu; in a container, pass --device /dev/kfd --device /dev/dri",
            )
        return Probe.no_hardware(
            "no /dev/kfd device", fix="use a machine with an AMD GPU, or run with MLCORE_DEVICE=cpu"
        )

    def open(self, device: Device, options: Mapping[str, str]) -> Backend:
        """The backend of one GPU; this imports CuPy."""
        from mlcore_cupy.loading import load

        from mlcore_rocm.backend import RocmBackend

        return RocmBackend(load(), device, options)

    @hookimpl
    def mlcore_collectives(self) -> Iterable[Offer]:
        from mlcore_cupy.collectives import offer

        return (offer("rccl", "rocm"),)


def _info(index: int, gpu: Gpu, version: str) -> DeviceInfo:
    return DeviceInfo(
        id=f"rocm:{index}", name=gpu.name or "AMD GPU", kind="gpu", arch=gpu.arch, memory=gpu.memory, uuid=gpu.uuid,
        driver=version,
    )  # fmt: skip


plugin: Any = RocmPlugin()
