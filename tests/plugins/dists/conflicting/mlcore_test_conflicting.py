"""A backend that cannot be used beside an installed library."""

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Plugin(BackendPlugin):
    name = "conflicting"
    conflicts = ("numpy>=1",)

    def probe(self, ctx):
        return Probe.ready([DeviceInfo(id="conflicting:0", name="Chip")])


plugin = Plugin()
