"""A domain plugin that works: a model and a command."""

from mlcore.plugin import DomainPlugin, hookimpl


class Toys(DomainPlugin):
    name, api, module, summary = "toys", "1.0", "mlcore_test_toys_models", "toys for tests"

    @hookimpl
    def mlcore_models(self):
        return {"toys/one": dict}

    @hookimpl
    def mlcore_cli_commands(self, subparsers):
        parser = subparsers.add_parser("play", help="plays with a toy")
        parser.add_argument("toy")
        parser.set_defaults(run=play)


def play(arguments):
    print(f"playing with {arguments.toy}")
    return 0


plugin = Toys()
