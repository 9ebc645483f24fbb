"""Looking at one plugin: load its light module, check that it fits, probe it. Whatever it raises, SystemExit
included, ends up in its record.
"""

from __future__ import annotations

import sys
import time
import traceback
from contextlib import redirect_stdout
from typing import Any

from mlcore._version import __version__
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
from mlcore.plugin.records import BACKENDS, CORE, DOMAINS, Record
from mlcore.plugin.requirements import satisfies, split, unmet


def examine(record: Record) -> None:
    """Load a plugin, check that it fits, and probe it. Whatever it raises ends up in the record."""
    if record.plugin is None:
        load_light(record)
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
        with redirect_stdout(sys.stderr):
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


def load_light(record: Record) -> None:
    started = time.perf_counter()
    assert record.entry_point is not None
    module = record.target.partition(":")[0]
    try:
        with redirect_stdout(sys.stderr):  # what a plugin has to say must not mix with the program's output
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
        f"leave it out with MLCORE_BACKENDS=!{record.short}" if record.group == BACKENDS else "uninstall it"
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
    if plugin.name != record.short:
        reason = f"the entry point is called {record.short!r}, the plugin calls itself {plugin.name!r}"
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
    name = record.short
    for info in found.devices:
        number = info.id.removeprefix(f"{name}:") if isinstance(info, DeviceInfo) else ""
        if not number.isdecimal():
            return (
                f"its probe lists the device {getattr(info, 'id', info)!r}; an id is {name}:0, {name}:1, ..."
            )
    return ""
