"""Choosing a device and opening it: by name, by the environment, by measurement; and saying why.

Order of authority: explicit argument > ``with device(...)`` > MLCORE_DEVICE > the user's configuration file >
a site's policy hook > measured profiles > the rank that each backend declares. A device asked for by name
works, or raises with the reason; it never becomes another one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple

from mlcore import config
from mlcore._version import __version__
from mlcore.backends import opening
from mlcore.backends.protocol import Backend, Device
from mlcore.config import log
from mlcore.errors import (
    ArgumentError,
    ArgumentTypeError,
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    MlcoreError,
    did_you_mean,
)
from mlcore.plugin import discovery
from mlcore.plugin.api import BackendPlugin, DeviceInfo, Probe, ProbeContext
from mlcore.plugin.examine import describe, traceback_text
from mlcore.plugin.records import CORE, Record, table
from mlcore.plugin.requirements import installed_version

if TYPE_CHECKING:  # at run time inside functions: `import mlcore` needs neither
    from mlcore.backends.ranking import Devices, Usable
    from mlcore.backends.request import Request


class _Reference(BackendPlugin):
    """The core's own backend: NumPy, the specification of every operation. It never wins against another."""

    name, rank = "reference", -1

    def probe(self, ctx: ProbeContext) -> Probe:
        return Probe.ready(
            [DeviceInfo(f"{self.name}:0", f"NumPy {installed_version('numpy') or ''}".strip())]
        )

    def open(self, device: Device, options: Mapping[str, str]) -> Backend:
        from mlcore.backends.reference import ReferenceBackend

        return ReferenceBackend(device)


REFERENCE: Final = discovery.provide(_Reference(), CORE, __version__)

on_open: Final = opening.on_open
lost: Final[dict[str, str]] = {}
"""The devices that stopped working in this process, and at what."""

failed: Final[dict[str, tuple[str, str, str]]] = {}
"""The devices that did not open, of plugins that have others: state, reason and fix."""

_lock = threading.RLock()
_opened: Final[dict[str, Device]] = {}  # by every text that led to it
_default: Device | None = None
_choice: Choice | None = None


class _Context(threading.local):
    device: Device | None = None


_context: Final = _Context()


# ---------------------------------------------------------------- resolving


def resolve(spec: Device | Usable | str | None = None) -> Device:
    """The opened device that `spec` names; None is the default device. The same text gives the same object.

    Raises DeviceError with the stored reason when it cannot be used.

    >>> resolve("reference"), resolve("reference:0") is resolve("reference")
    (reference, True)
    """
    if spec is None:  # default_device, without a second call: every creation passes here
        chosen = _context.device or _default
        return chosen if chosen is not None else _choose().device
    if isinstance(spec, Device):
        return spec
    if not isinstance(spec, str):
        spec = _id_of(spec)
    found = _opened.get(spec)
    return found if found is not None else _resolve_text(spec, "device=")


def _id_of(spec: object) -> str:
    id = getattr(spec, "id", None)  # a Usable, or the verdict of best_device
    if isinstance(id, str):
        return id
    raise ArgumentTypeError(f"a device is named by text or is a Device, got {type(spec).__name__}: {spec!r}")


def _ranked() -> tuple[list[Usable], str]:
    from mlcore.backends.ranking import ranked

    return ranked()


def opened(id: str) -> Device | None:
    """The device of that id where it is open, without opening it."""
    return _opened.get(id)


def all_opened() -> list[Device]:
    """The devices that are open."""
    return list(set(_opened.values()))


def default_device() -> Device:
    """The device of tensors that are created without naming one.

    The environment is read at the first call; later changes of MLCORE_DEVICE do not count (`reset`).

    >>> default_device() is resolve(None)
    True
    """
    chosen = _context.device or _default
    return chosen if chosen is not None else _choose().device


def empty_cache(device: Device | str | None = None) -> int:
    """Give memory that `device` (None: the default one) keeps for reuse back to the system; how many bytes that were.

    Tensors are not touched. Rarely needed: memory that is kept makes the next results cheap, and backends bound it.

    >>> empty_cache("reference")
    0
    """
    release = getattr(resolve(device).backend, "empty_cache", int)
    return int(release())


def _resolve_text(text: str, origin: str) -> Device:
    from mlcore.backends.request import AUTO, parse_list

    requests = parse_list(text)
    wanted = [request for request in requests if not request.exclude]
    with _lock:
        found = _opened.get(text)
        if found is not None:
            return found
        if len(requests) == 1 and wanted and wanted[0].name != AUTO:
            device = _open_named(wanted[0], origin)
        else:
            device = _first_usable(text, requests, origin)
        _opened[text] = device
        return device


def _first_usable(text: str, requests: list[Request], origin: str) -> Device:
    """The first device of a list that works; ``auto`` stands for all, fastest first."""
    from mlcore.backends.request import AUTO, Request

    excluded = {request.name for request in requests if request.exclude}
    wanted = [request for request in requests if not request.exclude]
    if excluded and not wanted:
        wanted = [Request(AUTO)]
    reasons = []
    for request in wanted:
        if request.name == AUTO:
            try:
                return _automatic(excluded)[0]
            except DeviceError as error:
                reasons.append(error.what)
        elif request.name not in excluded:
            try:
                return _open_named(request, origin)
            except DeviceError as error:
                reasons.append(f"{request.name}: {error.details.get('cause', error.what)}")
                log.info("device list %r: %s", text, reasons[-1])
    raise DeviceError(
        f"none of the devices in {text!r} ({origin}) is usable",
        cause="; ".join(reasons) or "the list names no device",
        usable=usable_text(),
        more="mlcore doctor",
    )


def _open_named(request: Request, origin: str) -> Device:
    record = discovery.find_backend(request.name)
    if record is None:
        installed = [r.name for r in discovery.backends()]
        raise DeviceError(
            f"unknown device {request.name!r}{did_you_mean(request.name, installed)}",
            cause=f"no installed backend is called {request.name!r} (asked for by {origin})",
            installed=", ".join(dict.fromkeys(installed)),
        )
    if record.state != "ready":
        raise _unusable(record, origin)
    info = next((info for info in record.devices if info.index == request.index), None)
    if info is None:
        there = ", ".join(info.id for info in record.devices)
        raise DeviceError(
            f"device '{request.name}:{request.index}' was requested ({origin}) but does not exist",
            cause=f"{record.source or record.name} finds {len(record.devices)}: {there}",
        )
    return _open(record, info, request.options, origin)


def _unusable(record: Record, origin: str, now: tuple[str, str, str] | None = None) -> DeviceError:
    """The error for a device that cannot be used: for its record's state, or for what is so just `now`."""
    state, cause, fix = now or (record.state, record.reason, record.fix)
    kind = DeviceBusyError if state == "busy" else DeviceLostError if state == "lost" else DeviceError
    return kind(
        f"device {record.name!r} was requested ({origin}) but is not usable",
        backend=f"{record.source}, state {state}",
        cause=cause,
        fix=fix,
        usable=usable_text(),
        more=f"mlcore doctor {record.name}",
    )


def usable_text(without: Device | None = None) -> str:
    """The devices that can be used, for messages; `without` leaves out one that the message is about."""
    usable = [d for d in _ranked()[0] if without is None or d.id != without.id.partition("?")[0]]
    return ", ".join(f"{d.info.short} ({d.name})" if d.name else d.info.short for d in usable)


def forget(device: Device, reason: str) -> None:
    """A device stopped working: nobody gets it any more in this process. Tensors that lie there keep naming it."""
    with _lock:
        lost[device.id.partition("?")[0]] = reason
        for text in [text for text, known in _opened.items() if known is device]:
            del _opened[text]


def _open(record: Record, info: DeviceInfo, options: Mapping[str, str], origin: str) -> Device:
    suffix = "?" + "&".join(f"{k}={v}" for k, v in sorted(options.items())) if options else ""
    with _lock:
        device = _opened.get(info.id + suffix)
        if device is not None:
            return device
        if info.id in lost:
            cause = f"it stopped working in this process, at {lost[info.id]}"
            raise _unusable(record, origin, ("lost", cause, "start the program again, or use another device"))
        if info.id in failed:
            raise _unusable(record, origin, failed[info.id])
        device = Device(info.type, info.index, info)
        device.id += suffix
        try:
            opening.open_backend(record, device, options)
        except (DeviceBusyError, MemoryError) as failure:  # it may work later: its record stays as it is
            raise _unusable(record, origin, _busy(failure, info)) from failure
        except (DeviceError, ArgumentError, KeyboardInterrupt):
            raise  # what was asked for is at fault, and the plugin says how
        except BaseException as failure:
            raise _unusable(record, origin, _broken(record, info, failure)) from failure
        log.info("opened device %s of %s", device.id, record.source)
        for text in (device.id, repr(device)):
            _opened.setdefault(text, device)
        return device


def _broken(record: Record, info: DeviceInfo, failure: BaseException) -> tuple[str, str, str]:
    """Enter that a device does not open; where its plugin has others, they stay usable. State, cause and fix."""
    if record.state == "ready":
        reason = f"{describe(failure)} while opening {info.id}"
        fix = f"update or reinstall {record.distribution or 'it'}, or choose another device"
        if len(record.devices) > 1:
            failed[info.id] = ("broken", reason, fix)
            return failed[info.id]
        record.settle("broken", reason, fix, traceback_text(failure))
    return record.state, record.reason, record.fix


def _busy(failure: Exception, info: DeviceInfo) -> tuple[str, str, str]:
    """State, cause and fix of a device that somebody else holds, or whose memory is full, while it is opened."""
    details = failure.details if isinstance(failure, MlcoreError) else {}
    what = failure.what if isinstance(failure, MlcoreError) else str(failure)
    cause = details.get("cause") or what or "another process holds it"
    if isinstance(failure, MemoryError):
        cause = f"its memory is full: {cause}" if what else "its memory is full"
    return "busy", cause, details.get("fix") or f"end what uses {info.short}, or choose another device"


# ---------------------------------------------------------------- choosing


class Choice(NamedTuple):
    """The default device and how it was chosen."""

    device: Device
    by: str
    notes: tuple[str, ...] = ()


def _choose() -> Choice:
    global _default, _choice
    with _lock:
        if _choice is None:
            _choice = _decide()
            _default = _choice.device
            log.info("default device %s, chosen by %s", _choice.device, _choice.by)
        return _choice


def _decide() -> Choice:
    text, origin = config.DEVICE.raw()
    if text:
        if origin == "environment":
            return Choice(_resolve_text(text, config.DEVICE.name), f"{config.DEVICE.name}={text}")
        by = f"device = {text!r} in {config.config_path()}"
        return Choice(_resolve_text(text, by), by)
    notes = []
    discovery.load_policies()
    for plugin, wish in _policies():
        try:
            return Choice(_resolve_text(wish, f"the site policy of {plugin}"), f"the site policy of {plugin}")
        except DeviceError as error:
            notes.append(f"the site policy of {plugin} asks for {wish!r}: {error.what}")
            log.warning("%s", notes[-1])
    device, by, failures = _automatic(set())
    return Choice(device, by, (*notes, *failures))


def _policies() -> list[tuple[str, str]]:
    usable = [device.info for device in _ranked()[0]]
    return [(name, str(wish)) for name, wish in discovery.notify("mlcore_choose_device", devices=usable)]


def _automatic(excluded: set[str]) -> tuple[Device, str, list[str]]:
    """The fastest device that opens, what made it so, and those that failed on the way."""
    candidates, by = _ranked()
    failures: list[str] = []
    for usable in candidates:
        if usable.type in excluded or usable.record.qualified in excluded:
            continue
        try:
            return _open(usable.record, usable.info, {}, "auto"), by, failures
        except DeviceError as error:
            failures.append(f"{usable.info.short} was passed over: {error.details.get('cause', error.what)}")
            log.warning("device %s", failures[-1])
    raise DeviceError("no device is usable", cause="; ".join(failures) or f"all are excluded: {excluded}")


def devices() -> Devices:
    """The usable devices, fastest first, each with the reason for its place.

    >>> [device.type for device in devices()][-1]
    'reference'
    """
    try:
        chosen = default_device().id.partition("?")[0]
    except DeviceError as error:  # the environment names one that is unusable: all the more reason to list
        log.warning("no default device: %s", error.what)
        chosen = ""
    from mlcore.backends.ranking import Devices, ranking

    found = ranking()
    marked = [
        [replace(one, chosen=one.id == chosen) for one in part] for part in (found.usable, found.duplicates)
    ]
    return Devices(*marked)


def explain_device() -> str:
    """Why the default device is what it is, and what stands against the others, as text for people.

    >>> explain_device().splitlines()[0].startswith("default device: ")
    True
    """
    inside = _context.device
    choice = _choose()
    device = inside or choice.device
    hardware = device.info.name if device.info else ""
    lines = [f"default device: {device}" + (f" ({hardware})" if hardware else "")]
    lines.append(f"chosen by: {'with device(...)' if inside else choice.by}")
    lines.extend(choice.notes)
    from mlcore.backends.ranking import ranking

    found = ranking()
    usable, by = found.usable, found.by
    id = device.id.partition("?")[0]
    rows = [("*" if d.id == id else "", d.info.short, "ready", d.reason) for d in usable]
    rows += [("*" if d.id == id else "", d.info.short, "duplicate", d.reason) for d in found.duplicates]
    rows += [("", id.removesuffix(":0"), "lost", f"stopped working at {cause}") for id, cause in lost.items()]
    rows += [("", id.removesuffix(":0"), state, reason) for id, (state, reason, _) in failed.items()]
    rows += [("", r.name, r.state, r.reason) for r in discovery.backends() if r.state != "ready"]
    lines.append(table(rows))
    if by == "static rank":
        lines.append("not all of them are measured; to order them by speed: mlcore devices --measure")
    return "\n".join(lines)


class device:
    """Make a device the default inside a ``with`` block, in this thread.

    >>> with device("reference") as chosen:
    ...     default_device() is chosen
    True
    """

    __slots__ = ("_before", "_spec")

    def __init__(self, spec: Device | Usable | str) -> None:
        self._spec = spec
        self._before: list[Device | None] = []

    def __enter__(self) -> Device:
        found = resolve(self._spec)
        self._before.append(_context.device)
        _context.device = found
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _context.device = self._before.pop()


def reset() -> None:
    """Forget the choice and what was found: the next question reads the environment and looks again.

    Devices that are open stay open.
    """
    global _default, _choice
    with _lock:
        config.reload()
        discovery.reset()
        failed.clear()
        for text in [text for text in _opened if _opened[text].id != text and repr(_opened[text]) != text]:
            del _opened[text]  # lists and `auto` are decided again
        _default = _choice = None


def _after_fork() -> None:
    # Another thread of the parent may have held the lock; the child has no such thread.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
