"""``mlcore kernel OP --backend NAME``: the source that is generated for an operation, in a backend's own language.

No device is opened, so it also works where the device, or the library it needs, is missing.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from mlcore.codegen.catalog import dtypes_of, forms, source_of
from mlcore.codegen.dialect import Dialect
from mlcore.dtypes import as_dtype
from mlcore.errors import ArgumentError, MlcoreError, PluginError, did_you_mean
from mlcore.ops import registry
from mlcore.plugin import discovery


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "kernel", help="print the generated source of a kernel", description=__doc__
    )
    parser.add_argument(
        "operation", nargs="?", help="an operation's name; without it, those that have kernels"
    )
    parser.add_argument("--backend", required=True, help="whose language: an installed backend's name")
    parser.add_argument("--dtype", help="of the inputs; float32 by default")
    parser.add_argument("--to", metavar="DTYPE", help="what astype casts to")
    parser.add_argument("--form", default="", help="one of the operation's forms, such as flat or strided")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    dialect = dialect_of(arguments.backend)
    if arguments.operation is None:
        print(_listed(dialect))
        return 0
    dtype, to = (None if one is None else as_dtype(one) for one in (arguments.dtype, arguments.to))
    source = source_of(dialect, operation(arguments.operation), dtype, arguments.form, to=to)
    print(source.text, end="")
    return 0


def operation(name: str) -> Any:
    """The operation of a name."""
    known = {op.name: op for op in registry.all_ops()}
    if name not in known:
        raise ArgumentError(
            f"unknown operation {name!r}{did_you_mean(name, known)}",
            fix="mlcore kernel --backend NAME lists them",
        )
    return known[name]


def dialect_of(backend: str) -> Dialect:
    """The dialect that a backend's plugin names; its device is not looked for."""
    name = backend.partition(":")[0]
    record = discovery.find_backend(name)
    if record is None:
        names = [one.name for one in discovery.backends()]
        raise PluginError(
            f"no backend {name!r} is installed{did_you_mean(name, names)}", installed=", ".join(names),
            fix="pip install the distribution that has it",
        )  # fmt: skip
    where = getattr(discovery.load(record), "dialect", "")
    if not where:
        raise PluginError(
            f"backend {name!r} names no dialect", cause="its kernels are not generated, but its library's own",
            have=", ".join(_with_dialect()), fix="choose one that has a dialect",
        )  # fmt: skip
    module, _, attribute = where.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"backend {name!r}: its dialect {where!r} cannot be imported", cause=str(error),
            fix="a dialect's module imports nothing but mlcore.codegen",
        ) from error  # fmt: skip
    if not isinstance(found, Dialect):
        raise PluginError(f"backend {name!r}: {where!r} is a {type(found).__name__}, no Dialect")
    return found


def _with_dialect() -> list[str]:
    """The installed backends that name a dialect."""
    found = []
    for record in discovery.backends():
        try:
            if getattr(discovery.load(record), "dialect", ""):
                found.append(record.name)
        except MlcoreError:
            continue
    return found


def _listed(dialect: Dialect) -> str:
    """A line for each operation: its forms, and for how many dtypes."""
    lines = [f"{dialect.name}: operations with generated kernels"]
    for op in sorted(registry.all_ops(), key=lambda one: str(one.name)):
        made, kinds = forms(op), dtypes_of(op, dialect)
        if (made or op.name == "astype") and kinds:
            lines.append(f"  {op.name:20} {len(kinds):3} dtypes  {', '.join(made or ('flat', 'strided'))}")
    return "\n".join(lines)
