"""A backend that works: the reference's kernels under another name, two devices, options, and hooks."""

from mlcore import config
from mlcore.plugin import BackendPlugin, Check, DeviceInfo, Probe, hookimpl


class Healthy(BackendPlugin):
    name, api, requires, rank = "healthy", "1.0", ("numpy>=2",), 300
    kind, visible_env = "accelerator", ("HEALTHY_VISIBLE_DEVICES",)
    options = ("speed",)

    def probe(self, ctx):
        shown = ctx.env.get("HEALTHY_VISIBLE_DEVICES", "0,1").split(",")
        if shown == [""] or shown == ["-1"]:
            return Probe.no_hardware("HEALTHY_VISIBLE_DEVICES hides every device", fix="unset it")
        found = [
            DeviceInfo(id=f"healthy:{n}", name=f"Healthy {n}", uuid=f"h-{n}", driver="7.1") for n in shown
        ]
        return Probe.ready(found, evidence=["made up"])

    def open(self, device, options):
        from mlcore.backends.reference import ReferenceBackend

        backend = ReferenceBackend(device)
        backend.options = options
        return backend

    @hookimpl
    def mlcore_doctor_checks(self):
        yield Check("healthy", "ok", "two devices, as always")

    @hookimpl
    def mlcore_config_variables(self):
        return [config.Variable("MLCORE_HEALTHY_LEVEL", 1, int, "how healthy", owner="mlcore-test-healthy")]

    @hookimpl
    def mlcore_cli_commands(self, subparsers):
        parser = subparsers.add_parser("healthy", help="says that all is well")
        parser.set_defaults(run=lambda arguments: print("all is well") or 0)


plugin = Healthy()
