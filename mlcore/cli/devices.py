"""``mlcore devices``: what can be used, fastest first, with measured figures, and why one was chosen."""

from __future__ import annotations

import argparse
import sys

from mlcore import config
from mlcore.backends import detect, profile
from mlcore.backends.ranking import Usable, ranked
from mlcore.cli.output import print_json
from mlcore.errors import DeviceError
from mlcore.ops.elementwise import add
from mlcore.ops.linalg import contract


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("devices", help="usable devices, fastest first", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--measure", action="store_true", help="measure each device (2 s each) and keep it")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    failures = measure_all(ranked()[0], quiet=arguments.json) if arguments.measure else []
    error, explanation = None, ""
    try:
        explanation = detect.explain_device()
    except DeviceError as unusable:
        error = unusable
    listed = detect.devices()
    if arguments.json:
        print_json(
            {
                "default": next((device.id for device in listed if device.chosen), None),
                "error": str(error) if error else None,
                "explanation": explanation.splitlines(),
                "devices": [device.to_json() for device in listed],
                "environment": profile.environment(),
            }
        )
    else:
        print(listed)
        if explanation:
            chosen_by = explanation.splitlines()[1:2]
            print("\n" + "\n".join(f"* is the default device, {line}" for line in chosen_by))
        if not all(device.measured for device in listed):
            print("measure: mlcore devices --measure")
    for line in failures:
        print(f"warning: {line}", file=sys.stderr)
    if error:
        print(f"DeviceError: {error}", file=sys.stderr)
        return 2
    return 1 if failures else 0


def measure_all(devices: list[Usable], *, quiet: bool = False) -> list[str]:
    """Measure and keep the profile of each device; a line for each that could not be."""
    failures = []
    for usable in devices:
        if not quiet:
            print(f"measuring {usable.id} ...", file=sys.stderr)
        try:
            found = profile.measure(detect.resolve(usable.id), matmul=contract, add=add)
        except DeviceError as error:
            failures.append(f"{usable.id}: {error.details.get('cause', error.what)}")
            continue
        if not profile.save(usable.record, usable.info, found):
            failures.append(f"{usable.id}: measured, not kept: {config.cache_problem()}")
    detect.reset()  # the order may be another one now
    return failures
