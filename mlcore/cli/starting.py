"""Names for new packages, and for the operations in them: which are possible, and which are taken."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlcore.errors import ArgumentError, PluginError
from mlcore.plugin.records import BACKENDS, DOMAINS, OPS

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_MODULE: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_LONGEST: Final = 24  # the generated lines fit with this
_WORDS: Final = (
    "auto",
    "host",
    "core",
    "all",
    "none",
)  # what device texts and distributions mean something else by
GROUPS: Final = {"backend": BACKENDS, "domain": DOMAINS, "op": OPS}


@dataclass(frozen=True, slots=True)
class Names:
    """What a new package is called.

    >>> names = Names("domain", "small_toys")
    >>> names.distribution, names.package, names.camel, names.target
    ('mlcore-small-toys', 'mlcore_small_toys', 'SmallToys', 'mlcore_small_toys.plugin:plugin')
    """

    what: str  # backend, domain or op
    name: str

    @property
    def distribution(self) -> str:
        """As pip knows it."""
        return f"mlcore-{self.name.replace('_', '-')}"

    @property
    def package(self) -> str:
        """As Python imports it."""
        return f"mlcore_{self.name}"

    @property
    def camel(self) -> str:
        """For its classes."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def group(self) -> str:
        """The group of its entry point."""
        return GROUPS[self.what]

    @property
    def target(self) -> str:
        """What its entry point names."""
        return f"{self.package}.{self.name}" if self.what == "op" else f"{self.package}.plugin:plugin"


def check(what: str, name: str, *, package: bool = True) -> Names:
    """The names that follow from one, or ArgumentError with one that would do.

    >>> check("domain", "My-Toys")
    Traceback (most recent call last):
    mlcore.errors.ArgumentError: 'My-Toys' is no name for a domain
      cause: letters a to z, digits and single underscores, a letter first
      fix:   my_toys
    """
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            f"{name!r} is no name for a {what}", cause="letters a to z, digits and single underscores, a letter first",
            fix=_near(name),
        )  # fmt: skip
    if len(name) > _LONGEST:
        raise ArgumentError(f"{name!r} is too long: {len(name)} letters", fix=f"at most {_LONGEST}")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in _WORDS:
        raise ArgumentError(
            f"{name!r} cannot name a {what}", cause="the word has a meaning already", fix=f"my_{name}"
        )
    {"backend": _check_backend, "domain": _check_domain, "op": _check_op}[what](name)
    names = Names(what, name)
    if package and importlib.util.find_spec(names.package) is not None:
        raise ArgumentError(
            f"a package {names.package} is installed already", fix=f"pip uninstall {names.distribution}"
        )
    return names


def _near(name: str) -> str | None:
    near = "_".join(re.findall(r"[a-z0-9]+", name.lower())).lstrip("0123456789_")
    return near or None


def _check_backend(name: str) -> None:
    from mlcore.backends import detect  # noqa: F401  (it provides the core's own backend)
    from mlcore.plugin import discovery

    record = discovery.find_backend(name)
    if record is not None:
        raise ArgumentError(
            f"a backend {name!r} is installed already: {record.source}", fix="choose another name"
        )


def _check_domain(name: str) -> None:
    from mlcore.plugin import discovery

    record = discovery.domains().named(name)
    if record is not None:
        raise ArgumentError(
            f"a domain {name!r} is installed already: {record.source}", fix="choose another name"
        )


def _check_op(name: str) -> None:
    from mlcore.ops import attach, registry  # noqa: F401  (the methods)
    from mlcore.plugin import discovery
    from mlcore.tensor import Tensor

    discovery.load_ops()
    if any(one.name == name for one in registry.everything()):
        raise ArgumentError(f"an operation {name!r} exists already", fix="choose another name")
    if hasattr(Tensor, name):
        raise ArgumentError(
            f"a Tensor has {name!r} already, which is no operation", fix="choose another name"
        )
    if name in sys.stdlib_module_names:
        raise ArgumentError(f"{name!r} is a module of Python's", fix="choose another name")


# -- the library of an arraylib backend ------------------------------------------------------------------------


def check_library(module: str) -> str:
    """A module's name, as in ``import a.b``.

    >>> check_library("toylib.numpy")
    'toylib.numpy'
    """
    if not _MODULE.fullmatch(module) or any(keyword.iskeyword(part) for part in module.split(".")):
        raise ArgumentError(f"{module!r} is no module", fix="as in `import toylib` or `import toylib.numpy`")
    if module.partition(".")[0] in ("mlcore", *sys.stdlib_module_names):
        raise ArgumentError(
            f"{module!r} is no array library", fix="name the module that makes the device's arrays"
        )
    return module


def requirement_of(module: str, given: str | None) -> str:
    """The requirement that brings a module: as given, else the installed distribution and its version."""
    from mlcore.plugin.requirements import split

    if given is not None:
        try:
            split(given)
        except PluginError as error:
            raise ArgumentError(f"--requires {error.what}", fix="write for example 'toylib>=2'") from None
        return given
    from importlib.metadata import packages_distributions, version

    top = module.partition(".")[0]
    found = packages_distributions().get(top, [])
    if not found:
        return top.replace("_", "-")
    numbers = re.match(r"\d+(\.\d+)?", version(found[0]))
    return f"{found[0].replace('_', '-')}>={numbers[0]}" if numbers else found[0]


# -- an existing package -------------------------------------------------------------------------------------------


def package_in(folder: Path) -> Path:
    """The folder of the one Python package of a project, in `src` or beside its pyproject.toml."""
    if not (folder / "pyproject.toml").is_file():
        raise ArgumentError(
            f"{folder} has no pyproject.toml", fix="name the folder of a package: --into FOLDER"
        )
    for place in (folder / "src", folder):
        found = [path.parent for path in sorted(place.glob("*/__init__.py")) if path.parent.name != "tests"]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found)
            raise ArgumentError(f"{place} holds several packages: {names}", fix="a folder with one package")
    raise ArgumentError(f"{folder} holds no package", fix="a folder with src/PACKAGE/__init__.py")
