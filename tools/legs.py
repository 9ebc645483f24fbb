"""The legs of the tests: one environment for each library or runtime that a backend (or a plugin) is proven on.

A package declares its legs in its own pyproject.toml; nothing is listed here:

    [[tool.mlcore.legs]]
    name = "intel"                # the leg is called backend-oneapi-intel
    extras = ["test", "intel"]    # of this package
    apt = []                      # Debian packages that it needs, installed by CI
    with = []                     # other folders of the project to install before it
    conformance = ["oneapi"]      # devices for the conformance kit, level 1
    tests = ["tests"]             # folders that only this leg runs
    environment = {}              # for its tests and the kit

What no leg takes of a plugin's or backend's tests runs in the base environment, with `make test`.

``legs.py list|apt``, ``legs.py base`` (the plugins of `make test`), or ``legs.py install LEG --base PYTHON --into
FOLDER``: an environment of the leg's own on top of the base one, which has the core, backend-cpu and the test tools.
Its libraries shadow the base's, and nobody else sees them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHERE = ("backend-*", "plugins/*", "examples/*", "tests/backends/dists/*")


@dataclass(frozen=True)
class Leg:
    """One environment and what runs in it."""

    folder: str
    name: str
    extras: tuple[str, ...] = ()
    apt: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    conformance: tuple[str, ...] = ()
    tests: tuple[str, ...] = ("tests",)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{Path(self.folder).name}-{self.name}"

    @property
    def test_folders(self) -> list[str]:
        """Those of its folders that have tests, from the project's root."""
        return [f"{self.folder}/{one}" for one in self.tests if has_tests(ROOT / self.folder / one)]


def has_tests(folder: Path) -> bool:
    return any(folder.rglob("test_*.py"))


def legs() -> list[Leg]:
    """All legs that the project's packages declare, in the order of their folders."""
    found = []
    for path in sorted(path for pattern in WHERE for path in ROOT.glob(f"{pattern}/pyproject.toml")):
        declared = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("mlcore", {})
        folder = path.parent.relative_to(ROOT).as_posix()
        found += [leg_of(folder, dict(one)) for one in declared.get("legs", [])]
    return found


def base_suites() -> dict[str, list[str]]:
    """The folders whose tests run in the base environment, each with the parts of them that legs take."""
    taken = [folder for leg in legs() for folder in leg.test_folders]
    found = {}
    for path in sorted([*ROOT.glob("backend-*/tests"), *ROOT.glob("plugins/*/tests")]):
        tests = path.relative_to(ROOT).as_posix()
        if tests not in taken and has_tests(path):
            found[path.parent.relative_to(ROOT).as_posix()] = [t for t in taken if t.startswith(f"{tests}/")]
    return found


def leg_of(folder: str, table: dict[str, object]) -> Leg:
    table["before"] = table.pop("with", [])
    unknown = table.keys() - Leg.__dataclass_fields__.keys()
    if unknown or "name" not in table:
        raise SystemExit(
            f"{folder}/pyproject.toml: a leg has a name, and no {', '.join(sorted(unknown)) or 'other'} keys"
        )
    # As TOML has them.
    return Leg(folder, **{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})  # type: ignore[arg-type]


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def install(leg: Leg, base: Path, into: Path) -> None:
    """Make the leg's environment: its own packages first, then whatever the base environment has."""
    subprocess.run([base, "-m", "venv", into], check=True)
    seen = "import sysconfig; print(sysconfig.get_path('purelib'))"
    below, own = (
        subprocess.run([python, "-c", seen], check=True, capture_output=True, text=True).stdout.strip()
        for python in (base, python_of(into))
    )
    Path(own, "zz_base.pth").write_text(f"import site; site.addsitedir({below!r})\n", encoding="utf-8")
    pip = [python_of(into), "-m", "pip", "--no-input", "install"]
    for folder in leg.before:
        subprocess.run([*pip, f"./{folder}"], cwd=ROOT, check=True)
    wanted = f"./{leg.folder}" + (f"[{','.join(leg.extras)}]" if leg.extras else "")
    subprocess.run([*pip, wanted], cwd=ROOT, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("list", "apt", "base", "install"))
    parser.add_argument("leg", nargs="?")
    parser.add_argument("--base", type=Path, default=Path(sys.executable))
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    known = {leg.title: leg for leg in legs()}
    if arguments.what == "list":
        print("\n".join(known))
    elif arguments.what == "apt":
        print("\n".join(sorted({package for leg in known.values() for package in leg.apt})))
    elif arguments.what == "base":
        print("\n".join(folder for folder in base_suites() if folder.startswith("plugins/")))
    else:
        if arguments.leg not in known or arguments.into is None:
            parser.error(f"install LEG --into FOLDER; the legs are {', '.join(known)}")
        os.makedirs(arguments.into.parent, exist_ok=True)
        install(known[arguments.leg], arguments.base.absolute(), arguments.into)


if __name__ == "__main__":
    main()
