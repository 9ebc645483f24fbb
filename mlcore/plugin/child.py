"""The child process in which plugins are loaded and probed before anybody trusts them (see isolation.py)."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import IO, Any, Final

from mlcore.config import log
from mlcore.plugin.examine import examine
from mlcore.plugin.isolation import CHILD
from mlcore.plugin.records import Record

START_LIMIT: Final = 60.0  # seconds for the child's interpreter to start, on a machine that is busy
MEMORY_LIMIT: Final = 2 << 30  # bytes that loading and probing plugins may take in the child
_BOOT: Final = (
    "import json, sys\n"
    "job = json.load(sys.stdin)\n"
    "sys.path[:] = job['path']\n"
    "from mlcore.plugin.child import main\n"
    "main(job['records'])\n"
)


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


def open_in_child(record: Record, device: str, limit: float) -> tuple[str, str, str] | None:
    """Open a device in a child process; reason, fix and traceback when that dies or does not end, else None.

    An error that the child reports in good order is none of this: it is met again, and told, in this process.
    """
    boot = (
        "import sys\n"
        "sys.path[:] = sys.argv[2:]\n"
        "import mlcore\n"
        "from mlcore.errors import MlcoreError\n"
        "try:\n"
        "    print(mlcore.ones((2,), device=sys.argv[1]).sum().item(), file=sys.stderr)\n"
        "except MlcoreError as error:\n"
        "    print(error, file=sys.stderr)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "MLCORE_DEVICE"} | {CHILD: "1"}
    name = device.replace(record.short, record.qualified, 1) if "/" not in device else device
    try:
        run = subprocess.run(
            [sys.executable, "-c", boot, name, *sys.path],
            env=environment, capture_output=True, timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"did not open {device} within {limit:g} s in a child process", _retry(record), ""
    except OSError as error:
        log.debug("no child process to open %s in: %s", device, error)
        return None
    if run.returncode == 0:
        return None
    how = f"{_ending(run.returncode)} while opening {device} in a child process"
    return how, _retry(record), run.stderr.decode(errors="replace")[-2000:].strip()


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
                if process.wait() == -signal.SIGINT:
                    raise KeyboardInterrupt  # the user ended it, not the plugin
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


def main(data: list[dict[str, Any]]) -> None:
    """The child's side: look at each plugin, and write a line before it and one with what came out."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a plugin prints must not mix with the report
    _limit_memory()
    for item in data:
        out.write(b"null\n")
        out.flush()
        record = Record(item["group"], item["name"], item["distribution"], item["version"], item["target"])
        record.entry_point = EntryPoint(record.short, record.target, record.group)
        examine(record)
        out.write(json.dumps(record.to_json()).encode() + b"\n")
        out.flush()
    os._exit(0)  # nothing of the plugins' may run at exit


def _limit_memory() -> None:
    """Let a probe that takes memory without end fail here, before the machine does. Where the system can do that."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT, hard)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    except (OSError, ValueError):
        log.debug("no limit of memory for probes")
