"""A backend whose probe crashes the process."""

import ctypes

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Plugin(BackendPlugin):
    name = "segfault"

    def probe(self, ctx):
        ctypes.string_at(0)
        return Probe.ready([DeviceInfo(id="segfault:0")])


plugin = Plugin()
