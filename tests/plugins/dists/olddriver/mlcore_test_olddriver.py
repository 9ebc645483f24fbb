"""A backend whose driver is too old."""

from mlcore.plugin import BackendPlugin, Probe


class Plugin(BackendPlugin):
    name = "olddriver"

    def probe(self, ctx):
        return Probe.driver_too_old(
            "driver 525.60 found; olddriver 1.0 needs 527 or newer", fix="update the driver"
        )


plugin = Plugin()
