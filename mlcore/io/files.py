"""Files that are whole or not there: atomic writes, and what is said when a file cannot be had."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mlcore.errors import MlcoreError

# The host and the process are in a temporary file's name, so that a stray one can be told from one in use.
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_TEMPORARY = re.compile(r"\.mlcore-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{16}\.tmp")


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
    temporary = target.parent / f".mlcore-{_HOST}-{os.getpid()}-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        try:
            with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(target.parent)
    except MlcoreError:
        raise
    except OSError as error:
        raise file_error("write", path, error, kept="nothing was changed at that place") from error


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable; a system that cannot open folders (Windows) does it by itself."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse to sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)


def remove_strays(folder: Path) -> list[Path]:
    """Remove the temporary files of processes of this machine that were killed while writing to `folder`.

    Returns the paths removed. Files of living processes and of other machines stay.
    """
    removed: list[Path] = []
    if os.name != "posix":  # elsewhere os.kill(pid, 0) does not merely ask
        return removed
    for entry in folder.iterdir():
        match = _TEMPORARY.fullmatch(entry.name)
        if match is None or match["host"] != _HOST or _alive(int(match["pid"])):
            continue
        with contextlib.suppress(OSError):
            entry.unlink()
            removed.append(entry)
    return removed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
