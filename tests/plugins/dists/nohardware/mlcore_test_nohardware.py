"""A backend whose device is not in this machine."""

from mlcore.plugin import BackendPlugin, Probe, probes


class Plugin(BackendPlugin):
    name = "nohardware"

    def probe(self, ctx):
        found = probes.device_node("/dev/no-such-chip*")
        assert not found
        return Probe.no_hardware("no /dev/no-such-chip* device", fix="load the driver no_such_chip")


plugin = Plugin()
