"""A backend made for a later plugin API."""

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Plugin(BackendPlugin):
    name = "futureapi"
    api = "2.0"

    def probe(self, ctx):
        return Probe.ready([DeviceInfo(id="futureapi:0", name="Chip")])


plugin = Plugin()
