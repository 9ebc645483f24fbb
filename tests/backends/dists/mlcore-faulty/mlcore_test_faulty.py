"""A backend that fails on request: FAULTY="kind@place" in the environment, or the option ``?fault=kind@place``.

Places: ``open``, ``probe``, ``selftest``, ``from_host``, ``to_host``, ``synchronize``, ``kernel:NAME`` (when the table
asks for it), ``run:NAME`` (when it is called) and ``run`` (any). ``@run#5`` fails at the fifth time and after,
``@run#5!`` at the fifth time alone. Each fault that really happened is written to the file FAULTY_LOG.
"""

import ctypes
import os
import time

from mlcore.plugin import BackendPlugin, DeviceInfo, Probe


class GoneError(Exception):
    """The library's own words for a device that is lost."""


class PoolError(Exception):
    """Its words for memory that is full."""


class CompileError(Exception):
    """Its words for a kernel that does not compile."""

    source = "kernel void k(float x) {\n    return tanhq(x);\n}"


class Faults:
    """One fault: what, where, and from which time on."""

    def __init__(self, text):
        self.kind, _, place = text.partition("@")
        place, _, count = place.partition("#")
        self.place, self.once = place, count.endswith("!")
        self.at = int(count.rstrip("!") or 1)
        self.seen = 0

    def reach(self, place):
        """Come by a place; fail there if it is the one."""
        if not self.kind or (place != self.place and not (self.place == "run" and place.startswith("run:"))):
            return None
        self.seen += 1
        if self.seen < self.at or (self.once and self.seen > self.at):
            return None
        with open(os.environ.get("FAULTY_LOG", os.devnull), "a", encoding="utf-8") as file:
            file.write(f"{self.kind}@{place}\n")
        return getattr(self, self.kind)()

    def lost(self):
        raise GoneError("the bus fell over (error 999)")

    def memory(self):
        raise MemoryError("pool of 8 MiB exhausted")

    def pool(self):
        raise PoolError("CL_MEM_OBJECT_ALLOCATION_FAILURE")

    def uncompiled(self):
        raise CompileError("k.cl:2:12: error: use of undeclared identifier 'tanhq'")

    def broken(self):
        raise OSError("the cable is loose")

    def busy(self):
        from mlcore.errors import DeviceBusyError

        raise DeviceBusyError("in use", cause="process 4711 holds the chip", fix="end process 4711")

    def crash(self):
        ctypes.string_at(0)

    def hang(self):
        time.sleep(3600)

    def eat(self):
        """Take memory without end (well: 64 GiB)."""
        self.eaten = [bytearray(1 << 28) for _ in range(256)]

    def wrong(self):
        return "wrong"

    def nothing(self):
        return "nothing"


def make(device, fault):
    import numpy as np

    from mlcore.backends.failure import kernel_error
    from mlcore.backends.reference import ReferenceBackend
    from mlcore.errors import DeviceLostError, OutOfMemoryError

    class Faulty(ReferenceBackend):
        """The reference, with the fault at its place."""

        def self_test(self):
            if fault.reach("selftest") == "wrong":
                raise ArithmeticError("2 + 2 gave 5")

        def explain(self, error):
            if isinstance(error, GoneError):
                return DeviceLostError("gone", cause=str(error))
            if isinstance(error, PoolError):
                return OutOfMemoryError("the pool is full", cause=str(error))
            if isinstance(error, CompileError):
                return kernel_error("the kernel", device, error.source, str(error))
            return None

        def close(self):
            with open(os.environ.get("FAULTY_LOG", os.devnull), "a", encoding="utf-8") as file:
                file.write("closed\n")

        def from_host(self, array):
            fault.reach("from_host")
            return super().from_host(array)

        def to_host(self, array):
            fault.reach("to_host")
            return super().to_host(array)

        def synchronize(self):
            fault.reach("synchronize")

        def kernel(self, op):
            fault.reach(f"kernel:{op.name}")
            inner = super().kernel(op)
            if inner is None:
                return None

            def run(*args):
                wrong = fault.reach(f"run:{op.name}")
                made = inner(*args)
                return np.asarray(made + 1, dtype=made.dtype) if wrong else made

            return run

    return Faulty(device)


class Plugin(BackendPlugin):
    """Found like any other."""

    name, rank, options = "faulty", 900, ("fault",)

    def probe(self, ctx):
        Faults(os.environ.get("FAULTY", "")).reach("probe")
        return Probe.ready(
            [DeviceInfo(id="faulty:0", name="Faulty chip"), DeviceInfo(id="faulty:1", name="Faulty chip")]
        )

    def open(self, device, options):
        fault = Faults(options.get("fault", os.environ.get("FAULTY", "")))
        if fault.reach("open") == "nothing":
            return object()
        return make(device, fault)


plugin = Plugin()
