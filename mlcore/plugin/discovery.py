"""Finding the installed plugins through their entry points, each on its own: one that fails harms nobody.

Nothing happens at import. The first question reads the metadata (milliseconds); a plugin's light module is
loaded when somebody needs to know its state. Every outcome is kept in a Record with its reason and fix.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

from mlcore import config
from mlcore.config import log
from mlcore.errors import PluginError, did_you_mean
from mlcore.plugin import isolation
from mlcore.plugin.api import BackendPlugin, DeviceInfo
from mlcore.plugin.examine import examine, load_light
from mlcore.plugin.records import BACKENDS, DOMAINS, HOOKS, OPS, Record, Records

_lock = threading.RLock()
_groups: dict[str, Records] = {}
_provided: dict[str, Record] = {}  # backends made in this process: the core's own, a program's
_qualified: dict[str, Record] = {}  # duplicates that were asked for as dist/name


def backends() -> Records:
    """Every backend that is installed, with its state and reason. Light modules are loaded and probed; no
    backend is opened.

    >>> [record.state for record in backends() if record.builtin]
    ['ready']
    """
    return _look(BACKENDS)


def domains() -> Records:
    """Every domain plugin that is installed, with its state and reason. Their packages are not imported.

    >>> {record.group for record in domains()} <= {"mlcore.domains"}
    True
    """
    return _look(DOMAINS)


def retry(name: str | None = None) -> None:
    """Forget what is remembered about the plugin of that name, or about all that crashed, so that the next
    question looks at it again."""
    with _lock:
        for record in (*_records(BACKENDS), *_records(DOMAINS)):
            if name in (record.name, record.qualified) if name else isolation.known_to_crash(record):
                isolation.forget(record)
        reset()


def load_hooks() -> None:
    """Load whatever may implement a hook, so that `hooks.call` reaches it."""
    for group in (HOOKS, DOMAINS, BACKENDS):
        _load_each(_look(group))


def load_policies() -> None:
    """Load the plugins of the group ``mlcore.hooks`` alone: cheap where none is installed."""
    _load_each(_look(HOOKS))


def notify(hook: str, **arguments: Any) -> list[tuple[str, Any]]:
    """`hooks.call` for the plugins that are loaded already: nothing is loaded for its sake."""
    if "mlcore.plugin.hooks" not in sys.modules:
        return []  # a plugin with hooks has imported it
    from mlcore.plugin import hooks

    return hooks.call(hook, **arguments)


def load_ops() -> Records:
    """Import the modules of the group ``mlcore.ops``, which declare operations; their outcomes."""
    return _load_each(_look(OPS))


def declares_ops() -> bool:
    """Whether a distribution declares operations; none of them is loaded for the answer."""
    return bool(_records(OPS))


def _load_each(records: Records) -> Records:
    for record in records:
        if record.state in ("ready", "no_hardware", "driver_too_old"):
            try:
                load(record)
            except PluginError:
                log.warning("plugin %s (%s) is left out: %s", record.name, record.source, record.reason)
    return records


def provide(plugin: BackendPlugin, distribution: str = "this program", version: str = "") -> Record:
    """Make a backend known that no entry point names. The core provides its reference backend so; a program
    or a test may provide one of its own."""
    record = Record(BACKENDS, plugin.name, distribution, version, f"{type(plugin).__module__}:{plugin.name}")
    record.plugin = plugin
    with _lock:
        _provided[plugin.name] = record
        _groups.pop(BACKENDS, None)
    return record


def find_backend(name: str) -> Record | None:
    """The record of a backend by its name or as ``dist/name``; None when none is installed. Looks at no
    other one.

    A duplicate is usable only by its full name: then it gets a record of its own.
    """
    with _lock:
        if name in _qualified:
            return _qualified[name]
        records = _records(BACKENDS)
        record = next((r for r in records if r.name == name), None) or records.named(name)
        if record is None or record.state not in ("found", "duplicate"):
            return record
        if record.state == "duplicate":
            if record.name == name:
                return record
            original = record
            record = Record(BACKENDS, name, original.distribution, original.version, original.target)
            record.entry_point = original.entry_point
            _qualified[name] = record
        _look_at([record])
        if record.name != record.short:
            record.devices = tuple(_renamed(info, name) for info in record.devices)
        return record


def _renamed(info: DeviceInfo, name: str) -> DeviceInfo:
    return DeviceInfo.from_json({**info.to_json(), "id": f"{name}:{info.index}"})


def load(record: Record) -> Any:
    """The plugin's light object, loaded into this process; raises PluginError with the stored reason."""
    with _lock:
        if record.plugin is None and record.entry_point is not None and record.state != "disabled":
            with isolation.marked(record):
                load_light(record)
        if record.plugin is None:
            raise error(record)
        return record.plugin


def error(record: Record) -> PluginError:
    """The stored reason as an exception."""
    what = "backend" if record.group == BACKENDS else "plugin"
    return PluginError(
        f"{what} {record.name!r} ({record.source}) is not usable, state {record.state}",
        cause=record.reason,
        fix=record.fix,
        more=f"mlcore doctor {record.name}",
    )


def reset() -> None:
    """Forget everything found, so that the next question looks again (for tests, and after installing)."""
    with _lock:
        _groups.clear()
        _metadata.clear()
        _qualified.clear()


def unknown_filters() -> list[str]:
    """A line for each name in MLCORE_BACKENDS that no installed backend has."""
    known = {name for record in _look(BACKENDS) for name in (record.name, record.qualified)}
    names = [item.lstrip("!") for item in config.BACKENDS.get()]
    return [
        f"MLCORE_BACKENDS names {name!r}, which is not installed{did_you_mean(name, known)}"
        for name in names
        if name not in known
    ]


# ---------------------------------------------------------------- the scan


_metadata: list[Any] = []  # the entry points of every distribution: reading them is what takes time


def _scan(group: str) -> Records:
    from importlib.metadata import entry_points

    if not _metadata:
        _metadata.append(entry_points())
    found = Records(_provided.values() if group == BACKENDS else ())
    for entry_point in _metadata[0].select(group=group):
        try:
            dist = entry_point.dist
            name, version = (dist.name or "", dist.version or "") if dist else ("", "")
        except Exception as problem:  # a broken METADATA file: name the plugin all the same
            log.debug("metadata of entry point %s: %s", entry_point.name, problem)
            name, version = "", ""
        record = Record(group, entry_point.name, name or "unknown", version, entry_point.value)
        record.entry_point = entry_point
        found.append(record)
    _disable(group, found)
    _mark_duplicates(found)
    found.sort(key=lambda record: (record.name, record.distribution))
    return found


def _disable(group: str, records: Iterable[Record]) -> None:
    off = not config.PLUGINS.get()
    allow, deny = _filters() if group == BACKENDS else (set(), set())
    for record in records:
        names = {record.name, record.qualified}
        if record.entry_point is None:
            continue  # the core's own is always there
        if off:
            record.settle("disabled", "MLCORE_PLUGINS is off", "unset MLCORE_PLUGINS")
        elif names & deny:
            record.settle("disabled", f"MLCORE_BACKENDS excludes {record.name!r}", _unfilter(record))
        elif allow and not names & allow:
            reason = f"MLCORE_BACKENDS allows only {', '.join(sorted(allow))}"
            record.settle("disabled", reason, _unfilter(record))


def _filters() -> tuple[set[str], set[str]]:
    items = config.BACKENDS.get()
    deny = {item[1:].strip() for item in items if item.startswith("!")}
    return {item for item in items if not item.startswith("!")}, deny


def _unfilter(record: Record) -> str:
    return f"unset MLCORE_BACKENDS, or let it name {record.name!r}"


def _mark_duplicates(records: Records) -> None:
    rivals = [record for record in records if record.state != "disabled"]
    counts = Counter(record.name for record in rivals)
    for record in rivals:
        if counts[record.name] < 2 or record.entry_point is None:
            continue
        sources = sorted(r.source or "the core" for r in rivals if r.name == record.name)
        record.settle(
            "duplicate",
            f"{len(sources)} distributions provide {record.name!r}: {', '.join(sources)}",
            f"ask for {record.qualified!r}, or uninstall one, or MLCORE_BACKENDS=!{record.qualified}",
        )


# ---------------------------------------------------------------- looking at plugins


def _records(group: str) -> Records:
    with _lock:
        records = _groups.get(group)
        if records is None:
            records = _groups[group] = _scan(group)
        return records


def _look(group: str) -> Records:
    records = _groups.get(group)
    if records is not None and all(record.state != "found" for record in records):
        return records  # without the lock: nothing is left to do
    with _lock:
        records = _records(group)
        _look_at([record for record in records if record.state == "found"])
        return records


def _look_at(records: list[Record]) -> None:
    """Bring each record from `found` to its state, in this process or in a child."""
    probed_apart = []
    for record in records:
        if record.group == OPS:
            record.settle("ready")  # declarations: loaded when the operations are wanted
        elif record.entry_point is None:
            examine(record)
        elif _needs_child(record):
            probed_apart.append(record)
        else:
            _look_directly(record)
    if probed_apart:
        from mlcore.plugin import (
            child,
        )  # subprocess and its kin: not needed once a plugin has proved harmless

        child.look_in_child(probed_apart, config.PROBE_TIMEOUT.get())
    for record in probed_apart:
        if record.state == "found":  # no child process could be started
            _look_directly(record)
            continue
        isolation.keep_proof(record)
        if record.state == "crashed":
            log.warning("plugin %s (%s) is off: it %s", record.name, record.source, record.reason)


def _needs_child(record: Record) -> bool:
    """Whether to look at the plugin in a child process; a remembered outcome that still holds is entered."""
    if isolation.in_child():
        return False
    crashed_here = isolation.died(record)
    known = isolation.proof(record)
    if not known:
        return True
    outcome = known["record"]
    slow = (outcome.get("probe_ms") or 0.0) > isolation.SLOW_MS
    same_machine = known.get("boot") == isolation.boot_id()
    same_view = known.get("visible") == isolation.visible(tuple(outcome.get("visible_env", ())))
    remembered = outcome["state"] == "crashed" or (
        slow and outcome["state"] == "ready" and same_machine and same_view
    )
    if remembered:
        record.update(outcome)
        return False
    return crashed_here or slow or config.SAFE_PROBE.get()


def _look_directly(record: Record) -> None:
    if record.state != "found":
        return  # a remembered outcome
    with isolation.marked(record):
        examine(record)
    if (record.probe_ms or 0.0) > isolation.SLOW_MS:
        isolation.keep_proof(record)  # the next process uses this answer, or asks in a child


def _after_fork() -> None:
    # Another thread of the parent may have held the lock; the child has no such thread.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
