"""Looking at plugins without being harmed by them: in a child process until they have proved harmless.

A plugin that was never seen in this version is first loaded and probed in a child process. If it comes back,
however it ended, a proof is kept in the cache folder and later processes look at it directly, which costs
no process. While they do, a marker lies in the cache folder; a process that dies there leaves it behind, and
the next one goes back to a child. A plugin that crashed a child stays off until its version changes.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from mlcore import config
from mlcore.config import log
from mlcore.plugin.api import PLUGIN_API
from mlcore.plugin.records import Record

SLOW_MS: Final = 50.0
START_LIMIT: Final = 60.0  # seconds for the child's interpreter to start, on a machine that is busy
CHILD: Final = "MLCORE__PROBE_CHILD"  # set in the child, which must not start children of its own

_BOOT: Final = (
    "import json, sys\n"
    "job = json.load(sys.stdin)\n"
    "sys.path[:] = job['path']\n"
    "from mlcore.plugin.discovery import child_main\n"
    "child_main(job['records'])\n"
)


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
    config.remove_files([config.cache_dir() / _file(record), *folder.glob(f"{_stem(record)}.*.running")])


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
def marked(record: Record) -> Iterator[None]:
    """Leave a marker in the cache folder for as long as the plugin's code runs in this process."""
    name = f"probes/{_stem(record)}.{os.getpid()}.running"
    config.write_cache(name, boot_id().encode())
    try:
        yield
    finally:
        config.remove_files([config.cache_dir() / name])


def crashed_here_before(record: Record) -> bool:
    """Whether a process died while it looked at this plugin directly; clears its marker."""
    stale = False
    for path in (config.cache_dir() / "probes").glob(f"{_stem(record)}.*.running"):
        pid = path.name.removesuffix(".running").rpartition(".")[2]
        try:
            same_boot = path.read_text() == boot_id()
        except OSError:
            continue  # its owner has just finished
        if same_boot and pid.isdecimal() and _alive(int(pid)):
            continue
        config.remove_files([path])
        stale = True
    return stale


def _alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # os.kill would end it; a marker that stays only costs the next start a child
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# ---------------------------------------------------------------- the child process


def look_in_child(records: list[Record], limit: float) -> None:
    """Have a child process load and probe `records`, each within `limit` seconds, and enter what came out.

    When the child dies, the plugin it was at is `crashed`, and another child goes on with the rest. Where no
    child can be started, the rest stay `found`.
    """
    rest = list(records)
    while rest:
        done = _one_child(rest, limit)
        if done == 0:
            return
        rest = rest[done:]


def _one_child(records: list[Record], limit: float) -> int:
    job = {"path": sys.path, "records": [record.to_json() for record in records]}
    environment = {**os.environ, CHILD: "1"}
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
        except (OSError, ValueError) as error:  # no fork, no memory, no sys.executable
            log.debug("no child process to probe in: %s", error)
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        reader = threading.Thread(target=_drain, args=(process.stdout, lines.put), daemon=True)
        reader.start()
        try:
            try:
                process.stdin.write(json.dumps(job).encode())
                process.stdin.close()
            except OSError:
                pass  # it died at once; its exit status says so below
            return _follow(records, process, lines, limit, errors)
        finally:
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()


def _drain(stream: IO[bytes], put: Callable[[bytes], None]) -> None:
    for line in stream:
        put(line)
    put(b"")


def _follow(
    records: list[Record],
    process: subprocess.Popen[bytes],
    lines: queue.SimpleQueue[bytes],
    limit: float,
    errors: IO[bytes],
) -> int:
    """Enter what the child reports, line by line; returns how many of the records were dealt with."""
    begun = False
    for position, record in enumerate(records):
        while True:
            try:
                line = lines.get(timeout=limit if begun else START_LIMIT)
            except queue.Empty:
                if begun:
                    record.settle(
                        "crashed", f"did not finish loading and probing within {limit:g} s", _retry(record)
                    )
                return position + begun
            if not line:
                if begun:
                    how = _ending(process.wait())
                    record.settle(
                        "crashed", f"{how} while probing in a child process", _retry(record), _tail(errors)
                    )
                return position + begun
            message = json.loads(line)
            if message is None:
                begun = True
                continue
            record.update(message)
            begun = False
            break
    return len(records)


def _retry(record: Record) -> str:
    return f"it stays off until its version changes; to retry: mlcore doctor {record.name} --retry"


def _ending(status: int) -> str:
    """How a process ended, in words.

    >>> _ending(3)
    'ended the process (exit status 3)'
    """
    if status >= 0:
        return f"ended the process (exit status {status})"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"crashed ({name})"


def _tail(errors: IO[bytes], size: int = 2000) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - size))
    return errors.read().decode(errors="replace").strip()


def report_to_parent(data: list[dict[str, Any]], look: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The child's side: look at each plugin and write a line before it and one after."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a plugin prints must not mix with the report
    for item in data:
        out.write(b"null\n")
        out.flush()
        out.write(json.dumps(look(item)).encode() + b"\n")
        out.flush()
    os._exit(0)  # nothing of the plugins' may run at exit
