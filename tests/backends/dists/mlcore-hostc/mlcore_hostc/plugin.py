"""The light object: a probe that looks for the compiler."""

import shutil

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class HostC(BackendPlugin):
    """The processor, through kernels that g++ compiles when they are first used."""

    name, api, rank = "hostc", "1.0", -3
    dialect = "mlcore_cpu.dialect:DIALECT"

    def probe(self, ctx):
        if shutil.which("g++") is None:
            return Probe.missing_dependency("g++ is not on PATH", fix="apt-get install g++")
        return Probe.ready([DeviceInfo(id="hostc:0", name="g++ and ctypes")])

    def open(self, device, options):
        from mlcore.backends.kernel_library import KernelLibraryBackend
        from mlcore_cpu.dialect import DIALECT
        from mlcore_hostc.runtime import HostRuntime

        return KernelLibraryBackend(HostRuntime(), DIALECT, device)


plugin = HostC()
