"""Files that are whole or not there: atomic writes, and what is said when a file cannot be had."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import secrets
import shutil
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mlcore.errors import MlcoreError
from mlcore.plugin.probes import process_lives

# The host and the process are in a temporary file's name, so that a stray one can be told from one in use.
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_TEMPORARY = re.compile(r"\.mlcore-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{16}\.tmp")

_NOT_FOR_FOLDERS = {
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EBADF,
}  # network file systems


class FileError(MlcoreError, OSError):
    """A file that cannot be read or written: no permission, no space, a folder in its place."""


class MissingFileError(FileError, FileNotFoundError):
    """A file or folder that is not there."""


def file_error(action: str, path: str | os.PathLike[str], error: OSError, **details: object) -> FileError:
    """The mlcore error for an `OSError` met while trying to `action` the file at `path`.

    >>> print(file_error("read", "net.safetensors", FileNotFoundError(2, "No such file or directory")))
    cannot read net.safetensors: no such file or directory
      folder: . (it exists)
    """
    reason = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    kind: type[FileError] = FileError
    if isinstance(error, FileNotFoundError):
        folder = Path(path).parent
        kind = MissingFileError
        details = {
            "folder": f"{folder} ({'it exists' if folder.is_dir() else 'it does not exist'})",
            **details,
        }
    made = kind(f"cannot {action} {os.fspath(path)}: {reason[:1].lower() + reason[1:]}", **details)
    made.errno = error.errno
    return made


def open_to_read(path: str | os.PathLike[str]) -> BinaryIO:
    """`open(path, "rb")` of a regular file, with mlcore's errors. A pipe or a device would wait, or never end.

    >>> open_to_read("no/such/file")
    Traceback (most recent call last):
      ...
    mlcore.io.files.MissingFileError: cannot read no/such/file: no such file or directory
      folder: no/such (it does not exist)
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise FileError(f"cannot read {os.fspath(path)}: it is no regular file")
        return open(path, "rb")
    except OSError as error:
        if isinstance(error, MlcoreError):
            raise
        raise file_error("read", path, error) from error
    except ValueError as error:  # a null character in the name
        raise FileError(f"cannot read {os.fspath(path)!r}: {error}") from error


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to write so that `path` holds either its old content or all of the new, never a part.

    The bytes go to a temporary file in the same folder, reach the disk (fsync), and take the name in one
    step; the folder is then synced too. If the block raises, a Ctrl-C included, the temporary file is removed
    and what was at `path` stays. The mode is that of any new file (0666 less the umask). A symbolic link is
    followed, not replaced.

    Raises `FileError` with the cause when the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder, "greeting")) as file:
    ...         _ = file.write(b"hello")
    ...     Path(folder, "greeting").read_bytes(), len(os.listdir(folder))
    (b'hello', 1)
    """
    target = Path(os.path.realpath(path))
    # A folder, or a device such as the null device, which replace() would remove.
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        raise FileError(f"cannot write {os.fspath(path)}: what is there is no regular file")
    temporary = _temporary(target.parent)
    moved = False
    try:
        try:
            with new_file(temporary) as file:
                yield file
            os.replace(temporary, target)
            moved = True
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(target.parent)
    except MlcoreError:
        raise
    except OSError as error:
        raise file_error("write", path, error, kept=_kept(moved)) from error


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new folder to put files in, which becomes `path` if the block ends well and is removed if not.

    Write its files with `new_file`, so that they reach the disk. Then the folder itself is synced, takes its name in
    one step, and the folder that it stands in is synced: `path` is whole or not there. Nothing but an empty folder may
    be at `path` before.

    Raises `FileError` with the cause when it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_folder(Path(folder, "pair")) as inside:
    ...         for name in ("a", "b"):
    ...             with new_file(inside / name) as file:
    ...                 _ = file.write(b"hello")
    ...     os.listdir(folder), sorted(os.listdir(Path(folder, "pair")))
    (['pair'], ['a', 'b'])
    """
    target = Path(path)
    temporary = _temporary(target.parent)
    moved = False
    try:
        try:
            os.mkdir(temporary)
            yield temporary
            sync_folder(temporary)
            os.rename(temporary, target)
            moved = True
        except BaseException:
            if not moved:
                _clear(temporary)
            raise
        sync_folder(target.parent)
    except MlcoreError:
        raise
    except OSError as error:
        raise file_error("write", path, error, kept=_kept(moved)) from error


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that must not be there yet, to write; its bytes have reached the disk when the block ends."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def discard(path: Path) -> None:
    """Remove a file or a folder; a folder loses its name first, so that no part of it is ever taken for all of it."""
    if not path.is_dir() or path.is_symlink():
        os.unlink(path)
        return
    temporary = _temporary(path.parent)
    try:
        os.rename(path, temporary)
    finally:  # a Ctrl-C may come here, too
        _clear(temporary)


def _clear(folder: Path) -> None:
    """Remove a folder as far as that can be done; what stays is a stray. An interruption is raised afterwards."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _temporary(folder: Path) -> Path:
    return folder / f".mlcore-{_HOST}-{os.getpid()}-{secrets.token_hex(8)}.tmp"


def _kept(moved: bool) -> str:
    return (
        "all of it is there, but may be lost in a power cut" if moved else "nothing was changed at that place"
    )


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable; a system that cannot open folders (Windows) does it by itself."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(handle)


def remove_strays(folder: Path) -> list[Path]:
    """Remove the temporary files and folders of processes of this machine that were killed while writing to `folder`.

    Returns the paths removed. Files of living processes and of other machines stay.
    """
    removed: list[Path] = []
    for entry in folder.iterdir():
        match = _TEMPORARY.fullmatch(entry.name)
        if match is None or match["host"] != _HOST or process_lives(int(match["pid"])):
            continue
        with contextlib.suppress(OSError):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                os.unlink(entry)
            removed.append(entry)
    return removed
