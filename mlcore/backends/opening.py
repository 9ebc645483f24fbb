"""Opening a device: the handshake with its backend, the self-tests, and what is done about one that crashes there.

While a backend opens, a marker lies in the cache folder. A process that dies or is killed there leaves it behind; the
next one first opens the device in a child process, and when that crashes or hangs too, the plugin stays off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mlcore import config
from mlcore.backends.protocol import Backend, Device
from mlcore.dtype import DType
from mlcore.errors import DeviceBusyError, DeviceError, PluginError, did_you_mean
from mlcore.plugin import discovery, isolation
from mlcore.plugin.records import Record

on_open: Final[list[Callable[[Device], None]]] = []
"""Called with each device when it opens, before anybody gets it: the self-test. One that raises closes it."""


def open_backend(record: Record, device: Device, options: Mapping[str, str]) -> None:
    """Give `device` its backend, tested. Raises whatever the plugin raises, and PluginError for what fails a test."""
    plugin = discovery.load(record)
    unknown = [key for key in options if key not in plugin.options]
    if unknown:
        raise DeviceError(
            f"device {record.name!r} has no option {unknown[0]!r}{did_you_mean(unknown[0], plugin.options)}",
            options=", ".join(plugin.options) or "none",
        )
    _try_apart(record, device)
    with isolation.marked(record, isolation.OPENING):
        backend = plugin.open(device, dict(options))
        try:
            _check(record, backend)
            device.backend = backend
            _test(device)
        except BaseException:
            device.backend = None
            _close(backend)
            raise


def _test(device: Device) -> None:
    """The core's self-test, and the backend's own. What the device itself says there is a fault of the plugin's."""
    try:
        for check in on_open:
            check(device)
        own = getattr(device.backend, "self_test", None)
        if own is not None:
            own()
    except DeviceBusyError:
        raise
    except DeviceError as error:
        raise PluginError(f"its self-test: {error.what}: {error.details.get('cause', '')}") from error


def _check(record: Record, backend: Any) -> None:
    """Refuse what `open` returned when it is no backend."""
    names = [*(name for name in vars(Backend) if name[0] != "_"), *Backend.__annotations__]
    missing = [name for name in names if not hasattr(backend, name)]
    if missing:
        raise PluginError(
            f"what {record.source} opened is no backend: it is a {type(backend).__name__} without {', '.join(missing)}"
        )
    strange = [one for one in backend.dtypes if not isinstance(one, DType)]
    if strange or not backend.dtypes:
        raise PluginError(f"the dtypes of what {record.source} opened are {strange[:3] or 'none'}")


def _close(backend: Any) -> None:
    """Let a backend that is not wanted give up its device; it failed already, so it may fail at this too."""
    close = getattr(backend, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception as error:
        config.log.debug("closing after a failure: %r", error)


def _try_apart(record: Record, device: Device) -> None:
    """Where a process died while it opened this backend: see in a child process how it goes now."""
    if isolation.in_child() or record.entry_point is None or not isolation.died(record, isolation.OPENING):
        return
    from mlcore.plugin import child

    trouble = child.open_in_child(record, device.id, config.OPEN_TIMEOUT.get())
    if trouble:
        record.settle("crashed", *trouble)
        isolation.keep_proof(record)
        raise PluginError(record.reason)
