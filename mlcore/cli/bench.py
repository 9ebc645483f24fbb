"""``mlcore bench --against torch``: mlcore beside PyTorch, results compared first, then timed in alternation.

Writes side_by_side.md and side_by_side.json. Exit status 1 when a row is INVALID or did not run, 2 when nothing
could be. docs/performance.md says how the rows are made and how to read the table.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import time
from pathlib import Path

from mlcore.cli.output import print_json

RIVALS = ("torch",)


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "bench", help="mlcore beside PyTorch: time, memory, and what is left to the machine's limit",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--against", choices=RIVALS, default="torch", help="what the ratios are against")
    parser.add_argument(
        "--quick", action="store_true", help="fewer rows, fewer and shorter samples: two minutes"
    )
    parser.add_argument("--rows", type=_pattern, default=_pattern(""), metavar="REGEX",
                        help="only rows whose 'group: name' matches, e.g. 'overhead'")  # fmt: skip
    parser.add_argument("--threads", type=_threads, default=None, metavar="1|all|both|N",
                        help="threads of all libraries (default: both; with --quick all)")  # fmt: skip
    parser.add_argument("--device", help="mlcore's device (default: as mlcore chooses)")
    parser.add_argument("--compile", action="store_true", help="PyTorch's torch.compile too; takes long")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="FOLDER",
                        help="where the report goes")  # fmt: skip
    parser.add_argument("--page", type=Path, metavar="FILE",
                        help="also put the report between the marks of a page: docs/performance.md")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print the names of the rows, and stop")
    parser.add_argument(
        "--json", action="store_true", help="print the report as JSON, and progress on stderr"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from mlcore.bench import machine, report, session, timing

    effort = timing.QUICK if arguments.quick else timing.FULL
    cores = machine.cores()
    threads = arguments.threads or ("all" if arguments.quick else "both")
    counts = {"1": [1], "all": [cores], "both": sorted({1, cores})}.get(threads) or [int(threads)]
    plan = session.Plan(arguments.rows, counts, effort, arguments.device, arguments.compile)
    if not (names := plan.names()):
        print(f"no row matches {arguments.rows.pattern!r}; --list shows them", file=sys.stderr)
        return 2
    if arguments.list:
        print("\n".join(names))
        return 0
    if arguments.page:
        report.check_page(arguments.page)
    out = sys.stderr if arguments.json else sys.stdout

    def say(text: str) -> None:
        print(text, file=out, flush=True)

    facts = machine.facts(arguments.device, _command(arguments))
    say("\n".join(report.head(facts)).replace("**", "") + "\n")
    started, results = time.perf_counter(), []
    try:
        for one in session.run(plan, facts, say):
            results.append(one)
            say(report.line(one))
    except KeyboardInterrupt:  # what was measured is not lost
        report.write(arguments.out, facts, results)
        raise
    facts["seconds"] = round(time.perf_counter() - started, 1)
    text, data = report.write(arguments.out, facts, results)
    if arguments.page:
        report.write_page(arguments.page, facts, results)
    if arguments.json:
        print_json(report.as_json(facts, results))
    else:
        say("\n" + "\n".join(report.summary(results)))
    say(f"\n{facts['seconds']:.0f} s; written: {text} and {data}")
    return 1 if any(one.state in (timing.INVALID, timing.FAILED) for one in results) else 0


def _command(arguments: argparse.Namespace) -> str:
    """The command that makes this report again."""
    words = ["mlcore", "bench", "--against", arguments.against]
    words += [f"--{name}" for name in ("quick", "compile") if getattr(arguments, name)]
    for name in ("threads", "device"):
        if getattr(arguments, name):
            words += [f"--{name}", getattr(arguments, name)]
    if arguments.rows.pattern:
        words += ["--rows", arguments.rows.pattern]
    return shlex.join(words)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


def _threads(text: str) -> str:
    if text not in ("all", "both") and not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads; 1, all, both or another number")
    return text
