"""What a backend is: five methods and a device. Everything else is derived from the operations.

Arrays are opaque here. A kernel is called as ``kernel(*arrays, *params)``, never validates, never writes
its inputs, and returns a new array (or a tuple of arrays for an operation of several outputs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from mlcore.dtypes import DType

if TYPE_CHECKING:
    from mlcore.plugin.api import DeviceInfo

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


class Device:
    """Where tensors live: one opened device of one backend.

    Compares equal to another Device of the same id and to its names as strings.

    >>> d = Device("toy", 0)
    >>> d == "toy", d == "toy:0", str(d)
    (True, True, 'toy')
    """

    __slots__ = ("__weakref__", "backend", "constants", "id", "index", "info", "lock", "table", "type")

    type: str
    index: int
    id: str
    info: DeviceInfo | None
    backend: Backend
    table: Any  # op index -> kernels by dtype; built by dispatch when the device is first used
    constants: dict[Any, Any]  # 0-d arrays of Python scalars, kept by dispatch
    lock: Any  # held by dispatch while the table grows

    def __init__(self, type: str, index: int = 0, info: DeviceInfo | None = None) -> None:
        self.type = type
        self.index = index
        self.id = f"{type}:{index}"
        self.info = info
        self.table = None
        self.constants = {}
        self.lock = None

    def __repr__(self) -> str:
        return self.type if self.index == 0 else self.id

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Device):
            return self.id == other.id
        if isinstance(other, str):
            return other == self.id or (self.index == 0 and other == self.type)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        from mlcore.backends.detect import resolve

        return resolve, (self.id,)


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
