"""``mlcore schedule``: a learning-rate schedule as a curve, before it is used.

mlcore schedule OneCycleLR max_lr=0.1 total_steps=100
mlcore schedule LinearLR start_factor=0.01 total_iters=10 at 10 CosineAnnealingLR T_max=90
mlcore schedule training:schedule --steps 500        (a function of the optimizer)
mlcore schedule ReduceLROnPlateau patience=1 --losses 3,2,2,2,1
"""

from __future__ import annotations

import argparse
import shutil
import sys

from mlcore.cli.chart import EIGHTHS, chart
from mlcore.cli.output import print_json, print_pairs


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "schedule", help="draw a learning-rate schedule before it is used",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "spec",
        nargs="+",
        metavar="SPEC",
        help="a schedule with name=value, or module:function; at N, the next",
    )
    parser.add_argument(
        "--steps", type=int, help="how many steps (default: the schedule's own length, or 100)"
    )
    parser.add_argument("--lr", type=float, default=0.1, help="the optimizer's rate (default: 0.1)")
    parser.add_argument("--losses", type=_numbers, metavar="A,B,...", help="what ReduceLROnPlateau is told")
    parser.add_argument("--log", action="store_true", help="a logarithmic axis")
    parser.add_argument("--momentum", action="store_true", help="draw the momentum too")
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters")
    parser.add_argument("--width", type=int, help="columns of the chart (default: the terminal's)")
    parser.add_argument("--height", type=int, default=12, help="rows of the chart (default: 12)")
    parser.add_argument("--json", action="store_true", help="print the rates as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from mlcore.optim.lr_scheduler import preview

    schedule = preview.build(arguments.spec, lr=arguments.lr)
    steps = preview.length(schedule) if arguments.steps is None else arguments.steps
    rates, momenta = preview.follow(schedule, steps, arguments.losses)
    if arguments.json:
        print_json(
            {"schedule": " ".join(arguments.spec), "steps": len(rates) - 1, "lr": rates, "momentum": momenta}
        )
        return 0
    print(f"{' '.join(arguments.spec)}\n")
    width = arguments.width or min(100, shutil.get_terminal_size().columns - 12)
    size = dict(
        width=max(10, width), height=max(2, arguments.height), ascii_only=arguments.ascii or not _drawable()
    )
    print("\n".join(chart(rates, log=arguments.log, **size)))
    if arguments.momentum:
        print("\nmomentum\n")
        print("\n".join(chart(momenta, **size)))
    print()
    print_pairs(summary(rates))
    return 0


def summary(rates: list[float]) -> list[tuple[str, object]]:
    """The figures of a schedule, as text."""
    top, low = max(rates), min(rates)
    return [
        ("first", f"{rates[0]:.6g}"),
        ("highest", f"{top:.6g} at step {rates.index(top)}"),
        ("lowest", f"{low:.6g} at step {rates.index(low)}"),
        ("last", f"{rates[-1]:.6g} at step {len(rates) - 1}"),
        ("mean", f"{sum(rates) / len(rates):.6g}"),
    ]


def _numbers(text: str) -> list[float]:
    try:
        return [float(one) for one in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 3,2,1.5") from None


def _drawable() -> bool:
    """Whether the terminal's encoding has the characters."""
    try:
        (EIGHTHS + "┤│└─┬").encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
