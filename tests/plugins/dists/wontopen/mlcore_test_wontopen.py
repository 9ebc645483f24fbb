"""A backend that looks ready and cannot be opened."""

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Plugin(BackendPlugin):
    name = "wontopen"
    rank = 900

    def open(self, device, options):
        raise OSError("libwontopen.so.3: cannot open shared object file")

    def probe(self, ctx):
        return Probe.ready([DeviceInfo(id="wontopen:0", name="Chip")])


plugin = Plugin()
