"""A domain plugin with a hook that does not exist."""

from mlcore.plugin import DomainPlugin, hookimpl


class Misspelt(DomainPlugin):
    name = "misspelt"

    @hookimpl
    def mlcore_modles(self):
        return {}


plugin = Misspelt()
