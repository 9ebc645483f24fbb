"""A backend whose probe answers nonsense."""

from mlcore.plugin import BackendPlugin


class Plugin(BackendPlugin):
    name = "badanswer"

    def probe(self, ctx):
        return "fine"


plugin = Plugin()
