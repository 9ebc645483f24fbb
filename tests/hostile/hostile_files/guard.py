"""What a reader may do with a file that nobody trusts, and what it may cost; for the corpus and for fuzzing.

An audit hook sees what Python does on the reader's behalf. While a guard is on, everything that would run, load, write
or talk is a violation, and so is opening any file but those of the one folder. Hooks cannot be removed: ours looks at
one variable while nothing is guarded.
"""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlcore.errors import MlcoreError

MEBI = 1 << 20
ALLOWED = 64 * MEBI  # bytes, beside four times the file
SECONDS = 10.0  # of processor time; the promise is 1, the machine may be slow and watched

# Events of the audit hook that a reader has no use for (Python's library reference, "Audit events table").
RUNS = (
    "exec", "compile", "marshal.", "pickle.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn",
    "os.startfile", "subprocess.", "pty.", "ctypes.", "code.__new__", "function.__new__",
        "cpython._PySys_ClearAuditHooks",
    "sys.setprofile", "sys.settrace", "sys.addaudithook", "gc.", "builtins.input", "builtins.breakpoint",
        "signal.pthread_kill",
    "os.kill", "os.killpg", "setopencodehook", "winreg.", "_winapi.",
)  # fmt: skip
TALKS = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "imaplib.", "poplib.", "telnetlib.", "webbrowser.",
         "sqlite3.", "syslog.")  # fmt: skip
WRITES = (
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate",
    "os.utime", "os.setxattr", "os.removexattr", "os.putenv", "os.unsetenv", "os.chdir", "os.fchdir", "shutil.",
        "tempfile.",
    "fcntl.", "resource.setrlimit",
)  # fmt: skip
FORBIDDEN = RUNS + TALKS + WRITES
_LOOKS = {"fcntl.fcntl", "code.__new__"}  # the first is how Python asks for a file's flags


@dataclass
class Guard:
    """What happened while it was on."""

    folder: str
    limit: int
    violations: list[str] = field(default_factory=list)
    peak: int = 0
    seconds: float = 0.0


_on: Guard | None = None
_installed = False
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Violation(BaseException):
    """Not an Exception: no reader may take it for a damaged file."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    guard = _on
    if guard is None:
        return
    problem = ""
    if event == "open":
        problem = _opened(guard, *arguments)
    elif event == "import":
        problem = f"import of {arguments[0]!r}"
    elif event.startswith(FORBIDDEN) and event not in _LOOKS:
        problem = f"{event}{arguments!r:.200}"
    if problem:
        guard.violations.append(problem)
        raise Violation(problem)


def _opened(guard: Guard, path: Any, mode: Any, flags: Any) -> str:
    if isinstance(path, int):  # a file that is open already
        return ""
    place = os.path.realpath(os.fsdecode(path))
    if (isinstance(flags, int) and flags & _WRITING) or (isinstance(mode, str) and set(mode) & set("wax+")):
        return f"opened {place} to write"
    inside = place == guard.folder or place.startswith(guard.folder + os.sep)
    return "" if inside else f"opened {place}, outside of {guard.folder}"


@contextmanager
def guarded(folder: Path, *, size: int = 0, memory: bool = True) -> Iterator[Guard]:
    """Run a block under the guard. Whatever it raises passes; look at the guard afterwards."""
    global _on, _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    guard = Guard(os.path.realpath(folder), ALLOWED + 4 * size)
    if memory:
        tracemalloc.start()
    started = time.process_time()
    _on = guard
    try:
        yield guard
    finally:
        _on = None
        guard.seconds = time.process_time() - started
        if memory:
            guard.peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()


def snapshot(folder: Path) -> dict[str, Any]:
    """What lies in a folder: names, kinds, sizes, times of writing, and the first bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        head = _head(path) if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_size, status.st_mtime_ns, head)
    return found


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(65536)


def refused(read: Callable[[], Any], folder: Path, size: int) -> tuple[MlcoreError | None, Guard]:
    """Run `read` under the guard; its error if that is one of ours, None if there was none. Others pass."""
    error: MlcoreError | None = None
    with guarded(folder, size=size) as guard:
        try:
            read()
        except MlcoreError as found:
            error = found
    return error, guard
