"""The light object."""

import shutil

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Chalk(BackendPlugin):
    """The processor, told what to do in chalk."""

    name, api, rank = "chalk", "1.0", -4
    dialect = "mlcore_chalk.dialect:DIALECT"

    def probe(self, ctx):
        if shutil.which("g++") is None:
            return Probe.missing_dependency("g++ is not on PATH", fix="apt-get install g++")
        return Probe.ready([DeviceInfo(id="chalk:0", name="a blackboard")])

    def open(self, device, options):
        from mlcore_hostc.runtime import HostRuntime

        from mlcore.backends.kernel_library import KernelLibraryBackend
        from mlcore_chalk.dialect import DIALECT

        return KernelLibraryBackend(HostRuntime(), DIALECT, device)


plugin = Chalk()
