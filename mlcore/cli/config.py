"""``mlcore config``: every MLCORE_* variable, its value, and where that came from."""

from __future__ import annotations

import argparse
import sys

from mlcore import config
from mlcore.cli.output import aligned, print_json
from mlcore.plugin import discovery, hooks


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "config", help="the MLCORE_* variables, their values and origins", description=__doc__
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    declare_plugin_variables()
    settings = config.settings()
    problems = [s.problem for s in settings if s.problem] + config.unknown_variables()
    if config.config_problem():
        problems.append(config.config_problem())
    if arguments.json:
        variables = [
            {
                "name": s.name,
                "value": s.value,
                "origin": s.origin,
                "owner": s.owner,
                "meaning": s.meaning,
                "problem": s.problem,
            }
            for s in settings
        ]
        print_json(
            {
                "file": str(config.config_path() or ""),
                "cache": str(config.cache_dir()),
                "variables": variables,
                "problems": problems,
            }
        )
    else:
        head = ("variable", "value", "origin", "meaning")
        print(aligned([head, *((s.name, s.text, s.origin, s.meaning) for s in settings)]))
        print(f"\nconfiguration file: {config.config_path() or 'off'}")
        print(f"cache folder:       {config.cache_dir()}")
        for problem in problems:
            print(f"warning: {problem}", file=sys.stderr)
    return 1 if problems else 0


def declare_plugin_variables() -> None:
    """Enter the plugins' own variables in the table."""
    discovery.load_hooks()
    for plugin, variables in hooks.call("mlcore_config_variables"):
        for variable in variables:
            if isinstance(variable, config.Variable) and variable.name.startswith(config.PREFIX):
                config.declare(variable)
            else:
                config.log.warning("plugin %s declares %r, which is no MLCORE_* variable", plugin, variable)
