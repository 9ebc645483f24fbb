"""A domain plugin whose hooks all raise."""

from mlcore.plugin import DomainPlugin, hookimpl


class Broken(DomainPlugin):
    name = "brokendomain"

    @hookimpl
    def mlcore_models(self):
        raise RuntimeError("no models today")

    @hookimpl
    def mlcore_cli_commands(self, subparsers):
        subparsers.add_parser("half", help="never finished")
        raise RuntimeError("no commands today")

    @hookimpl
    def mlcore_doctor_checks(self):
        yield 1 / 0


plugin = Broken()
