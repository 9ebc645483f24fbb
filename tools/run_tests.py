"""Runs every suite of tests on the installed packages, one pytest run each, and prints the counts of all.

``run_tests.py [--pure FOLDER] [SUITE...]``: FOLDER holds the uncompiled core; without it, its suite is left
out. A suite that dies (a crash of the process, a collection error) counts as a failure. The exit status says
whether all passed; the last line has the form ``N passed, N failed, N skipped``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "reports"


@dataclass
class Suite:
    """One pytest run: its name, what it collects, and the environment it needs beside the usual one."""

    name: str
    paths: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)

    def present(self) -> bool:
        return any((ROOT / path).exists() for path in self.paths)


@dataclass
class Count:
    """What a suite came to."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""


def suites(pure: Path | None) -> list[Suite]:
    """All suites, in the order in which they run: the quick and telling ones first."""
    compiled = {"MLCORE__EXPECT": "compiled"}
    found = [Suite("core", ["tests"], compiled)]
    if pure is not None:
        uncompiled = {"MLCORE__EXPECT": "pure", "PYTHONPATH": str(pure.resolve())}
        # What looks at the source tree or at PyTorch says nothing new on the second build.
        once = ["--ignore=tests/packaging", "--ignore=tests/parity", "--ignore=tests/docs", "-m", "not slow"]
        found.append(Suite("core-uncompiled", ["tests"], uncompiled, once))
    found.append(Suite("backend-cpu", ["backend-cpu/tests"], compiled))
    plugins = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/tests"))
    found += [Suite(name, [f"plugins/{name}/tests"], compiled) for name in plugins]
    return found


def pytest_command() -> str:
    """The `pytest` beside this Python; `python -m pytest` would test the source tree."""
    beside = Path(sys.executable).parent / "pytest"
    return str(beside) if beside.exists() else (shutil.which("pytest") or "pytest")


def run(suite: Suite, options: list[str]) -> Count:
    """Run one suite and read its counts from the report that pytest leaves."""
    report = REPORTS / f"{suite.name}.xml"
    report.unlink(missing_ok=True)
    paths = [path for path in suite.paths if (ROOT / path).exists()]
    print(f"\n== {suite.name}: {' '.join(paths)}", flush=True)
    started = time.monotonic()
    status = subprocess.run(
        [pytest_command(), *paths, f"--junitxml={report}", *suite.options, *options],
        cwd=ROOT,
        env={**os.environ, **suite.environment},
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode
    count = Count(suite.name, seconds=time.monotonic() - started)
    if not report.exists():
        count.failed, count.note = 1, f"died with status {status}"
        return count
    for part in ElementTree.parse(report).iter("testsuite"):
        total, errors, failures = (int(part.get(key, 0)) for key in ("tests", "errors", "failures"))
        skipped = int(part.get("skipped", 0))
        count.failed += errors + failures
        count.skipped += skipped
        count.passed += total - errors - failures - skipped
    if status != 0 and not count.failed:
        count.failed, count.note = 1, f"pytest's exit status was {status}"
    return count


def table(counts: list[Count]) -> str:
    """The counts of every suite, and their sum as the last line."""
    lines = [f"{'suite':<18} {'passed':>8} {'failed':>8} {'skipped':>8} {'seconds':>9}"]
    for count in counts:
        line = (
            f"{count.name:<18} {count.passed:>8} {count.failed:>8} {count.skipped:>8} {count.seconds:>9.1f}"
        )
        lines.append(f"{line}  {count.note}".rstrip())
    passed, failed, skipped = (
        sum(getattr(c, key) for c in counts) for key in ("passed", "failed", "skipped")
    )
    return "\n".join([*lines, "", f"{passed} passed, {failed} failed, {skipped} skipped"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pure", type=Path, help="the folder of the uncompiled core")
    parser.add_argument("--pytest", default="", help="more options for pytest, as one string")
    parser.add_argument("suites", nargs="*", help="names of suites (all)")
    arguments = parser.parse_args()
    known = {suite.name: suite for suite in suites(arguments.pure) if suite.present()}
    unknown = set(arguments.suites) - set(known)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    REPORTS.mkdir(parents=True, exist_ok=True)
    counts = [run(known[name], arguments.pytest.split()) for name in arguments.suites or known]
    print(f"\n{table(counts)}", flush=True)
    return 0 if counts and not any(count.failed for count in counts) and any(c.passed for c in counts) else 1


if __name__ == "__main__":
    sys.exit(main())
