"""The command ``mlcore``: one file a command, and the commands that plugins add.

Exit status: 0 fine, 1 warnings, 2 an error such as a device that is not usable, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from mlcore._version import __version__
from mlcore.errors import MlcoreError, did_you_mean

HELPERS: Final = ("badge", "chart", "output", "page", "starters", "starting")
COMMANDS: Final = tuple(m.name for m in pkgutil.iter_modules(__path__) if m.name not in HELPERS)
"""The core's own commands: each a module of this package with ``add_command(subparsers)``."""

INTERRUPTED: Final = 130


class Parser(argparse.ArgumentParser):
    """argparse's parser, which also says what a misspelt command may have meant."""

    def error(self, message: str) -> NoReturn:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and "invalid choice: '" in message:
                word = message.partition("invalid choice: '")[2].partition("'")[0]
                known = sorted(action.choices)
                message = (
                    f"unknown command {word!r}{did_you_mean(word, known)}\n  commands: {', '.join(known)}"
                )
        super().error(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except MlcoreError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `mlcore doctor | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(words: list[str]) -> int:
    parser = Parser(prog="mlcore", description="mlcore: devices, plugins, and what plugins add.")
    parser.add_argument("--version", action="version", version=f"mlcore {__version__}")
    subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", parser_class=argparse.ArgumentParser
    )
    for name in COMMANDS:
        importlib.import_module(f"mlcore.cli.{name}").add_command(subparsers)
    first = next((word for word in words if not word.startswith("-")), None)
    if first not in COMMANDS and words != ["--version"]:
        _add_plugin_commands(subparsers)
    chosen = parser.parse_args(words)
    run: Callable[[argparse.Namespace], int | None] | None = getattr(chosen, "run", None)
    if run is None:
        parser.print_help()
        return 0 if chosen.command is None else 2
    return run(chosen) or 0


def _add_plugin_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from mlcore.plugin import discovery, hooks

    discovery.load_hooks()
    hooks.call("mlcore_cli_commands", subparsers=subparsers)
