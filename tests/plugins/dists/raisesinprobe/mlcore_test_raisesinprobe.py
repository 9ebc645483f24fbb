"""A backend whose probe raises."""

from mlcore.plugin import BackendPlugin


class Plugin(BackendPlugin):
    name = "raisesinprobe"

    def probe(self, ctx):
        raise OSError("the chip is on fire")


plugin = Plugin()
