"""Packages to start from: the templates beside this file, filled in and written as a whole or not at all.

A template is a file that ends in ``.tmpl``; ``{{name}}`` in it, and PACKAGE and OP in its path, are filled in, and DOT
is a dot, since wheels leave out what is hidden. A starter is some of the folders of `templates/`, laid over each other.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlcore.cli import badge
from mlcore.cli.starting import Names
from mlcore.errors import ArgumentError
from mlcore.plugin.api import PLUGIN_API

TEMPLATES: Final = Path(__file__).parent / "templates"
LAYERS: Final[dict[str, tuple[str, ...]]] = {
    "arraylib": ("any", "backend", "arraylib"),
    "kernels": ("any", "backend", "kernels"),
    "domain": ("any", "domain"),
    "op": ("any", "op"),
}
"""Which folders of templates make a package of each kind; later ones add to earlier ones."""


@dataclass(frozen=True)
class Starter:
    """A package to be written: its folder and the texts of its files by their paths in it."""

    folder: Path
    names: Names
    files: Mapping[str, str]
    following: tuple[str, ...]  # commands to go on with

    def write(self) -> None:
        """Write all files, or none; ArgumentError where something is there already."""
        check_free(self.folder)
        parent = self.folder.parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=parent))
        except OSError as error:
            raise ArgumentError(
                f"cannot write {self.folder}", cause=error.strerror, fix="--path FOLDER"
            ) from None
        try:
            building.chmod(0o755)
            for name, text in self.files.items():
                path = building / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            if self.folder.exists():
                self.folder.rmdir()  # it is empty: check_free has seen to that
            building.rename(self.folder)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise

    @property
    def lines(self) -> int:
        """How many lines its files have together."""
        return sum(text.count("\n") for text in self.files.values())


def check_free(folder: Path) -> None:
    """Raise ArgumentError unless the folder is absent or empty: nothing is ever overwritten."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentError(
            f"{folder} exists already", cause="nothing is ever overwritten", fix="choose another folder: --path FOLDER"
        )  # fmt: skip


def starter(
    kind: str, folder: Path, names: Names, values: Mapping[str, str], following: tuple[str, ...]
) -> Starter:
    """The package of a kind, with its names and the kind's own values filled in."""
    known = {**common(names), **values}
    files = dict(filled(LAYERS[kind], known))
    if names.group == "mlcore.backends":
        files["coverage.svg"] = badge.svg(names.name, "not measured", badge.COLOURS[None])
    return Starter(folder, names, dict(sorted(files.items())), following)


def common(names: Names) -> dict[str, str]:
    """What every template may name."""
    return {
        "name": names.name,
        "Class": names.camel,
        "distribution": names.distribution,
        "package": names.package,
        "group": names.group,
        "target": names.target,
        "api": PLUGIN_API,
        "OP": names.name,
        "PACKAGE": names.package,
    }


def filled(layers: tuple[str, ...], values: Mapping[str, str], only: str = "") -> Iterator[tuple[str, str]]:
    """(path, text) of every template of the layers whose path holds `only`."""
    for layer in layers:
        for source in sorted((TEMPLATES / layer).rglob("*.tmpl")):
            if only in source.name:
                yield path_of(source, layer, values), fill(source.read_text(encoding="utf-8"), values)


def path_of(source: Path, layer: str, values: Mapping[str, str]) -> str:
    """Where a template's text goes, in the package."""
    path = source.relative_to(TEMPLATES / layer).as_posix().removesuffix(".tmpl")
    return path.replace("DOT", ".").replace("PACKAGE", values["PACKAGE"]).replace("OP", values["OP"])


def fill(text: str, values: Mapping[str, str]) -> str:
    """Text with each ``{{name}}`` replaced.

    >>> fill("x = {{name}}  # ${{ untouched }}", {"name": "3"})
    'x = 3  # ${{ untouched }}'
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], text)
