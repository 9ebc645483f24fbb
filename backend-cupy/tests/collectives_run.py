"""Run in every process of a job by test_collectives.py: the MPI plugin's own program, each process on its own GPU.

``collectives_run.py WHAT [GPUS]``, on the stand-in for CuPy, whose processes exchange files."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "plugins/mpi/tests")]

import program  # noqa: E402  (found beside this file, by the path above)
import standin_run  # noqa: E402, F401  (GPUs and a CuPy, as far as anybody can see)
from cupy.cuda import nccl  # noqa: E402  (the stand-in, which the line above put there)

import mlcore as ml  # noqa: E402  (after the stand-in)
from mlcore import distributed as dist  # noqa: E402  (likewise)


def dies_in_the_middle(how: str) -> None:
    """Process 1 ends, or hangs, after all have agreed: the others wait on the device then."""
    real = nccl.NcclCommunicator.allReduce

    def instead(*args: Any) -> None:
        if dist.get_rank() == 1:
            if how == "killed inside":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(8)
            os._exit(1)
        real(*args)

    device = f"cuda:{dist.get_rank()}"
    dist.all_gather(ml.ones((3,), device=device))
    nccl.NcclCommunicator.allReduce = instead  # type: ignore[method-assign]  # a fault is planted
    try:
        dist.all_reduce(ml.ones((3,), device=device))
    except ml.errors.CollectiveError as error:
        print(f"rank {dist.get_rank()}: {str(error)!r}\n", end="", flush=True)
        sys.stdout.flush()
        sys.exit(3)


def main(what: str, gpus: str = "") -> None:
    group = dist.init_process_group(timeout=float(os.environ.get("SECONDS", "60")))
    if what in ("killed inside", "hangs inside"):
        dies_in_the_middle(what)
        return
    device = f"cuda:{group.rank % int(gpus)}" if gpus else f"cuda:{group.rank}"
    with warnings.catch_warnings(record=True) as said, ml.device(device):
        warnings.simplefilter("always")
        if what == "operations":
            program.operations(device)
            program.refused()
            program.training()
            assert dist.all_reduce(ml.ones((2,), device="reference")).tolist() == [group.size] * 2
            link = group.collectives.link  # type: ignore[attr-defined]  # of this kind of collectives only
            print(f"{group!r} {'device to device' if link else 'through the host'}\n", end="", flush=True)
            dist.destroy_process_group()
        else:
            program.failing(what)
    for one in said:
        print(f"rank {group.rank}: {one.message}\n", end="", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
