"""A backend whose probe never ends."""

import time

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Plugin(BackendPlugin):
    name = "hangs"

    def probe(self, ctx):
        time.sleep(3600)
        return Probe.ready([DeviceInfo(id="hangs:0")])


plugin = Plugin()
