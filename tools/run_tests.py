"""Runs every suite of tests on the installed packages, and prints the counts of all.

``run_tests.py [--pure FOLDER] [--bare FOLDER] [--strict FOLDER] [SUITE...]``: the folders hold the uncompiled core,
backend-cpu without oneDNN, and a backend that only tests need; without them, their suites are left out. With ``--legs
FOLDER`` the suites are those of the legs instead (tools/legs.py), whose environments lie in the folder. A suite is a
run of pytest or of the conformance kit. One that dies (a crash of the process, a collection error) counts as a
failure. The exit status says whether all passed; the last line has the form ``N passed, N failed, N skipped``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legs import Leg, base_suites, legs, python_of

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "reports"
LIMIT = 1800.0  # seconds of a suite; single tests have shorter limits, which cannot end a hang inside C


@dataclass
class Suite:
    """One run: its name, its command, and the environment it needs beside the usual one."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    suffix: str = ".xml"

    @property
    def report(self) -> Path:
        return REPORTS / f"{self.name}{self.suffix}"


@dataclass
class Count:
    """What a suite came to."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""


def suites(pure: Path | None, bare: Path | None, strict: Path | None) -> list[Suite]:
    """All suites, in the order in which they run: the quick and telling ones first."""
    compiled = {"MLCORE__EXPECT": "compiled"}
    once = said_once()
    most = [f"--ignore={path}" for path in once]
    found = [pytest("core", ["tests", *most], compiled)]
    if pure is not None:
        uncompiled = {"MLCORE__EXPECT": "pure", "PYTHONPATH": str(pure.resolve())}
        found.append(pytest("core-uncompiled", ["tests", *most, "-m", "not slow"], uncompiled))
    found.append(pytest("core-once", once, compiled))
    for folder, elsewhere in base_suites().items():
        ignored = [f"--ignore={part}" for part in elsewhere]
        found.append(pytest(Path(folder).name, [f"{folder}/tests", *ignored], compiled))
    found += [conformance("reference"), conformance("cpu")]
    if bare is not None:
        without = {"MLCORE_CPU__EXPECT": "without-onednn", "PYTHONPATH": str(bare.resolve())}
        found.append(
            pytest("backend-cpu-bare", ["backend-cpu/tests", "-m", "not slow"], {**compiled, **without})
        )
        found.append(conformance("cpu", "conformance-bare", "--quick", **without))
    if strict is not None:
        found.append(conformance("strict", PYTHONPATH=str(strict.resolve())))
    return found


def said_once() -> list[str]:
    """Tests that say nothing new on the core's second build: they look at the source tree, at PyTorch, at files, or at
    the kit itself."""
    folders = ("packaging", "parity", "docs", "conformance", "backends", "benchmarks", "hostile")
    beside = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/test_parity_*.py"))
    found = [f"tests/{folder}" for folder in folders]
    return found + [path for path in beside if not path.startswith(tuple(found))]


def suites_of(leg: Leg, environments: Path) -> list[Suite]:
    """The tests of a leg's package and the conformance kit on its devices, in the leg's environment."""
    python = str(python_of(environments.resolve() / leg.title))
    more = {**leg.environment, "MLCORE_LEG": leg.name}
    found = []
    if leg.test_folders:
        # -P: not the source tree beside this program, but what the environment has.
        suite = Suite(f"{leg.title}-tests", [python, "-P", "-m", "pytest", *leg.test_folders], more)
        suite.command.append(f"--junitxml={suite.report}")
        found.append(suite)
    for device in leg.conformance:
        suite = conformance(device, f"{leg.title}-{device}", "--level", "1", **more)
        suite.command[:1] = [python, "-P", "-m", "mlcore"]
        found.append(suite)
    return found


def beside(name: str) -> str:
    """A program installed beside this Python. `python -m pytest` would test the source tree instead."""
    return str(Path(sys.executable).parent / name)


def pytest(name: str, arguments: list[str], environment: dict[str, str]) -> Suite:
    suite = Suite(name, [beside("pytest"), *arguments], environment)
    suite.command.append(f"--junitxml={suite.report}")
    return suite


def conformance(device: str, name: str = "", *options: str, **environment: str) -> Suite:
    """The conformance kit on a device, as anybody would run it."""
    command = [beside("mlcore"), "conformance", device, *options]
    suite = Suite(name or f"conformance-{device}", command, suffix=".json")
    suite.environment = {"MLCORE_FALLBACK": "error", "MLCORE_CONFIG": "off", **environment}
    suite.command += ["-n", str(os.cpu_count() or 1), "--report", str(suite.report)]
    return suite


def run_all(chosen: list[Suite], options: list[str], at_once: int) -> list[Count]:
    """The counts of the suites, in their order. Where several run at once, each prints when it ends."""
    lock = threading.Lock()

    def one(suite: Suite) -> Count:
        if at_once == 1:
            print(f"\n== {suite.name}", flush=True)
            return run(suite, options)
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            count = run(suite, options, output)
            with lock:
                print(f"\n== {suite.name}", flush=True)
                output.seek(0)
                shutil.copyfileobj(output, sys.stdout)
        return count

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, chosen))


def run(suite: Suite, options: list[str], output: Any = None) -> Count:
    """Run one suite and read its counts from the report that it leaves."""
    suite.report.unlink(missing_ok=True)
    command = [*suite.command, *(options if suite.suffix == ".xml" else [])]
    started = time.monotonic()
    environment = {**os.environ, **suite.environment}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, stdout=output,
        stderr=subprocess.STDOUT if output else None,
    )  # fmt: skip
    try:
        status = process.wait(timeout=LIMIT)
    except BaseException:  # its children, too, and also when it is this program that is interrupted
        os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        if time.monotonic() - started < LIMIT:
            raise
    count = Count(suite.name, seconds=time.monotonic() - started)
    if not suite.report.exists():
        count.failed, count.note = 1, f"died with status {status}"
        return count
    (read_pytest if suite.suffix == ".xml" else read_conformance)(suite.report, count)
    if status != 0 and not count.failed:
        count.failed, count.note = 1, f"exit status {status}"
    return count


def read_pytest(report: Path, count: Count) -> None:
    for part in ElementTree.parse(report).iter("testsuite"):
        total, errors, failures, skipped = (
            int(part.get(key, 0)) for key in ("tests", "errors", "failures", "skipped")
        )
        count.failed += errors + failures
        count.skipped += skipped
        count.passed += total - errors - failures - skipped


def read_conformance(report: Path, count: Count) -> None:
    content = json.loads(report.read_text(encoding="utf-8"))
    units = content["counts"]
    count.passed = units["passed"] + units["xfailed"]
    count.failed = units["failed"] + units["xpassed"]
    count.skipped = units["skipped"]
    level = content["achieved"]
    count.note = f"{content['cases']:,} cases, {'no level' if level is None else f'level {level}'}"


def table(counts: list[Count]) -> str:
    """The counts of every suite, and their sum as the last line."""
    width = max(18, *(len(count.name) for count in counts))
    lines = [f"{'suite':<{width}} {'passed':>8} {'failed':>8} {'skipped':>8} {'seconds':>9}"]
    for count in counts:
        line = f"{count.name:<{width}} {count.passed:>8} {count.failed:>8} {count.skipped:>8} {count.seconds:>9.1f}"
        lines.append(f"{line}  {count.note}".rstrip())
    passed, failed, skipped = (
        sum(getattr(c, key) for c in counts) for key in ("passed", "failed", "skipped")
    )
    return "\n".join([*lines, "", f"{passed} passed, {failed} failed, {skipped} skipped"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pure", type=Path, help="the folder of the uncompiled core")
    parser.add_argument("--bare", type=Path, help="the folder of backend-cpu without oneDNN")
    parser.add_argument("--strict", type=Path, help="the folder of the backend made of array-api-strict")
    parser.add_argument("--legs", type=Path, help="run the legs' suites, whose environments are here")
    parser.add_argument("--at-once", type=int, default=1, help="how many suites run at the same time (1)")
    parser.add_argument("--pytest", default="", help="more options for pytest, as one string")
    parser.add_argument("suites", nargs="*", help="names of suites (all)")
    arguments = parser.parse_args()
    whole: dict[str, list[str]] = {}  # a leg's title stands for its suites
    if arguments.legs is not None:
        found = []
        for leg in legs():
            found += (own := suites_of(leg, arguments.legs))
            whole[leg.title] = [suite.name for suite in own]
    else:
        found = suites(arguments.pure, arguments.bare, arguments.strict)
    chosen = [name for given in arguments.suites for name in whole.get(given, [given])]
    known = {suite.name: suite for suite in found}
    unknown = set(chosen) - set(known)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    REPORTS.mkdir(parents=True, exist_ok=True)
    counts = run_all([known[name] for name in chosen or known], arguments.pytest.split(), arguments.at_once)
    print(f"\n{table(counts)}", flush=True)
    return 0 if counts and not any(count.failed for count in counts) and any(c.passed for c in counts) else 1


if __name__ == "__main__":
    sys.exit(main())
