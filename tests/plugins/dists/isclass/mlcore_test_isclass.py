"""A backend whose entry point names the class."""

from mlcore.plugin import BackendPlugin


class Plugin(BackendPlugin):
    name = "isclass"
