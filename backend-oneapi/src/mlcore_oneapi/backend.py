"""OneapiBackend: generated kernels for everything, tuned ones where they are faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from mlcore.backends.kernel_library import Generated, KernelArray, KernelLibraryBackend, moves, numbers
from mlcore.backends.protocol import Device, Kernel
from mlcore.codegen import KernelSource
from mlcore.dtypes import DType, all_dtypes, uint8, uint16, uint32, uint64
from mlcore.errors import ArgumentError, DeviceError, KernelError
from mlcore.ops import registry
from mlcore.shapes import Shape
from mlcore_oneapi import folds_source, fused, listing, rows_form, vendors
from mlcore_oneapi.catalog import CATALOG
from mlcore_oneapi.dialect import GROUP, opencl
from mlcore_oneapi.folds import reduction
from mlcore_oneapi.formulas import formula
from mlcore_oneapi.queue import Launcher, Queue
from mlcore_oneapi.rows_form import planned
from mlcore_oneapi.runtime import OpenClRuntime
from mlcore_oneapi.tools import FLOATS, Tools

CARRIERS: Final = {1: uint8, 2: uint16, 4: uint32, 8: uint64}  # what elements are copied as, by their size


class Tuned(Generated):
    """A kernel written for this backend."""

    __slots__ = ()
    origin = "tuned"


class OneapiBackend(KernelLibraryBackend):
    """One OpenCL device."""

    fork_safe: Final = (
        False  # the drivers' threads are not there in a child, where every call raises DeviceError
    )

    def __init__(self, queue: Queue, device: Device) -> None:
        self.queue = queue
        fp64 = "cl_khr_fp64" in queue.device.extensions.split()
        dialect = opencl(fp64=fp64)
        super().__init__(OpenClRuntime(queue, dialect), dialect, device)
        self.tools = Tools(queue, self)
        self._formulas: dict[str, Any] = {}
        add_up, add = registry.get("reduce_sum"), registry.get("add")
        self._sum = reduction(self.tools, "reduce_sum", numbers.fold(self, add_up))
        self._plus = numbers.formula(self, add)

    def kernel(self, op: Any) -> Kernel | None:
        """Ours where it is faster, for the dtypes it is for; else a generated one, or None for a composition."""
        if op.name in fused.BODIES:
            return Tuned(fused.formula(self, op), fused.DTYPES & self.dtypes)
        tuned = CATALOG.get(op.name)
        if tuned is None:
            return self._shorter(op, super().kernel(op))
        call: Callable[..., Any] = partial(tuned, self.tools)
        generated = super().kernel(op)
        if generated is None:
            return Tuned(call, FLOATS & self.dtypes)
        # Generated kernels have dtypes.
        return Tuned(_either(call, generated, FLOATS & self.dtypes), generated.dtypes)  # type: ignore[attr-defined]

    def _shorter(self, op: Any, generated: Kernel | None) -> Kernel | None:
        """A generated kernel with a shorter way to it."""
        if not isinstance(generated, Generated):
            return generated
        if op.name in folds_source.KINDS:
            return Tuned(reduction(self.tools, op.name, generated.call), generated.dtypes)
        if op.elementwise and op.c is not None:
            self._formulas[op.name] = op
            return Generated(formula(self, op, generated.call), generated.dtypes)
        return generated

    def walk(
        self,
        key: tuple[Any, ...],
        make: Callable[[str], KernelSource],
        arrays: Sequence[KernelArray],
        shape: Shape,
    ) -> None:
        """Launch an elementwise kernel; copies and formulas of rows in a form of their own."""
        rows = None if all(x.contiguous for x in arrays) or 0 in shape else planned(shape, arrays)
        source = None if rows is None else self._row_source(key, rows[2])
        if rows is None or source is None:
            super().walk(key, make, arrays, shape)
        else:
            self.run((*key, rows[2]), source, arrays, rows[1], rows[0])

    def _row_source(self, key: tuple[Any, ...], steps: str) -> Callable[[], KernelSource] | None:
        """What makes the row kernel of what a key names: an operation and a dtype, or a copy and a size."""
        if len(key) != 2:
            return None
        name, number = key
        group = 1 if self.tools.processor else GROUP  # a processor's vectors go along the row
        if name == "copy":
            carrier = CARRIERS[number]
            return lambda: rows_form.source(
                self.dialect, "copy", [("x", carrier)], ("y", carrier), "x", carrier, steps, group
            )
        op = self._formulas.get(name)
        return (
            None
            if op is None
            else lambda: rows_form.of_op(self.dialect, op, all_dtypes[number], steps, group)
        )

    def prepared(self, key: tuple[Any, ...], make: Callable[[], KernelSource]) -> Launcher:
        """The compiled kernel of a source, for whoever launches it himself."""
        found = self._compiled.get(key)
        if found is None or isinstance(found, KernelError):
            found = self._compile(key, make)
        kernel: Launcher = found[1]
        return kernel

    def empty_cache(self) -> int:
        """Give memory kept for reuse back to the driver; how many bytes that were."""
        return self.queue.empty_cache()

    # -- what tuned kernels need besides their own -------------------------------------------------------------------

    def zeros(self, shape: Shape, dtype: DType) -> KernelArray:
        """An array of zeros."""
        return moves.fill(self, shape, 0, dtype)

    def joined(self, x: KernelArray, y: KernelArray) -> KernelArray:
        """Two arrays one behind the other."""
        return moves.concat(self, x, y, 0)

    def sum_first(self, x: KernelArray) -> KernelArray:
        """The sum over the first dimension."""
        made: KernelArray = self._sum(x, (0,), False)
        return made

    def sum_rows(self, x: KernelArray) -> KernelArray:
        """The sum over all dimensions but the last."""
        made: KernelArray = self._sum(x, tuple(range(len(x.shape) - 1)), False)
        return made

    def add(self, x: KernelArray, y: KernelArray) -> KernelArray:
        """The sum of two arrays of one shape."""
        return self._plus(x, y)


def _either(
    tuned: Callable[..., Any], generated: Callable[..., Any], dtypes: frozenset[DType]
) -> Callable[..., Any]:
    """The tuned kernel for the dtypes it is for, the generated one for the others."""

    def run(x: KernelArray, *rest: Any) -> Any:
        return tuned(x, *rest) if x.dtype in dtypes else generated(x, *rest)

    return run


def open_backend(device: Device, options: Mapping[str, str]) -> OneapiBackend:
    """The backend of the device that the probe listed under this index."""
    profile = options.get("profile", "0")
    if profile not in ("0", "1"):
        raise ArgumentError(f"device option profile={profile!r}", known="profile=0, profile=1")
    found = [one for one in listing.devices() if vendors.matches(one.platform.name, vendors.PLATFORM.get())]
    if device.index >= len(found):
        raise DeviceError(
            f"device {device} is not there any more",
            cause=f"the OpenCL drivers list {len(found)} now", fix="mlcore doctor oneapi",
        )  # fmt: skip
    return OneapiBackend(Queue(found[device.index], repr(device), profile=profile == "1"), device)
