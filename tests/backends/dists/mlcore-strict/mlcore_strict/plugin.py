"""The whole backend: a probe, and the adapter around the namespace."""

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Strict(BackendPlugin):
    """array-api-strict: the Array API standard with nothing added, so what runs here runs on any such library."""

    name, api, requires, rank = "strict", "1.0", ("array-api-strict>=2.3",), -2

    def probe(self, ctx):
        return Probe.ready([DeviceInfo(id="strict:0", name="array-api-strict")])

    def open(self, device, options):
        import array_api_strict

        from mlcore.backends.array_library import ArrayLibraryBackend

        return ArrayLibraryBackend(array_api_strict, device=device)


plugin = Strict()
