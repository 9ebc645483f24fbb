"""mlcore beside PyTorch: the same work on the same data, results compared first, then timed in alternation.

    python benchmarks/side_by_side.py [--quick] [--rows REGEX] [--threads N] [--device ID] [--out FOLDER] [--list]

Writes side_by_side.md and side_by_side.json into build/bench. Exit status 1 when a row is INVALID or did not run.
docs/performance.md says how to read the table.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mlcore_bench import fresh, machine, report, rows, timing


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = _parser().parse_args(words)
    pattern: re.Pattern[str] = chosen.rows
    if chosen.list:
        known = [
            *(f"{fresh.GROUP}: {name}" for name in fresh.names()),
            *(f"{row.group}: {row.name}" for row in rows.load()),
        ]
        print("\n".join(name for name in known if pattern.search(name)))
        return 0
    machine.set_threads(chosen.threads)
    if chosen.device:
        os.environ["MLCORE_DEVICE"] = chosen.device
    picked = [row for row in rows.load() if pattern.search(f"{row.group}: {row.name}")]
    if not picked and not any(pattern.search(f"{fresh.GROUP}: {name}") for name in fresh.names()):
        print(f"no row matches {pattern.pattern!r}; --list shows them", file=sys.stderr)
        return 2
    started = time.perf_counter()
    facts = machine.facts(chosen.threads)
    facts["command"] = shlex.join(["python", "benchmarks/side_by_side.py", *words])
    print("\n".join(report.head(facts)).replace("**", ""), end="\n\n", flush=True)
    results = run(picked, pattern, timing.QUICK if chosen.quick else timing.FULL, chosen.threads)
    facts["seconds"] = round(time.perf_counter() - started, 1)
    text, data = report.write(chosen.out, facts, results)
    print(f"\n{facts['seconds']:.0f} s; written: {text} and {data}")
    return 1 if any(one.state in (timing.INVALID, timing.FAILED) for one in results) else 0


def run(
    picked: Sequence[rows.Row], pattern: re.Pattern[str], effort: timing.Effort, threads: int
) -> list[timing.Result]:
    """Run the rows, printing each as it is done; fresh processes first, while this one is still small."""
    results = fresh.run(pattern, effort)
    for one in results:
        print(report.line(one), flush=True)
    machine.use_threads(threads)
    for row in picked:
        results.append(timing.run(row, effort))
        print(report.line(results[-1]), flush=True)
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples: done in two minutes")
    parser.add_argument(
        "--rows",
        type=_pattern,
        default=_pattern(""),
        metavar="REGEX",
        help="only rows that match, e.g. 'overhead'",
    )
    parser.add_argument(
        "--threads",
        type=_count,
        default=machine.cores(),
        metavar="N",
        help="threads of all libraries (default: all cores)",
    )
    parser.add_argument("--device", help="mlcore's device (default: as mlcore chooses)")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench"), metavar="FOLDER", help="where the report goes"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows, and stop")
    return parser


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
