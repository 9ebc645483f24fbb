"""What an exception on a device means: its memory is full, it is lost, a kernel does not compile, or it is just broken.

A backend says what its library's exceptions mean: it raises DeviceLostError, OutOfMemoryError or KernelError itself, or
has a method ``explain(error)`` that returns one of them, or None. Everything else is told as a DeviceError.
"""

from __future__ import annotations

import inspect
import re
import signal
import traceback
from typing import Any, NoReturn

from mlcore.backends import detect
from mlcore.backends.device import Device
from mlcore.backends.protocol import MemoryStats
from mlcore.config import log
from mlcore.errors import (
    DeviceError,
    DeviceLostError,
    KernelError,
    MlcoreError,
    OutOfMemoryError,
)

MOVE_ON = "what lay on it cannot be read, .to() included: load the last checkpoint on another device, or start again"


def fail(error: Exception, device: Device, doing: str) -> NoReturn:
    """Raise what an exception of a backend means; `doing` is what was being done, such as ``reading a tensor``."""
    known = explained(error, device, doing)
    if known is error:
        raise error
    raise known from (None if isinstance(error, MemoryError) else error)


def explained(error: Exception, device: Device, doing: str) -> Exception:
    """The error to raise in place of a backend's; a device that turns out to be lost is marked."""
    if isinstance(error, Warning) or _from_a_signal(error):
        return error
    known = error if isinstance(error, MlcoreError) else _asked(error, device)
    if isinstance(known, DeviceLostError):
        return known if is_lost(device) else lose(device, f"{doing}: {_line(known, error)}", doing)
    if isinstance(known, OutOfMemoryError) and str(device) not in known.what:
        return OutOfMemoryError(f"{doing} on {device}: {known.what}", **known.details)
    if known is not None:
        return known
    if isinstance(error, MemoryError):
        return OutOfMemoryError(
            f"{doing} on {device}: out of memory", cause=str(error), fix="use a smaller size or batch"
        )
    return DeviceError(
        f"{doing} failed on device {device}",
        backend=provider(device),
        cause=f"{type(error).__name__}: {_first_line(error)}",
        fix=f"report it to the makers of the backend; meanwhile another device: {detect.usable_text(device)}",
    )


def _from_a_signal(error: Exception) -> bool:
    """Whether the program's own signal handler raised it, such as that of an alarm, while a kernel ran."""
    handlers = [handler for number in signal.valid_signals() if callable(handler := signal.getsignal(number))]
    codes = {getattr(inspect.unwrap(one), "__code__", None) for one in handlers}
    codes |= {getattr(vars(type(one)).get("__call__"), "__code__", None) for one in handlers}
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code in codes for frame, _ in frames)


def _asked(error: Exception, device: Device) -> MlcoreError | None:
    """What the backend says that an exception of its library means."""
    explain = getattr(device.backend, "explain", None)
    if explain is None:
        return None
    try:
        found = explain(error)
    except Exception as second:  # it must not hide the first one
        log.warning("the backend of %s cannot explain %r: %r", device, error, second)
        return None
    return found if isinstance(found, MlcoreError) else None


def _line(known: MlcoreError, error: Exception) -> str:
    if known is error:
        return str(known.details.get("cause", known.what))
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


def provider(device: Device) -> str:
    """The distribution whose backend a device is of, for messages; empty where it is made by hand."""
    from mlcore.plugin import discovery

    record = discovery.find_backend(device.type)
    return "" if record is None else record.source


# ---------------------------------------------------------------- lost devices


class LostBackend:
    """What stands in for the backend of a device that stopped working: whoever wants something of it is told."""

    def __init__(self, device: Device, cause: str, dtypes: Any) -> None:
        self.device = device
        self.dtypes = dtypes
        self.cause = cause

    def from_host(self, array: Any) -> Any:
        raise self.error("taking an array from the host")

    def to_host(self, array: Any) -> Any:
        raise self.error("reading a tensor")

    def synchronize(self) -> None:
        raise self.error("waiting for queued work")

    def memory_stats(self) -> MemoryStats:
        """Unknown: it can no longer be asked."""
        return MemoryStats()

    def kernel(self, op: Any) -> Any:
        raise self.error(op.name)

    def error(self, doing: str) -> DeviceLostError:
        """The error for whoever still wants to do something there."""
        hardware = self.device.info.name if self.device.info is not None else ""
        return DeviceLostError(
            f"{doing} on device {self.device}: the device is lost",
            device=", ".join(one for one in (hardware, provider(self.device)) if one),
            cause=f"it stopped working at {self.cause}",
            fix=MOVE_ON,
            usable=detect.usable_text(self.device),
        )


def is_lost(device: Device) -> bool:
    """Whether a device has stopped working in this process."""
    return isinstance(device.backend, LostBackend)


def lose(device: Device, cause: str, doing: str) -> DeviceLostError:
    """Mark a device as lost: nothing on it runs any more, and nobody gets it again. Returns the error to raise.

    Other devices go on, and so does the process.
    """
    stand_in = LostBackend(device, cause, device.backend.dtypes)
    device.backend = stand_in
    device.table = []  # every operation asks for its kernel again, and is told
    device.constants = {}
    detect.forget(device, cause)
    log.error("device %s is lost: %s", device, cause)
    return stand_in.error(doing)


# ---------------------------------------------------------------- kernels that do not compile

_PLACES = (  # how compilers write where an error is: "name:12:5: error", "name(12): error", "line 12"
    r":(\d+):\d+:\s*(?:fatal )?error",
    r"\((\d+)(?:,\d+)?\)\s*:\s*(?:fatal )?error",
    r":(\d+):\s*(?:fatal )?error",
    r"\bline (\d+)",
)


def kernel_error(name: str, device: Device, source: str, messages: str) -> KernelError:
    """The error for a kernel that does not compile: the line of the source, and what the compiler says of it.

    >>> print(kernel_error("tanh", Device("toy"), "int a;\\nreturn tanhq(a);", "k.cl:2:8: error: no function 'tanhq'"))
    tanh: its kernel does not compile on device toy
      source: line 2: return tanhq(a);
      cause:  k.cl:2:8: error: no function 'tanhq'
    """
    lines = source.splitlines()
    for pattern in _PLACES:
        found = re.search(pattern, messages)
        if found is None:
            continue
        number = int(found.group(1))
        start = messages.rfind("\n", 0, found.start()) + 1
        said = messages[start:].splitlines()[0].strip()
        line = lines[number - 1].strip() if 0 < number <= len(lines) else "(not in the source)"
        return _kernel_error(name, device, f"line {number}: {line}", said)
    said = next((line.strip() for line in messages.splitlines() if line.strip()), "the compiler says nothing")
    return _kernel_error(name, device, f"{len(lines)} lines, of which the compiler names none", said)


def _kernel_error(name: str, device: Device, source: str, cause: str) -> KernelError:
    return KernelError(f"{name}: its kernel does not compile on device {device}", source=source, cause=cause)
