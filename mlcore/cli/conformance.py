"""``mlcore conformance BACKEND``: whether a backend does what the operations declare."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mlcore.cli.output import aligned, print_json

if TYPE_CHECKING:
    from mlcore.testing.report import Report
    from mlcore.testing.units import Result


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "conformance", help="check a backend against the declarations", description=__doc__
    )
    parser.add_argument("backend", help="a device's name")
    parser.add_argument("--level", type=int, choices=(0, 1, 2), default=1,
                        help="0 boots, 1 complete (the default), 2 measures the fast paths too")  # fmt: skip
    parser.add_argument("--report", metavar="FILE", help="write a JSON report")
    parser.add_argument(
        "--stamp", metavar="FILE", help="write the level reached, for the backend's package to ship"
    )
    parser.add_argument("--expect", metavar="FILE", help="a conformance.toml other than the backend's own")
    parser.add_argument("-k", dest="expression", default="", metavar="EXPR",
                        help="only units whose names match, e.g. 'values and not complex'")  # fmt: skip
    parser.add_argument("-n", dest="workers", type=int, default=1, metavar="N", help="run in N processes")
    parser.add_argument("--quick", action="store_true", help="fewer shapes and dtypes")
    parser.add_argument("--list", action="store_true", help="print the names of the units and stop")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from mlcore.testing.kit import Kit

    kit = Kit(arguments.backend, level=arguments.level, quick=arguments.quick, expectations=arguments.expect)
    if arguments.list:
        print("\n".join(unit.id for unit in kit.select(arguments.expression)))
        return 0
    started = time.monotonic()
    progress = _Progress(len(kit.select(arguments.expression)))
    report = kit.run(arguments.expression, workers=arguments.workers, progress=progress)
    progress.clear()
    if arguments.report:
        report.write(arguments.report)
    _stamp(report, arguments)
    if arguments.json:
        print_json(report.to_json())
        return 0 if report.ok else 1
    _print(report, time.monotonic() - started)
    if arguments.report:
        print(f"report: {arguments.report}, digest {report.to_json()['digest'][:16]}")
    return 0 if report.ok else 1


def _stamp(report: Report, arguments: argparse.Namespace) -> None:
    """Remember the level that a whole run has reached, and write it for others where that is wanted."""
    from mlcore.backends.request import parse_list
    from mlcore.errors import ArgumentError
    from mlcore.plugin import discovery
    from mlcore.testing import stamp

    if arguments.stamp and not report.whole:
        raise ArgumentError("--stamp needs a whole run", cause="-k leaves units out", fix="leave out -k")
    record = discovery.find_backend(parse_list(arguments.backend)[0].name)
    if record is None or not report.whole:
        return
    made = stamp.of(report, record)
    stamp.keep(made, record)
    if arguments.stamp:
        stamp.write(made, Path(arguments.stamp))


class _Progress:
    """One line that counts on a terminal; nothing where the output is a file."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self.shown = sys.stderr.isatty()

    def __call__(self, result: Result) -> None:
        self.done += 1
        self.failed += result.outcome in ("failed", "xpassed")
        if self.shown:
            text = f"{self.done}/{self.total} units, {self.failed} failed: {result.id}"
            print(f"\r{text:<78.78}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.shown:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)


def _print(report: Report, seconds: float) -> None:
    print("how each operation runs, in dtypes (. none):")
    print(report.table_text())
    print()
    if report.speed:
        rows = [("operation", "kernel µs", "composite µs", "ratio")]
        for one in sorted(report.speed, key=lambda one: -one["ratio"]):
            rows.append(
                (
                    one["op"],
                    f"{one['kernel'] * 1e6:.1f}",
                    f"{one['composite'] * 1e6:.1f}",
                    f"{one['ratio']:.2f}",
                )
            )
        print(aligned(rows))
        slow = sum(one["ratio"] > 1 for one in report.speed)
        print(
            f"fast paths slower than their composite: {slow} of {len(report.speed)} (measured now, never a failure)\n"
        )
    for text in (report.skips_text(), report.failures_text()):
        if text:
            print(f"{text}\n")
    print(f"{report.summary()}\n{seconds:.1f} s")
