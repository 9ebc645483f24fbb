"""Run in every process of a job by test_mpi.py: ``program.py WHAT``."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import pytest

import mlcore as ml
from mlcore import distributed as dist
from mlcore.dtypes import all_dtypes
from mlcore.errors import MlcoreError

DTYPES = [dtype.name for dtype in all_dtypes]
SHAPES = [(), (1,), (4,), (0,), (4, 3), (8, 1, 5), (4, 0), (100_000,)]


def data(rank: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """What process `rank` has: small whole numbers, so that sums and products are exact in any order."""
    rng = np.random.default_rng(1000 + rank)
    whole = rng.integers(0, 2 if dtype == "bool" else 4, shape)
    return np.asarray(whole).astype(ml.asarray(np.zeros(1), dtype=dtype).dtype.numpy)


def operations(device: str) -> None:
    """Every operation, dtype and shape against NumPy; the number of comparisons is printed by rank 0."""
    rank, size, compared = dist.get_rank(), dist.get_world_size(), 0
    for dtype in DTYPES:
        if not ml.asarray(0).to(device).device.backend.dtypes >= {ml.asarray(np.zeros(1), dtype=dtype).dtype}:
            continue
        for shape in SHAPES:
            all_of_them = np.stack([data(r, shape, dtype) for r in range(size)])
            mine = lambda shape=shape, dtype=dtype: ml.asarray(data(rank, shape, dtype), device=device)  # noqa: E731
            wide = all_of_them.astype(np.complex128 if "complex" in dtype else np.float64)
            for op in dist.REDUCTIONS:
                if (op in ("min", "max") and "complex" in dtype) or (
                    op == "mean" and "float" not in dtype and "complex" not in dtype
                ):
                    continue
                wanted = {
                    "sum": wide.sum,
                    "mean": wide.mean,
                    "prod": wide.prod,
                    "min": wide.min,
                    "max": wide.max,
                }[op](0)
                x = mine()
                wanted = np.asarray(wanted).astype(x.dtype.numpy)
                found = dist.all_reduce(x, op)
                assert found is x
                np.testing.assert_array_equal(np.asarray(found), wanted, err_msg=f"{op} {dtype} {shape}")
                assert found.dtype is mine().dtype
                assert found.device == device
                compared += 1
                if shape and shape[0] % size == 0:
                    part = dist.reduce_scatter(mine(), op)
                    rows = wanted.reshape((size, shape[0] // size, *shape[1:]))[rank]
                    np.testing.assert_array_equal(np.asarray(part), rows)
                    compared += 1
            gathered = dist.all_gather(mine())
            assert gathered.shape == (size, *shape)
            np.testing.assert_array_equal(np.asarray(gathered), all_of_them)
            for root in range(size):
                np.testing.assert_array_equal(np.asarray(dist.broadcast(mine(), root)), all_of_them[root])
            compared += 1 + size
        strided = ml.asarray(data(rank, (6, 4), dtype), device=device).mT[1:]
        wider = np.complex128 if "complex" in dtype else np.float64
        total = sum(data(r, (6, 4), dtype).T[1:].astype(wider) for r in range(size))
        np.testing.assert_array_equal(np.asarray(dist.all_reduce(strided)), total.astype(strided.dtype.numpy))
        compared += 1
    dist.barrier()
    if rank == 0:
        print(f"compared {compared}", flush=True)


def refused() -> None:
    """Bad input is refused before anything is sent, so the job goes on."""
    only_of_several = (
        [(lambda: dist.reduce_scatter(ml.ones((5,))), "multiple of")] if dist.get_world_size() > 1 else []
    )
    for call, text in (
        (lambda: dist.all_reduce([1.0]), "expected a Tensor"),
        (lambda: dist.all_reduce(ml.ones((2,)), "median"), "one of sum"),
        (lambda: dist.all_reduce(ml.asarray([1, 2]), "mean"), "take the sum"),
        (lambda: dist.all_reduce(ml.asarray([1j]), "max"), "no order"),
        (lambda: dist.broadcast(ml.ones((2,)), 7), "a rank from 0"),
        (lambda: dist.init_process_group(), "a process group already"),
        *only_of_several,
    ):
        with pytest.raises(MlcoreError, match=text):
            call()
    assert dist.all_reduce(ml.ones((2,))).tolist() == [dist.get_world_size()] * 2
    print("refused", flush=True)


def training() -> None:
    """Data-parallel steps give what one process gives with the whole batch."""
    from mlcore import nn, optim

    rank, size = dist.get_rank(), dist.get_world_size()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 5)), rng.normal(size=(16, 1))

    def run(rows: slice, share: bool) -> list[np.ndarray]:
        ml.manual_seed(rank if share else 0)
        net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype="float64")
        if share:
            for p in net.parameters():
                dist.broadcast(p)
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for _ in range(5):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(ml.asarray(x[rows])), ml.asarray(y[rows])).backward()
            for p in net.parameters():
                if share:
                    dist.all_reduce(p.grad, "mean")
            optimizer.step()
        return [np.asarray(p.detach()) for p in net.parameters()]

    part = 16 // size
    for a, b in zip(run(slice(rank * part, (rank + 1) * part), True), run(slice(None), False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    print("trained", flush=True)


def failing(what: str) -> None:
    """Process 1 does not do its part; the others say so and end with status 3."""
    rank = dist.get_rank()
    dist.all_reduce(ml.ones((3,)))
    try:
        if rank == 1:
            if what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "raises":
                raise ValueError("a bug of the program")
            if what == "leaves":
                return
            if what == "hangs":
                time.sleep(4)
                return
            if what == "other operation":
                dist.barrier()
            if what == "other shape":
                dist.all_reduce(ml.ones((4,)))
            if what == "other dtype":
                dist.all_reduce(ml.ones((3,), dtype="float64"))
        dist.all_reduce(ml.ones((3,)))
    except ml.errors.CollectiveError as error:
        # In one write: the launcher passes on what the processes print as it comes.
        print(f"rank {rank}: {str(error)!r}\n", end="", flush=True)
        with pytest.raises(ml.errors.CollectiveError, match="the job is broken"):
            dist.barrier()  # later calls fail at once
        sys.exit(3)


if __name__ == "__main__":
    dist.init_process_group(timeout=float(os.environ.get("SECONDS", "60")))
    if sys.argv[1] == "operations":
        operations(sys.argv[2])
        refused()
        training()
        dist.destroy_process_group()
    else:
        failing(sys.argv[1])
