"""A backend that lists a device of another one."""

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Plugin(BackendPlugin):
    name = "badid"

    def probe(self, ctx):
        return Probe.ready([DeviceInfo(id="reference:0")])


plugin = Plugin()
