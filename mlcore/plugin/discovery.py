"""Finding the installed plugins through their entry points, each on its own: one that fails harms nobody.

Nothing happens at import. The first question reads the metadata (milliseconds); a plugin's light module is
loaded when somebody needs to know its state. Every outcome is kept in a Record with its reason and fix.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from mlcore import config
from mlcore._version import __version__
from mlcore.config import log
from mlcore.errors import PluginError, did_you_mean
from mlcore.plugin import isolation
from mlcore.plugin.api import (
    STATES,
    BackendPlugin,
    DeviceInfo,
    DomainPlugin,
    Probe,
    ProbeContext,
    State,
    check_api,
)
from mlcore.plugin.records import Record, Records
from mlcore.plugin.requirements import satisfies, split, unmet

BACKENDS: Final = "mlcore.backends"
DOMAINS: Final = "mlcore.domains"
OPS: Final = "mlcore.ops"  # modules that declare operations
HOOKS: Final = "mlcore.hooks"  # objects that only implement hooks, such as a site's device policy
CORE: Final = "mlcore-core"

_lock = threading.RLock()
_groups: dict[str, Records] = {}
_provided: dict[str, Record] = {}  # backends made in this process: the core's own, a program's
_qualified: dict[str, Record] = {}  # duplicates that were asked for as dist/name


def backends(*, retry: bool = False, only: str | None = None) -> Records:
    """Every backend that is installed, with its state and reason. Light modules are loaded and probed; no
    backend is opened. `retry` looks again at those that crashed (or at `only`)."""
    return _look(BACKENDS, retry=retry, only=only)


def domains() -> Records:
    """Every domain plugin that is installed, with its state and reason. Their packages are not imported."""
    return _look(DOMAINS)


def load_hooks() -> None:
    """Load whatever may implement a hook, so that `hooks.call` reaches it."""
    for group in (HOOKS, DOMAINS, BACKENDS):
        _load_each(_look(group))


def load_policies() -> None:
    """Load the plugins of the group ``mlcore.hooks`` alone: cheap where none is installed."""
    _load_each(_look(HOOKS))


def load_ops() -> Records:
    """Import the modules of the group ``mlcore.ops``, which declare operations; their outcomes."""
    return _load_each(_look(OPS))


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
    """The record of a backend by its name or as ``dist/name``; None when none is installed.

    A duplicate is usable only by its full name: then it gets a record of its own.
    """
    records = backends()
    record = next((r for r in records if r.name == name), None)
    if record is not None or "/" not in name:
        return record
    with _lock:
        if name in _qualified:
            return _qualified[name]
        record = next((r for r in records if r.qualified == name), None)
        if record is None or record.state != "duplicate":
            return record
        own = Record(record.group, name, record.distribution, record.version, record.target)
        own.entry_point = record.entry_point
        _look_at([own], retry=False)
        own.devices = tuple(_renamed(info, name) for info in own.devices)
        _qualified[name] = own
        return own


def _renamed(info: DeviceInfo, name: str) -> DeviceInfo:
    return DeviceInfo.from_json({**info.to_json(), "id": f"{name}:{info.index}"})


def load(record: Record) -> Any:
    """The plugin's light object, loaded into this process; raises PluginError with the stored reason."""
    with _lock:
        if record.plugin is None and record.entry_point is not None and record.state != "disabled":
            with isolation.marked(record):
                _load(record)
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


def _scan(group: str) -> Records:
    from importlib.metadata import entry_points

    found = Records(_provided.values() if group == BACKENDS else ())
    for entry_point in entry_points(group=group):
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


def _look(group: str, *, retry: bool = False, only: str | None = None) -> Records:
    records = _groups.get(group)
    if records is not None and not retry and all(r.state != "found" for r in records):
        return records  # without the lock: nothing is left to do
    with _lock:
        records = _groups.get(group)
        if records is None:
            records = _groups[group] = _scan(group)
        if retry:
            for record in records:
                asked = only in (record.name, record.qualified) if only else record.state == "crashed"
                if asked and record.state not in ("disabled", "duplicate"):
                    isolation.forget(record)
                    record.settle("found")
        _look_at([r for r in records if r.state == "found"], retry=retry)
        return records


def _look_at(records: list[Record], *, retry: bool) -> None:
    """Bring each record from `found` to its state, in this process or in a child."""
    probed_apart = []
    for record in records:
        if record.group == OPS:
            record.settle("ready")  # declarations: loaded when the operations are wanted
        elif record.entry_point is None:
            _examine(record)
        elif _needs_child(record):
            probed_apart.append(record)
        else:
            _look_directly(record)
    if probed_apart:
        isolation.look_in_child(probed_apart, config.PROBE_TIMEOUT.get())
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
    crashed_here = isolation.crashed_here_before(record)
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
        _examine(record)
    if (record.probe_ms or 0.0) > isolation.SLOW_MS:
        isolation.keep_proof(record)  # the next process uses this answer, or asks in a child


def child_main(data: list[dict[str, Any]]) -> None:
    """What the child process runs (see mlcore.plugin.isolation)."""
    from importlib.metadata import EntryPoint

    def look(item: dict[str, Any]) -> dict[str, Any]:
        record = Record(item["group"], item["name"], item["distribution"], item["version"], item["target"])
        record.entry_point = EntryPoint(_short(record), record.target, record.group)
        _examine(record)
        return record.to_json()

    isolation.report_to_parent(data, look)


def _short(record: Record) -> str:
    return record.name.rpartition("/")[2]


def _examine(record: Record) -> None:
    """Load a plugin, check that it fits, and probe it. Whatever it raises ends up in the record."""
    if record.plugin is None:
        _load(record)
    else:
        _accept(record, record.plugin)
    if record.plugin is None or record.state != "found":
        return
    if record.group != BACKENDS:
        record.settle("ready")
        return
    started = time.perf_counter()
    _probe(record)
    record.probe_ms = round((time.perf_counter() - started) * 1e3, 3)


def _probe(record: Record) -> None:
    try:
        found = record.plugin.probe(ProbeContext(in_child=isolation.in_child()))
        problem = _check_probe(record, found)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:
        reason = f"{describe(failure)} while probing"
        record.settle("broken", reason, _leave_out(record), traceback.format_exc())
        return
    if problem:
        record.settle("broken", problem, _leave_out(record))
    else:
        record.apply(found)


def _load(record: Record) -> None:
    started = time.perf_counter()
    assert record.entry_point is not None
    module = record.target.partition(":")[0]
    try:
        plugin = record.entry_point.load()
        _accept(record, plugin)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as failure:
        missing = (failure.name or "").partition(".")[0]
        if missing in ("", "mlcore", module.partition(".")[0]):
            _broken(record, failure, module)
        else:
            reason = f"{module} imports {missing!r}, which is not installed"
            fix = f"install {missing!r}, or reinstall {record.distribution} with what it requires"
            record.settle("missing_dependency", reason, fix, traceback.format_exc())
    except BaseException as failure:  # SystemExit too: a plugin must not end its user's program
        _broken(record, failure, module)
    record.load_ms = round((time.perf_counter() - started) * 1e3, 3)


def _broken(record: Record, failure: BaseException, module: str) -> None:
    record.plugin = None
    record.settle(
        "broken", f"{describe(failure)} while loading {module}", _leave_out(record), traceback.format_exc()
    )


def describe(failure: BaseException) -> str:
    """One line: the kind of exception and its message.

    >>> describe(SystemExit(3))
    'raised SystemExit: 3'
    """
    lines = str(failure).strip().splitlines()
    return f"raised {type(failure).__name__}" + (f": {lines[0]}" if lines else "")


def traceback_text(failure: BaseException) -> str:
    """The traceback of an exception as text, for its record."""
    return "".join(traceback.format_exception(failure))


def _leave_out(record: Record) -> str:
    switch = (
        f"leave it out with MLCORE_BACKENDS=!{_short(record)}" if record.group == BACKENDS else "uninstall it"
    )
    return f"update or reinstall {record.distribution}, or {switch}"


def _accept(record: Record, plugin: Any) -> None:
    """Check the light object against this core and this installation, and register its hooks."""
    if record.group in (BACKENDS, DOMAINS):
        refusal = _check_plugin(record, plugin)
        if refusal is not None:
            record.settle(*refusal)
            return
    if record.group == BACKENDS:
        record.rank, record.visible_env = plugin.rank, tuple(plugin.visible_env)
    if any(hasattr(getattr(type(plugin), name, None), "mlcore_impl") for name in dir(type(plugin))):
        from mlcore.plugin import hooks

        hooks.register(plugin, f"{record.group}:{record.qualified}")
    record.plugin = plugin


def _check_plugin(record: Record, plugin: Any) -> tuple[State, str, str] | None:
    base = BackendPlugin if record.group == BACKENDS else DomainPlugin
    mismatch = check_api(getattr(plugin, "api", None))
    if mismatch:
        return (
            "incompatible_api",
            mismatch,
            f"install a version of {record.distribution} made for this mlcore",
        )
    if not isinstance(plugin, base):
        what = f"class {plugin.__name__}" if isinstance(plugin, type) else type(plugin).__name__
        reason = f"{record.target} is a {what}, not a {base.__name__} object"
        return "broken", reason, "end the module with `plugin = MyPlugin()` and name that object"
    if plugin.name != _short(record):
        reason = f"the entry point is called {_short(record)!r}, the plugin calls itself {plugin.name!r}"
        return "broken", reason, f"report this to the makers of {record.distribution}"
    if plugin.core and not satisfies(__version__, plugin.core):
        reason = f"needs {CORE}{plugin.core}; {__version__} is installed"
        return "incompatible_api", reason, f"pip install '{CORE}{plugin.core}'"
    for requirement in plugin.requires:
        missing = unmet(requirement)
        if missing:
            return "missing_dependency", missing, f"pip install '{requirement}'"
    for requirement in plugin.conflicts:
        if not unmet(requirement):
            name = split(requirement)[0]
            return (
                "broken",
                f"cannot be used beside {requirement}, which is installed",
                f"pip uninstall {name}",
            )
    return None


def _check_probe(record: Record, found: object) -> str:
    """What is wrong with a probe's answer; empty when nothing is."""
    if not isinstance(found, Probe):
        return f"its probe returned {type(found).__name__}, not a Probe"
    if found.state not in STATES:
        return f"its probe returned the unknown state {found.state!r}"
    if found.state == "ready" and not found.devices:
        return "its probe says ready and lists no device"
    name = _short(record)
    for info in found.devices:
        number = info.id.removeprefix(f"{name}:") if isinstance(info, DeviceInfo) else ""
        if not number.isdecimal():
            return (
                f"its probe lists the device {getattr(info, 'id', info)!r}; an id is {name}:0, {name}:1, ..."
            )
    return ""


def _after_fork() -> None:
    # Another thread of the parent may have held the lock; the child has no such thread.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

if sys.implementation.name != "cpython":  # pragma: no cover
    log.debug("plugins are probed by child processes of %s", sys.executable)
