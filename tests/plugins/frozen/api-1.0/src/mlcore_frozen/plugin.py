"""A backend that uses what plugin API 1.0 offers."""

from mlcore import config
from mlcore.plugin import BackendPlugin, Check, DeviceInfo, Probe, hookimpl, probes


class Frozen(BackendPlugin):
    name, api, core = "frozen", "1.0", ">=0.1"
    requires, conflicts = ("numpy>=2.0",), ("no-such-distribution>=1",)
    rank, vendor, kind = -20, "Nobody", "accelerator"
    visible_env, options, homepage = ("FROZEN_VISIBLE_DEVICES",), ("speed",), "https://example.org/frozen"

    def probe(self, ctx):
        shown = ctx.env.get("FROZEN_VISIBLE_DEVICES", "0,1")
        if shown == "none":
            return Probe.no_hardware("hidden", fix="unset FROZEN_VISIBLE_DEVICES", evidence=("environment",))
        if shown == "library":
            return Probe.missing_dependency("no library", fix="install it", evidence=("modules",))
        if shown == "driver":
            return Probe.driver_too_old("driver 1", fix="update it", evidence=["files"])
        if probes.device_node("/dev/no-such-frozen*") or not probes.find_spec("numpy"):
            return Probe.no_hardware("cannot be")
        if probes.library("no-such-library") or probes.driver_version("/no/such/file"):
            return Probe.no_hardware("cannot be")
        probes.pci_devices(classes=(0x03,)), probes.pci_vendors(), probes.processor_name()
        devices = [
            DeviceInfo(
                id=f"frozen:{number}",
                name=f"Frozen {number}",
                kind="accelerator",
                arch="f1",
                memory=2**30,
                uuid=f"frozen-{number}",
                driver="1.2.3",
                details={"limit": str(ctx.limit), "child": str(ctx.in_child)},
            )
            for number in shown.split(",")
        ]
        return Probe.ready(devices, evidence=[f"{probes.processor_count() > 0}"])

    def open(self, device, options):
        from mlcore_frozen.backend import FrozenBackend

        return FrozenBackend(device, options)

    @hookimpl
    def mlcore_doctor_checks(self):
        yield Check("frozen", "ok", "still cold", fix="")

    @hookimpl
    def mlcore_config_variables(self):
        return [config.Variable("MLCORE_FROZEN_LEVEL", 1, int, "how cold", owner="mlcore-frozen")]

    @hookimpl
    def mlcore_cli_commands(self, subparsers):
        parser = subparsers.add_parser("frozen", help="says how cold it is")
        parser.set_defaults(run=lambda arguments: print("still cold") or 0)

    @hookimpl
    def mlcore_fallback(self, op, device, reason, where):
        pass

    @hookimpl
    def mlcore_choose_device(self, devices):
        return None


plugin = Frozen()
