"""The light object that mlcore finds: which OpenCL devices there are, and how to open one. It imports no driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe
from mlcore.plugin.api import ProbeContext
from mlcore_oneapi import listing, vendors
from mlcore_oneapi.settings import BINARIES, MEMORY_LIMIT

if TYPE_CHECKING:
    from mlcore.backends.protocol import Backend, Device

__all__ = ["BINARIES", "MEMORY_LIMIT", "OneapiPlugin", "plugin"]

GET_ONE = (
    "pip install 'mlcore-oneapi[intel]' for a processor; for a graphics card, its vendor's OpenCL driver"
)


class OneapiPlugin(BackendPlugin):
    """Every OpenCL device of this machine; MLCORE_ONEAPI_PLATFORM picks one vendor's."""

    name, api, rank = (
        "oneapi",
        "1.0",
        90,
    )  # below mlcore-cpu on a processor; a measured profile decides otherwise
    requires = ("pyopencl>=2025.1",)
    visible_env = (*listing.VISIBLE, vendors.PLATFORM.name, *vendors.SET_BY_USERS)
    options = ("profile",)
    dialect = "mlcore_oneapi.dialect:OPENCL"  # for `mlcore kernel`

    def probe(self, ctx: ProbeContext) -> Probe:
        """From the drivers' files and what was found before; else a child process asks the drivers."""
        drivers = vendors.drivers(ctx.env)
        evidence = [f"{one.file or 'pip'}: {one.problem or one.library}" for one in drivers]
        usable = [one for one in drivers if not one.problem]
        if not usable:
            return _no_driver(drivers, evidence)
        found = listing.find(usable, in_child=ctx.in_child)
        if found["problem"]:
            reason = f"the OpenCL drivers could not be asked: {found['problem']}"
            return Probe.missing_dependency(reason, fix="reinstall the driver", evidence=evidence)
        wanted = ctx.env.get(vendors.PLATFORM.name) or vendors.PLATFORM.get()
        facts = [one for one in found["devices"] if vendors.matches(one["platform"], wanted)]
        if facts:
            return Probe.ready([_info(i, one) for i, one in enumerate(facts)], evidence=evidence)
        there = ", ".join(dict.fromkeys(one["platform"] for one in found["devices"]))
        if there:
            reason = f"{vendors.PLATFORM.name}={wanted}, and the platforms with a device are: {there}"
            return Probe.no_hardware(reason, fix=f"unset it, or install {wanted}'s driver", evidence=evidence)
        broken = next((one for one in drivers if one.problem), None)
        if broken is not None:
            return Probe.missing_dependency(broken.problem, fix=broken.fix, evidence=evidence)
        return Probe.no_hardware("the OpenCL drivers find no device", fix=GET_ONE, evidence=evidence)

    def open(self, device: Device, options: Mapping[str, str]) -> Backend:
        """The backend; this imports pyopencl and makes a context."""
        from mlcore_oneapi.backend import open_backend

        return open_backend(device, options)


def _no_driver(drivers: list[vendors.Driver], evidence: list[str]) -> Probe:
    if drivers:
        return Probe.missing_dependency(drivers[0].problem, fix=drivers[0].fix or GET_ONE, evidence=evidence)
    return Probe.no_hardware("no OpenCL driver is installed", fix=GET_ONE, evidence=evidence)


def _info(index: int, facts: Mapping[str, Any]) -> DeviceInfo:
    kinds = " ".join(name for name in ("fp64", "fp16") if facts[name])
    return DeviceInfo(
        id=f"oneapi:{index}",
        name=f"{facts['name']} ({facts['platform']})",
        kind=facts["kind"],
        arch=facts["version"],
        memory=facts["memory"],
        uuid=facts["uuid"],
        driver=facts["driver"],
        details={"platform": facts["platform"], "vendor": facts["vendor"], "floats": f"fp32 {kinds}".strip()},
    )


plugin: Any = OneapiPlugin()
