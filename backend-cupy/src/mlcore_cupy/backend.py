"""CupyBackend: CuPy's arrays, hand-written and generated kernels, CuPy's own functions where neither has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from mlcore.backends.array_library import ArrayLibraryBackend
from mlcore.backends.protocol import Array, Device, Kernel, MemoryStats
from mlcore.dtype import DType
from mlcore.dtypes import bfloat16
from mlcore.errors import DeviceError, DeviceLostError, KernelError, MlcoreError, OutOfMemoryError
from mlcore_cupy.capture import Capture
from mlcore_cupy.catalog import Native, written
from mlcore_cupy.generated import Generated
from mlcore_cupy.runtime import Runtime
from mlcore_cupy.transfer import Transfers

LOST = (
    "cudaErrorIllegalAddress", "cudaErrorLaunchFailure", "cudaErrorHardwareStackError", "cudaErrorECCUncorrectable",
    "cudaErrorIllegalInstruction", "cudaErrorMisalignedAddress", "cudaErrorDevicesUnavailable",
    "hipErrorIllegalAddress", "hipErrorLaunchFailure", "hipErrorECCNotCorrectable", "hipErrorUnknown",
)  # fmt: skip
"""Errors after which no call on the device succeeds in this process, as the runtimes name them."""

LIBRARY_FIRST = frozenset(("contract", "sort_indices"))
"""Operations that CuPy does better than generated kernels: cuBLAS and hipBLAS, and a radix sort."""


class CupyBackend(ArrayLibraryBackend):
    """One GPU. `cupy` is the module, `dialect` what generated kernels are written in."""

    own_products: frozenset[DType] = frozenset()  # dtypes whose matrix products are not left to CuPy

    def __init__(
        self, cupy: Any, device: Device, dialect: Any, options: Mapping[str, str] | None = None
    ) -> None:
        self.runtime = Runtime(cupy, device)
        self.transfers = Transfers(self.runtime)
        self._peak = 0
        with self.runtime.current():
            super().__init__(cupy, device)
        self.generated = Generated(self.runtime, dialect)
        self._configure(dict(options or {}))

    def _configure(self, options: dict[str, str]) -> None:
        tf32 = options.pop("tf32", "0")
        memory = options.pop("memory", None)
        if options or tf32 not in ("0", "1") or not (memory is None or memory.isdigit()):
            given = ", ".join(
                f"{k}={v}" for k, v in {**options, "tf32": tf32, "memory": memory}.items() if v is not None
            )
            raise DeviceError(f"device {self.device}: options {given}", known="tf32=0|1, memory=BYTES")
        if tf32 == "1":
            linalg = self.xp._core._routines_linalg  # CuPy's own switch; CUPY_TF32=1 sets the same
            linalg.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32)
        if memory is not None:
            with self.runtime.device:
                self._pool().set_limit(size=int(memory))

    # -- what CuPy is like -----------------------------------------------------------------------------------------

    def _holds(self, dtype: DType) -> bool:
        """As the adapter asks, but for bfloat16, which CuPy takes from ml_dtypes and has no name for."""
        if dtype is not bfloat16:
            return super()._holds(dtype)
        self._names[dtype] = dtype.numpy
        try:
            back = self.to_host(self.from_host(np.ones(2, dtype=dtype.numpy)))
        except Exception:  # an older CuPy
            return False
        return bool(back.dtype == dtype.numpy)

    # -- the protocol ----------------------------------------------------------------------------------------------

    def from_host(self, array: np.ndarray[Any, Any]) -> Array:
        return self.runtime.run(self.transfers.up, array)

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        return self.runtime.run(self.transfers.down, array)  # type: ignore[no-any-return]  # CuPy has no types

    def adopt(self, source: Any, place: tuple[int, int], copy: bool) -> Array | None:
        """An array of foreign memory, as a view: optimizers write over arrays that have no base."""
        with self.runtime.current():
            array = super().adopt(source, place, copy)
            return None if array is None else array.view()

    def synchronize(self) -> None:
        """Wait for the stream; an error of a kernel that ran earlier is raised here."""
        self.runtime.synchronize()

    def kernel(self, op: Any) -> Kernel | None:
        """Hand-written, else generated from the operation's declaration, else CuPy's."""
        with self.runtime.current():
            made: Kernel | None = written(self.runtime, op, self.dtypes) or self._other(op)
        return made

    def _other(self, op: Any) -> Kernel | None:
        generated: Any = self.generated.serve(op, self.dtypes)
        if generated is not None and generated.dtypes >= op.accepts & self.dtypes and op.name != "contract":
            return generated  # type: ignore[no-any-return]  # CuPy has no types
        library = super().kernel(op)
        if library is None:
            return generated  # type: ignore[no-any-return]  # CuPy has no types
        theirs = Native(self.runtime, op.name, _first(library), getattr(library, "dtypes", self.dtypes))
        if generated is None:
            return theirs
        return Either(op, theirs, generated) if op.name in LIBRARY_FIRST else Either(op, generated, theirs)

    def _taken(self, op: Any, kernel: Kernel) -> Iterable[DType]:
        """What CuPy takes, by trying; but its products are known, and one that crashes must not be tried."""
        if op.family != "contraction":
            return super()._taken(op, kernel)
        return [d for d in op.accepts & self.dtypes - self.own_products if d.kind in "fc"]

    # -- memory ----------------------------------------------------------------------------------------------------

    def _pool(self) -> Any:
        return self.xp.get_default_memory_pool()

    def memory_stats(self) -> MemoryStats:
        """What CuPy's pool of this device has given out and holds; the peak is that of the calls of this method."""
        with self.runtime.device:
            pool = self._pool()
            used, reserved = int(pool.used_bytes()), int(pool.total_bytes())
            limit = int(pool.get_limit()) or int(self.xp.cuda.runtime.memGetInfo()[1])
        self._peak = max(self._peak, used)
        return MemoryStats(used, self._peak, reserved, limit)

    def empty_cache(self) -> int:
        """Give what the pool keeps for reuse back to the device; the bytes given back."""
        self.synchronize()
        with self.runtime.device:
            pool = self._pool()
            before = int(pool.total_bytes())
            pool.free_all_blocks()
            self.xp.get_default_pinned_memory_pool().free_all_blocks()
            return before - int(pool.total_bytes())

    # -- more ------------------------------------------------------------------------------------------------------

    def explain(self, error: Exception) -> MlcoreError | None:
        """What CuPy's exceptions mean."""
        device, text = self.device, str(error)
        if isinstance(error, self.xp.cuda.memory.OutOfMemoryError):
            return OutOfMemoryError(
                f"out of memory on {device}", cause=text.splitlines()[0] if text else "",
                fix="use a smaller batch, free tensors, or mlcore's empty_cache",
            )  # fmt: skip
        if isinstance(error, self.xp.cuda.runtime.CUDARuntimeError) and any(one in text for one in LOST):
            return DeviceLostError(f"{device} stopped working", cause=text)
        if isinstance(error, self.xp.cuda.compiler.CompileException):
            return KernelError(f"a kernel does not compile on {device}", cause=text.splitlines()[0])
        return None

    def capture(self) -> Capture:
        """Record what runs in a `with` block as a graph that can be replayed."""
        return Capture(self)


class Either:
    """The first kernel for calls of the dtypes that it has, the second for the others."""

    __slots__ = ("dtypes", "first", "inputs", "lead", "ours", "second")
    origin = "native"

    def __init__(self, op: Any, first: Any, second: Any) -> None:
        self.first, self.second = first, second
        self.dtypes = first.dtypes | second.dtypes
        self.ours = frozenset(one.numpy for one in first.dtypes)
        self.inputs = len(op.inputs)
        self.lead = min(op.promoted) if op.promoted else 0  # the input whose dtype decides

    def __call__(self, *args: Any) -> Any:
        ours = not self.inputs or args[self.lead].dtype in self.ours
        if ours and isinstance(args[-1], DType):  # astype to it, or a range of it
            ours = args[-1].numpy in self.ours
        return (self.first if ours else self.second)(*args)


def _first(library: Any) -> Callable[..., Any]:
    """A kernel of the adapter as a function that is also given the runtime."""
    return lambda rt, *args: library(*args)
