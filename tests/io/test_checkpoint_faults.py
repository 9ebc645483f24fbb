"""What can happen to a checkpoint: flipped bits, full disks, write errors, power cuts, kill -9."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlcore.errors import MlcoreError
from mlcore.io import Checkpointer, FileError, files, load_checkpoint, save_checkpoint, write_checkpoint

posix = pytest.mark.skipif(os.name != "posix", reason="signals, fork, and folders that can be synced")
# 60 where every commit is tested; MLCORE_TEST_KILLS=300 before a release.
KILLS = int(os.environ.get("MLCORE_TEST_KILLS", "60"))


def state(step: int) -> dict[str, Any]:
    """Tensors and numbers that all say `step`."""
    return {
        "model": {
            name: np.full(size, step, np.float32) for name, size in (("a", 3000), ("b", 1), ("c", 700))
        },
        "flags": np.full(5, step % 2 == 0),
        "notes": {"step": step, "list": [step] * 5, "empty": np.zeros((0, 3))},
    }


def agrees(found: Any) -> bool:
    step = found.step
    return (
        all((array == step).all() for array in found.state["model"].values())
        and (found.state["flags"] == (step % 2 == 0)).all()
        and found.state["notes"]["list"] == [step] * 5
        and found.state["notes"]["step"] == step
    )


# ---------------------------------------------------------------- flipped bits


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """All eight bits of all bytes of both files: the manifest, the header with its padding, the data."""
    path = tmp_path / "small"
    tensors = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "on": np.array([True, False, True])}
    write_checkpoint(path, {"model": tensors, "note": "text", "lr": 0.1}, epoch=3, step=70, metric=0.5)
    flipped = 0
    for name in ("manifest.json", "tensors.safetensors"):
        whole = (path / name).read_bytes()
        for place in range(len(whole)):
            for bit in range(8):
                damaged = bytearray(whole)
                damaged[place] ^= 1 << bit
                (path / name).write_bytes(damaged)
                with pytest.raises(MlcoreError):
                    load_checkpoint(path)
                flipped += 1
        for length in range(len(whole)):  # and cut off anywhere, or longer
            (path / name).write_bytes(whole[:length])
            with pytest.raises(MlcoreError):
                load_checkpoint(path)
        (path / name).write_bytes(whole + b"\0")
        with pytest.raises(MlcoreError):
            load_checkpoint(path)
        (path / name).write_bytes(whole)
    assert load_checkpoint(path).metric == 0.5
    assert flipped > 6000
    print(f"{flipped} bits flipped, each found")


# ---------------------------------------------------------------- errors and power cuts


class PowerCut(BaseException):
    """From here on nothing happens any more."""


class Disk:
    """Stands for `os` and `shutil` in mlcore.io.files: call number `at` fails, or is the last one."""

    def __init__(self, at: int, error: int | None) -> None:
        self.at, self.error, self.calls, self.dead = at, error, 0, False
        self.unsynced: dict[str, int] = {}  # files: bytes that have surely reached the disk
        self.renamed: list[tuple[str, str]] = []  # in a folder that was not synced since

    def call(self, what: str) -> None:
        self.calls += 1
        if self.dead or self.calls == self.at:
            if self.error is None:
                self.dead = True
                raise PowerCut
            raise OSError(self.error, os.strerror(self.error), what)

    def __getattr__(self, name: str) -> Any:
        real = shutil.rmtree if name == "rmtree" else getattr(os, name)
        if name not in {"open", "mkdir", "fsync", "replace", "rename", "unlink", "rmtree"}:
            return real

        def counted(*args: Any, **kwargs: Any) -> Any:
            if name == "rmtree" and not self.dead and self.error is not None:
                return real(*args, **kwargs)  # cleaning up works, as on a full disk
            self.call(name)
            if name == "fsync":
                synced = os.readlink(f"/proc/self/fd/{args[0]}")
                self.unsynced.pop(synced, None)
                self.renamed = [pair for pair in self.renamed if os.path.dirname(pair[1]) != synced]
            made = real(*args, **kwargs)
            if name in ("replace", "rename"):
                old, new = map(str, args)
                self.renamed.append((old, new))
                self.unsynced = {new + k.removeprefix(old) if k.startswith(old) else k: v
                                 for k, v in self.unsynced.items()}  # fmt: skip
            return made

        return counted

    def fdopen(self, handle: int, mode: str) -> Any:
        return File(self, os.fdopen(handle, mode))


class File:
    """A file whose writes count as calls."""

    def __init__(self, disk: Disk, file: Any) -> None:
        self.disk, self.file = disk, file

    def write(self, data: Any) -> int:
        self.disk.call("write")
        self.disk.unsynced[os.path.realpath(f"/proc/self/fd/{self.file.fileno()}")] = 0
        written: int = self.file.write(data)
        self.file.flush()
        return written

    def flush(self) -> None:
        self.disk.call("flush")

    def fileno(self) -> int:
        return int(self.file.fileno())

    def __enter__(self) -> File:
        return self

    def __exit__(self, *args: object) -> None:
        self.file.close()


@posix
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks the system for the names of open files")
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, None])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.filterwarnings("ignore:cannot remove the old")
def test_a_failing_call_leaves_the_old_ones_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | None, background: bool
) -> None:
    """Every call in turn fails, or is where the power goes; what was written and not synced is then lost."""
    faults = 0
    for at in range(1, 1000):
        folder = tmp_path / str(at)
        for step in (1, 2):
            save_checkpoint(folder, step=step, rng=False, **state(step))
        disk = Disk(at, error)
        monkeypatch.setattr(files, "os", disk)
        monkeypatch.setattr(files, "shutil", disk)
        saved, number = False, error
        try:
            checkpoints = Checkpointer(folder, keep=1, background=background)
            checkpoints.save(step=3, rng=False, **state(3))
            checkpoints.wait()
            saved = True
        except FileError as caught:
            number = caught.errno
        except PowerCut:
            pass
        monkeypatch.undo()
        assert number == error
        for name in disk.unsynced if error is None else ():
            if os.path.exists(name):
                os.truncate(name, 0)
        for old, new in disk.renamed if error is None else ():
            if os.path.exists(new) and not new.endswith(".tmp"):  # a new name is lost, a removal is not
                os.rename(new, old)
        found = load_checkpoint(folder)  # a warning, as for a damaged one, would be an error here
        assert agrees(found)
        assert found.step == 3 if saved else found.step in (2, 3)
        if not saved and error is not None and found.step == 2:
            assert len(os.listdir(folder)) == 2, os.listdir(folder)
        for step in (4, 5):  # and it goes on
            save_checkpoint(folder, step=step, rng=False, **state(step))
        assert load_checkpoint(folder).step == 5
        if disk.calls < at:
            break
        faults += 1
    assert faults > 15
    print(f"{faults} calls failed, each once")


@posix
def test_a_full_disk_leaves_the_old_ones_intact(tmp_path: Path) -> None:
    # A file size limit fails the write in the middle, as a full disk does, and needs no privileges.
    script = f"""
import resource, signal
import numpy as np
from mlcore.io import save_checkpoint
save_checkpoint({str(tmp_path)!r}, step=1, x=np.zeros(1000), rng=False)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    save_checkpoint({str(tmp_path)!r}, step=2, x=np.zeros(1000), rng=False)
except OSError as error:
    print(type(error).__name__, error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "FileError cannot write" in result.stdout
    assert "file too large" in result.stdout
    assert load_checkpoint(tmp_path).step == 1
    assert os.listdir(tmp_path) == ["checkpoint-000001"]


# ---------------------------------------------------------------- killed while saving

KILLER = """
import os, random, select, signal, sys, time
from mlcore.io import Checkpointer, load_checkpoint, save_checkpoint
sys.path.insert(0, {here!r})
from {module} import agrees, state

folder, kills = {folder!r}, {kills}
rng = random.Random(0)

def child(start, background):
    checkpoints = Checkpointer(folder, keep=2, keep_best=1, background=background)
    for step in range(start + 1, 10**9):
        checkpoints.save(step=step, metric=-step if step % 3 else 0, rng=False, **state(step))
        # In the background this one is under way, and the one before is on the disk.
        os.write(1, b"%d\\n" % (step - background))

start, inside, lost = 0, 0, 0
for turn in range(kills):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writing, 1)
        try:
            child(start, turn % 2)
        finally:
            os._exit(3)
    os.close(writing)
    seen = os.read(reading, 100)
    time.sleep(rng.uniform(0, 0.03))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    while more := os.read(reading, 1 << 16):
        seen += more
    os.close(reading)
    acknowledged = max(int(line) for line in seen.split())
    inside += any(name.endswith(".tmp") for name in os.listdir(folder))
    found = load_checkpoint(folder)
    if found.step < acknowledged or found.damaged or not agrees(found):
        lost += 1
        print("lost", turn, acknowledged, found.step, found.damaged)
    best = load_checkpoint(folder, best=True)
    assert agrees(best) and not best.damaged
    start = found.step
save_checkpoint(folder, step=start + 1, rng=False, **state(start + 1))
assert not [name for name in os.listdir(folder) if name.endswith(".tmp")], os.listdir(folder)
print("kills", kills, "inside", inside, "lost", lost, "steps", start)
"""


@posix
@pytest.mark.timeout(600)
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Half of the children save in the background. Each is our own, forked and killed by its number."""
    script = KILLER.format(
        here=str(Path(__file__).parent), module=Path(__file__).stem, folder=str(tmp_path), kills=KILLS
    )
    result = subprocess.run([sys.executable, "-W", "error::mlcore.io.CheckpointWarning", "-c", script],
                            capture_output=True, text=True, timeout=590, check=False)  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    words = result.stdout.split()
    assert words[:2] == ["kills", str(KILLS)], result.stdout
    assert words[4:6] == ["lost", "0"], result.stdout
    assert int(words[3]) > KILLS // 10  # enough of them fell into a write
    print(result.stdout)
