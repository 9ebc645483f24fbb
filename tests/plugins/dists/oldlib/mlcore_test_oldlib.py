"""A backend that needs a newer NumPy than there is."""

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Plugin(BackendPlugin):
    name = "oldlib"
    requires = ("numpy>=999",)

    def probe(self, ctx):
        return Probe.ready([DeviceInfo(id="oldlib:0", name="Chip")])


plugin = Plugin()
