"""Device: a name for where tensors live, and what dispatch keeps about it. Types for Cython are in device.pxd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from mlcore.plugin.api import DeviceInfo


class Device:
    """Where tensors live: one opened device of one backend.

    Compares equal to another Device of the same id and to its names as strings.

    >>> d = Device("toy", 0)
    >>> d == "toy", d == "toy:0", str(d)
    (True, True, 'toy')
    """

    __slots__ = ("__weakref__", "backend", "constants", "id", "index", "info", "table", "type")

    def __init__(self, type: str, index: int = 0, info: DeviceInfo | None = None) -> None:
        self.type: str = type
        self.index: int = index
        self.id: str = f"{type}:{index}"
        self.info: DeviceInfo | None = info
        self.backend: Any = None  # a Backend once the device is open
        self.table: list[Any] = []  # how it runs each operation, built by mlcore.table as they are first used
        self.constants: dict[Any, Any] = {}  # 0-d arrays of Python scalars, kept by mlcore.inputs

    def from_host(self, array: Any) -> Any:
        """The backend's `from_host`, its errors told as ours."""
        try:
            return self.backend.from_host(array)
        except Exception as error:
            self._fail(error, f"taking {_about(array)} from the host")

    def to_host(self, array: Any) -> Any:
        """The backend's `to_host`, its errors told as ours."""
        try:
            return self.backend.to_host(array)
        except Exception as error:
            self._fail(error, f"reading {_about(array)}")

    def synchronize(self) -> None:
        """Wait until all work queued on the device is done; an error of that work is told as ours."""
        try:
            self.backend.synchronize()
        except Exception as error:
            self._fail(error, "waiting for queued work")

    def _fail(self, error: Exception, doing: str) -> NoReturn:
        from mlcore.backends.failure import fail

        fail(error, self, doing)

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


def _about(array: Any) -> str:
    """What is known of an array that only its backend understands."""
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    return (
        "a tensor" if shape is None else f"a tensor of shape {tuple(shape)}" + (f", {dtype}" if dtype else "")
    )
