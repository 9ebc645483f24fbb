"""A backend made for a later core."""

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Plugin(BackendPlugin):
    name = "futurecore"
    core = ">=999"

    def probe(self, ctx):
        return Probe.ready([DeviceInfo(id="futurecore:0", name="Chip")])


plugin = Plugin()
