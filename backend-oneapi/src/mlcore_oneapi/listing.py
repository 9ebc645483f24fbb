"""Which OpenCL devices there are. Asking wakes every driver up, so it is done in a child process, and remembered.

Run as ``python -m mlcore_oneapi.listing`` it prints them as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from mlcore import config
from mlcore.plugin import probes
from mlcore.plugin.isolation import boot_id
from mlcore_oneapi import vendors

LIMIT: Final = 60.0  # seconds: a driver that compiles its own library at first, on a busy machine
CACHE: Final = "oneapi/devices.json"
VISIBLE: Final = ("CUDA_VISIBLE_DEVICES", "ONEAPI_DEVICE_SELECTOR", "POCL_DEVICES", "HIP_VISIBLE_DEVICES",
                  "GPU_DEVICE_ORDINAL", "NEOReadDebugKeys", "ZE_AFFINITY_MASK")  # fmt: skip

Listing = dict[str, Any]  # {"devices": [...], "problem": str}


def key(drivers: list[vendors.Driver]) -> dict[str, Any]:
    """All that a listing depends on."""
    return {
        "drivers": [[one.file, one.library, _stamp(one.file), _stamp(one.library)] for one in drivers],
        "nodes": probes.device_node("/dev/dri/render*") + probes.device_node("/dev/nvidia[0-9]*"),
        "environment": {name: os.environ[name] for name in VISIBLE if name in os.environ},
        "pyopencl": probes.installed_version("pyopencl"),
        "boot": boot_id(),
    }


def _stamp(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


def known(drivers: list[vendors.Driver]) -> Listing | None:
    """What was found before on this machine, if nothing has changed since."""
    content = config.read_cache_json(CACHE)
    if content.get("key") != json.loads(json.dumps(key(drivers))) or not isinstance(
        content.get("devices"), list
    ):
        return None
    return content


def find(drivers: list[vendors.Driver], *, in_child: bool) -> Listing:
    """The devices, from the cache or else from a child process (or this one, where it is one already)."""
    found = known(drivers)
    if found is None:
        found = {**(look() if in_child else _ask_child()), "key": key(drivers)}
        if not found["problem"]:  # what went wrong once may go right the next time
            config.write_cache_json(CACHE, found)
    return found


def _ask_child() -> Listing:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
    try:
        run = subprocess.run(
            [sys.executable, "-m", "mlcore_oneapi.listing"],
            capture_output=True, text=True, timeout=LIMIT, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"devices": [], "problem": f"the OpenCL drivers did not answer within {LIMIT:g} s"}
    except OSError as error:
        return {"devices": [], "problem": f"no process could be started to ask the drivers: {error}"}
    if run.returncode < 0:
        return {"devices": [], "problem": f"an OpenCL driver ended the process with signal {-run.returncode}"}
    try:
        found: Listing = json.loads(run.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        lines = run.stderr.strip().splitlines()
        return {"devices": [], "problem": lines[-1] if lines else f"exit status {run.returncode}"}
    return found


def look() -> Listing:
    """Ask the drivers, in this process."""
    try:
        return {"devices": [describe(device) for device in devices()], "problem": ""}
    except Exception as error:  # whatever a loader or a driver raises is a reason, not an end
        return {"devices": [], "problem": f"{type(error).__name__}: {error}"}


def devices() -> list[Any]:
    """The pyopencl devices of all platforms: graphics processors first, then accelerators, then processors.

    A processor is listed once a driver; Intel's driver for it comes before others, which are slower.
    """
    with vendors.loader_environment():
        import pyopencl as cl

        try:
            platforms = cl.get_platforms()
        except cl.LogicError as error:
            if "PLATFORM_NOT_FOUND" in str(error):
                return []
            raise
    found = []
    for platform in platforms:
        try:
            found += platform.get_devices()
        except cl.Error as error:  # a driver without a device says so by an error
            config.log.debug("platform %s has no devices: %s", platform.name, error)
    kinds = cl.device_type
    order = {kinds.GPU: 0, kinds.ACCELERATOR: 1}
    usable = [one for one in found if one.available and one.compiler_available]
    return sorted(usable, key=lambda one: (order.get(one.type, 2), "intel" not in one.platform.name.lower()))


def describe(device: Any) -> dict[str, Any]:
    """The facts of a pyopencl device, as plain data."""
    import pyopencl as cl

    kinds = {cl.device_type.GPU: "gpu", cl.device_type.CPU: "cpu", cl.device_type.ACCELERATOR: "accelerator"}
    extensions = device.extensions.split()
    return {
        "platform": device.platform.name.strip(),
        "name": " ".join(device.name.split()),
        "vendor": device.vendor.strip(),
        "kind": kinds.get(device.type & ~cl.device_type.DEFAULT, "other"),
        "version": device.version.strip(),
        "driver": device.driver_version.strip(),
        "memory": int(device.global_mem_size),
        "units": int(device.max_compute_units),
        "uuid": _uuid(device, extensions),
        "fp64": "cl_khr_fp64" in extensions,
        "fp16": "cl_khr_fp16" in extensions,
    }


def _uuid(device: Any, extensions: list[str]) -> str:
    """The address on the PCI bus, or the driver's own number of the device; empty where it has neither."""
    import pyopencl as cl

    try:
        if "cl_khr_pci_bus_info" in extensions:
            bus = device.pci_bus_info_khr
            return f"{bus.pci_domain:04x}:{bus.pci_bus:02x}:{bus.pci_device:02x}.{bus.pci_function:x}"
        if "cl_nv_device_attribute_query" in extensions:
            return f"{device.pci_domain_id_nv:04x}:{device.pci_bus_id_nv:02x}:{device.pci_slot_id_nv:02x}.0"
    except (cl.Error, AttributeError):
        pass
    return ""


def main() -> None:
    """Print the listing as one line of JSON, and end without the drivers' clean-up, which may hang."""
    print(json.dumps(look()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
