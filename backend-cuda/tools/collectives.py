"""NCCL (or RCCL) on this machine's cards: every operation and dtype against NumPy, then bandwidth of a large sum.

python backend-cuda/tools/collectives.py                         # one card: a job of one process
mlcore launch -n 2 backend-cuda/tools/collectives.py             # two cards: process r has cuda:r
... --device rocm
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

import mlcore as ml
from mlcore import distributed as dist
from mlcore.dtypes import all_dtypes

SHAPES = [(), (1,), (0,), (8, 3), (16, 1, 5), (1 << 20,)]
LIBRARY = {"cuda": "nccl", "rocm": "rccl"}


def values(rank: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Small whole numbers: sums and products of them are exact in every dtype and order."""
    whole = np.random.default_rng(7 + rank).integers(0, 2 if dtype in ("bool", "int8", "uint8") else 4, shape)
    return np.asarray(whole).astype(ml.asarray(np.zeros(1), dtype=dtype).dtype.numpy)


def compare(device: str) -> int:
    """The number of results compared; raises where one differs."""
    rank, size, compared = dist.get_rank(), dist.get_world_size(), 0
    backend = ml.ones((1,), device=device).device.backend
    for dtype in (one for one in all_dtypes if one in backend.dtypes):
        for shape in SHAPES:
            every = np.stack([values(r, shape, dtype.name) for r in range(size)])
            wide = every.astype(np.complex128 if dtype.kind == "c" else np.float64)
            mine = lambda: ml.asarray(values(rank, shape, dtype.name), device=device)  # noqa: E731, B023
            for op in dist.REDUCTIONS:
                if (op in ("min", "max") and dtype.kind == "c") or (op == "mean" and dtype.kind not in "fc"):
                    continue
                wanted = np.asarray(getattr(wide, op)(0)).astype(dtype.numpy)
                np.testing.assert_array_equal(np.asarray(dist.all_reduce(mine(), op).to("reference")), wanted)
                compared += 1
                if shape and shape[0] % size == 0:
                    part = dist.reduce_scatter(mine(), op)
                    rows = wanted.reshape((size, shape[0] // size, *shape[1:]))[rank]
                    np.testing.assert_array_equal(np.asarray(part.to("reference")), rows)
                    compared += 1
            np.testing.assert_array_equal(np.asarray(dist.all_gather(mine()).to("reference")), every)
            root = size - 1
            np.testing.assert_array_equal(
                np.asarray(dist.broadcast(mine(), root).to("reference")), every[root]
            )
            compared += 2
    return compared


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=tuple(LIBRARY))
    arguments = parser.parse_args()
    group = dist.init_process_group(LIBRARY[arguments.device], timeout=120.0)
    device = f"{arguments.device}:{group.rank}"
    compared = compare(device)
    link = getattr(group.collectives, "link", None)
    if link is None:
        print(
            f"rank {group.rank}: arrays went through the host, so nothing is shown of {group.name}",
            flush=True,
        )
        return 1
    x = ml.ones((1 << 26,), device=device)  # 256 MiB of float32
    dist.all_reduce(x)
    started = time.perf_counter()
    for _ in range(10):
        dist.all_reduce(x, "max")
    x.device.synchronize()
    seconds = (time.perf_counter() - started) / 10
    if group.rank == 0:
        version = link.nccl.get_version()
        print(
            f"{group.name} {version}, {group.size} processes, a card each: {compared} results equal NumPy's;"
            f" all_reduce of 256 MiB {seconds * 1e3:.2f} ms, {0.25 / seconds:.0f} GiB/s"
        )
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
