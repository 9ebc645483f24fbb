"""``mlcore devices``: what can be used, fastest first, with measured figures, and why one was chosen.

mlcore devices                                                   the usable devices
mlcore devices --measure                                         measure each for about two seconds, and keep that
mlcore devices --for my.models:Net --in "B 3 224 224"            the best one for a training step of this model
mlcore devices --for my.models:Net --in "B 3 224 224" --size B=64 --eval --how measure
"""

from __future__ import annotations

import argparse
import sys

from mlcore import config
from mlcore.backends import detect, profile
from mlcore.backends.ranking import Usable, ranked
from mlcore.cli.output import print_json
from mlcore.errors import ArgumentError, DeviceError
from mlcore.ops import registry
from mlcore.ops.elementwise import add
from mlcore.ops.linalg import contract


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "devices", help="usable devices, fastest first; the best for a model", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--measure", action="store_true", help="measure each device (2 s each) and keep it")
    parser.add_argument("--for", dest="model", metavar="MODULE:NAME", help="the best device for this model")
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="the arguments of its constructor")
    parser.add_argument(
        "--in", dest="inputs", action="append", default=[], metavar="SHAPE", help='its input: "B 3 224 224"'
    )
    parser.add_argument("--size", action="append", default=[], metavar="NAME=N", help="the size of a name")
    parser.add_argument("--eval", action="store_true", help="the forward pass alone, not a training step")
    parser.add_argument("--objective", default="time", help="time, or memory: the most room")
    parser.add_argument("--how", default="auto", help="auto, estimate (from profiles) or measure (run it)")
    parser.set_defaults(run=run)


def best_for(arguments: argparse.Namespace) -> int:
    """The best device for one model, with what stands against the others."""
    from mlcore.choosing import best_device
    from mlcore.cli.check import build, inputs, size_of

    sizes = dict(size_of(one) for one in arguments.size)
    given, named = inputs(arguments.inputs, sizes)
    if named or not given:
        raise ArgumentError("devices --for: inputs by their places", fix='write --in "B 3 224 224"')
    verdict = best_device(
        build(arguments.model, arguments.arguments, real=arguments.how == "measure"), given, arguments.objective,
        how=arguments.how, training=not arguments.eval,
    )  # fmt: skip
    if arguments.json:
        print_json({"sizes": sizes, **verdict.to_json()})
        return 0
    if sizes:
        print(", ".join(f"{name} = {size}" for name, size in sizes.items()))
    print(verdict)
    return 0


def run(arguments: argparse.Namespace) -> int:
    if arguments.model:
        if arguments.measure:
            measure_all(ranked()[0], quiet=arguments.json)
        return best_for(arguments)
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
                "duplicates": [device.to_json() for device in listed.duplicates],
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
            found = profile.measure(
                detect.resolve(usable.id), matmul=contract, add=add, ops=registry.all_ops()
            )
        except DeviceError as error:
            failures.append(f"{usable.id}: {error.details.get('cause', error.what)}")
            continue
        if not profile.save(usable.record, usable.info, found):
            failures.append(f"{usable.id}: measured, not kept: {config.cache_problem()}")
    detect.reset()  # the order may be another one now
    return failures
