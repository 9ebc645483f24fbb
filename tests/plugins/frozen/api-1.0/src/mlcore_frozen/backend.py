"""Five methods: arrays of its own, a few kernels of its own; the rest is composed, or runs on the host."""

import numpy as np

from mlcore.backends.protocol import MemoryStats
from mlcore.dtypes import everything


class Array:
    """An array that only this backend understands."""

    def __init__(self, values):
        self.values = values

    @property
    def shape(self):
        return self.values.shape

    @property
    def dtype(self):
        return self.values.dtype


class FrozenBackend:
    def __init__(self, device, options):
        self.device, self.options, self.dtypes = device, options, everything
        self.waits = 0

    def from_host(self, array):
        return Array(np.array(array, copy=True))

    def to_host(self, array):
        return array.values

    def synchronize(self):
        self.waits += 1

    def memory_stats(self):
        return MemoryStats(in_use=None, peak=None, reserved=None, limit=2**30)

    def kernel(self, op):
        if op.reference is None or op.name in ("svd", "eigh"):
            return None
        reference, inputs = op.reference, len(op.inputs)

        def kernel(*args):
            given = [one.values if isinstance(one, Array) else one for one in args]
            assert len(given) >= inputs - 1 or op.variadic
            with np.errstate(all="ignore"):
                found = reference(*given)
            if isinstance(found, tuple):
                return tuple(Array(np.asarray(one)) for one in found)
            return Array(np.asarray(found))

        return kernel
