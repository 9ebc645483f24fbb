"""What a backend is: five methods and a device. Everything else is derived from the operations.

Arrays are opaque here. A kernel is called as ``kernel(*arrays, *params)``, never validates, never writes
its inputs, and returns a new array (or a tuple of arrays for an operation of several outputs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mlcore.backends.device import Device
from mlcore.dtypes import DType
from mlcore.errors import MlcoreError

__all__ = ["Array", "Backend", "Device", "Extras", "Kernel", "MemoryStats", "Op"]

Array = Any
Kernel = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """Bytes of device memory; None where the backend cannot know.

    >>> MemoryStats(in_use=1024).peak is None
    True
    """

    in_use: int | None = None
    peak: int | None = None
    reserved: int | None = None
    limit: int | None = None


class Op(Protocol):
    """What a backend may read of an operation (see mlcore.dispatch.Op)."""

    name: str
    reference: Callable[..., Any] | None
    inputs: tuple[str, ...]
    params: tuple[str, ...]


@runtime_checkable
class Backend(Protocol):
    """A device's arrays and kernels. Implement these five methods and mlcore does the rest."""

    device: Device
    dtypes: frozenset[DType]

    def from_host(self, array: np.ndarray[Any, Any]) -> Array:
        """A device array with the values of `array`, sharing no memory that the caller may change."""
        ...

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """The values as a NumPy array, which the caller only reads."""
        ...

    def synchronize(self) -> None:
        """Return when all work queued on the device is done."""
        ...

    def memory_stats(self) -> MemoryStats:
        """Bytes in use now."""
        ...

    def kernel(self, op: Any) -> Kernel | None:
        """The kernel for `op`, or None: then the core composes it from other operations."""
        ...


class Extras(Protocol):
    """What a backend may have besides. mlcore looks for each of these and does without.

    A library's exceptions need no translation to be safe: an unknown one is told as a DeviceError. With `explain` they
    are told for what they are: a lost device is marked, so that all its tensors say so; an operation whose kernel does
    not compile is composed from others (`mlcore.backends.failure.kernel_error` makes that error from the source and the
    compiler's messages). A backend may also raise these errors itself, from `kernel`, a kernel, `from_host` and so on.
    """

    flushes: frozenset[DType]
    """The dtypes whose subnormal numbers the hardware takes for 0. The conformance kit holds it to that."""

    fork_safe: bool
    """False: the device does not survive a fork of the process, so loaders start their workers afresh."""

    def set_num_threads(self, count: int) -> None:
        """How many threads kernels may use; results are the same bits for any number."""
        ...

    def self_test(self) -> None:
        """Raise when the device does not work. Called when it opens, after mlcore's own test: a failure closes it."""
        ...

    def explain(self, error: Exception) -> MlcoreError | None:
        """What an exception of the library means: DeviceLostError, OutOfMemoryError, KernelError; None: unknown."""
        ...

    def close(self) -> None:
        """Give up the device: it failed its self-test, or is no longer wanted."""
        ...

    def empty_cache(self) -> int:
        """Give the memory that is kept for reuse back to the system; how many bytes that were."""
        ...

    def adopt(self, source: Any, place: tuple[int, int], copy: bool) -> Array | None:
        """An array that shares (or with `copy` does not share) the memory of `source`, which speaks DLPack and lies at
        its `place`, a kind of device and a number; None where that is no memory of this device."""
        ...

    def described(self, array: Array) -> tuple[DType, tuple[int, ...]]:
        """The dtype and the shape of an array: needed beside `adopt`."""
        ...

    def buffer(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """Memory that the core fills and then takes for an array of the device, where that is the host's memory."""
        ...
