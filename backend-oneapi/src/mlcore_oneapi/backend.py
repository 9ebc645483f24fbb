"""OneapiBackend: generated kernels for everything, tuned ones where they are faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from mlcore.backends.kernel_library import Generated, KernelArray, KernelLibraryBackend
from mlcore.backends.kernel_library import moves, numbers
from mlcore.backends.protocol import Device, Kernel
from mlcore.dtypes import DType
from mlcore.errors import ArgumentError, DeviceError
from mlcore.ops import registry
from mlcore.shapes import Shape
from mlcore_oneapi import listing, vendors
from mlcore_oneapi.catalog import CATALOG
from mlcore_oneapi.dialect import opencl
from mlcore_oneapi.queue import Queue
from mlcore_oneapi.runtime import OpenClRuntime
from mlcore_oneapi.tools import FLOATS, Tools


class Tuned(Generated):
    """A kernel written for this backend."""

    __slots__ = ()
    origin = "tuned"


class OneapiBackend(KernelLibraryBackend):
    """One OpenCL device."""

    fork_safe: Final = False  # the drivers' threads are not there in a child, where every call raises DeviceError

    def __init__(self, queue: Queue, device: Device) -> None:
        self.queue = queue
        fp64 = "cl_khr_fp64" in queue.device.extensions.split()
        super().__init__(OpenClRuntime(queue), opencl(fp64=fp64), device)
        self.tools = Tools(queue, self)
        self._sum = numbers.fold(self, registry.get("reduce_sum"))
        self._plus = numbers.formula(self, registry.get("add"))

    def kernel(self, op: Any) -> Kernel | None:
        """Ours where it is faster, for the dtypes it is for; else a generated one, or None for a composition."""
        tuned = CATALOG.get(op.name)
        if tuned is None:
            return super().kernel(op)
        call: Callable[..., Any] = partial(tuned, self.tools)
        generated = super().kernel(op)
        if generated is None:
            return Tuned(call, FLOATS & self.dtypes)
        return Tuned(_either(call, generated, FLOATS & self.dtypes), generated.dtypes)  # type: ignore[attr-defined]

    def empty_cache(self) -> int:
        """Give memory kept for reuse back to the driver; how many bytes that were."""
        return self.queue.empty_cache()

    # -- what tuned kernels need besides their own -------------------------------------------------------------------

    def zeros(self, shape: Shape, dtype: DType) -> KernelArray:
        """An array of zeros."""
        return moves.fill(self, shape, 0, dtype)

    def sum_first(self, x: KernelArray) -> KernelArray:
        """The sum over the first dimension."""
        return self._sum(x, (0,), False)

    def sum_rows(self, x: KernelArray) -> KernelArray:
        """The sum over all dimensions but the last."""
        return self._sum(x, tuple(range(len(x.shape) - 1)), False)

    def add(self, x: KernelArray, y: KernelArray) -> KernelArray:
        """The sum of two arrays of one shape."""
        return self._plus(x, y)


def _either(tuned: Callable[..., Any], generated: Callable[..., Any], dtypes: frozenset[DType]) -> Callable[..., Any]:
    """The tuned kernel for the dtypes it is for, the generated one for the others."""

    def run(x: KernelArray, *rest: Any) -> Any:
        return tuned(x, *rest) if x.dtype in dtypes else generated(x, *rest)

    return run


def open_backend(device: Device, options: Mapping[str, str]) -> OneapiBackend:
    """The backend of the device that the probe listed under this index."""
    profile = options.get("profile", "0")
    if profile not in ("0", "1"):
        raise ArgumentError(f"device option profile={profile!r}", known="profile=0, profile=1")
    found = [
        one for one in listing.devices() if vendors.matches(one.platform.name, vendors.PLATFORM.get())
    ]
    if device.index >= len(found):
        raise DeviceError(
            f"device {device} is not there any more",
            cause=f"the OpenCL drivers list {len(found)} now", fix="mlcore doctor oneapi",
        )  # fmt: skip
    return OneapiBackend(Queue(found[device.index], repr(device), profile=profile == "1"), device)
