"""MetalBackend: MLX's functions by name, the gaps filled from them, and fused ones for composites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcore.backends.array_library import ArrayLibraryBackend
from mlcore.backends.protocol import Array, Device, Kernel, MemoryStats
from mlcore.dtypes import DType, bfloat16, from_numpy
from mlcore.errors import MlcoreError
from mlcore_metal import catalog, generated
from mlcore_metal.library import mx
from mlcore_metal.runtime import Runtime, meaning, on_host


class MetalKernel:
    """A function of MLX arrays as a kernel: on the device's stream, its results noted as pending."""

    __slots__ = ("call", "dtypes", "runtime")
    origin = "mlx"

    def __init__(self, call: Callable[..., Any], dtypes: frozenset[DType], runtime: Runtime) -> None:
        self.call, self.dtypes, self.runtime = call, dtypes, runtime

    def __call__(self, *args: Any) -> Any:
        runtime = self.runtime
        with runtime.building():
            made = self.call(*args)
        runtime.note(made)
        return made


class MetalBackend(ArrayLibraryBackend):
    """MLX on the GPU of an Apple processor, or on any processor where MLX was built for that.

    `eager` evaluates every operation at once; `own_kernels=False` does without the Metal kernels of this package.
    """

    def __init__(
        self,
        device: Device,
        *,
        eager: bool = False,
        memory_limit: int | None = None,
        own_kernels: bool = True,
    ) -> None:
        catalog.load()
        self.runtime = Runtime(eager=eager, memory_limit=memory_limit)
        self.own_kernels = own_kernels and self.runtime.gpu
        super().__init__(mx, device)

    @property
    def fork_safe(self) -> bool:
        """On a processor a forked child gets a stream of its own; Metal does not survive a fork."""
        return not self.runtime.gpu

    def _holds(self, dtype: DType) -> bool:
        if dtype.name == "float64" and self.runtime.gpu:
            return False  # MLX has it on the processor only
        return super()._holds(dtype)

    def from_host(self, array: np.ndarray[Any, Any]) -> Array:
        """A copy on the device, which MLX makes."""
        dtype = from_numpy(array.dtype)
        plain = np.asarray(array, dtype=dtype.numpy, order="C")
        if any(
            step < 0 for step in plain.strides
        ):  # of a dimension of size 1, where NumPy sees no need to copy
            plain = plain.copy()
        with self.runtime.building():
            if dtype is bfloat16:
                return mx.array(plain.view(np.uint16)).view(mx.bfloat16)
            return mx.array(plain, dtype=self.native(dtype))

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """The values: the array's own memory, which the host and the device share; read-only."""
        self.runtime.evaluate(array)
        found = on_host(array, bfloat16.numpy)
        found.flags.writeable = False
        return found

    def synchronize(self) -> None:
        """Compute everything that has been asked for and is still held, and wait for it."""
        self.runtime.finish()

    def memory_stats(self) -> MemoryStats:
        """What MLX has allocated in this process, its cache apart; what is pending is computed first."""
        self.runtime.finish()
        active = int(mx.get_active_memory())
        return MemoryStats(
            in_use=active,
            peak=max(active, int(mx.get_peak_memory())),
            reserved=active + int(mx.get_cache_memory()),
            limit=self.runtime.limit,
        )

    def explain(self, error: Exception) -> MlcoreError | None:
        """What an exception of MLX means for the core: memory is full, the GPU is lost, or unknown."""
        return meaning(error)

    def empty_cache(self) -> int:
        """Give what MLX keeps for reuse back to the system; the bytes given back."""
        kept = int(mx.get_cache_memory())
        mx.clear_cache()
        return kept - int(mx.get_cache_memory())

    def extension(self, space: str, name: str) -> None:
        """None of MLX: its factorisations run on the processor's stream only, empty transforms end the process."""

    def kernel(self, op: Any) -> Kernel | None:
        """Ours where the catalog has one, else MLX's by name; None composes it."""
        own = catalog.find(op, self)
        if own is not None:
            call, dtypes = own
            if self.own_kernels and op.name in generated.OPS:
                call = generated.Generated(op, call, self.runtime.evaluate)
            return MetalKernel(call, dtypes & self.dtypes, self.runtime)
        with self.runtime.building():
            found: Any = super().kernel(op)
        if found is None:
            return None
        return MetalKernel(found.call, found.dtypes, self.runtime)
