"""What OpenCL's error codes mean to people: out of memory, a device that is gone, a mistake of ours."""

from __future__ import annotations

from typing import Any, Final

from mlcore.errors import DeviceError, DeviceLostError, MlcoreError, OutOfMemoryError

NO_MEMORY: Final = {-4, -5, -6, -61}  # allocation failure, out of resources, out of host memory, buffer size
LOST: Final = {
    -1,
    -2,
    -33,
    -34,
    -36,
    -9999,
}  # no device, not available, invalid device, context or queue; a fault


def code_of(error: BaseException) -> int:
    """The status code that a pyopencl error carries; 0 where it has none."""
    return int(getattr(error, "code", 0) or 0)


def is_memory(error: BaseException) -> bool:
    """Whether there was no room, so that trying again with the cache given back may help."""
    return code_of(error) in NO_MEMORY


def no_room(device: Any, size: int, error: BaseException | str, stats: str = "") -> OutOfMemoryError:
    """The error of an allocation that failed after the cache was given back."""
    return OutOfMemoryError(
        f"{device}: no room for {size:,} bytes", cause=str(error).splitlines()[0], memory=stats,
        fix="free tensors, use smaller batches, or another device; tensors that exist are untouched",
    )  # fmt: skip


def gone(device: Any, why: str) -> DeviceLostError:
    """The error of a device that no longer answers."""
    return DeviceLostError(
        f"device {device} is lost",
        cause=why,
        fix="start the process again; tensors on other devices and on the host are intact",
    )


def forked(device: Any) -> DeviceError:
    """The error in a child of fork: drivers keep threads and locks that a fork does not bring along."""
    return DeviceError(
        f"device {device} cannot be used in a forked process",
        cause="its parent had opened it, and OpenCL drivers do not survive a fork",
        fix="start workers with 'spawn' or 'forkserver', or give them data of the host only",
    )


def failed(device: Any, what: str, error: BaseException) -> MlcoreError:
    """Any other failure of a command."""
    return DeviceError(f"{device}: {what} failed", cause=f"{type(error).__name__}: {error}")


def explained(device: Any, error: BaseException) -> MlcoreError | None:
    """What an exception of pyopencl means, if its code says so."""
    if is_memory(error):
        return no_room(device, 0, error)
    return gone(device, f"{type(error).__name__}: {error}") if code_of(error) in LOST else None
