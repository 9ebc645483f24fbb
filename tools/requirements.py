"""Prints what projects ask for, one requirement a line: ``requirements.py PYPROJECT... [--extra NAME...]``.

Lets the Makefile install the tools of an extra without building the distribution that declares it. Our own
distributions are left out: they come from this repository, never from an index.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """The dependencies of a project and of some of its extras, its own extras of extras followed."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
    optional = project.get("optional-dependencies", {})
    found = list(project.get("dependencies", []))
    pending = [extra for extra in extras if extra in optional]
    seen = set(pending)
    while pending:
        for requirement in optional[pending.pop()]:
            name, inner = re.match(r"([\w.-]+)\s*(?:\[([^\]]*)\])?", requirement).groups()
            if name != project["name"]:
                found.append(requirement)
                continue
            more = {extra.strip() for extra in (inner or "").split(",")} - seen
            seen |= more
            pending.extend(extra for extra in more if extra in optional)
    return [requirement for requirement in found if not requirement.lower().startswith("mlcore-")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pyproject", nargs="+", type=Path)
    parser.add_argument("--extra", action="append", default=[])
    parser.add_argument("--build", action="store_true", help="what their builds need, too")
    arguments = parser.parse_args()
    projects = [path for path in arguments.pyproject if path.is_file()]
    lines = [line for path in projects for line in requirements(path, arguments.extra)]
    if arguments.build:
        for path in projects:
            lines += tomllib.loads(path.read_text(encoding="utf-8"))["build-system"]["requires"]
    print("\n".join(dict.fromkeys(lines)))


if __name__ == "__main__":
    main()
