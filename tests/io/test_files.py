"""Atomic writes: what is at a path is whole, whatever happens while it is written."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mlcore.io.files import FileError, MissingFileError, atomic_write, remove_strays

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and signals")


def put(path: Path, data: bytes) -> None:
    with atomic_write(path) as file:
        file.write(data)


def test_replaces_the_whole_file(tmp_path: Path) -> None:
    put(tmp_path / "a", b"long old content")
    put(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_write_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    put(tmp_path / "a", b"old")

    def interrupted() -> None:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"half of the ne")
            file.flush()
            assert (tmp_path / "a").read_bytes() == b"old"
            raise error("stop")

    with pytest.raises(error):
        interrupted()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@posix
def test_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        put(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@posix
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    put(tmp_path / "real" / "a", b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    put(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == b"new"


def test_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(
        MissingFileError, match=r"cannot write .*b: no such file.*\n.*it does not exist"
    ) as caught:
        put(tmp_path / "a" / "b", b"")
    assert caught.value.errno == 2
    with pytest.raises(FileError, match="no regular file"):
        put(tmp_path, b"")
    if os.path.exists(os.devnull) and os.name == "posix":
        with pytest.raises(FileError, match="no regular file"):
            put(Path(os.devnull), b"")


@posix
def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    # A file size limit fails the write in the middle, as a full disk does, and needs no privileges.
    script = f"""
import resource, signal
from pathlib import Path
from mlcore.io.files import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    with atomic_write({str(tmp_path / "a")!r}) as file:
        file.write(b"x" * 9000)
except OSError as error:
    print(type(error).__name__, error)
"""
    put(tmp_path / "a", b"old")
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "FileError cannot write" in result.stdout
    assert "file too large" in result.stdout
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@posix
def test_strays_of_killed_processes_are_removed(tmp_path: Path) -> None:
    script = f"""
import time
from mlcore.io.files import atomic_write
with atomic_write({str(tmp_path / "a")!r}) as file:
    print("writing", flush=True)
    time.sleep(60)
"""
    put(tmp_path / "a", b"old")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        assert remove_strays(tmp_path) == []  # its process lives
        child.send_signal(signal.SIGKILL)
    assert len(os.listdir(tmp_path)) == 2
    assert len(remove_strays(tmp_path)) == 1
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
