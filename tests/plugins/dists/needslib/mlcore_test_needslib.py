"""A backend whose library is not installed."""

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Plugin(BackendPlugin):
    name = "needslib"
    requires = ("no-such-library>=2",)

    def probe(self, ctx):
        return Probe.ready([DeviceInfo(id="needslib:0", name="Chip")])


plugin = Plugin()
