"""A backend whose probe takes its time, and notes each one in the folder SLOW_NOTES."""

import time
from pathlib import Path

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class Plugin(BackendPlugin):
    name = "slow"
    rank = 50

    def open(self, device, options):
        from mlcore.backends.reference import ReferenceBackend

        return ReferenceBackend(device)

    def probe(self, ctx):
        notes = ctx.env.get("SLOW_NOTES")
        if notes:
            Path(notes, f"{time.time_ns()}-{'child' if ctx.in_child else 'direct'}").touch()
        time.sleep(0.15)
        return Probe.ready([DeviceInfo(id="slow:0", name="Slow chip")])


plugin = Plugin()
