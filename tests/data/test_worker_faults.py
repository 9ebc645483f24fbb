"""Worker processes when something goes wrong: faults, kills, hangs, ends of programs; nothing is left behind."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import data
from mlcore.errors import DataError
from tests.data.worker_kit import (
    KINDS,
    LINUX,
    Mixed,
    _nothing_left,
    children,
    descriptors,
    gone,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks, and looks into /proc")
__all__ = ["_nothing_left"]  # a fixture that every test uses


# -- what goes wrong -----------------------------------------------------------------------------------------------


class Odd(Exception):
    """Cannot be made again from its pickle."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def test_an_error_keeps_its_class_notes_and_traceback() -> None:
    class Fails(Mixed):
        def __getitem__(self, index: int) -> Any:
            if index == 7:
                self.deep()
            if index == 11:
                raise Odd(1, 2)
            return index

        def deep(self) -> None:
            raise FileNotFoundError(2, "no such file", "x.png")

    found: list[Any] = []
    with pytest.raises(FileNotFoundError, match=r"x\.png") as caught:
        found.extend(data.DataLoader(Fails(), 4, num_workers=2, multiprocessing_context="fork"))
    assert len(found) == 1
    assert "while loading sample 7 of Fails" in caught.value.__notes__
    assert "in deep" in str(caught.value.__cause__)
    with pytest.raises(DataError, match="a worker raised Odd: 1 and 2") as other:
        list(data.DataLoader(Fails(), 1, sampler=[11], num_workers=1, multiprocessing_context="fork"))
    assert "while loading sample 11 of Fails" in other.value.__notes__


def test_bad_datasets_say_the_same_as_without_workers() -> None:
    class Short(Mixed):
        def __getitem__(self, index: int) -> Any:
            return [1, 2, 3][index]

    class Ragged(Mixed):
        def __getitem__(self, index: int) -> Any:
            return np.zeros(2 + (index == 5))

    class Stream(data.IterableDataset):
        def __iter__(self) -> Any:
            return iter(range(5))

        def __len__(self) -> int:
            return 9

    cases = [
        (Short(), r"sample 3 of Short, whose length is 22, raised IndexError"),
        (Ragged(), r"ragged batch: shape \(2,\) of sample 0 and \(3,\) of sample 1"),
        (Stream(), "Stream gave 5 samples, its length is 9"),
    ]
    for dataset, text in cases:
        for workers in ("threads", "processes"):
            with pytest.raises(DataError, match=text):
                list(data.DataLoader(dataset, 4, num_workers=2, **KINDS[workers]))


def test_what_cannot_be_handed_over_is_named() -> None:
    class Locked(Mixed):
        def __init__(self) -> None:
            super().__init__()
            self.source = type("Source", (), {})()
            self.source.file = threading.Lock()

        def __getitem__(self, index: int) -> Any:
            return threading.Lock() if index == 3 else index

    globals()["Locked"] = Locked
    Locked.__qualname__ = "Locked"
    with pytest.raises(
        DataError,
        match=r"dataset.*cannot be given to a worker process(.|\n)*spawn workers get a pickled copy",
    ):
        list(data.DataLoader(Locked(), 2, num_workers=2, multiprocessing_context="spawn"))
    with pytest.raises(DataError, match=r"collate_fn \(function\) cannot be given"):
        list(
            data.DataLoader(
                range(4), 2, num_workers=2, multiprocessing_context="spawn", collate_fn=lambda b: b
            )
        )
    with pytest.raises(TypeError, match="pickle") as caught:
        list(
            data.DataLoader(
                Locked(), 1, sampler=[3], num_workers=1, multiprocessing_context="fork", collate_fn=list
            )
        )
    assert any("handing the batch of samples 3" in note for note in caught.value.__notes__)


class Faulty(data.Dataset):
    """Sample `bad` does what `fault` says."""

    def __init__(self, fault: str, bad: int) -> None:
        self.fault, self.bad = fault, bad

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        if index == self.bad:
            if self.fault == "raise":
                raise RuntimeError("broken")
            if self.fault == "exit":
                os._exit(3)
            if self.fault == "hang":
                time.sleep(1000)
            if self.fault == "hang in C":  # and keeps the interpreter's lock
                ctypes.PyDLL(None).sleep(1000)
            if self.fault == "sys.exit":
                sys.exit("leaving")
            faulthandler.disable()  # pytest's would write about SIGABRT
            os.kill(os.getpid(), getattr(signal, self.fault))
            time.sleep(10)
        return np.full((100,), index)


FAULTS: dict[str, tuple[type[BaseException], str]] = {
    "raise": (RuntimeError, "broken"),
    "sys.exit": (SystemExit, "leaving"),
    "exit": (DataError, r"worker \d \(pid \d+\) ended with status 3, at sample {bad} of samples"),
    "SIGKILL": (DataError, r"worker \d \(pid \d+\) was killed by SIGKILL, at sample {bad} of samples"),
    "SIGABRT": (DataError, r"was killed by SIGABRT, at sample {bad}(.|\n)*a crash in C code"),
    "SIGSTOP": (DataError, r"nothing for 0.25 s(.|\n)*at sample {bad}"),
    "hang": (DataError, r"nothing for 0.25 s(.|\n)*at sample {bad}(.|\n)*time.sleep\(1000\)"),
    "hang in C": (DataError, r"nothing for 0.25 s(.|\n)*at sample {bad}"),
}


def collect(loader: Any, found: list[int]) -> None:
    for batch in loader:
        found += batch[:, 0].tolist()


def test_two_hundred_faults() -> None:
    """No hang, no process left, no memory left, the batches before the fault right, and the error names the sample."""
    rng = np.random.default_rng(0)
    weights = {"hang": 8, "hang in C": 4, "SIGSTOP": 4}
    kinds = [name for name in FAULTS for _ in range(weights.get(name, 37))][:200]
    kinds += ["SIGKILL"] * (200 - len(kinds))
    before, slowest = descriptors(), 0.0
    for kind in rng.permutation(kinds).tolist():
        bad, count = int(rng.integers(64)), int(rng.integers(1, 4))
        error, text = FAULTS[kind]
        slow = kind.startswith("hang") or kind == "SIGSTOP"
        loader = data.DataLoader(
            Faulty(kind, bad),
            batch_size=int(rng.integers(1, 9)),
            num_workers=count,
            multiprocessing_context="fork",
            prefetch_factor=int(rng.integers(1, 4)),
            persistent_workers=bool(rng.integers(2)),
            timeout=0.25 if slow else 60,
        )
        found: list[int] = []
        began = time.monotonic()
        with pytest.raises(error, match=text.format(bad=bad)) as caught:
            collect(loader, found)
        slowest = max(slowest, time.monotonic() - began)
        assert found == list(range(len(found)))
        assert len(found) <= bad
        if kind == "raise":
            assert f"while loading sample {bad} of Faulty" in caught.value.__notes__
        assert not children()
        del caught, loader
    gc.collect()
    assert descriptors() <= before
    assert slowest < 15
    if LINUX:
        assert "mlcore-loader" not in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_an_idle_worker_that_is_killed_is_noticed() -> None:
    loader = data.DataLoader(
        Mixed(), 2, num_workers=2, multiprocessing_context="fork", persistent_workers=True
    )
    assert len(list(loader)) == 11
    victim = children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(5)
    with pytest.raises(DataError, match="was killed by SIGKILL, between two batches"):
        list(loader)
    assert len(list(loader)) == 11  # new ones


def test_many_large_indices_and_long_texts_do_not_block() -> None:
    class Texts(data.Dataset):
        def __len__(self) -> int:
            return 10**6

        def __getitem__(self, index: int) -> Any:
            return f"{index:0100}"

    loader = data.DataLoader(
        Texts(),
        40_000,
        sampler=range(200_000),
        num_workers=1,
        multiprocessing_context="fork",
        prefetch_factor=4,
    )
    assert [len(batch) for batch in loader] == [40_000] * 5


ORPHANS = """
import ctypes, os, sys, time
import numpy as np
from mlcore import data

class Hangs(data.Dataset):
    def __len__(self): return 1000
    def __getitem__(self, i):
        if i >= 8:
            os.write(1, f"{os.getpid()}\\n".encode())
            if sys.argv[1] == "python": time.sleep(1000)
            if sys.argv[1] == "c": ctypes.PyDLL(None).sleep(1000)
            if sys.argv[1] == "stop": os.kill(os.getpid(), 19)
        return np.zeros(100_000)

if __name__ == "__main__":
    loader = data.DataLoader(Hangs(), 4, num_workers=2, multiprocessing_context=sys.argv[2])
    for batch in loader:
        pass
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.parametrize("hang", ["python", *(["c", "stop"] if LINUX else [])])
def test_no_worker_outlives_a_killed_program(hang: str, method: str, tmp_path: Path) -> None:
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS, encoding="utf-8")
    before = set(os.listdir("/dev/shm")) if LINUX else set()
    program = subprocess.Popen([sys.executable, script, hang, method], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    workers = {int(program.stdout.readline()) for _ in range(2)}
    assert len(workers) == 2
    assert program.pid not in workers
    program.kill()
    program.wait()
    left = [pid for pid in workers if not gone(pid)]
    assert not left
    program.stdout.close()
    if LINUX:
        assert {
            one for one in set(os.listdir("/dev/shm")) - before if "mlcore" in one or "psm" in one
        } == set()


ENDS = """
import os, sys, time
from mlcore import data

class Slow(data.Dataset):
    def __len__(self): return 1000
    def __getitem__(self, i):
        if i == 8:
            os.write(1, f"{os.getpid()}\\n".encode())
            time.sleep(1000)
        return i

if __name__ == "__main__":
    loader = data.DataLoader(Slow(), 4, num_workers=2, multiprocessing_context="fork", persistent_workers=True)
    try:
        batches = iter(loader)
        next(batches)
        next(batches)
        if sys.argv[1] == "return":
            time.sleep(0.3)
            sys.exit(5)
        next(batches)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


@pytest.mark.parametrize("way", ["return", "ctrl-c", "group"])
def test_the_program_can_end_while_a_worker_hangs(way: str, tmp_path: Path) -> None:
    script = tmp_path / "ends.py"
    script.write_text(ENDS, encoding="utf-8")
    program = subprocess.Popen(
        [sys.executable, script, way],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    worker = int(program.stdout.readline())
    if way == "ctrl-c":
        program.send_signal(signal.SIGINT)
    if way == "group":  # what a terminal does
        os.killpg(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=30)
    assert (out, err, program.returncode) == (("", "", 5) if way == "return" else ("stopped\n", "", 0))
    assert gone(worker)


def test_a_forked_child_leaves_the_workers_alone() -> None:
    loader = data.DataLoader(
        Mixed(), 2, num_workers=2, multiprocessing_context="fork", persistent_workers=True
    )
    batches = iter(loader)
    next(batches)
    with warnings.catch_warnings():  # Python 3.12 on: a fork beside threads
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if (
        pid == 0
    ):  # a child of the program's own: its copies of the pipes are closed, and it may forget the loader
        status = 1
        try:
            del batches, loader
            gc.collect()
            other = data.DataLoader(Mixed(), 2, num_workers=1, multiprocessing_context="fork")
            status = 0 if len(list(other)) == 11 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(list(batches)) == 10


def test_leaving_early_ends_the_processes() -> None:
    for _ in data.DataLoader(Mixed(10_000), 1, num_workers=3, multiprocessing_context="fork"):
        break
    assert not children()


WRONG = [
    (dict(workers="fibres"), "workers is 'fibres'"),
    (
        dict(workers="threads", multiprocessing_context="spawn"),
        "workers='threads' with a multiprocessing_context",
    ),
    (dict(multiprocessing_context="clone"), "multiprocessing_context is 'clone'"),
    (dict(multiprocessing_context=3), "multiprocessing_context is a int"),
    (dict(generator=3), "generator is a int"),
]


@pytest.mark.parametrize(("options", "text"), WRONG, ids=[text for _, text in WRONG])
def test_refusals(options: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        data.DataLoader([1], num_workers=1, **options)


def test_the_kernels_threads_survive_the_fork() -> None:
    """The program computes while and after workers are forked; they compute too."""

    class Computes(Mixed):
        def __getitem__(self, index: int) -> Any:
            x = ml.full((64, 64), 1.0 + index)
            return (x @ x).sum()

    x = ml.ones((256, 256))
    expected = (x @ x).sum().item()
    for _ in range(3):
        found = []
        for batch in data.DataLoader(Computes(), 4, num_workers=2, multiprocessing_context="fork"):
            assert (x @ x).sum().item() == expected
            found += batch.tolist()
        assert found[-2:] == pytest.approx([64**3 * (1.0 + i) ** 2 for i in (20, 21)])
