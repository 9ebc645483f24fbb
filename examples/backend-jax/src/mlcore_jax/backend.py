"""JAX arrays as a backend: mlcore's adapter for array libraries, and what JAX does in its own way.

64-bit numbers are JAX's only where they are asked for: every call is made in `jax.enable_x64(True)`, and the setting of
the program around it is left alone. Every kernel is compiled by XLA, once for each signature; an operation that JAX has
no function for is traced through its own composition, and becomes one kernel too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlcore import autograd
from mlcore.backends.array_library import ArrayLibraryBackend, LibraryKernel
from mlcore.backends.device import Device
from mlcore.backends.protocol import MemoryStats
from mlcore.backends.reference import physical_memory
from mlcore.dtypes import DType, all_dtypes, from_numpy
from mlcore.errors import DeviceError, DeviceLostError, MlcoreError, OutOfMemoryError
from mlcore.tensor import wrap
from mlcore_jax.mended import mended

MEMORY = {"in_use": "bytes_in_use", "peak": "peak_bytes_in_use", "limit": "bytes_limit"}
# Groups of compositions that are not traced into one kernel: what changes with each call would be compiled each time,
# and a layer's loop over time would be written out.
IN_PARTS = ("random", "recurrent", "shape", "update")
PROGRAMS = 512  # compiled ones that are kept: each takes more than a megabyte


class _Tracing(threading.local):
    depth = 0  # of functions that are being traced, one inside the other


_tracing = _Tracing()


class UntraceableError(DeviceError):
    """A value was asked for while XLA only traces what will be done with it."""


class Compiled:
    """A function that XLA compiles once for each signature: shapes and dtypes of arrays, values of parameters."""

    def __init__(self, call: Callable[..., Any], params: int, backend: JaxBackend) -> None:
        self.call, self.params, self.backend = call, params, backend
        self.runs: dict[str, Callable[..., Any]] = {}

    def __call__(self, *args: Any) -> Any:
        if self.backend.programs >= PROGRAMS:
            self.backend.empty_cache()
        at = len(args) - self.params
        arrays, params = args[:at], args[at:]
        run = self.runs.get(key := repr(params))
        if run is None:
            run = self.runs[key] = jax.jit(lambda *arrays: self._traced(*arrays, *params))
        try:
            return run(*arrays)
        except (jax.errors.JAXTypeError, UntraceableError):  # it looks at values, as nonzero does
            self.runs[key] = lambda *arrays: self.call(*arrays, *params)
            return self.call(*args)

    def _traced(self, *args: Any) -> Any:
        """What JAX calls for each new signature, and only then; inside another function it makes no program."""
        _tracing.depth += 1
        try:
            return self.call(*args)
        finally:
            _tracing.depth -= 1
            self.backend.programs += not _tracing.depth


class Traced(LibraryKernel):
    """A composition as one kernel: its body run on XLA's tracers."""

    __slots__ = ()
    origin = "composition"


class JaxBackend(ArrayLibraryBackend):
    """One device of JAX's."""

    fork_safe = False  # XLA has threads of its own

    def __init__(self, device: Device, where: Any) -> None:
        self.where = where
        self.kernels: list[Compiled] = []
        self.programs = 0
        self.ready: set[Callable[..., Any]] = set()  # kernels of compiled parts
        with self.within():
            super().__init__(jnp, device, library_device=where)
        self.array_type = jax.Array
        if where.platform == "cpu":  # there XLA computes float16 in float32, and flushes all others
            self.flushes = frozenset(d for d in all_dtypes if d.kind in "fc" and d.name != "float16")

    def within(self) -> AbstractContextManager[Any]:
        """64 bits where they are asked for, in this thread and for this call."""
        return jax.enable_x64(True)  # type: ignore[no-any-return]  # JAX leaves it untyped

    def compiled(self, call: Callable[..., Any], params: int) -> Callable[..., Any]:
        """By XLA."""
        if call in self.ready:
            return call
        self.kernels.append(Compiled(call, params, self))
        return self.kernels[-1]

    def empty_cache(self) -> int:
        """Forget the compiled programs; JAX does not say how many bytes they were."""
        for kernel in self.kernels:
            kernel.runs.clear()
        self.programs = 0
        return 0

    def extension(self, space: str, name: str) -> Callable[..., Any] | None:
        """JAX's on accelerators; on a processor the host's LAPACK is the same, and needs no program for each shape."""
        return None if self.where.platform == "cpu" else super().extension(space, name)

    def _asarray(self, library_device: Any) -> Callable[..., Any]:
        return lambda value: jax.device_put(value, self.where)

    def from_host(self, array: np.ndarray[Any, Any]) -> Any:
        """A copy on the device; a constant also where a composition is being traced."""
        with self.within(), jax.ensure_compile_time_eval():
            return jax.device_put(np.array(array, copy=True, order="C"), self.where)

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        """The values: this waits for them."""
        if isinstance(array, jax.core.Tracer):
            raise UntraceableError("the value of a traced array")
        return np.asarray(array)

    def _slice(self) -> Callable[..., Any]:
        """A slice without steps: where it begins is no part of the program."""
        general = self.compiled(super()._slice(), 1)
        plain = self.compiled(lambda x, starts, sizes: jax.lax.dynamic_slice(x, starts, sizes), 1)

        def run(x: Any, key: Any) -> Any:
            if not key or any(step != 1 for _, _, step in key):
                return general(x, key)
            sizes = tuple(max(0, stop - start) for start, stop, _ in key)
            return plain(x, np.asarray([start for start, _, _ in key]), sizes)

        self.ready.add(run)
        return run

    def _formula(self, op: Any) -> Callable[..., Any] | None:
        """JAX's function, or what stands in for it where XLA's is not as exact as declared."""
        return mended.get(op.name) or super()._formula(op)

    def kernel(self, op: Any) -> Any:
        """JAX's function, else the composition traced into one kernel."""
        made = super().kernel(op)
        if made is not None or op.rule is None or op.body is None or op.group in IN_PARTS:
            return made

        def call(*args: Any) -> Any:
            arrays, params = args[: len(args) - len(op.params)], args[len(args) - len(op.params) :]
            given = [x if x is None else wrap(x, self.device, self._dtype_of(x), x.shape) for x in arrays]
            with autograd.no_grad():
                found = op.body(*given, **dict(zip(op.params, params, strict=True)))
            return tuple(one.array for one in found) if op.multiple else found.array

        return Traced(self.compiled(call, len(op.params)), self)

    def tried(self, kernel: Any, arrays: list[Any], params: tuple[Any, ...]) -> DType:
        """What a kernel would make of some arrays: nothing is compiled to know that."""
        _tracing.depth += 1
        try:
            with self.within():
                return from_numpy(jax.eval_shape(lambda *given: kernel(*given, *params), *arrays).dtype)
        finally:
            _tracing.depth -= 1

    def synchronize(self) -> None:
        """Wait for every array that somebody still holds."""
        held = jax.live_arrays()  # type: ignore[no-untyped-call]  # JAX leaves it untyped
        # JAX leaves it untyped.
        jax.block_until_ready([x for x in held if self.where in x.devices()])  # type: ignore[no-untyped-call]

    def memory_stats(self) -> MemoryStats:
        """What XLA's allocator counts; on a processor it counts nothing."""
        known = self.where.memory_stats() or {"bytes_limit": physical_memory()}
        return MemoryStats(**{ours: known.get(theirs) for ours, theirs in MEMORY.items()})

    def explain(self, error: Exception) -> MlcoreError | None:
        """What XLA's and the tracer's errors mean."""
        if isinstance(error, jax.errors.JAXTypeError):
            return UntraceableError(str(error))
        text = str(error).partition("\n")[0]
        if isinstance(error, jax.errors.JaxRuntimeError) and text.startswith("RESOURCE_EXHAUSTED"):
            return OutOfMemoryError(f"out of memory on {self.device}", cause=text, fix="use a smaller batch")
        if isinstance(error, jax.errors.JaxRuntimeError) and text.startswith("UNAVAILABLE"):
            return DeviceLostError(f"device {self.device} is lost", cause=text)
        return None
