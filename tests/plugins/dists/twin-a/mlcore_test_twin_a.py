"""One of two distributions that provide a backend of the same name."""

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Twin(BackendPlugin):
    name, rank = "twin", 200

    def probe(self, ctx):
        return Probe.ready([DeviceInfo(id="twin:0", name="Twin a")])

    def open(self, device, options):
        from mlcore.backends.reference import ReferenceBackend

        return ReferenceBackend(device)


plugin = Twin()
