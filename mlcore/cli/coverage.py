"""``mlcore coverage BACKEND``: which operations it runs natively, as a composite, or on the host."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from mlcore import dtypes, table
from mlcore.backends import detect
from mlcore.cli import badge
from mlcore.cli.output import aligned, print_json
from mlcore.ops import registry
from mlcore.plugin import discovery
from mlcore.testing import stamp
from mlcore.testing.stamp import Standing

LETTERS = {"native": "N", "composite": "c", "host": "h"}


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "coverage", help="operations by dtype: native, composite, host", description=__doc__
    )
    parser.add_argument("backend", help="a device's name")
    parser.add_argument(
        "--badge", metavar="FILE", help="write a badge: an .svg picture, or .json for shields.io"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    discovery.load_ops()
    device = detect.resolve(arguments.backend)
    ops = sorted(registry.all_ops(), key=lambda op: op.name)
    covered = table.coverage(device, ops)
    origins = {op.name: table.entry(op, device).origin for op in ops}
    totals = Counter(how for by_dtype in covered.values() for how in by_dtype.values())
    reached = _standing(device.type)
    if arguments.badge:
        message = f"{_level(reached)}, {totals['native'] / totals.total():.0%} native, {totals['host']} host"
        badge.write(
            Path(arguments.badge), f"mlcore {device.type}", message, reached.level if reached else None
        )
    if arguments.json:
        content = {name: {"origin": origins[name], "dtypes": found} for name, found in covered.items()}
        print_json(
            {
                "device": device.id,
                "level": reached and reached.to_json(),
                "totals": {how: totals[how] for how in LETTERS},
                "operations": content,
            }
        )
        return 0
    names = [d.name for d in dtypes.all_dtypes if any(d.name in found for found in covered.values())]
    rows = [
        (name, *(LETTERS.get(found.get(dtype, ""), ".") for dtype in names), origins[name] or "")
        for name, found in covered.items()
    ]
    print(aligned([("operation", *map(_abbreviated, names), "origin"), *rows]))
    summary = ", ".join(f"{totals[how]} {how}" for how in LETTERS)
    print(f"\n{device}: {len(covered)} operations; {summary} (N native, c composite, h host, . not accepted)")
    if reached is not None:
        print(f"level: {reached.text}")
    return 0


def _standing(name: str) -> Standing | None:
    """What is known of the adoption level of a backend; None for one that only this program knows."""
    record = discovery.find_backend(name)
    return None if record is None else stamp.standing(record)


def _level(reached: Standing | None) -> str:
    if reached is None or reached.stamp is None or not reached.fresh:
        return "not measured"
    return reached.stamp.short


def _abbreviated(dtype: str) -> str:
    """
    >>> _abbreviated("bfloat16"), _abbreviated("uint8"), _abbreviated("bool")
    ('bf16', 'u8', 'bool')
    """
    for long, brief in (("bfloat", "bf"), ("float", "f"), ("complex", "c"), ("uint", "u"), ("int", "i")):
        if dtype.startswith(long):
            return brief + dtype.removeprefix(long)
    return dtype
