"""Worker processes: the same batches as without, shared memory, errors, deaths, hangs, and no process left behind."""

# ruff: noqa: E501  (tables of cases)

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcore as ml
from mlcore import data
from tests.data.worker_kit import (
    KINDS,
    Mixed,
    _nothing_left,
    descriptors,
    epochs,
    plain,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks, and looks into /proc")
__all__ = ["_nothing_left"]  # a fixture that every test uses


# -- the same batches -------------------------------------------------------------------------------------------------


def test_any_number_of_workers_gives_the_same_batches() -> None:
    random.seed(5)
    np.random.seed(5)
    ml.manual_seed(5)
    first = epochs(num_workers=0)
    after = random.random(), np.random.rand(), ml.random.get_state()
    random.seed(5)
    np.random.seed(5)
    ml.manual_seed(5)
    assert (
        random.random(),
        np.random.rand(),
        ml.random.get_state(),
    ) == after  # the program's own are left alone
    assert first[0] != first[1]
    for workers in (1, 2, 5):
        assert epochs(num_workers=workers) == first
    assert epochs(num_workers=2, persistent_workers=True, prefetch_factor=3) == first
    with ml.device("reference"):
        assert [[b["own"] for b in e] for e in epochs(num_workers=2)] == [
            [b["own"] for b in e] for e in first
        ]


def test_threads_and_processes_agree_on_their_own_streams() -> None:
    def run(workers: str, count: int) -> list[Any]:
        loader = data.DataLoader(
            Mixed(), 4, True, num_workers=count, **KINDS[workers], generator=ml.random.Generator(1)
        )
        return [
            plain({key: batch[key] for key in ("number", "rng", "own", "array", "half")}) for batch in loader
        ]

    assert run("threads", 2) == run("processes", 2) == run("threads", 0)


def test_batches_out_of_order_are_all_there() -> None:
    class Slow(Mixed):
        def __getitem__(self, index: int) -> Any:
            time.sleep(0.05 if index == 0 else 0)
            return index

    for workers in ("threads", "processes"):
        loader = data.DataLoader(Slow(), 2, num_workers=2, **KINDS[workers], in_order=False)
        found = [batch.tolist() for batch in loader]
        assert sorted(found) == [[i, i + 1] for i in range(0, 22, 2)]
        assert found[0] != [0, 1]


SIZES = """
import multiprocessing, os, sys
import numpy as np
import mlcore as ml
from mlcore import data

class Sizes(data.Dataset):
    def __len__(self): return 12
    def __getitem__(self, i): return np.full((1 + (i * 7919) % 50_000,), i, np.int32), np.random.rand(), "t" * i

class Count(data.IterableDataset):
    def __iter__(self):
        info = data.get_worker_info()
        return iter([info.id, info.num_workers, int(info.dataset is self)])

if __name__ == "__main__":
    def run(method, count):
        loader = data.DataLoader(Sizes(), 1, True, num_workers=count, multiprocessing_context=method, workers="processes",
                                 generator=ml.random.Generator(1), persistent_workers=True)
        return [[(x.tolist(), r.tolist(), t) for x, r, t in loader] for _ in range(2)]
    first = run(None, 0)
    for method in multiprocessing.get_all_start_methods():
        assert run(method, 2) == first, method
        loader = data.DataLoader(Count(), None, num_workers=3, multiprocessing_context=multiprocessing.get_context(method))
        assert list(loader) == [0, 1, 1], method
    print("same")
"""


def test_every_start_method_gives_the_same_batches(tmp_path: Path) -> None:
    script = tmp_path / "sizes.py"
    script.write_text(SIZES, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("same\n", "")


def test_blocks_are_used_again_and_arrays_not_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcore.data import shared

    received: list[int] = []
    inner = shared.Block.receive

    def receive(connection: Any, number: int, size: int, tag: str) -> Any:
        received.append(size)
        return inner(connection, number, size, tag)

    monkeypatch.setattr(shared.Block, "receive", receive)
    sent: list[int] = []
    inner_unpack = shared.unpack

    def unpack(head: Any, block: Any, lend: bool) -> Any:
        sent.append(len(head))
        return inner_unpack(head, block, lend)

    monkeypatch.setattr("mlcore.data.processes.unpack", unpack)

    class Large(Mixed):
        def __getitem__(self, index: int) -> Any:
            return np.full((64, 1024), index, np.float32), {"own": [np.full(3, index)]}

    loader = data.DataLoader(Large(200), 4, num_workers=2, multiprocessing_context="fork")
    for number, (images, rest) in enumerate(loader):
        assert images.numpy()[:, 0, 0].tolist() == [4 * number + i for i in range(4)]
        assert rest["own"][0].shape == (4, 3)
    large = [size for size in received if size > 4096]
    # 50 batches of 1 MiB. At any time 3 are under way and 1 is in use, and one worker may have made all of them, while
    # the other is slow; then the other: two workers never need more than twice 4.
    assert 2 <= len(large) <= 8
    assert max(large) < 2.5 * 4 * 64 * 1024 * 4  # what is not written to costs nothing
    assert max(sent) < 1000


def test_batches_keep_their_values_while_they_are_held() -> None:
    class Large(Mixed):
        def __getitem__(self, index: int) -> Any:
            return np.full((40_000,), index), np.full((2,), index)

    loader = data.DataLoader(Large(200), 4, num_workers=2, multiprocessing_context="fork")
    held, parts, labels = [], [], []
    for number, (x, y) in enumerate(loader):
        labels.append(y)
        if number % 3 == 0:
            held.append((number, x))
        elif number % 3 == 1:
            parts.append((number, np.asarray(x[1])))  # a view of a view
    for number, x in held:
        assert (x.numpy() == np.arange(4 * number, 4 * number + 4)[:, None]).all()
    for number, row in parts:
        assert (row == 4 * number + 1).all()
    assert [i for y in labels for i in y.numpy()[:, 0].tolist()] == list(range(200))
    assert descriptors() < 60  # most of them were copied


def test_batches_of_ones_own_kind() -> None:
    class Batch:
        def __init__(self, samples: list[Any]) -> None:
            self.samples, self.twice = np.stack(samples), [samples[0], samples[0]]
            self.empty, self.order = np.zeros((0, 3)), np.asfortranarray(np.arange(6).reshape(2, 3))
            self.objects = np.asarray(["a", None], dtype=object)
            self.grad = ml.ones((2,), requires_grad=True)

    globals()["Batch"] = Batch
    Batch.__qualname__ = "Batch"
    loader = data.DataLoader(
        [np.arange(3), np.arange(3)], 2, num_workers=1, multiprocessing_context="fork", collate_fn=Batch
    )
    (batch,) = loader
    assert batch.samples.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert batch.twice[1].tolist() == [0, 1, 2]
    assert batch.empty.shape == (0, 3)
    assert batch.order.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert batch.objects.tolist() == ["a", None]
    assert batch.grad.requires_grad
    batch.samples[0, 0] = 9  # its own memory


def test_worker_info_and_init() -> None:
    class Says(Mixed):
        def __getitem__(self, index: int) -> Any:
            info = data.get_worker_info()
            assert info is not None
            assert info.dataset is self
            return info.id, info.num_workers, os.environ["SAID"]

    def init(worker: int) -> None:
        os.environ["SAID"] = f"{worker}"

    for workers in ("processes", "threads"):
        loader = data.DataLoader(Says(), 1, num_workers=2, **KINDS[workers], worker_init_fn=init)
        found = [(ids.item(), count.item(), said[0]) for ids, count, said in loader]
        assert {one[1] for one in found} == {2}
        assert all(str(one[0]) == one[2] for one in found) or workers == "threads"
    assert os.environ.pop("SAID") in "01"
    assert data.get_worker_info() is None

    def bad(worker: int) -> None:
        raise OSError("no licence")

    with pytest.raises(OSError, match="no licence"):
        list(data.DataLoader(Says(), 1, num_workers=2, multiprocessing_context="fork", worker_init_fn=bad))


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_persistent_workers_stay(workers: str) -> None:
    class Who(Mixed):
        def __getitem__(self, index: int) -> Any:
            return os.getpid(), threading.get_ident() % 2**31, index

    loader = data.DataLoader(Who(), 2, num_workers=2, **KINDS[workers], persistent_workers=True)
    seen = []
    for round_ in range(4):
        batches = []
        for batch in loader:
            batches.append([one.tolist() for one in batch])
            if round_ == 1 and len(batches) == 3:
                break  # what is under way is forgotten
        seen.append(
            {(pid, thread) for pids, threads, _ in batches for pid, thread in zip(pids, threads, strict=True)}
        )
        assert [one[2] for one in batches] == [[i, i + 1] for i in range(0, 22, 2)][: len(batches)]
    assert len(set().union(*seen)) <= 2
    both = zip(loader, loader, strict=True)  # two epochs at once: the second gets workers of its own
    assert all(a[2].tolist() == b[2].tolist() for a, b in both)
