"""Looking at plugins without being harmed by them: in a child process until they have proved harmless.

A plugin that was never seen in this version is first loaded and probed in a child process. If it comes back,
however it ended, a proof is kept in the cache folder and later processes look at it directly, which costs
no process. While they do, a marker lies in the cache folder; a process that dies there leaves it behind, and
the next one goes back to a child. A plugin that crashed a child stays off until its version changes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mlcore import config
from mlcore.plugin.api import PLUGIN_API
from mlcore.plugin.probes import process_lives
from mlcore.plugin.records import Record

SLOW_MS: Final = 50.0
CHILD: Final = "MLCORE__PROBE_CHILD"  # set in the child, which must not start children of its own
RUNNING: Final = "running"  # the kinds of markers: while a plugin is loaded and probed
OPENING: Final = "opening"  # while it opens a device


def in_child() -> bool:
    """Whether this process was started to look at plugins."""
    return CHILD in os.environ


# ---------------------------------------------------------------- proofs


def proof_key(record: Record) -> dict[str, str]:
    """What a proof holds for: this version of the plugin's code, in this Python, on this system."""
    return {
        "plugin": record.source,
        "target": record.target,
        "code": _stamp(record.target),
        "python": f"{sys.implementation.cache_tag} {sys.platform}",
        "api": PLUGIN_API,
    }


def proof(record: Record) -> dict[str, Any]:
    """What is remembered about this version of the plugin; empty when it was never seen."""
    content = config.read_cache_json(_file(record))
    fits = content.get("key") == proof_key(record) and isinstance(content.get("record"), dict)
    return content if fits else {}


def known_to_crash(record: Record) -> bool:
    """Whether this version of the plugin crashed a child process."""
    known = proof(record)
    return bool(known) and known["record"].get("state") == "crashed"


def keep_proof(record: Record) -> None:
    """Remember how the plugin came out."""
    content = {
        "key": proof_key(record),
        "boot": boot_id(),
        "visible": visible(record.visible_env),
        "record": record.to_json(),
    }
    config.write_cache_json(_file(record), content)


def forget(record: Record) -> None:
    """Drop what is remembered, so that the plugin is looked at afresh."""
    folder = config.cache_dir() / "probes"
    markers = [path for kind in (RUNNING, OPENING) for path in folder.glob(f"{_stem(record)}.*.{kind}")]
    config.remove_files([config.cache_dir() / _file(record), *markers])


def visible(names: tuple[str, ...]) -> dict[str, str]:
    """The vendor's variables that hide devices, as they stand."""
    return {name: os.environ[name] for name in names if name in os.environ}


def boot_id() -> str:
    """A text that changes with every start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(round((time.time() - time.monotonic()) / 600))


def _stem(record: Record) -> str:
    text = f"{record.group}-{record.qualified}"
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in text)


def _file(record: Record) -> str:
    return f"probes/{_stem(record)}.json"


def _stamp(target: str) -> str:
    """The light module's size and time of change, found without importing its package."""
    import importlib.util

    module = target.partition(":")[0].strip()
    top, _, rest = module.partition(".")
    try:
        spec = importlib.util.find_spec(top)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        candidates = [Path(folder, *rest.split(".")) for folder in folders] if rest else []
        paths = [p for c in candidates for p in (c.with_suffix(".py"), c / "__init__.py")]
        if spec and spec.origin and not rest:
            paths.append(Path(spec.origin))
        stats = [path.stat() for path in paths if path.is_file()]
    except (ImportError, ValueError, OSError):
        return ""
    return ",".join(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats)


# ---------------------------------------------------------------- markers


@contextmanager
def marked(record: Record, kind: str = RUNNING) -> Iterator[None]:
    """Leave a marker in the cache folder for as long as the plugin's code runs in this process."""
    path = config.cache_dir() / f"probes/{_stem(record)}.{os.getpid()}.{kind}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(boot_id())
    except OSError as error:
        config.log.debug("no marker %s: %s", path, error)
    try:
        yield
    finally:
        config.remove_files([path])


def died(record: Record, kind: str = RUNNING) -> bool:
    """Whether a process died while it looked at this plugin directly, or opened a device of it; clears its marker."""
    stale = False
    for path in (config.cache_dir() / "probes").glob(f"{_stem(record)}.*.{kind}"):
        pid = path.name.removesuffix(f".{kind}").rpartition(".")[2]
        try:
            same_boot = path.read_text() == boot_id()
        except OSError:
            continue  # its owner has just finished
        if same_boot and pid.isdecimal() and process_lives(int(pid)):
            continue
        config.remove_files([path])
        stale = True
    return stale
